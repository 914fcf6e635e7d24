"""What TensorBoard finds in a run folder, read back by TensorBoard, and that nothing suffers."""

import io
import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

import tiny
from effnet.cli.main import main
from effnet.data.sources import open_data
from effnet.errors import Interrupted
from effnet.files import files_in
from effnet.model import Model
from effnet.nets.network import EfficientNet
from effnet.tasks.inference import Outputs
from effnet.tasks.task import build_task
from effnet.training import loop
from effnet.training.events import EventWriter, Pixels
from effnet.training.gallery import CELL, SHEETS, SIDE, WRONG, Gallery, caption, sheet, thumbnails
from running import assert_same

EPOCHS, STEPS, VAL = 3, 4, 6
SETTINGS: dict[str, Any] = {**tiny.FAST, "epochs": EPOCHS, "mixup": 0.4, "tensorboard": True}
DATA = open_data(*tiny.arrays(4 * 8 + VAL + 1), val_share=VAL / 39)
assert (len(DATA.train) // 8, len(DATA.val)) == (STEPS, VAL)


def fit(run: Path, data: Any = DATA, **settings: Any) -> Model:
    model = Model(tiny.SPEC, classes=data.classes)
    model.fit(data, out=run, verbose=False, **{**SETTINGS, **settings})
    return model


def read(run: Path) -> EventAccumulator:
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    # Of each tag all events, not a sample of them.
    return EventAccumulator(
        str(run / "tensorboard"), {"images": 0, "scalars": 0, "tensors": 0}
    ).Reload()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("events") / "run"
    fit(run)
    assert "goes without" not in (run / "log.txt").read_text()
    return run


@pytest.fixture(scope="module")
def events(finished: Path) -> EventAccumulator:
    return read(finished)


def test_pictures_with_predictions(events: EventAccumulator) -> None:
    found = events.Images("predictions")
    assert [event.step for event in found] == [STEPS, 2 * STEPS, 3 * STEPS]
    first = np.asarray(Image.open(io.BytesIO(found[0].encoded_image_string)))
    assert first.shape == (2 * CELL[1], 4 * CELL[0], 3)  # six pictures, four in a row


def test_the_graph_has_the_networks_parts(events: EventAccumulator) -> None:
    names = [node.name for node in events.Graph().node]
    for part in ("stem", "stages", "depthwise", "squeeze", "head", "classifier"):
        assert any(part in name for name in names), part
    convolutions = sum(isinstance(m, torch.nn.Conv2d) for m in EfficientNet(tiny.SPEC).modules())
    assert sum(n.op == "aten::_convolution" for n in events.Graph().node) == convolutions == 17


def test_settings_with_their_result(finished: Path, events: EventAccumulator) -> None:
    metadata = events.SummaryMetadata("_hparams_/session_start_info")
    found = HParamsPluginData.FromString(metadata.plugin_data.content).session_start_info.hparams
    assert found["variant"].string_value == "tiny"
    assert found["lr"].number_value == pytest.approx(0.01)
    assert found["mixup"].number_value == pytest.approx(0.4)
    assert not {"threads", "workers", "teacher"} & set(found)
    # TensorBoard reads files by name, and the start of one hides what it read of later steps.
    assert len(list((finished / "tensorboard").glob("events.*"))) == 1
    figures = Model.load(finished).figures
    for name in ("epoch", "val_accuracy", "loss"):
        (event,) = events.Scalars(f"best/{name}")
        assert event.value == pytest.approx(figures[name], rel=1e-6)


def test_embedding(finished: Path) -> None:
    from google.protobuf import text_format

    root = finished / "tensorboard"
    config = text_format.Parse((root / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = config.embeddings
    vectors = np.loadtxt(root / embedding.tensor_path, delimiter="\t")
    header, *rows = (root / embedding.metadata_path).read_text().splitlines()
    sprite = Image.open(root / embedding.sprite.image_path)

    model = Model.load(finished)
    pictures, labels = DATA.val.pictures, DATA.val.labels
    levels = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = model.net.embed(model.preprocessing.normalised(levels)).numpy()
    np.testing.assert_allclose(vectors, expected, atol=1e-3)
    assert header.split("\t") == ["picture", "true", "predicted"]
    answers = model.predict(pictures).argmax(1)
    assert [row.split("\t")[1:] for row in rows] == [
        [DATA.classes[label], DATA.classes[answer]]
        for label, answer in zip(labels, answers, strict=True)
    ]
    side = embedding.sprite.single_image_dim[0]
    assert sprite.size == (3 * side, 3 * side)  # six pictures, in a square
    corner = np.asarray(sprite.crop((0, 0, side, side)), float).mean((0, 1))
    np.testing.assert_allclose(corner, pictures[0].mean((0, 1)), atol=4)


def test_training_is_the_same_without(finished: Path, tmp_path: Path) -> None:
    fit(tmp_path / "run", tensorboard=False)
    assert_same(tmp_path / "run", finished)
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_interrupted_run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = loop.Training._step

    def press(self: loop.Training, batch: Any) -> None:
        step(self, batch)
        if self.state.step == STEPS + 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "_step", press)
        with pytest.raises(Interrupted):
            fit(tmp_path / "run")
    Model.resume(tmp_path / "run", DATA, verbose=False)
    assert_same(tmp_path / "run", finished)
    events = read(tmp_path / "run")
    epochs = [STEPS, 2 * STEPS, 3 * STEPS]
    assert [event.step for event in events.Scalars("loss/val")] == epochs
    assert [event.step for event in events.Images("predictions")] == epochs
    assert events.Graph().node


def test_what_cannot_be_shown_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        print("Error occurs, No graph saved")
        raise RuntimeError("no such operator\nand so on")

    monkeypatch.setattr(torch.jit, "trace", fail)
    monkeypatch.setattr("effnet.training.gallery.thumbnails", fail)
    fit(tmp_path / "run", epochs=1)
    log = (tmp_path / "run" / "log.txt").read_text()
    for what in ("the graph", "the picture predictions", "the embedding validation"):
        assert f"TensorBoard goes without {what}: RuntimeError: no such operator\n" in log
    assert capsys.readouterr().out == ""
    assert len(read(tmp_path / "run").Scalars("best/val_loss")) == 1


def test_unreadable_pictures_are_left_out(tmp_path: Path) -> None:
    folder = tiny.folder(tmp_path / "data", train=12, val=6)
    (folder / "val" / "red" / "002.png").write_bytes(b"")
    fit(tmp_path / "run", open_data(folder), epochs=1)
    assert "goes without" not in (tmp_path / "run" / "log.txt").read_text()
    (table,) = (tmp_path / "run" / "tensorboard").rglob("metadata.tsv")
    assert [Path(line.split("\t")[0]).name for line in table.read_text().splitlines()[1:]] == [
        "000.png", "003.png", "001.png", "004.png", "005.png"
    ]  # fmt: skip


@pytest.mark.parametrize("task", ["multilabel", "regress"])
def test_other_tasks(tmp_path: Path, task: str) -> None:
    pictures, labels = tiny.arrays(24)
    values = np.stack([labels == 0, labels != 1], 1).astype(float) * (1 if task != "regress" else 7)
    fit(tmp_path / "run", open_data(pictures, values, task=task), epochs=1)
    assert "goes without" not in (tmp_path / "run" / "log.txt").read_text()
    assert len(read(tmp_path / "run").Images("predictions")) == 1


def test_no_validation_pictures_no_pictures(tmp_path: Path) -> None:
    fit(tmp_path / "run", open_data(*tiny.arrays(24), val_share=0), epochs=1)
    assert read(tmp_path / "run").Tags()["images"] == []
    assert len(read(tmp_path / "run").Scalars("best/loss")) == 1


class Shown(EventWriter):
    """Remembers the steps of pictures."""

    active = True

    def __init__(self) -> None:
        super().__init__(None, 0)
        self.steps: list[int] = []

    def picture(self, tag: str, step: int, draw: Callable[[], Pixels]) -> None:
        self.steps.append(step)


@pytest.mark.parametrize(("epochs", "sheets"), [(1, 1), (9, 9), (10, 10), (11, 6), (20, 10)])
def test_sheets_of_few_and_of_many_epochs(epochs: int, sheets: int) -> None:
    task = build_task("classify", DATA.classes)
    none = Outputs(torch.empty(0, 3), torch.empty(0), torch.empty(0), ())
    shown = Shown()
    gallery = Gallery(DATA.val, task, Model(tiny.SPEC, classes=3).preprocessing, shown, epochs)
    for epoch in range(1, epochs + 1):
        gallery.predictions(epoch, 100 * epoch, none)
    assert len(shown.steps) == sheets <= SHEETS
    assert shown.steps[-1] == 100 * epochs
    assert len(set(np.diff(shown.steps))) <= 1


def test_captions() -> None:
    task = build_task("classify", ("$cat_", "a dog with a very long name"))
    text, colour = caption(task, torch.tensor(0), torch.tensor([0.25, 0.75]))
    assert text == "$cat_\n✗ a dog with a very l…\n75.00%"
    assert colour == WRONG
    text, colour = caption(task, torch.tensor(1), torch.tensor([0.25, 0.75]))
    assert text.splitlines()[1:] == ["✓ a dog with a very l…", "75.00%"]
    assert colour != WRONG
    settings = {"mean": [0.0] * 4, "std": [1.0] * 4}
    values = build_task("regress", ("a", "b", "c", "d"), settings)
    label, answer = torch.tensor([1.0, 2.0, 3.0, 4.5]), torch.tensor([1.0, 5.0, 3.5, 6.5])
    assert caption(values, label, answer)[0] == "b 2: 5\nd 4.5: 6.5\nc 3: 3.5"


def test_a_sheet_shows_the_pictures_themselves() -> None:
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
    drawn = sheet(pictures, [("name", "black")] * 5)
    assert drawn.shape == (2 * CELL[1], 4 * CELL[0], 3)
    left, top = (CELL[0] - SIDE) // 2, CELL[1] + 6
    np.testing.assert_array_equal(drawn[top : top + SIDE, left : left + SIDE], pictures[4])
    assert (drawn[top + SIDE : 2 * CELL[1], : CELL[0]] < 128).any()  # its caption


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_thumbnails_keep_the_colour(channels: int) -> None:
    levels = torch.arange(channels).mul(40).view(1, channels, 1, 1).expand(2, channels, 20, 20)
    expected = [0, 40, 80] if channels == 3 else [0, 0, 0]
    for side in (8, 64):
        found = thumbnails(levels, side)
        assert found.shape == (2, side, side, 3)
        assert (found == expected).all()


def test_people_are_told_how_to_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tiny.recipe_file(tmp_path / "mine.yaml", epochs=1)
    data = tiny.folder(tmp_path / "data", train=12, val=6)
    for option, told in (("--tensorboard", True), ("--no-tensorboard", False)):
        run = tmp_path / option
        words = ["fit", data, "--recipe", recipe, "--out", run, option]
        assert main([str(word) for word in words]) == 0
        printed = capsys.readouterr()
        command = f"tensorboard --logdir {run}"
        assert (command in printed.out, command in printed.err) == (told, told)
        assert any("tfevents" in file.name for file in files_in(run)) == told
