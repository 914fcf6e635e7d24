"""Settings of the whole suite."""

import os
from collections.abc import Iterator
from pathlib import Path

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


LONGEST = (
    "parity/test_keras.py",
    "test_benchmarks.py",
    "test_docs.py",
    "parity/test_networks.py",
    "training/test_distributed.py",
    "training/test_faults.py",
    "parity/test_google.py",
    "deployment/test_keras_export.py",
)
"""Files that begin first, so that in the end no worker is left alone with one of them."""


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # pytest-xdist puts files with many tests first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))


settings.register_profile("effnet", deadline=None, derandomize=True)
settings.load_profile("effnet")
