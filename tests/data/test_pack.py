"""Packing: what goes into shards comes out of them, and always as the same bytes."""

import hashlib
import json
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import features
from sklearn.datasets import load_digits

from effnet.data import pack as pack_module
from effnet.data.decode import FORMATS
from effnet.data.pack import FIELDS, Packed, mixed, pack, parse_bytes
from effnet.data.shards import ShardSplit, open_shards
from effnet.data.sources import open_data
from effnet.data.splits import ArraySplit, FileSplit, Split
from effnet.errors import DataError, ResourceError, UsageError
from picture_files import csv, folder, picture, save


def contents(split: Split | None) -> list[tuple[str, int]]:
    """A digest of the file of each picture, and its label."""
    assert isinstance(split, FileSplit | ShardSplit)
    files = (
        [path.read_bytes() for path in split.paths]
        if isinstance(split, FileSplit)
        else map(split.content, range(len(split)))
    )
    digests = [hashlib.sha256(file).hexdigest() for file in files]
    return list(zip(digests, split.labels.tolist(), strict=True))


def digests(root: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.iterdir()
        if not path.name.endswith(".npz")
    }


def packed(source: Path | str, out: Path, **options: object) -> Packed:
    return pack(open_data(source, val_share=0), out, **options)  # type: ignore[arg-type]


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        files = ((m.name, archive.extractfile(m)) for m in archive)
        return {name: file.read() for name, file in files if file is not None}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder(
        tmp_path / "photos",
        {"train/Füchse": 12, "train/cat": 5, "train/dog": 7, "val/cat": 2, "test/dog": 3},
    )


# --- round trip ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_folder_comes_back_byte_for_byte(photos: Path, tmp_path: Path, shuffle: bool) -> None:
    result = packed(photos, tmp_path / "out", shuffle=shuffle, shard_bytes=20_480)
    before, after = open_data(photos), open_data(tmp_path / "out")
    assert (after.name, after.classes, after.mirrored) == ("out", before.classes, True)
    for name in ("train", "val", "test"):
        ours, theirs = (contents(getattr(data, name)) for data in (after, before))
        assert sorted(ours) == sorted(theirs)
        assert (ours == theirs) == (not shuffle) or len(ours) < 5
    assert result.to_dict()["splits"]["train"] == {
        "pictures": 24,
        "shards": len(list((tmp_path / "out").glob("train-*.tar"))),
        "bytes": sum(path.stat().st_size for path in (tmp_path / "out").glob("train-*.tar")),
    }
    assert result.splits["train"].shards > 1


def test_a_csv_and_every_format(tmp_path: Path) -> None:
    written = {"JPEG": "a.jpg", "PNG": "b.jpg", "BMP": "c", "GIF": "d.x", "TIFF": "e.f.g"}
    if features.check("webp"):
        written["WEBP"] = "h.webp"
    for seed, (form, name) in enumerate(written.items()):
        picture(seed).save(tmp_path / name, form)
    picture(9).save(
        tmp_path / "i.jpg", "MPO", save_all=True, append_images=[picture(10), picture(11)]
    )
    picture(12).save(tmp_path / "j.ppm")
    names = [*written.values(), "i.jpg", "j.ppm"]
    rows = [f"{name},{'ab'[i % 2]}" for i, name in enumerate(names)]
    source = csv(tmp_path / "list.csv", ["path,label", *rows])
    packed(source, tmp_path / "out")
    before, after = open_data(source, val_share=0).train, open_data(tmp_path / "out").train
    assert sorted(contents(open_shards(tmp_path / "out").splits["train"])) == sorted(
        contents(before)
    )
    assert len(after) < len(before)  # open_data held a part out
    fields = {name.partition(".")[2] for name in members(tmp_path / "out" / "train-000000.tar")}
    assert fields <= {*FIELDS.values(), "cls"}


def test_every_format_that_can_be_read_has_a_field() -> None:
    assert set(FIELDS) == {*FORMATS, "MPO"}


def test_digits_become_png(tmp_path: Path) -> None:
    packed("digits", tmp_path / "out", shuffle=False)
    before, after = open_data("digits"), open_data(tmp_path / "out")
    assert isinstance(before.test, ArraySplit)
    assert after.test is not None
    assert (after.classes, after.mirrored) == (tuple("0123456789"), False)
    assert np.array_equal(after.test.labels, before.test.labels)
    assert [len(split or ()) for split in (after.train, after.val, after.test)] == [1257, 180, 360]
    original = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    known = {image.tobytes() for image in original}
    for index in range(0, 360, 40):
        grey = np.asarray(after.test.read(index))[:, :, 0]
        assert np.array_equal(grey, before.test.pictures[index, :, :, 0])
        assert grey.tobytes() in known


def test_shards_are_packed_again(photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path / "one", shard_bytes=20_480)
    packed(tmp_path / "one", tmp_path / "two", shuffle=False)
    one, two = (open_shards(tmp_path / name).splits["train"] for name in ("one", "two"))
    assert contents(one) == contents(two)
    assert (len(two.shards), len(one.shards) > 1) == (1, True)


def test_labels_of_several_columns(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((9, 2)).astype(np.float32)
    rows = [f"{i}.png,{width!r},{age!r}" for i, (width, age) in enumerate(values.tolist())]
    for seed in range(9):
        save(tmp_path / f"{seed}.png", seed)
    source = csv(tmp_path / "list.csv", ["path,width,age", *rows])
    packed(source, tmp_path / "out", shard_bytes=10_240)
    before, after = (open_data(name, val_share=0) for name in (source, tmp_path / "out"))
    assert (
        (after.classes, after.task)
        == (before.classes, before.task)
        == (
            ("width", "age"),
            "regress",
        )
    )
    assert np.array_equal(before.train.labels, values)
    for index, row in enumerate(after.train.labels):
        place = int(np.flatnonzero((values == row).all(1))[0])
        assert after.train.read(index).tobytes() == picture(place).tobytes()  # type: ignore[union-attr]
    assert len(np.unique(after.train.labels, axis=0)) == 9


# --- what a tar looks like -----------------------------------------------------------------------


def test_the_same_input_gives_the_same_bytes(photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path / "one", seed=4)
    for path in photos.rglob("*.png"):
        os.utime(path, (5, 5))
    moved = photos.rename(tmp_path / "elsewhere")
    packed(moved, tmp_path / "two", seed=4)
    packed(moved, tmp_path / "three", seed=5)
    one, two, three = (digests(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert one["train-000000.tar"] != three["train-000000.tar"]
    with tarfile.open(tmp_path / "one" / "train-000000.tar") as archive:
        for member in archive:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (
                *(0, 0, 0),
                *("", ""),
            )


def test_keys_and_labels_are_webdataset_s(photos: Path, tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    packed(photos, tmp_path / "out", shard_bytes=20_480)
    split = open_shards(tmp_path / "out").splits["train"]
    files = [str(shard.path) for shard in split.shards]
    read = list(wds.WebDataset(files, shardshuffle=False, empty_check=False).decode())
    assert [sample["cls"] for sample in read] == split.labels.tolist()
    assert [sample["png"] for sample in read] == [split.content(i) for i in range(24)]


@pytest.mark.parametrize("shard_bytes", [1, 10_240, 20_480, 50_000, 10**9])
def test_no_tar_is_larger_than_wanted(photos: Path, tmp_path: Path, shard_bytes: int) -> None:
    packed(photos, tmp_path / "out", shard_bytes=shard_bytes)
    tars = sorted((tmp_path / "out").glob("train-*.tar"))
    assert [tar.name for tar in tars] == [f"train-{i:06}.tar" for i in range(len(tars))]
    sizes = [tar.stat().st_size for tar in tars]
    single = [len(members(tar)) == 2 for tar in tars]
    assert all(size <= shard_bytes or alone for size, alone in zip(sizes, single, strict=True))
    assert (len(tars) == 24) == (shard_bytes < 10_240)
    assert (len(tars) == 1) == (shard_bytes == 10**9)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=300), st.integers(0, 2**32))
def test_mixing_spreads_every_class_evenly(labels: list[int], seed: int) -> None:
    array = np.array(labels)
    order = mixed(array, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(labels)))
    for label in set(labels):
        where = np.flatnonzero(array[order] == label)
        # A class of n pictures has one in each n-th part of the way, and the way to a point is as
        # many pictures long as its share of each class, give or take one.
        share = len(labels) / len(where)
        expected = (np.arange(len(where)) + 0.5) * share
        assert np.abs(where - expected).max() <= share / 2 + len(set(labels))


def test_mixing_is_random() -> None:
    labels = np.repeat([0, 1, 2], 30)
    orders = [mixed(labels, np.random.default_rng(seed)) for seed in range(50)]
    assert len({order.tobytes() for order in orders}) == 50
    first = np.bincount([order[0] for order in orders], minlength=90)
    assert first.max() <= 6  # no picture is always the first
    assert len(np.unique(labels[[order[0] for order in orders]])) == 3


def test_every_shard_holds_all_classes(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a": 60, "b": 30, "c": 15})
    packed(source, tmp_path / "out", shard_bytes=40_960)
    split = open_shards(tmp_path / "out").splits["train"]
    assert len(split.shards) > 3
    for shard in range(len(split.shards) - 1):  # the last may be a rest
        assert set(split.labels[split.owners == shard]) == {0, 1, 2}


# --- what goes wrong -----------------------------------------------------------------------------


def test_pictures_that_cannot_be_opened_are_left_out(photos: Path, tmp_path: Path) -> None:
    bad = photos / "train" / "cat" / "00.png"
    bad.write_bytes(b"no picture")
    (photos / "train" / "dog" / "01.png").write_bytes(b"")
    steps: list[None] = []
    result = packed(photos, tmp_path / "out", advance=lambda: steps.append(None))
    assert len(steps) == 29
    assert {error.name for error in result.left_out} == {
        str(bad),
        str(photos / "train" / "dog" / "01.png"),
    }
    assert result.splits["train"].pictures == 22
    whole = [row for row in contents(open_data(photos).train) if row[0] not in _digest_of_bad()]
    assert sorted(contents(open_data(tmp_path / "out").train)) == sorted(whole)


def _digest_of_bad() -> set[str]:
    return {hashlib.sha256(content).hexdigest() for content in (b"", b"no picture")}


def test_a_split_without_any_picture_is_refused(photos: Path, tmp_path: Path) -> None:
    for path in (photos / "val").rglob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="No picture of the val split can be opened"):
        packed(photos, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_what_exists_is_not_touched(photos: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    {
        "file": lambda: out.write_text("mine"),
        "folder": out.mkdir,
        "dangling link": lambda: out.symlink_to(tmp_path / "nowhere"),
    }[kind]()
    with pytest.raises(UsageError, match="exists already"):
        packed(photos, out)
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "out"}


def test_a_folder_within_the_data_is_refused(photos: Path) -> None:
    with pytest.raises(UsageError, match="lies within"):
        packed(photos, photos / "train" / "packed")


def test_other_channels_are_refused(tmp_path: Path) -> None:
    data = open_data(np.zeros((4, 5, 5, 4), np.uint8), [0, 1, 0, 1])
    with pytest.raises(DataError, match="4 channels"):
        pack(data, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_is_cut_short_leaves_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(path: Path) -> None:
        if path.name == "train-000002.tar":
            raise error
        return original(path)

    original = pack_module.scan
    monkeypatch.setattr(pack_module, "scan", fail)
    with pytest.raises((ResourceError, KeyboardInterrupt), match=r"^$|out: No space left"):
        packed(photos, tmp_path / "out", shard_bytes=10_240)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("100MB", 10**8), ("1.5 GB", 1_500_000_000), ("64MiB", 2**26), ("2kb", 2000)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "MB", "1 XB", "1e9", "nan", "0.2"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="no size of a shard"):
        parse_bytes(text)


def test_the_list_of_classes_is_text(photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path / "out")
    text = (tmp_path / "out" / "classes.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"classes": ["Füchse", "cat", "dog"], "mirrored": True}
    assert re.search("Füchse", text)
