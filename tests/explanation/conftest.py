"""A network that was trained to find a planted square."""

import pytest

from effnet.nets.network import EfficientNet
from explanation import planted


@pytest.fixture(scope="session")
def finder() -> EfficientNet:
    return planted.trained("same")
