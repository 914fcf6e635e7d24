"""Settings of the whole suite."""

import os

import torch
import torchvision  # noqa: F401  before TensorFlow, which some tests import: after it, it crashes
from hypothesis import settings

# Workers of pytest-xdist share the cores; one thread each is the quickest for all, and keeps sums
# in one order.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start

settings.register_profile("effnet", deadline=None, derandomize=True)
settings.load_profile("effnet")
