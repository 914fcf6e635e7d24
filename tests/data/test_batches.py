"""Batches: their order and augmentation are pure functions of the seed, whatever loads them."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from effnet.data.batches import Batch, evaluation_batches, steps_per_epoch, training_batches
from effnet.data.orders import epoch_order, order_of
from effnet.data.preprocessing import Preprocessing
from effnet.data.splits import ArraySplit, FileSplit
from effnet.data.transforms import (
    Picture,
    Transform,
    evaluation_transform,
    training_transform,
)
from effnet.errors import ResourceError, UsageError
from picture_files import save

PREPROCESSING = Preprocessing(8, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)
AUGMENTED = training_transform(PREPROCESSING, augment="randaugment", erasing=0.5)
PLAIN = evaluation_transform(PREPROCESSING)


def augmented(_: int) -> Transform:
    return AUGMENTED


def plain(_: int) -> Transform:
    return PLAIN


def split(count: int) -> ArraySplit:
    pictures = np.random.default_rng(0).integers(0, 256, (count, 9, 9, 3), dtype=np.uint8)
    return ArraySplit(pictures, np.arange(count) % 3)


def run(count: int = 11, workers: int = 0, start_step: int = 0, seed: int = 5) -> list[Batch]:
    return list(
        training_batches(
            split(count),
            augmented,
            batch=4,
            seed=seed,
            epochs=3,
            start_step=start_step,
            workers=workers,
        )
    )


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        a.unreadable == b.unreadable and all(map(torch.equal, a[:3], b[:3]))
        for a, b in zip(one, other, strict=True)
    )


@given(st.integers(1, 50), st.integers(0, 2**63 - 1), st.integers(0, 1000))
def test_an_epoch_takes_every_picture_once(count: int, seed: int, epoch: int) -> None:
    order = epoch_order(count, seed, epoch)
    assert sorted(order.tolist()) == list(range(count))
    torch.manual_seed(epoch)  # the caller's randomness has no part in it
    assert torch.equal(order, epoch_order(count, seed, epoch))


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    orders = {tuple(epoch_order(50, seed, epoch).tolist()) for seed in (0, 1) for epoch in range(5)}
    assert len(orders) == 10


def test_where_a_picture_comes_is_even() -> None:
    firsts = [int(epoch_order(5, 0, epoch)[0]) for epoch in range(1000)]
    assert np.bincount(firsts, minlength=5).min() > 150


@given(
    count=st.integers(1, 12),
    batch=st.integers(1, 5),
    epochs=st.integers(0, 3),
    start_step=st.integers(0, 20),
)
def test_starting_later_is_skipping(count: int, batch: int, epochs: int, start_step: int) -> None:
    def indices(start: int) -> list[list[int]]:
        batches = training_batches(
            split(count), plain, batch=batch, seed=1, epochs=epochs, start_step=start
        )
        return [part.indices.tolist() for part in batches]

    whole = indices(0)
    steps = steps_per_epoch(count, batch)
    assert len(whole) == epochs * steps
    assert indices(start_step) == whole[start_step:]
    for epoch in range(epochs):
        taken = [i for part in whole[epoch * steps : (epoch + 1) * steps] for i in part]
        assert taken == epoch_order(count, 1, epoch).tolist()[: steps * batch]


@pytest.mark.parametrize("start_step", [1, 2, 3, 5])
def test_a_later_start_gives_the_same_augmented_pictures(start_step: int) -> None:
    assert same(run(start_step=start_step), run()[start_step:])


@pytest.mark.parametrize("start_step", [0, 3])
def test_workers_change_nothing(start_step: int) -> None:
    assert same(run(workers=2, start_step=start_step), run(start_step=start_step))


def test_augmentation_is_keyed_by_seed_and_epoch_and_picture() -> None:
    alike = ArraySplit(np.repeat(split(1).pictures, 4, 0), np.zeros(4, dtype=np.int64))
    shown: dict[tuple[int, int, int], torch.Tensor] = {}
    for seed in (0, 1):
        batches = training_batches(alike, augmented, batch=4, seed=seed, epochs=2)
        for epoch, batch in enumerate(batches):
            for index, picture in zip(batch.indices.tolist(), batch.pictures, strict=True):
                shown[seed, epoch, index] = picture
    pictures = list(shown.values())
    assert len(pictures) == 16
    assert not any(
        torch.equal(one, other) for i, one in enumerate(pictures) for other in pictures[:i]
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_the_callers_randomness_is_left_alone(workers: int) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run(workers=workers)
    list(evaluation_batches(split(5), PLAIN, batch=2, workers=workers))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_callers_randomness_changes_nothing() -> None:
    torch.manual_seed(1)
    one = run()
    torch.manual_seed(2)
    assert same(one, run())


@given(count=st.integers(1, 12), batch=st.integers(1, 5))
def test_evaluation_takes_all_in_order(count: int, batch: int) -> None:
    data = split(count)
    batches = list(evaluation_batches(data, PLAIN, batch=batch))
    assert torch.cat([part.indices for part in batches]).tolist() == list(range(count))
    assert torch.cat([part.labels for part in batches]).tolist() == data.labels.tolist()
    assert all(len(part.labels) == batch for part in batches[:-1])
    pictures = torch.cat([part.pictures for part in batches])
    torch.testing.assert_close(pictures[0], PLAIN(data.read(0)))


def files(root: Path, count: int, damaged: set[int]) -> FileSplit:
    paths = [save(root / f"{number}.png", number) for number in range(count)]
    for number in damaged:
        paths[number].write_bytes(paths[number].read_bytes()[:60])
    return FileSplit(tuple(paths), np.arange(count) % 2)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damaged", [{1}, {0, 3}, {0, 1}, {0, 1, 2, 3, 4}])
def test_unreadable_pictures_are_left_out_and_named(
    tmp_path: Path, damaged: set[int], workers: int
) -> None:
    data = files(tmp_path, 5, damaged)
    batches = list(evaluation_batches(data, PLAIN, batch=2, workers=workers))
    indices = [i for part in batches for i in part.indices.tolist()]
    assert indices == [i for i in range(5) if i not in damaged]
    assert [name for part in batches for name, _ in part.unreadable] == [
        str(data.paths[i]) for i in sorted(damaged)
    ]
    assert all(reason for part in batches for _, reason in part.unreadable)
    assert [len(part.indices) + len(part.unreadable) for part in batches] == [2, 2, 1]
    for part in batches:
        assert len(part.pictures) == len(part.labels) == len(part.indices)


def test_an_unreadable_picture_changes_no_other(tmp_path: Path) -> None:
    def shown(damaged: set[int]) -> dict[tuple[int, int], torch.Tensor]:
        data = files(tmp_path, 6, damaged)
        batches = training_batches(data, augmented, batch=3, seed=0, epochs=2)
        return {
            (step, index): picture
            for step, batch in enumerate(batches)
            for index, picture in zip(batch.indices.tolist(), batch.pictures, strict=True)
        }

    whole, damaged = shown(set()), shown({2})
    assert set(whole) - set(damaged) == {place for place in whole if place[1] == 2}
    assert all(torch.equal(whole[place], picture) for place, picture in damaged.items())


@pytest.mark.parametrize("workers", [0, 1])
def test_other_errors_are_not_swallowed(workers: int) -> None:
    four = ArraySplit(np.zeros((2, 8, 8, 4), dtype=np.uint8), np.zeros(2, dtype=np.int64))
    with pytest.raises(UsageError, match="takes 3 channels, but a picture has 4"):
        list(evaluation_batches(four, PLAIN, batch=2, workers=workers))


@pytest.mark.parametrize(("count", "batch", "steps"), [(1, 4, 1), (4, 4, 1), (7, 4, 1), (8, 4, 2)])
def test_steps_per_epoch(count: int, batch: int, steps: int) -> None:
    assert steps_per_epoch(count, batch) == steps


@given(
    count=st.integers(2, 24),
    ranks=st.integers(1, 4),
    share=st.integers(1, 3),
    start_step=st.integers(0, 5),
)
def test_processes_part_each_batch_of_one(
    count: int, ranks: int, share: int, start_step: int
) -> None:
    batch_size = share * ranks

    def indices(rank: int, ranks: int) -> list[list[int]]:
        batches = training_batches(
            split(count),
            plain,
            batch=batch_size,
            seed=2,
            epochs=2,
            start_step=start_step,
            rank=rank,
            ranks=ranks,
        )
        return [part.indices.tolist() for part in batches]

    whole = indices(0, 1)
    parts = [indices(rank, ranks) for rank in range(ranks)]
    for step, batch in enumerate(whole):
        assert sorted(i for part in parts for i in part[step]) == sorted(batch)
        assert all(part[step] == batch[rank::ranks] for rank, part in enumerate(parts))


def test_each_epoch_has_its_transform() -> None:
    small = evaluation_transform(PREPROCESSING.at(4))
    batches = training_batches(
        split(4), lambda epoch: small if epoch == 0 else PLAIN, batch=2, seed=0, epochs=2
    )
    assert [part.pictures.shape[-1] for part in batches] == [4, 4, 8, 8]


def test_a_picture_taken_twice_is_augmented_anew() -> None:
    rare = ArraySplit(split(8).pictures, np.array([0] * 7 + [1]))
    batches = training_batches(
        rare, augmented, batch=8, seed=0, epochs=1, order=order_of(rare, "balanced", 0)
    )
    (batch,) = batches
    again = [p for i, p in zip(batch.indices.tolist(), batch.pictures, strict=True) if i == 7]
    assert len(again) == 4
    assert not any(torch.equal(a, b) for n, a in enumerate(again) for b in again[:n])


def test_labels_may_be_rows() -> None:
    rows = np.random.default_rng(0).random((5, 3), dtype=np.float32)
    data = ArraySplit(split(5).pictures, rows)  # type: ignore[arg-type]
    batches = list(evaluation_batches(data, PLAIN, batch=2))
    assert torch.equal(torch.cat([part.labels for part in batches]), torch.from_numpy(rows))


class Hanging(ArraySplit):
    def read(self, index: int, at_least: object = None) -> Picture:
        time.sleep(60)
        raise AssertionError


def test_a_hung_worker_is_told() -> None:
    data = Hanging(split(4).pictures, split(4).labels)
    start = time.monotonic()
    with pytest.raises(ResourceError, match=r"for 1 seconds.*--worker-timeout"):
        list(training_batches(data, plain, batch=2, seed=0, epochs=1, workers=1, timeout=1.0))
    assert time.monotonic() - start < 30
