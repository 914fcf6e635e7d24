"""Quantizing: the pictures that show the ranges, the ladder's order and what it refuses."""

import errno
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import load, save
from onnx.numpy_helper import from_array, to_array
from PIL import Image

import tiny
from effnet.card import Card
from effnet.compression.judge import judged
from effnet.compression.quantize import quantize as ladder
from effnet.compression.quantize.aware import fine_tuned, folded, rounded
from effnet.compression.quantize.calibration import Calibration, balanced, choose_pictures
from effnet.compression.quantize.quantize import Backend, Subject, quantize
from effnet.data.preprocessing import Preprocessing
from effnet.data.splits import ArraySplit, FileSplit
from effnet.data.transforms import evaluation_transform
from effnet.deployment import carried
from effnet.deployment.export import onnx
from effnet.deployment.form import Form
from effnet.deployment.predictor import predictor
from effnet.errors import DataError, ModelFileError, NothingBetter, ResourceError, UsageError
from effnet.nets.network import EfficientNet, fresh

USE = Preprocessing(tiny.SIDE, 1.0, "bilinear", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
CARD = Card(spec=tiny.SPEC, task="classify", classes=tiny.CLASSES, preprocessing=USE)


def split(count: int = 48, **options: Any) -> ArraySplit:
    return ArraySplit(*tiny.arrays(count, **options))


@pytest.fixture(scope="module")
def net() -> EfficientNet:
    """A network whose statistics are those of the pictures, so that it is not of one mind."""
    found = fresh(tiny.SPEC, 0)
    pictures = choose_pictures(split(), CARD).in_batches(48)
    with torch.no_grad():
        for norm in found.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.momentum = None
        for batch in pictures.inputs():
            found.train()(torch.from_numpy(batch))
    return found.eval()


class TestTheChoiceOfPictures:
    def test_all_classes_take_turns(self) -> None:
        labels = np.repeat([0, 1, 2], [100, 10, 40])
        chosen = labels[balanced(labels, 45, seed=0)]
        assert np.bincount(chosen).tolist() == [18, 10, 17] or sorted(np.bincount(chosen)) == [
            10,
            17,
            18,
        ]
        for turn in range(0, 30, 3):
            assert set(chosen[turn : turn + 3]) == {0, 1, 2}

    def test_of_fewer_places_than_classes_all_classes_have_a_chance(self) -> None:
        labels = np.arange(1000).repeat(2)
        chosen = labels[balanced(labels, 300, seed=0)]
        assert len(set(chosen)) == 300
        assert 400 < chosen.mean() < 600

    def test_it_is_the_same_every_time_and_another_for_another_seed(self) -> None:
        labels = np.zeros(100, int)
        first, again, other = (balanced(labels, 20, seed).tolist() for seed in (0, 0, 1))
        assert first == again != other

    def test_values_are_drawn_as_of_one_class(self) -> None:
        labels = np.random.default_rng(0).random((50, 2)).astype(np.float32)
        assert len(set(balanced(labels, 20, seed=0))) == 20


class TestCalibration:
    def test_pictures_go_through_the_evaluation_of_the_card(self) -> None:
        whole = split(6)
        found = choose_pictures(whole, replace(CARD, preprocessing=replace(USE, crop=0.8)))
        transform = evaluation_transform(replace(USE, crop=0.8))
        order = balanced(whole.labels, 6, seed=0)
        wanted = np.stack([transform(whole.read(int(index))).numpy() for index in order])
        np.testing.assert_array_equal(found.pictures, wanted)
        np.testing.assert_array_equal(found.labels, whole.labels[order])

    def test_inputs_are_the_levels_normalised(self) -> None:
        found = choose_pictures(split(7), CARD).in_batches(3)
        levels, inputs = list(found.levels()), list(found.inputs())
        assert [len(batch) for batch in levels] == [3, 3, 1]
        mean, std = (np.array(values)[:, None, None] for values in (USE.mean, USE.std))
        for ours, theirs in zip(inputs, levels, strict=True):
            assert ours.dtype == np.float32
            np.testing.assert_allclose(ours, (theirs / 255 - mean) / std, rtol=1e-5, atol=1e-5)

    def test_no_pictures(self) -> None:
        empty = ArraySplit(np.zeros((0, 4, 4, 3), np.uint8), np.zeros(0, int))
        with pytest.raises(DataError, match=r"split has no pictures.* 300 pictures such as"):
            choose_pictures(empty, CARD)

    def test_a_few_pictures_that_cannot_be_read_are_left_out(self, tmp_path: Path) -> None:
        for name, data in (("a.png", b"no picture"), ("b.png", b"")):
            (tmp_path / name).write_bytes(data)
        Image.new("RGB", (20, 20)).save(tmp_path / "c.png")
        files = tuple(sorted(tmp_path.iterdir()))
        found = choose_pictures(FileSplit(files[1:], np.arange(2)), CARD)
        assert len(found) == 1
        assert found.labels.tolist() == [1]
        assert found.unreadable == 1
        with pytest.raises(DataError, match=r"^2 of 3 pictures chosen from the training split"):
            choose_pictures(FileSplit(files, np.arange(3)), CARD)
        with pytest.raises(DataError, match=r"none of the 2 pictures.*can be read.*png: "):
            choose_pictures(FileSplit(files[:2], np.arange(2)), CARD)

    @pytest.mark.parametrize(("count", "common"), [(48, 0), (30, 10)])
    def test_a_second_choice_takes_others_as_far_as_there_are(
        self, count: int, common: int
    ) -> None:
        first, second = (
            {bytes(picture) for picture in found.pictures}
            for found in (
                choose_pictures(split(count), CARD, pictures=20),
                choose_pictures(split(count), CARD, pictures=20, after=20),
            )
        )
        assert len(first) == len(second) == 20
        assert len(first & second) == common


@pytest.fixture(scope="module")
def right(net: EfficientNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("right") / "right.onnx"
    onnx.write(net, CARD, file)
    carried.write(file, CARD, Form(precision="int8"))
    return file


class TestTheLadder:
    """With ways that write a float file, spoilt or not."""

    @pytest.fixture(autouse=True)
    def backend(self, right: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def well(subject: Subject, out: Path) -> None:
            shutil.copyfile(right, out)

        def wrongly(subject: Subject, out: Path) -> None:
            graph = load(right)
            for tensor in graph.graph.initializer:
                if tensor.name.endswith("classifier.weight"):
                    tensor.CopyFrom(from_array(-to_array(tensor), tensor.name))
            save(graph, out)
            carried.write(out, CARD, Form(precision="int8"))

        def broken(subject: Subject, out: Path) -> None:
            raise RuntimeError("an operator\nthat nobody knows")

        def refused(subject: Subject, out: Path) -> None:
            out.write_bytes(right.read_bytes()[:-99])

        def no_room(subject: Subject, out: Path) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def no_room_in_words(subject: Subject, out: Path) -> None:
            raise RuntimeError("Exception from save.cpp:9:\nNo space left on device")

        def no_library(subject: Subject, out: Path) -> None:
            raise OSError("libtbb.so.12: cannot open shared object file")

        rungs = {"all wrong": wrongly, "broken": broken, "refused": refused, "right": well}
        extra = {
            "no room": no_room,
            "no room in words": no_room_in_words,
            "no library": no_library,
            "controlled": partial(ladder._climb_controlled, "onnxruntime"),
        }
        backend = Backend(".onnx", rungs, extra=extra)
        monkeypatch.setitem(ladder.BACKENDS, "onnxruntime", backend)

    @pytest.fixture
    def told(self) -> list[str]:
        return []

    def run(self, net: EfficientNet, out: Path, told: list[str], **options: Any) -> Any:
        labels = predicted(net)
        judged = ArraySplit(split().pictures, labels)
        return quantize(
            net,
            CARD,
            out,
            runtime="onnxruntime",
            calibration=split(),
            validation=judged,
            tell=told.append,
            **options,
        )

    def test_the_first_rung_that_holds_is_written(
        self, net: EfficientNet, tmp_path: Path, told: list[str]
    ) -> None:
        made = self.run(net, tmp_path / "new" / "q.onnx", told)
        assert [rung.name for rung in made.rungs] == ["all wrong", "right"]
        assert [rung.kept for rung in made.rungs] == [False, True]
        assert made.before.value == made.after.value == 1.0
        assert made.rungs[0].drop == pytest.approx(1 - made.rungs[0].value)
        assert made.form == Form(precision="int8")
        assert predictor(made.file).card == CARD
        assert [file.name for file in made.file.parent.iterdir()] == ["q.onnx"]
        assert told[0].startswith("float32: accuracy 1.0000 on 48")
        assert told[2] == "broken: cannot be done: an operator"
        assert told[3].startswith("refused: cannot be done: ")
        assert told[4].startswith("right: accuracy 1.0000, lost 0.00 points")

    def test_where_none_holds_nothing_is_written(
        self, net: EfficientNet, tmp_path: Path, told: list[str]
    ) -> None:
        (tmp_path / "q.onnx").write_text("older")
        with pytest.raises(NothingBetter, match=r"of 1 ways .*The best, all wrong, loses"):
            self.run(net, tmp_path / "q.onnx", told, rungs=["all wrong"])
        assert [file.read_text() for file in tmp_path.iterdir()] == ["older"]

    def test_where_none_works(self, net: EfficientNet, tmp_path: Path, told: list[str]) -> None:
        """It says nothing of the network's accuracy, so it is not told as if it did."""
        with pytest.raises(ModelFileError, match=r"None of the ways .*last says: an operator"):
            self.run(net, tmp_path / "q.onnx", told, rungs=["refused", "broken"])
        assert not [*tmp_path.iterdir()]

    @pytest.mark.parametrize("way", ["no room", "no room in words"])
    def test_a_full_disk_is_told_as_what_it_is(
        self, net: EfficientNet, tmp_path: Path, told: list[str], way: str
    ) -> None:
        with pytest.raises(ResourceError, match=rf"Cannot write.*\({way}\): .*No space left"):
            self.run(net, tmp_path / "q.onnx", told, rungs=[way, "right"])
        assert not [*tmp_path.iterdir()]

    def test_a_library_that_cannot_be_loaded_is_passed_over(
        self, net: EfficientNet, tmp_path: Path, told: list[str]
    ) -> None:
        made = self.run(net, tmp_path / "q.onnx", told, rungs=["no library", "right"])
        assert [rung.name for rung in made.rungs] == ["right"]
        assert told[1].startswith("no library: cannot be done: libtbb")

    def test_control_has_half_of_what_the_float_network_leaves(
        self,
        net: EfficientNet,
        tmp_path: Path,
        told: list[str],
        right: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        labels = predicted(net)
        labels[:12] = (labels[:12] + 1) % 3
        seen: dict[str, Any] = {}

        def quantize_controlled(
            graph: Any, shown: Any, judges: Any, card: Card, out: Path, **given: Any
        ) -> None:
            seen.update(given, judges=judges)
            shutil.copyfile(right, out)

        def write(net: Any, card: Card, path: Path, *, pixels: bool) -> None:
            shutil.copyfile(right, path)

        monkeypatch.setattr(ladder, "quantize_controlled", quantize_controlled)
        monkeypatch.setitem(ladder.WRITERS, "onnxruntime", write)
        training = split(60, seed=1)
        options: dict[str, Any] = {
            "runtime": "onnxruntime",
            "calibration": training,
            "validation": ArraySplit(split().pictures, labels),
            "pictures": 24,
            "before": judged(
                CARD, torch.eye(3)[torch.from_numpy(labels)], torch.from_numpy(labels)
            ),
            "rungs": ["controlled"],
        }
        made = quantize(net, CARD, tmp_path / "q.onnx", max_drop=0.35, **options)
        assert made.rungs[0].drop == 0.25
        assert seen["max_drop"] == pytest.approx(0.05)
        assert len(seen["judges"]) == len(training), "pictures of validation have judged"
        with pytest.raises(ModelFileError, match=r"in float32 it loses 25\.00 points already"):
            quantize(net, CARD, tmp_path / "r.onnx", max_drop=0.2, **options)

    def test_the_drop_is_from_what_is_given(
        self, net: EfficientNet, tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        labels = torch.from_numpy(predicted(net))
        answers = torch.eye(3)[labels]
        answers[:12] = answers[:12].roll(1, 1)
        before = judged(CARD, answers, labels)
        assert before.value == 0.75
        monkeypatch.delattr(ladder, "judge_net")
        made = self.run(net, tmp_path / "q.onnx", told, before=before, rungs=["right"])
        assert made.before is before
        assert made.rungs[0].drop == -0.25

    def test_a_target_that_cannot_be_written_is_told_before_the_work(
        self, net: EfficientNet, tmp_path: Path, told: list[str]
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(ResourceError, match="Cannot write"):
            self.run(net, tmp_path / "file" / "q.onnx", told)
        assert not told

    def test_a_folder_with_other_things_is_not_replaced(
        self, net: EfficientNet, tmp_path: Path
    ) -> None:
        (tmp_path / "photo.png").touch()
        with pytest.raises(UsageError, match="holds other things"):
            quantize(
                net, CARD, tmp_path, runtime="openvino", calibration=split(), validation=split()
            )

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"runtime": "onnx"}, "Did you mean 'onnxruntime'"),
            ({"out": "q.tflite"}, "ends in .onnx"),
            ({"rungs": ["rigth"]}, "Did you mean 'right'"),
            ({"max_drop": 1.0}, "under 1"),
            ({"runtime": "openvino"}, "go into a folder"),
        ],
    )
    def test_what_cannot_be_meant(
        self, net: EfficientNet, tmp_path: Path, change: dict[str, Any], words: str
    ) -> None:
        wish = {"out": "q.onnx", "runtime": "onnxruntime", **change}
        with pytest.raises(UsageError, match=words):
            quantize(net, CARD, calibration=split(), validation=split(), **wish)


@pytest.mark.parametrize(
    ("out", "runtime", "module"),
    [("q", "openvino", "nncf"), ("q.onnx", "onnxruntime", "onnxscript")],
)
def test_a_missing_package_is_told_before_the_work(
    net: EfficientNet,
    tmp_path: Path,
    out: str,
    runtime: str,
    module: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    told: list[str] = []
    with pytest.raises(ResourceError, match=f"{module} is needed to quantize .*pip install"):
        quantize(
            net,
            CARD,
            tmp_path / out,
            runtime=runtime,
            calibration=split(),
            validation=split(),
            tell=told.append,
        )
    assert not told


def predicted(net: EfficientNet) -> Any:
    with torch.no_grad():
        batch = next(Calibration(whole(), np.zeros(48), USE, batch=48).inputs())
        return net(torch.from_numpy(batch)).argmax(1).numpy()


def whole() -> Any:
    return np.ascontiguousarray(split().pictures.transpose(0, 3, 1, 2))


class TestFineTuning:
    def test_folded_the_network_answers_the_same(self, net: EfficientNet) -> None:
        x = torch.randn(4, 3, tiny.SIDE, tiny.SIDE)
        with torch.no_grad():
            torch.testing.assert_close(folded(net)(x), net(x), rtol=1e-4, atol=1e-4)

    def test_rounded_it_answers_nearly_the_same_and_afterwards_the_same(
        self, net: EfficientNet
    ) -> None:
        copy = folded(net)
        names = set(copy.state_dict())
        shown = choose_pictures(split(), CARD)
        x = torch.from_numpy(next(shown.inputs()))
        with torch.no_grad():
            before = copy(x)
            with rounded(copy, shown):
                between = copy(x)
            assert set(copy.state_dict()) == names
            torch.testing.assert_close(copy(x), before)
        difference = (between - before).abs().max() / before.abs().max()
        assert 1e-5 < difference < 0.2

    def test_it_comes_nearer_to_what_it_was(self, net: EfficientNet, monkeypatch: Any) -> None:
        """Coarse steps of weights, which leave much to be learnt."""
        monkeypatch.setattr("effnet.compression.quantize.aware.HALF", 3)
        monkeypatch.setattr("effnet.compression.quantize.aware.RATE", 2e-3)
        shown = choose_pictures(split(), CARD)
        tuned = fine_tuned(net, CARD, split(96, seed=1), shown, steps=25)
        x = torch.from_numpy(next(shown.in_batches(48).inputs()))
        with torch.no_grad():
            wanted = net(x)
            losses = []
            for candidate in (folded(net), tuned):
                with rounded(candidate, shown):
                    losses.append((candidate(x) - wanted).square().mean().item())
        assert losses[1] < 0.7 * losses[0]


REPORTER = """
import pathlib
class Telemetry:
    def __init__(self, *args, **options):
        pathlib.Path("reported").write_text("made")
    def __getattr__(self, name):
        return lambda *args, **options: pathlib.Path("reported").write_text(name)
"""


@pytest.mark.slow
def test_nncf_makes_no_reporter(tmp_path: Path) -> None:
    """In a process of its own: NNCF itself leaves pytest alone."""
    (tmp_path / "openvino_telemetry.py").write_text(REPORTER)
    [place] = importlib.util.find_spec("nncf").submodule_search_locations
    assert "from openvino_telemetry import Telemetry" in Path(
        place, "telemetry", "wrapper.py"
    ).read_text(encoding="utf-8"), "it reports in another way by now"
    program = (
        "from effnet.compression.quantize.nncf_library import nncf; nncf()\n"
        "from nncf.telemetry.decorator import telemetry; telemetry.send_event('a', 'b', 'c')\n"
        "import openvino_telemetry"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    assert not (tmp_path / "reported").exists()
