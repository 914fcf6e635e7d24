"""What opening every picture of a data set tells of it."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from effnet.data.decode import UnreadablePicture, decode, read_header
from effnet.data.findings import ERROR, WARNING, Finding, amount
from effnet.data.shards import ShardSplit
from effnet.data.splits import FileSplit, Labels, Split

BAD_SHARE = 0.01
"""A larger share of unreadable training pictures ends a training, unless its recipe says else."""
BLOCK = 1024
"""Pictures that wait for the thread pool at a time."""

Told = Callable[[int, int], None]
"""Is told how many pictures were looked at, and of how many."""


@dataclass(frozen=True)
class Look:
    """What was seen of a split: a digest of each picture's content, and (width, height)."""

    split: Split
    digests: NDArray[np.uint64]
    sizes: NDArray[np.int32]
    kinds: Counter[str]
    unreadable: tuple[UnreadablePicture, ...]

    @property
    def readable(self) -> NDArray[np.int64]:
        """Places of the pictures that could be read."""
        return np.flatnonzero(self.sizes[:, 0])


def look_at(splits: Mapping[str, Split], told: Told = lambda done, count: None) -> dict[str, Look]:
    """Open every picture of every split, and keep a few bytes of each.

    `told` is called after each.
    """
    count = sum(map(len, splits.values()))
    done = itertools.count(1)

    def advance() -> None:
        told(next(done), count)

    with ThreadPoolExecutor() as pool:
        return {name: _look(split, pool, advance) for name, split in splits.items()}


def content_findings(looks: Mapping[str, Look], classes: Sequence[str]) -> Iterator[Finding]:
    """Find what cannot be read, and what is there twice."""
    for name, look in looks.items():
        yield from _unreadable_findings(name, look)
    yield from _repeated_findings(looks, classes)


def extremes(looks: Iterable[Look]) -> dict[str, tuple[int, int]]:
    """Return (width, height) of the smallest, the median and the largest picture by area."""
    sizes = np.concatenate([np.zeros((0, 2), np.int32), *(k.sizes[k.readable] for k in looks)])
    if not len(sizes):
        return {}
    order = np.argsort(sizes.prod(1, dtype=np.int64), kind="stable")
    places = {"smallest": order[0], "median": order[len(order) // 2], "largest": order[-1]}
    return {name: (int(sizes[i, 0]), int(sizes[i, 1])) for name, i in places.items()}


class _Seen(NamedTuple):
    digest: bytes
    size: tuple[int, int]
    kind: str


def _look(split: Split, pool: Executor, advance: Callable[[], None]) -> Look:
    digests = np.zeros(len(split), np.uint64)
    sizes = np.zeros((len(split), 2), np.int32)
    kinds: Counter[str] = Counter()
    unreadable = []
    for start in range(0, len(split), BLOCK):
        block = range(start, min(start + BLOCK, len(split)))
        for index, seen in zip(block, pool.map(lambda i: _see(split, i), block), strict=True):
            advance()
            if isinstance(seen, UnreadablePicture):
                unreadable.append(seen)
                continue
            digests[index] = int.from_bytes(seen.digest, "little")
            sizes[index] = seen.size
            kinds[seen.kind] += 1
    return Look(split, digests, sizes, kinds, tuple(unreadable))


def _see(split: Split, index: int) -> _Seen | UnreadablePicture:
    try:
        if isinstance(split, FileSplit):
            return _see_file(split.paths[index], split.name(index))
        if isinstance(split, ShardSplit):
            return _see_file(split.content(index), split.name(index))
        pixels = np.asarray(split.read(index))
    except UnreadablePicture as error:
        return error
    height, width = pixels.shape[:2]
    digest = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=8)
    return _Seen(digest.digest(), (width, height), "RGB" if pixels.ndim == 3 else "L")


def _see_file(source: Path | bytes, name: str) -> _Seen:
    header = read_header(source, name=name)
    decode(source, at_least=1, name=name)  # as small as can be, which still reads a file to its end
    return _Seen(_digest(source), (header.width, header.height), f"{header.format} {header.mode}")


def _digest(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return hashlib.blake2b(source, digest_size=8).digest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).digest()


def _unreadable_findings(name: str, look: Look) -> Iterator[Finding]:
    bad, count = len(look.unreadable), len(look.split)
    if not bad:
        return
    allowed = max(1, int(BAD_SHARE * count)) if name == "train" else count - 1
    severity, consequence = (
        (ERROR, f"no more than {allowed} may be")
        if bad > allowed
        else (WARNING, f"{'it' if bad == 1 else 'they'} would be left out")
    )
    yield Finding(
        severity,
        "unreadable",
        f"{bad} of {count} {name} pictures cannot be read; {consequence}.",
        tuple(str(error) for error in look.unreadable),
    )


class _Place(NamedTuple):
    split: str
    label: str
    name: str


def _repeated_findings(looks: Mapping[str, Look], classes: Sequence[str]) -> Iterator[Finding]:
    """Find the same content in two splits, or under two labels."""
    leaks: list[str] = []
    contradictions: list[str] = []
    pairs: Counter[str] = Counter()
    for places in _repeated(looks, classes):
        splits = list(dict.fromkeys(place.split for place in places))
        if len(splits) > 1:
            pairs.update(f"{one} and {other}" for one, other in itertools.combinations(splits, 2))
            leaks.append(" = ".join(f"{place.name} ({place.split})" for place in places))
        if len({place.label for place in places}) > 1:
            told = " = ".join(f"{place.name} ({place.label})" for place in places)
            contradictions.append(told)
    if leaks:
        where = ", ".join(f"{count} in {pair}" for pair, count in pairs.most_common())
        message = f"The same content is in two splits, so figures will flatter: {where}."
        yield Finding(WARNING, "leak", message, tuple(leaks))
    if contradictions:
        times = amount(len(contradictions), "time", "times")
        message = f"The same content has two labels: {times}."
        yield Finding(WARNING, "two labels", message, tuple(contradictions))


def _repeated(looks: Mapping[str, Look], classes: Sequence[str]) -> Iterator[list[_Place]]:
    """Yield the places of each content that is there more than once."""
    names = list(looks)
    parts = [look.readable for look in looks.values()]
    if not parts:
        return
    digests = np.concatenate(
        [look.digests[part] for look, part in zip(looks.values(), parts, strict=True)]
    )
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    indices = np.concatenate(parts)
    order = np.argsort(digests, kind="stable")
    borders = np.flatnonzero(np.diff(digests[order])) + 1
    for group in np.split(order, borders) if len(borders) + 1 < len(order) else ():
        if len(group) > 1:
            places = [(names[owners[i]], int(indices[i])) for i in group]
            splits = [(name, looks[name].split, index) for name, index in places]
            yield [
                _Place(name, _told(split.labels, index, classes), split.name(index))
                for name, split, index in splits
            ]


def _told(labels: Labels, index: int, classes: Sequence[str]) -> str:
    """Return the name of a picture's class, or the values of its labels or targets."""
    if labels.ndim == 1:
        return classes[labels[index]]
    return ", ".join(
        f"{name} {value:g}" for name, value in zip(classes, labels[index].tolist(), strict=True)
    )
