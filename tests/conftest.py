"""Settings of the whole suite."""

import os
from collections.abc import Iterator

import pytest
import torch
import torchvision  # noqa: F401  before TensorFlow, which some tests import: after it, it crashes
from hypothesis import settings

# Workers of pytest-xdist share the cores; one thread each is the quickest for all, and keeps sums
# in one order.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests remember and convert out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EFFNET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


settings.register_profile("effnet", deadline=None, derandomize=True)
settings.load_profile("effnet")
