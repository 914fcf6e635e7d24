"""Batches of pictures, in an order and with an augmentation that are pure functions of the seed."""

import signal
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from effnet.data.decode import UnreadablePicture
from effnet.data.keyed import key
from effnet.data.splits import Split
from effnet.data.transforms import Transform
from effnet.errors import ResourceError

ORDER_KEY, AUGMENT_KEY = 2, 3
"""Set the randomness of the order and of the augmentation apart."""

NOT_AUGMENTED = -1

Place = tuple[int, int]
"""A picture's place in a run: its epoch, and its index in the split."""


class Batch(NamedTuple):
    """Pictures ready for the network, without those that could not be read.

    Attributes:
        pictures: (N, C, H, W) float32.
        labels: (N,) class indices.
        indices: (N,) places in the split.
        unreadable: (name, reason) of each picture left out.
    """

    pictures: Tensor
    labels: Tensor
    indices: Tensor
    unreadable: tuple[tuple[str, str], ...] = ()


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """Return the order (count,) in which an epoch, counted from 0, takes the pictures."""
    generator = torch.Generator().manual_seed(key(seed, ORDER_KEY, epoch))
    return torch.randperm(count, generator=generator)


def steps_per_epoch(count: int, batch: int) -> int:
    """Return the number of full batches, or 1 where there are too few pictures for one."""
    return max(1, count // batch)


def training_batches(
    split: Split,
    transform: Transform,
    *,
    batch: int,
    seed: int,
    epochs: int,
    start_step: int = 0,
    workers: int = 0,
    at_least: int | None = None,
) -> Generator[Batch, None, None]:
    """Yield the batches of a run from a step to its end.

    What is left of an epoch after its last full batch is left out; each epoch leaves out others.
    Neither `workers` nor `start_step` changes a batch, and none before `start_step` is read.

    Args:
        split: the pictures.
        transform: augments with torch's global generator, which is seeded for each picture.
        batch: pictures per batch.
        seed: of order and augmentation.
        epochs: how many.
        start_step: the first step, counted over all epochs from 0.
        workers: processes that read and transform.
        at_least: shorter side in pixels that the transform needs; see `decode`.

    Raises:
        ResourceError: a worker process died.
    """
    plan = _Plan(len(split), batch, seed, epochs, start_step)
    return _load(_Keyed(split, transform, seed, at_least), plan, workers)


def evaluation_batches(
    split: Split,
    transform: Transform,
    *,
    batch: int,
    workers: int = 0,
    at_least: int | None = None,
) -> Generator[Batch, None, None]:
    """Yield all pictures of a split in its order, the last batch being smaller.

    Raises:
        ResourceError: a worker process died.
    """
    places = [(NOT_AUGMENTED, index) for index in range(len(split))]
    groups = [places[start : start + batch] for start in range(0, len(places), batch)]
    return _load(_Keyed(split, transform, 0, at_least), groups, workers)


class _Plan:
    """The places of each batch of a run, made as they are needed."""

    def __init__(self, count: int, batch: int, seed: int, epochs: int, start_step: int) -> None:
        self.count, self.batch, self.seed = count, batch, seed
        self.steps = steps_per_epoch(count, batch)
        self.start_step, self.stop_step = start_step, epochs * self.steps

    def __iter__(self) -> Iterator[list[Place]]:
        epoch, first = divmod(self.start_step, self.steps)
        while epoch * self.steps < self.stop_step:
            order = epoch_order(self.count, self.seed, epoch).tolist()
            for step in range(first, self.steps):
                indices = order[step * self.batch : (step + 1) * self.batch]
                yield [(epoch, index) for index in indices]
            epoch, first = epoch + 1, 0

    def __len__(self) -> int:
        return max(0, self.stop_step - self.start_step)


class _Sample(NamedTuple):
    picture: Tensor | None
    label: int
    place: int
    problem: tuple[str, str] | None = None


class _Keyed(Dataset[_Sample]):
    """Reads and transforms a picture, with the randomness of its place."""

    def __init__(self, split: Split, transform: Transform, seed: int, at_least: int | None) -> None:
        self.split, self.transform, self.seed = split, transform, seed
        self.at_least = at_least

    def __getitem__(self, place: Place) -> _Sample:
        epoch, index = place
        label = int(self.split.labels[index])
        with self._randomness(epoch, index):
            try:
                return _Sample(self.transform(self.split.read(index, self.at_least)), label, index)
            except UnreadablePicture as error:
                return _Sample(None, label, index, (error.name, error.reason))

    def _randomness(self, epoch: int, index: int) -> AbstractContextManager[Any]:
        if epoch == NOT_AUGMENTED:
            return nullcontext()
        return _seeded(key(self.seed, AUGMENT_KEY, epoch, index))


class _seeded:  # noqa: N801 - a context manager reads as a word
    """Seeds torch's CPU generator for a while; torch's own fork_rng also visits every GPU."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __enter__(self) -> None:
        self.before = torch.get_rng_state()
        torch.default_generator.manual_seed(self.seed)

    def __exit__(self, *_: object) -> None:
        torch.set_rng_state(self.before)


def _load(dataset: _Keyed, places: Any, workers: int) -> Generator[Batch, None, None]:
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=places,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_start_worker if workers else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # else it draws a seed from the caller's
    )
    try:
        with _signals_held() if workers else nullcontext():
            batches = iter(loader)
        yield from batches
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ResourceError(
            f"A process that loads pictures died ({error}). It may have run out of memory: try "
            "fewer --workers."
        ) from error


def _collate(samples: Sequence[_Sample]) -> Batch:
    read = [(s.picture, s.label, s.place) for s in samples if s.picture is not None]
    pictures = torch.stack([picture for picture, _, _ in read]) if read else torch.empty(0)
    return Batch(
        pictures,
        torch.tensor([label for _, label, _ in read], dtype=torch.int64),
        torch.tensor([index for _, _, index in read], dtype=torch.int64),
        tuple(sample.problem for sample in samples if sample.problem is not None),
    )


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold signals back while workers start: one would end a worker that does not ignore it yet."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(_: int) -> None:
    # Signals reach the whole process group; the loop decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
