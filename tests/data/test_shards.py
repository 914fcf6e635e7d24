"""Tar shards: what Python's tarfile writes is read, in any order and by any process."""

import bz2
import gzip
import io
import json
import lzma
import multiprocessing
import os
import pickle
import tarfile
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from effnet.data import shard_index
from effnet.data.batches import evaluation_batches, training_batches
from effnet.data.decode import MAX_BYTES, UnreadablePicture
from effnet.data.preprocessing import Preprocessing
from effnet.data.shard_index import read_shard
from effnet.data.shards import MOST_OPEN, WINDOW, ShardSplit, open_shards, shard_files
from effnet.data.sources import open_data, open_split
from effnet.data.splits import FileSplit, Split
from effnet.data.transforms import (
    Transform,
    evaluation_transform,
    training_transform,
)
from effnet.errors import DataError
from effnet.training.job import fingerprint
from picture_files import folder, picture, save

PREPROCESSING = Preprocessing(8, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)

Member = tuple[str, bytes] | tarfile.TarInfo


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("EFFNET_HOME", str(path))
    return path


def png(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    picture(seed).save(buffer, "PNG")
    return buffer.getvalue()


def tar(path: Path, members: Iterable[Member], form: int = tarfile.PAX_FORMAT) -> Path:
    """Write a tar of files, or of members without content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))
    return path


def sample(key: str, label: object = 0, seed: int = 0) -> list[Member]:
    return [(f"{key}.png", png(seed)), (f"{key}.cls", f"{label}".encode())]


def samples(labels: Sequence[object], start: int = 0) -> list[Member]:
    return [m for i, label in enumerate(labels, start) for m in sample(f"{i:04}", label, i)]


def shards(root: Path, counts: Sequence[int], split: str = "train") -> Path:
    """Write so many samples of the classes 0, 1 and 2 into each tar; the seeds count through."""
    start = 0
    for number, count in enumerate(counts):
        labels = [i % 3 for i in range(start, start + count)]
        tar(root / f"{split}-{number:03}.tar", samples(labels, start))
        start += count
    return root


def train(path: Path) -> ShardSplit:
    return open_shards(path).splits["train"]


def pixels(split: Split, indices: Iterable[int] | None = None) -> list[bytes]:
    return [np.asarray(split.read(i)).tobytes() for i in indices or range(len(split))]


def seen(seeds: Iterable[int]) -> list[bytes]:
    return [picture(seed).tobytes() for seed in seeds]


# --- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_pictures_and_labels_of_a_tar(tmp_path: Path, form: int) -> None:
    tar(tmp_path / "train-0.tar", samples([2, 0, 1, 2]), form)
    split = train(tmp_path)
    assert pixels(split) == seen(range(4))
    assert split.labels.tolist() == [2, 0, 1, 2]
    assert [split.name(i).removeprefix(str(tmp_path)) for i in (0, 3)] == [
        "/train-0.tar/0000",
        "/train-0.tar/0003",
    ]
    assert isinstance(split, Split)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names(tmp_path: Path, form: int) -> None:
    keys = ["x" * 300, f"{'Ordner/' * 30}Füchsin", "a.b/c", "./d", "狐"]
    tar(
        tmp_path / "train-0.tar", [m for i, key in enumerate(keys) for m in sample(key, i, i)], form
    )
    split = train(tmp_path)
    assert pixels(split) == seen(range(5))
    names = [split.name(i).partition(".tar/")[2] for i in range(5)]
    assert names == [key.removeprefix("./") for key in keys]


def test_files_of_a_sample_may_lie_apart_and_have_others_beside_them(tmp_path: Path) -> None:
    members: list[Member] = [
        ("b.cls", b"1\n"),
        ("a.cls", b"0"),
        ("__index__.json", b"{}"),
        ("._a.png", b"what macOS adds"),
        ("a.PNG", png(5)),
        ("a.seg.png", png(1)),
        ("a.txt", b"a caption"),
        ("b.left.png", png(6)),
        tarfile.TarInfo("folder"),
    ]
    members[-1].type = tarfile.DIRTYPE  # type: ignore[union-attr]
    tar(tmp_path / "train-0.tar", members)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = train(tmp_path)
    found = dict(zip(split.labels.tolist(), pixels(split), strict=True))
    assert found == {0: seen([5])[0], 1: seen([6])[0]}


def test_names_are_classes_in_their_order(tmp_path: Path) -> None:
    tar(tmp_path / "train-0.tar", samples(["dog", "cat", "dog"]))
    tar(tmp_path / "val-0.tar", samples(["dog"]))
    data = open_data(tmp_path)
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [1, 0, 1]
    assert data.val is not None
    assert data.val.labels.tolist() == [1]


def test_labels_in_json(tmp_path: Path) -> None:
    labels = ["7", "Fu\u0308chsin", "7"]  # the second in decomposed Unicode
    members: list[Member] = []
    for i, label in enumerate(labels):
        about = json.dumps({"label": label, "by": "nobody"}).encode()
        members += [(f"{i}.png", png(i)), (f"{i}.json", about)]
    tar(tmp_path / "train-0.tar", members)
    data = open_data(tmp_path, val_share=0)
    assert data.classes == ("7", "F\u00fcchsin")
    assert data.train.labels.tolist() == [0, 1, 0]


def test_labels_of_several_columns(tmp_path: Path) -> None:
    rows = [[0.5, 1], [2, -3e4], [0.1, 0]]
    members: list[Member] = []
    for i, row in enumerate(rows):
        members += [(f"{i}.png", png(i)), (f"{i}.json", json.dumps({"label": row}).encode())]
    tar(tmp_path / "train-0.tar", members)
    (tmp_path / "classes.txt").write_text("age\nmass\n")
    found = open_shards(tmp_path)
    assert found.classes == ("age", "mass")
    labels = found.splits["train"].labels
    assert labels.dtype == np.float32
    assert np.array_equal(labels, np.float32(rows))
    data = open_data(tmp_path, val_share=0)
    assert (data.classes, data.task) == (("age", "mass"), "regress")
    turned = open_split(tmp_path, classes=("mass", "age"), task="regress")
    assert np.array_equal(turned.labels, labels[:, ::-1])


def test_classes_beside_the_shards(tmp_path: Path) -> None:
    shards(tmp_path, [4])
    (tmp_path / "classes.txt").write_text("zebra\nant\nfox\n\n")
    assert open_shards(tmp_path).classes == ("zebra", "ant", "fox")
    about = {"classes": ["a", "b", "c", "d"], "mirrored": False}
    (tmp_path / "classes.json").write_text(json.dumps(about))
    data = open_data(tmp_path)
    assert (data.classes, data.mirrored) == (("a", "b", "c", "d"), False)


def test_the_model_s_classes_decide(tmp_path: Path) -> None:
    tar(tmp_path / "test-0.tar", samples(["dog", "cat"]))
    split = open_split(tmp_path, classes=("ant", "dog", "fox", "cat"))
    assert split.labels.tolist() == [1, 3]
    with pytest.raises(DataError, match=r"test.*dog"):
        open_split(tmp_path, classes=("ant", "cat"))


def test_a_share_of_each_class_is_held_out(tmp_path: Path) -> None:
    data = open_data(shards(tmp_path, [10, 10, 10]), val_share=0.2)
    assert data.val is not None
    assert np.bincount(data.train.labels).tolist() == [8, 8, 8]
    assert np.bincount(data.val.labels).tolist() == [2, 2, 2]
    together = pixels(data.train) + pixels(data.val)
    assert sorted(together) == sorted(seen(range(30)))


# --- where shards are found ----------------------------------------------------------------------


def test_layouts(tmp_path: Path) -> None:
    for name in ("imagenet-train-00", "imagenet-train-01", "imagenet-validation-00"):
        tar(tmp_path / "one" / f"{name}.tar", samples([0, 1]))
    for name in ("train/x", "train/y", "valid/x", "test/x"):
        tar(tmp_path / "two" / f"{name}.tar", samples([0, 1]))
    counts = [
        {split: len(files) for split, files in shard_files(tmp_path / root).items()}
        for root in ("one", "two")
    ]
    assert counts == [{"train": 2, "val": 1}, {"train": 2, "val": 1, "test": 1}]


def test_a_tar_and_a_range(tmp_path: Path) -> None:
    shards(tmp_path, [3, 3, 3])
    assert pixels(train(tmp_path / "train-001.tar")) == seen(range(3, 6))
    data = open_data(tmp_path / "train-{000..001}.tar", val_share=0)
    assert pixels(data.train) == seen(range(6))
    with pytest.raises(DataError, match=r"no .*train-003\.tar"):
        open_data(tmp_path / "train-{000..999999999}.tar")
    with pytest.raises(DataError, match=r"Did you mean .*train-00"):
        open_data(tmp_path / "train-00.tar")


def test_class_folders_with_tars_beside_them_are_class_folders(tmp_path: Path) -> None:
    folder(tmp_path, {"train/a": 2, "train/b": 2})
    tar(tmp_path / "train-0.tar", samples([0, 1]))
    tar(tmp_path / "train" / "a.tar", samples([0, 1]))
    assert isinstance(open_data(tmp_path, val_share=0).train, FileSplit)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["val-0.tar"], "no tars for train, only for val"),
        (["train-0.tar", "other-train-0.tar"], r"other-train-\*\.tar and train-\*\.tar"),
        (["train/0.tar", "val/0/x.tar"], "none for val"),
    ],
)
def test_odd_layouts_are_told(tmp_path: Path, names: list[str], told: str) -> None:
    for name in names:
        tar(tmp_path / name, samples([0, 1]))
    with pytest.raises(DataError, match=told):
        open_data(tmp_path)


# --- the order of an epoch -----------------------------------------------------------------------


def bare(counts: Sequence[int]) -> ShardSplit:
    """A split of so many samples in each shard, whose tars are never read."""
    empty = np.empty(0, np.int64)
    parts = tuple(
        shard_index.Shard(Path(f"{i}.tar"), 0, 0, empty.astype("S1"), empty, empty, empty)
        for i in range(len(counts))
    )
    owners = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return ShardSplit(parts, owners, np.zeros(len(owners), np.int32), np.zeros(len(owners)))


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=40).filter(any),
    st.integers(0, 2**63 - 1),
    st.integers(0, 1000),
)
def test_an_epoch_takes_every_picture_once_and_few_shards_at_a_time(
    counts: list[int], seed: int, epoch: int
) -> None:
    split = bare(counts)
    order = split.epoch_order(seed, epoch)
    assert sorted(order.tolist()) == list(range(len(split)))
    torch.manual_seed(epoch)  # the caller's randomness has no part in it
    assert torch.equal(order, split.epoch_order(seed, epoch))
    owners = split.owners[order.numpy()]
    shards_in_turn = list(dict.fromkeys(owners.tolist()))
    for start in range(0, len(shards_in_turn), WINDOW):
        window = shards_in_turn[start : start + WINDOW]
        where = np.flatnonzero(np.isin(owners, window))
        assert where.tolist() == list(range(where[0], where[0] + len(where)))


def test_epochs_and_seeds_differ_and_windows_are_mixed() -> None:
    split = bare([50] * (3 * WINDOW))
    orders = [split.epoch_order(seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    first = split.owners[orders[0][: 50 * WINDOW]]
    assert len(set(first)) == WINDOW
    assert len(set(first[:50])) > WINDOW // 2
    starts = {int(split.owners[split.epoch_order(0, epoch)[0]]) for epoch in range(100)}
    assert len(starts) > WINDOW  # not always the same shards begin


def test_a_subset_has_an_order_of_its_own() -> None:
    split = bare([9] * 20).subset(range(3, 150, 2))
    assert sorted(split.epoch_order(1, 2).tolist()) == list(range(len(split)))


# --- batches, processes, threads -----------------------------------------------------------------


def test_batches_are_those_of_the_same_pictures_in_files(tmp_path: Path) -> None:
    split = train(shards(tmp_path / "tars", [7, 5, 6]))
    files = FileSplit(
        tuple(save(tmp_path / "files" / f"{i}.png", i) for i in range(18)), split.labels
    )
    transform = evaluation_transform(PREPROCESSING)
    for workers in (0, 2):
        batches = [
            list(evaluation_batches(part, transform, batch=4, workers=workers))
            for part in (split, files)
        ]
        for ours, theirs in zip(*batches, strict=True):
            assert all(map(torch.equal, ours[:3], theirs[:3]))


def _augmented(_: int) -> Transform:
    return training_transform(PREPROCESSING, augment="randaugment")


def test_neither_workers_nor_a_resume_change_a_training_batch(tmp_path: Path) -> None:
    split = train(shards(tmp_path, [7, 5, 6]))

    def batches(workers: int, start_step: int = 0) -> list[tuple[torch.Tensor, ...]]:
        found = training_batches(
            split, _augmented, batch=4, seed=3, epochs=2, workers=workers, start_step=start_step
        )
        return [batch[:3] for batch in found]

    whole = batches(0)
    assert len(whole) == 8
    for epoch in (0, 1):
        taken = torch.cat([indices for _, _, indices in whole[4 * epoch : 4 * epoch + 4]])
        assert torch.equal(taken, split.epoch_order(3, epoch)[:16])
    for other, expected in ((batches(2), whole), (batches(2, 5), whole[5:])):
        assert len(other) == len(expected)
        assert all(all(map(torch.equal, a, b)) for a, b in zip(other, expected, strict=True))


def test_a_pickled_split_reads_the_same(tmp_path: Path) -> None:
    split = train(shards(tmp_path, [4, 3]))
    split.read(0)
    copy = pickle.loads(pickle.dumps(split))
    assert pixels(copy) == seen(range(7))
    assert fingerprint(copy) == fingerprint(split)


def test_the_fingerprint_is_of_the_samples(tmp_path: Path) -> None:
    one, same = (train(shards(tmp_path / name, [4, 3])) for name in "ab")
    other = train(shards(tmp_path / "c", [4, 4]))
    assert fingerprint(one) == fingerprint(same)
    assert len({fingerprint(one), fingerprint(other), fingerprint(one.subset(range(6)))}) == 3


def test_many_tars_are_open_only_a_few_at_a_time(tmp_path: Path) -> None:
    split = train(shards(tmp_path, [1] * (2 * MOST_OPEN)))

    def opened() -> int:
        links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
        return sum(os.path.realpath(link).startswith(str(tmp_path)) for link in links)

    assert pixels(split) == seen(range(2 * MOST_OPEN))
    assert 0 < opened() <= MOST_OPEN
    assert pixels(split, [0, 31, 1, 30, 0]) == seen([0, 31, 1, 30, 0])


def _read_often(split: ShardSplit, seed: int) -> bool:
    indices = np.random.default_rng(seed).integers(0, len(split), 300).tolist()
    return pixels(split, indices) == [seen([i])[0] for i in indices]


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_processes_do_not_move_each_other_s_place(tmp_path: Path, method: str) -> None:
    split = train(shards(tmp_path, [6, 6]))
    split.read(0)  # so that a forked process inherits open files
    split.read(11)
    context = multiprocessing.get_context(method)
    indices = np.random.default_rng(0).integers(0, len(split), 1200).tolist()
    with context.Pool(2) as pool:
        # A spawned process finds the package, but not always the tests.
        results = pool.map_async(split.content, indices, chunksize=100)
        assert _read_often(split, 9)
        assert results.get(300) == [split.content(index) for index in indices]


def test_threads_do_not_move_each_other_s_place(tmp_path: Path) -> None:
    split = train(shards(tmp_path, [6, 6]))
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda seed=seed: results.append(_read_often(split, seed)))
        for seed in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 8


# --- the index ---------------------------------------------------------------------------------


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The tars whose headers were read."""
    told: list[Path] = []
    original: Callable[[Path], shard_index.Shard] = shard_index.scan
    monkeypatch.setattr(shard_index, "scan", lambda path: told.append(path) or original(path))
    return told


def test_headers_are_read_once(tmp_path: Path, scans: list[Path]) -> None:
    tar(tmp_path / "train-0.tar", [*samples([2, 0, 1]), ("x.cls", b"1")])
    with pytest.warns(UserWarning, match="x has no picture"):
        first = train(tmp_path)
    with pytest.warns(UserWarning, match="x has no picture"):
        again = train(tmp_path)
    assert len(scans) == 1
    assert pixels(again) == pixels(first) == seen(range(3))
    assert again.labels.tolist() == [2, 0, 1]
    assert again.name(1) == first.name(1)


def test_a_changed_tar_is_read_anew(tmp_path: Path, scans: list[Path]) -> None:
    path = tar(tmp_path / "train-0.tar", samples([0, 1]))
    train(tmp_path)
    tar(path, samples([1, 0, 1, 0], start=10))
    assert train(tmp_path).labels.tolist() == [1, 0, 1, 0]
    os.utime(path, ns=(0, 0))  # of the same size now, and of another time
    assert pixels(train(tmp_path)) == seen(range(10, 14))
    assert len(scans) == 3


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_a_damaged_index_is_made_anew(tmp_path: Path, share: float) -> None:
    split = train(shards(tmp_path, [5]))
    file = tmp_path / "train-000.tar.index.npz"
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    assert pixels(train(tmp_path)) == pixels(split)
    assert file.read_bytes() == content


def test_an_index_that_points_outside_is_not_believed(tmp_path: Path, scans: list[Path]) -> None:
    shards(tmp_path, [5])
    shard = read_shard(tmp_path / "train-000.tar")
    shard.offsets[2] = shard.size
    shard_index.save_index(shard, tmp_path / "train-000.tar.index.npz")
    assert pixels(train(tmp_path)) == seen(range(5))
    assert len(scans) == 2


def test_without_leave_to_write_the_index_is_kept_in_the_cache(
    tmp_path: Path, home: Path, scans: list[Path]
) -> None:
    shards(tmp_path, [5])
    (tmp_path / "train-000.tar.index.npz").mkdir()  # nothing can be written there, even by root
    assert [pixels(train(tmp_path)) for _ in range(2)] == [seen(range(5))] * 2
    assert len(scans) == 1
    assert len(list(home.rglob("*.npz"))) == 1


def test_data_can_be_read_where_no_index_can_be_kept(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards(tmp_path, [5])
    (tmp_path / "train-000.tar.index.npz").mkdir()
    (home / "file").touch()
    monkeypatch.setenv("EFFNET_HOME", str(home / "file"))
    assert pixels(train(tmp_path)) == seen(range(5))


# --- damage ------------------------------------------------------------------------------------


def test_a_tar_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "train-0.tar", samples([0, 1, 2]))
    content = path.read_bytes()
    with tarfile.open(path) as archive:
        end = max(m.offset_data + -(-m.size // 512) * 512 for m in archive)
    assert len(content) > end + 512
    for length in range(0, end + 512, 100):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"train-0\.tar .*(cut off|damaged)"):
            open_shards(tmp_path)


@given(st.lists(st.tuples(st.integers(0, 9_999), st.binary(min_size=1, max_size=9)), min_size=1))
def test_damage_is_refused_or_left_out(places: list[tuple[int, bytes]]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in samples([0, 1, 2]):  # type: ignore[misc]
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    content = bytearray(buffer.getvalue())
    for place, piece in places:
        content[place : place + len(piece)] = piece
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(os.environ["EFFNET_HOME"]) / "train-0.tar"
        path.write_bytes(content)
        patch.setattr(shard_index, "_load", lambda *_: None)
        try:
            split = train(path)
        except DataError:
            return
        told: list[str] = []
        for index in range(len(split)):
            try:
                split.read(index)
            except UnreadablePicture as error:
                told.append(error.name)
    assert all(f"{path}/" in name for name in told)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_tar_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tar(tmp_path / "train-0.tar", samples([0, 1]))
    path.write_bytes(pack(path.read_bytes()))
    with pytest.raises(DataError, match="is compressed"):
        open_shards(tmp_path)


def test_tars_joined_by_cat_are_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "train-0.tar", samples([0, 1]))
    path.write_bytes(2 * path.read_bytes())
    with pytest.raises(DataError, match="goes on after its end"):
        open_shards(tmp_path)


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ([("x.png", png())], "x has no label"),
        ([("x.cls", b"1")], "x has no picture"),
        ([*sample("x"), ("x.jpg", b"")], "x has several pictures: png, jpg"),
        ([("x.png", png()), ("x.cls", b" ")], "x has a wrong .cls: the label is empty"),
        ([("x.png", png()), ("x.cls", b"-1")], "x has a wrong .cls: the label -1"),
        ([("x.png", png()), ("x.cls", b"\xff")], "x has a damaged .cls"),
        ([("x.png", png()), ("x.cls", b"9" * 5000)], "x has a damaged .cls"),
        ([("x.png", png()), ("x.cls", b"9" * 2_000_000)], "x has a .cls of 2,000,000 bytes"),
        ([("x.png", png()), ("x.json", b"{")], "x has a damaged .json"),
        ([("x.png", png()), ("x.json", b"[" * 100_000)], "x has a damaged .json"),
        ([("x.png", png()), ("x.json", b"{}")], 'x has a .json without "label"'),
        ([("x.png", png()), ("x.json", b'{"label": true}')], "x has a wrong .json: the label True"),
        ([("x.png", png()), ("x.json", b'{"label": [1, NaN]}')], "x has a wrong .json"),
        ([("x.png", png()), ("x.json", b'{"label": [1e999]}')], "x has a wrong .json"),
        ([("x.png", png()), ("x.json", b'{"label": ["a"]}')], "x has a wrong .json"),
        ([*sample("x"), ("x.cls", b"1")], "x is there twice"),
        ([special("x.png", tarfile.SYMTYPE, "/etc/passwd"), ("x.cls", b"1")], "x has a png that"),
        ([special("x.png", tarfile.LNKTYPE, "0000.png"), ("x.cls", b"1")], "x has a png that"),
        ([special("x.png", tarfile.GNUTYPE_SPARSE), ("x.cls", b"1")], "x has a png that"),
        ([special("x.png", tarfile.CHRTYPE), ("x.cls", b"1")], "x has a png that"),
        ([special("x.cls", tarfile.FIFOTYPE), ("x.png", png())], "x has a cls that"),
        (sample("../x"), "../x has a path that leads out"),
        (sample("/x"), "/x has a path that leads out"),
        (sample("a/../../x"), "a/../../x has a path that leads out"),
    ],
)
def test_samples_that_cannot_be_used_are_told(
    tmp_path: Path, members: list[Member], told: str
) -> None:
    tar(tmp_path / "train-0.tar", [*samples([0, 1]), *members])
    with pytest.warns(UserWarning, match="1 of 3 samples") as caught:
        split = train(tmp_path)
    assert f"train-0.tar: {told}" in str(caught[0].message)
    assert pixels(split) == seen(range(2))
    tar(tmp_path / "train-0.tar", members)
    with pytest.raises(DataError, match="no sample that can be used") as error:
        open_shards(tmp_path)
    assert f"train-0.tar: {told}" in str(error.value)


@pytest.mark.parametrize(
    ("labels", "classes", "told"),
    [
        ([0, 1, 3], "a\nb\nc\n", r"0002 has the label 3, which is none of the 3 classes"),
        (["a", "bb"], "a\nb\n", r"0001 has the label bb.*Did you mean 'b'"),
        ([0, 1, "cat"], None, "names, such as cat.*numbers, such as 0"),
        ([1, 1], None, "only one class for train, 1"),
        ([0, 1], "a\n\na\nb\n", "classes.txt has a twice"),
        ([0, 1], "\n", "classes.txt has no names"),
    ],
)
def test_labels_that_fit_no_class(
    tmp_path: Path, labels: list[object], classes: str | None, told: str
) -> None:
    tar(tmp_path / "train-0.tar", samples(labels))
    if classes is not None:
        (tmp_path / "classes.txt").write_text(classes)
    with pytest.raises(DataError, match=told):
        open_data(tmp_path)


@pytest.mark.parametrize("text", ["{", '{"classes": 3}', "[1, 2]", "3", "[" * 100_000])
def test_a_wrong_list_of_classes(tmp_path: Path, text: str) -> None:
    shards(tmp_path, [3])
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(DataError, match=r"classes\.json"):
        open_data(tmp_path)


def test_labels_of_several_forms(tmp_path: Path) -> None:
    mixed: list[Member] = [*samples([0]), ("x.png", png()), ("x.json", b'{"label": [0, 1]}')]
    tar(tmp_path / "one" / "train-0.tar", mixed)
    tar(tmp_path / "two" / "train-0.tar", mixed[:2])
    tar(tmp_path / "two" / "train-1.tar", mixed[2:])
    for name in ("one", "two"):
        with pytest.raises(DataError, match="several forms"):
            open_data(tmp_path / name)


def test_a_tar_that_changes_under_a_running_training_is_told(tmp_path: Path) -> None:
    split = train(shards(tmp_path, [3, 3]))
    tar(tmp_path / "train-001.tar", samples([0, 1, 2, 0]))
    assert pixels(split, [0, 1]) == seen([0, 1])
    with pytest.raises(UnreadablePicture, match=r"train-001\.tar/0003.*changed"):
        split.read(3)
    (tmp_path / "train-000.tar").unlink()
    assert pixels(split, [2]) == seen([2])  # still open
    with pytest.raises(UnreadablePicture, match="No such file"):
        pixels(elsewhere(split), [4])


def elsewhere(split: ShardSplit) -> ShardSplit:
    moved = tuple(replace(s, path=s.path.with_name("gone.tar")) for s in split.shards)
    return replace(split, shards=moved)


def test_a_picture_that_is_damaged_or_too_long(tmp_path: Path) -> None:
    members: list[Member] = [*sample("a"), ("b.png", b"no picture"), ("b.cls", b"1")]
    tar(tmp_path / "train-0.tar", members)
    split = train(tmp_path)
    with pytest.raises(UnreadablePicture, match=r"train-0\.tar/b: not a picture"):
        split.read(1)
    split.shards[0].sizes[0] = MAX_BYTES + 1
    with pytest.raises(UnreadablePicture, match=r"train-0\.tar/a: .*bytes are more than"):
        split.read(0)


def test_a_jpeg_is_decoded_small_where_that_is_enough(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (800, 800)).save(buffer, "JPEG")
    tar(tmp_path / "train-0.tar", [("a.jpg", buffer.getvalue()), ("a.cls", b"0"), *sample("b", 1)])
    split = train(tmp_path)
    assert (split.read(0).size, split.read(0, 90).size) == ((800, 800), (100, 100))
