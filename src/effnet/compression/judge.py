"""How good a network's answers are on a split, and what a change has cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from effnet.card import Card
from effnet.data.batches import evaluation_batches, loading_told
from effnet.data.content_checks import BAD_SHARE
from effnet.data.splits import Split
from effnet.data.transforms import evaluation_transform
from effnet.deployment.engines import torch_run
from effnet.deployment.predict import Run
from effnet.errors import DataError
from effnet.evaluation.intervals import CONFIDENCE, share_interval
from effnet.tasks.task import Task, build_task

QUANTILE = 1.96
"""Standard deviations on both sides of a normal distribution's mean that hold 95 percent of it."""
ROUNDING = 1e-9
"""By which a difference of two shares may be wrong."""
RESAMPLES = 200
"""Of a figure that is no share of pictures, to see how far chance moves it."""


@dataclass(frozen=True)
class Judgement:
    """What a network is worth on a split.

    Attributes:
        figure: the task's `monitor`, such as "accuracy"; higher is better.
        value: of the figure.
        interval: its 95 percent confidence interval.
        outputs: (N, K), before the task decodes them.
        labels: (N,) or (N, K).
        indices: (N,) places in the split.
        unreadable: pictures of the split that were left out, as they cannot be read.
    """

    figure: str
    value: float
    interval: tuple[float, float]
    outputs: Tensor
    labels: Tensor
    indices: Tensor
    unreadable: int = 0

    @property
    def count(self) -> int:
        """Pictures judged."""
        return len(self.labels)

    @property
    def pictures(self) -> str:
        """How many that are, in words."""
        left_out = f" ({self.unreadable} more cannot be read)" if self.unreadable else ""
        return f"{self.count} pictures{left_out}"


def judge(run: Run, card: Card, split: Split, *, batch: int = 64, workers: int = 0) -> Judgement:
    """Judge what answers pictures on a split; a few that cannot be read are left out.

    Args:
        run: gives the outputs.
        card: task, classes and preprocessing.
        split: pictures with labels.
        batch: pictures at a time.
        workers: processes that load pictures.

    Raises:
        DataError: more pictures cannot be read than `require_readable` allows, or none can.
    """
    transform = evaluation_transform(card.preprocessing)
    outputs, labels, indices = [], [], []
    unreadable: list[tuple[str, str]] = []
    with loading_told():
        for part in evaluation_batches(split, transform, batch=batch, workers=workers):
            unreadable += part.unreadable
            if len(part.labels):
                outputs.append(torch.from_numpy(run(part.pictures.numpy())))
                labels.append(part.labels)
                indices.append(part.indices)
    if not outputs:
        raise DataError(f"None of the {len(split)} pictures could be read.")
    require_readable(unreadable, len(split), card, "pictures to judge by")
    found = judged(card, torch.cat(outputs), torch.cat(labels))
    return replace(found, indices=torch.cat(indices), unreadable=len(unreadable))


def require_readable(
    unreadable: Sequence[tuple[str, str]], count: int, card: Card, what: str
) -> None:
    """Raise DataError if so many pictures cannot be read as would end a training.

    Args:
        unreadable: (name, reason) of each.
        count: of all pictures.
        card: whose training may have allowed more than is usual.
        what: those pictures are.
    """
    share = card.training.get("recipe", {}).get("bad_share", BAD_SHARE)
    allowed = max(1, int(share * count))
    if len(unreadable) > allowed:
        name, reason = unreadable[0]
        raise DataError(
            f"{len(unreadable)} of {count} {what} cannot be read, such as {name}: {reason}. No "
            f"more than {allowed} may be; mend or remove them."
        )


def judge_net(
    net: nn.Module, card: Card, split: Split, *, batch: int = 64, workers: int = 0
) -> Judgement:
    """Judge a network in torch, in float32 on the device where it is; its mode stays as it is.

    Args:
        net: from normalised pictures to outputs.
        card: as for `judge`.
        split: as for `judge`.
        batch: as for `judge`.
        workers: as for `judge`.

    Raises:
        DataError: as for `judge`.
    """
    run = torch_run(net, card.preprocessing, precision="float32")
    return judge(run, card, split, batch=batch, workers=workers)


def points(share: float, *, sign: bool = False) -> str:
    """Return a difference of shares in words, on demand with its sign.

    >>> points(0.0123), points(-0.00001), points(-0.01, sign=True), points(0.01, sign=True)
    ('1.23 points', '0.00 points', '-1.00 points', '+1.00 points')
    """
    number = f"{100 * share:{'+' if sign else ''}.2f}"
    return f"{number.replace('-0.00', '0.00').replace('+0.00', '0.00')} points"


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What a change has done to the figure that a task is judged by.

    Attributes:
        name: of the change.
        resolution: side in pixels of the pictures.
        value: of the figure.
        drop: by how much it is lower than before, positive where it became worse.
        drop_interval: the drop's 95 percent interval.
        seconds: that making and judging took.
        kept: whether the drop is within bounds.
    """

    name: str
    resolution: int
    value: float
    drop: float
    drop_interval: tuple[float, float]
    seconds: float
    kept: bool


def tried(
    name: str, before: Judgement, after: Judgement, card: Card, *, most: float, seconds: float
) -> Tried:
    """Compare two judgements of the same pictures; `most` is the largest drop within bounds.

    Raises:
        DataError: they are not of the same pictures.
    """
    lost, interval = drop(before, after, card)
    return Tried(
        name=name,
        resolution=card.preprocessing.resolution,
        value=after.value,
        drop=lost,
        drop_interval=interval,
        seconds=seconds,
        kept=within(lost, most),
    )


def told(what: Tried, figure: str, name: str = "") -> str:
    """Return a line about a change, by its own or a fuller name."""
    low, high = what.drop_interval
    return (
        f"{name or what.name}: {figure} {what.value:.4f}, lost {points(what.drop)} "
        f"({100 * low:.2f} to {100 * high:.2f}), {what.seconds:.0f} s{': kept' * what.kept}"
    )


def within(lost: float, most: float) -> bool:
    """Whether no more is lost than may be; both are shares.

    >>> within(0.97 - 0.96, 0.01)
    True
    """
    return lost <= most + ROUNDING


def judged(card: Card, outputs: Tensor, labels: Tensor) -> Judgement:
    """Judge outputs (N, K), float32, of all pictures in their order by labels (N,) or (N, K)."""
    task = build_task(card.task, card.classes, card.task_settings)
    value = _value(task, outputs, labels)
    return Judgement(
        figure=task.monitor,
        value=value,
        interval=_interval(task, value, outputs, labels),
        outputs=outputs,
        labels=labels,
        indices=torch.arange(len(labels)),
    )


def drop(before: Judgement, after: Judgement, card: Card) -> tuple[float, tuple[float, float]]:
    """Return by how much a change has lowered the figure, and the loss's 95 percent interval.

    The interval is of the differences picture by picture, so it is far narrower than those of the
    two figures.

    Raises:
        DataError: the judgements are not of the same pictures.
    """
    same = torch.equal(before.indices, after.indices) and torch.equal(before.labels, after.labels)
    if not same:
        raise DataError(
            f"The pictures have changed meanwhile: there were {before.count} to judge by, now "
            f"there are {after.count}, or others."
        )
    task = build_task(card.task, card.classes, card.task_settings)
    lost = before.value - after.value
    if task.exclusive:
        was, now = (told.outputs.argmax(1) == told.labels for told in (before, after))
        return lost, paired((was & ~now).sum().item(), (now & ~was).sum().item(), before.count)
    pairs = [
        _value(task, before.outputs[rows], before.labels[rows])
        - _value(task, after.outputs[rows], after.labels[rows])
        for rows in _resampled(before.count)
    ]
    return lost, _middle_of(pairs)


def paired(lost: float, won: float, count: int) -> tuple[float, float]:
    """Return the 95 percent interval of the share of pictures that is lost beyond what is won.

    It is Wald's with half a picture added to each of the four cells, which keeps its promise for
    few pictures and for few that change, where the plain one shrinks to nothing: A. Agresti and
    Y. Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in
    Medicine 24 (2005).

    Args:
        lost: pictures that were answered right and no longer are.
        won: pictures that were not and now are.
        count: all pictures.

    >>> low, high = paired(0, 0, 1000)
    >>> round(low, 4), round(high, 4)
    (-0.002, 0.002)
    """
    lost, won, count = lost + 0.5, won + 0.5, count + 2
    share = (lost - won) / count
    half = QUANTILE * ((lost + won - (lost - won) ** 2 / count) ** 0.5) / count
    return share - half, share + half


def _interval(task: Task, value: float, outputs: Tensor, labels: Tensor) -> tuple[float, float]:
    if task.exclusive:
        return share_interval(round(value * len(labels)), len(labels))
    return _middle_of(
        [_value(task, outputs[rows], labels[rows]) for rows in _resampled(len(labels))]
    )


def _resampled(count: int) -> list[Tensor]:
    """Return places of pictures drawn with replacement (the bootstrap), the same every time."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(count, (count,), generator=generator) for _ in range(RESAMPLES)]


def _value(task: Task, outputs: Tensor, labels: Tensor) -> float:
    return task.figures(outputs, labels)[task.monitor]


def _middle_of(values: list[float]) -> tuple[float, float]:
    outside = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, (outside, 1 - outside))
    return float(low), float(high)
