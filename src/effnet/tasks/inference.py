"""Running a network over a split, for validation, evaluation and prediction alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from effnet.data.batches import TIMEOUT, Batch, evaluation_batches, loading_told
from effnet.data.preprocessing import Preprocessing
from effnet.data.splits import Split
from effnet.data.transforms import evaluation_transform
from effnet.devices import autocast, memory_format


@dataclass(frozen=True)
class Outputs:
    """A network's outputs over a split, in the split's order, on the CPU.

    Attributes:
        outputs: (N, ...) float32.
        labels: (N,) class indices.
        indices: (N,) places in the split; an unreadable picture has none.
        unreadable: (name, reason) of each picture that could not be read.
    """

    outputs: Tensor
    labels: Tensor
    indices: Tensor
    unreadable: tuple[tuple[str, str], ...]


def collect_outputs(
    net: nn.Module,
    split: Split,
    preprocessing: Preprocessing,
    *,
    batch: int = 64,
    workers: int = 0,
    precision: str = "auto",
    channels_last: bool = True,
    timeout: float = TIMEOUT,
) -> Outputs:
    """Run `net` in evaluation mode over a whole split; its mode is put back afterwards."""
    transform = evaluation_transform(preprocessing)
    batches = evaluation_batches(split, transform, batch=batch, workers=workers, timeout=timeout)
    outputs, labels, indices = [], [], []
    unreadable: list[tuple[str, str]] = []
    with loading_told():
        for part in batches:
            unreadable += part.unreadable
            if len(part.labels):
                outputs.append(
                    run(net, part, preprocessing, precision=precision, channels_last=channels_last)
                )
                labels.append(part.labels)
                indices.append(part.indices)
    if not outputs:
        return Outputs(
            torch.empty(0, 0), torch.empty(0).long(), torch.empty(0).long(), tuple(unreadable)
        )
    return Outputs(torch.cat(outputs), torch.cat(labels), torch.cat(indices), tuple(unreadable))


@torch.inference_mode()
def run(
    net: nn.Module,
    batch: Batch,
    preprocessing: Preprocessing,
    *,
    precision: str = "auto",
    channels_last: bool = True,
) -> Tensor:
    """Return the outputs (N, ...) of one batch in evaluation mode, float32 on the CPU."""
    device = next(net.parameters()).device
    with evaluating(net), autocast(device, precision):
        pictures = batch.pictures.to(device, memory_format=memory_format(channels_last))
        outputs: Tensor = net(preprocessing.normalised(pictures))
    return outputs.float().cpu()


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode for a while."""
    was_training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(was_training)
