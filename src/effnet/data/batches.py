"""Batches of pictures, in an order and with an augmentation that are pure functions of the seed."""

import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from effnet.data.decode import UnreadablePicture
from effnet.data.keyed import key
from effnet.data.orders import Order, order_of
from effnet.data.splits import Split
from effnet.data.transforms import Transform, stacked
from effnet.errors import ResourceError

AUGMENT_KEY = 3
"""Sets the randomness of the augmentation apart from all other."""


TIMEOUT = 300.0
"""Seconds without a batch after which the worker processes count as hung; 0 for never."""


class Place(NamedTuple):
    """A picture's place in a run.

    Attributes:
        number: in the split.
        epoch: counted from 0; None where nothing is random.
        turn: how many times the epoch has taken the picture before.
    """

    number: int
    epoch: int | None = None
    turn: int = 0


class Batch(NamedTuple):
    """Pictures ready for the network, without those that could not be read.

    Attributes:
        pictures: (N, C, H, W) levels from 0 to 255, uint8 or, of a transform that rounds nothing,
            float32.
        labels: (N,) class indices, or (N, K) float32.
        indices: (N,) places in the split.
        unreadable: (name, reason) of each picture left out.
    """

    pictures: Tensor
    labels: Tensor
    indices: Tensor
    unreadable: tuple[tuple[str, str], ...] = ()


def steps_per_epoch(count: int, batch: int) -> int:
    """Return the number of full batches, or 1 where there are too few pictures for one."""
    return max(1, count // batch)


def training_batches(
    split: Split,
    transform: Callable[[int], Transform],
    *,
    batch: int,
    seed: int,
    epochs: int,
    order: Order | None = None,
    start_step: int = 0,
    rank: int = 0,
    ranks: int = 1,
    workers: int = 0,
    timeout: float = TIMEOUT,
) -> Generator[Batch, None, None]:
    """Yield the batches of a run from a step to its end.

    What is left of an epoch after its last full batch is left out; each epoch leaves out others.
    Neither `workers` nor `start_step` changes a batch, and none before `start_step` is read. With
    several processes each yields its own part of every batch.

    Args:
        split: the pictures.
        transform: of an epoch, counted from 0: augments with torch's global generator, which is
            seeded for each picture.
        batch: pictures per batch.
        seed: of order and augmentation.
        epochs: how many.
        order: of an epoch's pictures; all of them shuffled by default.
        start_step: the first step, counted over all epochs from 0.
        rank: of this process.
        ranks: number of processes.
        workers: processes that read and transform for this one.
        timeout: seconds without a batch after which the workers count as hung; 0 for never.

    Raises:
        ResourceError: a worker process died or hangs.
    """
    plan = _Plan(
        order or order_of(split, "all", seed), len(split), batch, epochs, start_step, rank, ranks
    )
    return _load(_Keyed(split, transform, seed), plan, workers, timeout)


def evaluation_batches(
    split: Split,
    transform: Transform,
    *,
    batch: int,
    workers: int = 0,
    timeout: float = TIMEOUT,
) -> Generator[Batch, None, None]:
    """Yield all pictures of a split in its order, the last batch being smaller.

    Raises:
        ResourceError: a worker process died or hangs.
    """
    places = [Place(index) for index in range(len(split))]
    groups = [places[start : start + batch] for start in range(0, len(places), batch)]
    return _load(_Keyed(split, Always(transform), 0), groups, workers, timeout)


@dataclass(frozen=True)
class _Plan:
    """The places of each batch of a run, made as they are needed."""

    order: Order
    count: int
    batch: int
    epochs: int
    start_step: int
    rank: int
    ranks: int

    def __iter__(self) -> Iterator[list[Place]]:
        steps = steps_per_epoch(self.count, self.batch)
        epoch, first = divmod(self.start_step, steps)
        while epoch < self.epochs:
            places = list(_places(self.order(epoch).tolist(), epoch))
            for step in range(first, steps):
                taken = places[step * self.batch : (step + 1) * self.batch]
                yield taken[self.rank :: self.ranks]
            epoch, first = epoch + 1, 0

    def __len__(self) -> int:
        return max(0, self.epochs * steps_per_epoch(self.count, self.batch) - self.start_step)


def _places(order: Sequence[int], epoch: int) -> Iterator[Place]:
    turns: dict[int, int] = {}
    for index in order:
        turn = turns.get(index, 0)
        turns[index] = turn + 1
        yield Place(index, epoch, turn)


@dataclass(frozen=True)
class Always:
    """The same transform in every epoch."""

    transform: Transform

    def __call__(self, _: int) -> Transform:
        return self.transform


class _Sample(NamedTuple):
    picture: Tensor | None
    label: Tensor
    number: int
    problem: tuple[str, str] | None = None


class _Keyed(Dataset[_Sample]):
    """Reads and transforms a picture, with the randomness of its place."""

    def __init__(self, split: Split, transform: Callable[[int], Transform], seed: int) -> None:
        self.split, self.transform, self.seed = split, transform, seed

    def __getitem__(self, place: Place) -> _Sample:
        number = place.number
        label = torch.as_tensor(self.split.labels[number])
        with self._randomness(place):
            view = self.transform(place.epoch or 0).view()
            try:
                return _Sample(view(self.split.read(number, view.at_least)), label, number)
            except UnreadablePicture as error:
                return _Sample(None, label, number, (error.name, error.reason))

    def _randomness(self, place: Place) -> AbstractContextManager[Any]:
        if place.epoch is None:
            return nullcontext()
        return _seeded(key(self.seed, AUGMENT_KEY, place.epoch, place.number, place.turn))


class _seeded:  # noqa: N801 - a context manager reads as a word
    """Seeds torch's CPU generator for a while; torch's own fork_rng also visits every GPU."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __enter__(self) -> None:
        self.before = torch.get_rng_state()
        torch.default_generator.manual_seed(self.seed)

    def __exit__(self, *_: object) -> None:
        torch.set_rng_state(self.before)


def _load(
    dataset: _Keyed, places: Any, workers: int, timeout: float
) -> Generator[Batch, None, None]:
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=places,
        num_workers=workers,
        timeout=timeout if workers else 0,
        collate_fn=_collate,
        worker_init_fn=_start_worker if workers else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # else it draws a seed from the caller's
    )
    batches: Any = None
    try:
        with loading_told(timeout):
            with _signals_held() if workers else nullcontext():
                batches = iter(loader)
            yield from batches
    finally:
        if workers and batches is not None:
            batches._shutdown_workers()
            for worker in batches._workers:
                worker.kill()  # one that hangs heeds nothing less, and this process waits for it


def of_loading(error: RuntimeError) -> bool:
    """Return whether torch tells by an error of a loading process, whatever was being done."""
    return "DataLoader" in str(error)


@contextmanager
def loading_told(timeout: float = 0.0) -> Iterator[None]:
    """Say what it means that a loading process died or hangs.

    torch tells of a death wherever the program is at that moment, so whatever is done with batches
    belongs into this context.

    Raises:
        ResourceError: a loading process died, or gave nothing for `timeout` seconds.
    """
    try:
        yield
    except RuntimeError as error:
        if not of_loading(error):
            raise
        raise ResourceError(
            f"No picture came from the loading processes for {timeout:g} seconds; a disk or a "
            "network folder may hang. See --worker-timeout."
            if "timed out" in str(error)
            else f"A process that loads pictures died ({error}). It may have run out of memory: "
            "try fewer --workers."
        ) from error


def _collate(samples: Sequence[_Sample]) -> Batch:
    read = [sample for sample in samples if sample.picture is not None]
    pictures = [sample.picture for sample in read if sample.picture is not None]
    return Batch(
        stacked(pictures) if pictures else torch.empty(0, dtype=torch.uint8),
        torch.stack([sample.label for sample in read])
        if read
        else torch.empty(0, dtype=torch.int64),
        torch.tensor([sample.number for sample in read], dtype=torch.int64),
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
