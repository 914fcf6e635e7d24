"""The state of a training, whole, and its file."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from effnet.data.batches import of_loading
from effnet.errors import DivergedError, ModelFileError, UsageError
from effnet.files import atomic_path
from effnet.nets.network import EfficientNet
from effnet.training.job import Job
from effnet.training.optim import build_average, build_optimizer
from effnet.training.recipe import Recipe

FORMAT_VERSION = 2


@dataclass
class State:
    """Everything that changes during a training.

    Attributes:
        net: the network in training.
        average: the moving average of its weights; None where the recipe has none.
        optimizer: with its momenta.
        totals: this epoch's sums of loss, correct answers and pictures, on the device.
        step: steps done since the start of the run.
        history: a row for each epoch that ended.
        best: the highest monitored figure so far.
        best_epoch: the epoch it was reached in, counted from 1; 0 for none yet.
        unreadable: names of the training pictures that could not be read.
        skipped: steps undone because their gradient was no number.
        skipped_in_a_row: how many of them were the last steps.
    """

    net: EfficientNet
    average: AveragedModel | None
    optimizer: Optimizer
    totals: Tensor
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: float = float("-inf")
    best_epoch: int = 0
    unreadable: set[str] = field(default_factory=set)
    skipped: int = 0
    skipped_in_a_row: int = 0

    @classmethod
    def start(cls, net: EfficientNet, recipe: Recipe) -> Self:
        """Return the state before the first step of a net that is on its device."""
        return cls(
            net=net,
            average=build_average(net, recipe.ema) if recipe.ema else None,
            optimizer=build_optimizer(net, recipe),
            totals=_zeros(next(net.parameters()).device),
        )

    @property
    def kept(self) -> nn.Module:
        """The network that is evaluated and kept: the average where there is one."""
        return self.net if self.average is None else self.average.module


def _zeros(device: torch.device) -> Tensor:
    """Return the sums before an epoch, exact enough that their order does not matter."""
    precise = torch.float32 if device.type == "mps" else torch.float64
    return torch.zeros(3, dtype=precise, device=device)


def write_checkpoint(path: Path, state: State, job: Job) -> None:
    """Write the state, whole or not at all.

    Raises:
        DivergedError: a weight is not a finite number; an older checkpoint is untouched.
        ResourceError: the file could not be written; an older checkpoint is untouched.
    """
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.net.state_dict().values()):
        raise DivergedError(
            f"The weights are no longer finite at step {state.step}. The last good state is in "
            f"{path}; start again with a lower lr."
        )
    content = {
        "effnet_checkpoint": FORMAT_VERSION,
        "job": job.to_dict(),
        "net": state.net.state_dict(),
        "average": None if state.average is None else state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "totals": state.totals,
        "step": state.step,
        "history": state.history,
        "best": state.best,
        "best_epoch": state.best_epoch,
        "unreadable": sorted(state.unreadable),
        "skipped": state.skipped,
        "skipped_in_a_row": state.skipped_in_a_row,
    }
    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # what torch makes of a full disk
            if of_loading(error):
                raise
            raise OSError(str(error).splitlines()[0]) from error


def read_checkpoint(path: Path) -> tuple[Job, Mapping[str, Any]]:
    """Read a checkpoint and its job; nothing is unpickled but tensors and plain values.

    Raises:
        UsageError: there is no checkpoint.
        ModelFileError: it is damaged or of another program.
    """
    if not path.is_file():
        raise UsageError(f"There is nothing to resume: no checkpoint {path}.")
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums itself
            broken = archive.testzip()
        if broken is not None:
            raise ModelFileError(f"{path} is damaged: {broken} in it has changed.")
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["effnet_checkpoint"] != FORMAT_VERSION:
            raise ModelFileError(f"{path} was written by another version of effnet.")
        return Job.from_dict(content["job"]), content
    except ModelFileError:
        raise
    except Exception as error:  # zipfile and torch raise many kinds for a damaged file
        reason = f"{error}".partition("\n")[0]
        raise ModelFileError(f"{path} is damaged or is not a checkpoint: {reason}") from error


def restore(state: State, content: Mapping[str, Any]) -> None:
    """Put a checkpoint's content into a state that was started from the same job."""
    state.net.load_state_dict(content["net"])
    if state.average is not None:
        state.average.load_state_dict(content["average"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.totals.copy_(content["totals"])
    state.step = content["step"]
    state.history = list(content["history"])
    state.best = content["best"]
    state.best_epoch = content["best_epoch"]
    state.unreadable = set(content["unreadable"])
    state.skipped = content["skipped"]
    state.skipped_in_a_row = content["skipped_in_a_row"]


def require_same(job: Job, checkpoint: Job, where: Path) -> None:
    """Raise UsageError, naming each difference, if a checkpoint is of another job."""
    ours, theirs = job.to_dict(), checkpoint.to_dict()
    differences = [
        f"{name} is {ours[name]!r}, was {theirs[name]!r}"
        for name in ("data", "fingerprint", "task", "train_resolution", "preprocessing", "spec")
        if ours[name] != theirs[name]
    ]
    differences += [
        f"{name} is {value!r}, was {theirs['recipe'][name]!r}"
        for name, value in ours["recipe"].items()
        if value != theirs["recipe"][name]
    ]
    if differences:
        raise UsageError(
            f"The run in {where} was another one: {'; '.join(differences)}. "
            "Resume it unchanged, or start anew with another --out."
        )
