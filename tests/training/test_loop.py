"""What a training reaches, keeps, reports and refuses."""

import csv
import logging
import signal
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tiny
from effnet.cli.main import main
from effnet.data.sources import open_data
from effnet.errors import (
    DataError,
    DivergedError,
    EffnetError,
    Interrupted,
    ResourceError,
    UsageError,
)
from effnet.history import History
from effnet.model import Model
from effnet.tasks.classify import Classification
from effnet.training import loop
from effnet.training.checkpoint import read_checkpoint


def fit(run: Path, data: Any = None, labels: Any = None, **settings: Any) -> tuple[Model, History]:
    if data is None:
        data, labels = tiny.arrays(48)
    model = Model(tiny.SPEC, classes=tiny.CLASSES)
    history = model.fit(
        data, labels, out=run, verbose=False, **{**tiny.FAST, "flip": 0.0, **settings}
    )
    return model, history


def rows(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_learns_what_can_be_learned(tmp_path: Path) -> None:
    model, history = fit(tmp_path / "run", epochs=12, lr=0.02)
    assert max(history.history["val_accuracy"]) == 1
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert model.evaluate(*tiny.arrays(60, seed=7)).accuracy == 1
    assert not model.net.training
    assert next(model.net.parameters()).device.type == "cpu"


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "rmsprop"])
@pytest.mark.parametrize("schedule", ["cosine", "constant", "exponential"])
def test_every_optimizer_lowers_the_loss(tmp_path: Path, optimizer: str, schedule: str) -> None:
    _, history = fit(
        tmp_path / "run", optimizer=optimizer, schedule=schedule, epochs=5, label_smoothing=0.0
    )
    assert history.history["loss"][-1] < 0.8 * history.history["loss"][0]


def test_out_of_memory_names_the_batch_to_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classification, "loss", lambda *_, **__: torch.empty(1 << 60))
    with pytest.raises(ResourceError, match=r"step of 8 pictures; try --batch 4") as caught:
        fit(tmp_path / "run")
    assert caught.value.exit_code == 5


def test_a_loading_process_that_dies_while_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*_: object) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    write = loop.write_checkpoint

    def write_interrupted(*args: Any) -> None:
        monkeypatch.setattr(torch, "save", save)
        write(*args)

    monkeypatch.setattr(loop, "write_checkpoint", write_interrupted)
    with pytest.raises(ResourceError, match="process that loads pictures died"):
        fit(tmp_path / "run")
    assert content_of(tmp_path / "run")["step"] == 0  # the old one is whole
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir() if p.name[0] == "."] == []


def test_file_holds_the_best_epoch(tmp_path: Path) -> None:
    noisy = tiny.arrays(48, noise=255)
    model, history = fit(tmp_path / "run", *noisy, epochs=6, val_share=0.3)
    written = rows(tmp_path / "run")
    accuracies = [row["val_accuracy"] for row in written]
    best = written[int(np.argmax(accuracies))]
    assert model.figures["epoch"] == best["epoch"]
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert model.figures[name] == best[name]
    data = open_data(*noisy, val_share=0.3, classes=tiny.CLASSES)
    assert data.val is not None
    judged = model.evaluate(data.val)
    assert judged.accuracy == best["val_accuracy"]
    assert judged.log_loss == pytest.approx(best["val_loss"], rel=1e-5)
    assert [dict(row) for row in history.rows] == written


def test_average_is_what_is_kept(tmp_path: Path) -> None:
    _, history = fit(tmp_path / "run", epochs=1)
    _, content = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    kept = Model.load(history.run).net.state_dict()
    average = {n.removeprefix("module."): t for n, t in content["average"].items()}
    assert all(torch.equal(tensor, average[name]) for name, tensor in kept.items())
    assert any(not torch.equal(tensor, content["net"][name]) for name, tensor in kept.items())


def test_model_is_written_though_nothing_is_ever_right(tmp_path: Path) -> None:
    pictures, labels = tiny.arrays(24)
    wrong = (pictures[:6], (labels[:6] + 1) % 3)  # the colours of another class
    _, history = fit(tmp_path / "run", pictures, labels, validation_data=wrong, epochs=12, lr=0.02)
    assert history.history["val_accuracy"][-1] == 0
    assert Model.load(tmp_path / "run").classes == tiny.CLASSES


def test_of_equally_wrong_epochs_the_first_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classification, "figures", lambda *_: {"loss": 1.0, "accuracy": 0.0})
    model, _ = fit(tmp_path / "run", epochs=3)
    assert model.figures["epoch"] == 1


def test_without_validation_the_last_epoch_is_kept(tmp_path: Path) -> None:
    model, history = fit(tmp_path / "run", epochs=4, val_share=0.0, lr=0.0, patience=1)
    assert (len(history.rows), model.figures["epoch"]) == (4, 4)


def test_patience_ends_a_run(tmp_path: Path) -> None:
    _, history = fit(tmp_path / "run", lr=0.0, epochs=9, patience=2)
    assert len(history.rows) == 3


@pytest.mark.parametrize("count", [3, 7, 9])
def test_fewer_pictures_than_a_batch(tmp_path: Path, count: int) -> None:
    _, history = fit(tmp_path / "run", *tiny.arrays(count), val_share=0.0, batch=8)
    assert [row["step"] for row in history.rows] == [1, 2]
    assert "val_loss" not in history.history


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "bf16"},
        {"channels_last": False},
        {"ema": 0.0},
        {"mixup": 0.2, "cutmix": 1.0},
        {"augment": "randaugment", "erasing": 0.5, "flip": 0.5},
        {"augment": "autoaugment", "cutmix": 1.0},
        {"drop_path": None, "dropout": 0.5},
        {"resolution": 24},
        {"warmup_epochs": 9.0},
        {"clip": 0.1, "accumulate": 3},
        {"stages": 2, "mixup": 0.2, "augment": "randaugment", "resolution": 32},
        {"sampling": "balanced", "class_weights": "effective", "logit_adjust": 1.0},
        {"class_weights": "balanced", "cutmix": 1.0},
        {"layer_decay": 0.7, "norms": "keep"},
        {"freeze": "backbone", "unfreeze_every": 0.5},
    ],
    ids=str,
)
def test_setting_runs(tmp_path: Path, settings: dict[str, Any]) -> None:
    _, history = fit(tmp_path / "run", epochs=1, **settings)
    assert np.isfinite(history.history["loss"][0])


def test_layout_changes_nothing_but_rounding(tmp_path: Path) -> None:
    losses = [
        fit(tmp_path / f"{last}", epochs=1, channels_last=last)[1].history["loss"][0]
        for last in (True, False)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def spoil(monkeypatch: pytest.MonkeyPatch, steps: Container[int]) -> None:
    """Make the loss of these steps, counted from 1 over the whole run, no number."""
    learn = Classification.loss
    calls = []

    def loss(self: Classification, outputs: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not outputs.requires_grad:  # of the validation
            return learn(self, outputs, *args, **kwargs)
        calls.append(1)
        return learn(self, outputs, *args, **kwargs) * (float("nan") if len(calls) in steps else 1)

    monkeypatch.setattr(Classification, "loss", loss)


def content_of(run: Path) -> Any:
    return read_checkpoint(run / "checkpoints" / "last.ckpt")[1]


def test_divergence_leaves_the_last_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, range(4, 99))
    with pytest.raises(DivergedError, match=r"10 steps up to 13 .*last\.ckpt.*lower lr") as caught:
        fit(tmp_path / "run", epochs=9, batch=2)
    assert caught.value.exit_code == 4
    monkeypatch.undo()
    content = content_of(tmp_path / "run")
    assert (content["step"], content["skipped"], content["skipped_in_a_row"]) == (13, 10, 10)
    spoil(monkeypatch, range(4, 5))
    stop_after(monkeypatch, 3)
    with pytest.raises(Interrupted):  # the same three steps, and no more
        fit(tmp_path / "other", epochs=9, batch=2)
    other = content_of(tmp_path / "other")
    for part in ("net", "average"):
        assert all(torch.equal(t, content[part][n]) for n, t in other[part].items())


def test_an_epoch_of_bad_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, range(1, 99))
    with pytest.raises(DivergedError, match="No step of the epoch had a finite gradient"):
        fit(tmp_path / "run", batch=24)


def test_a_bad_step_is_undone_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, {2, 5})
    _, history = fit(tmp_path / "run", ema=0.0)
    content = content_of(tmp_path / "run")
    assert (content["skipped"], content["skipped_in_a_row"]) == (2, 0)
    assert all(torch.isfinite(tensor).all() for tensor in content["net"].values())
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "step 2 undone" in log
    assert "step 5 undone" in log
    assert np.isfinite(history.history["loss"]).all()


def test_a_bad_step_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    take = loop.Training._step

    def watched(self: loop.Training, batch: Any) -> None:
        take(self, batch)
        states.append({n: t.clone() for n, t in self.state.net.state_dict().items()})

    monkeypatch.setattr(loop.Training, "_step", watched)
    spoil(monkeypatch, {3})
    fit(tmp_path / "run", epochs=1)
    before, after = states[1], states[2]
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert any(not torch.equal(tensor, after[name]) for name, tensor in states[3].items())


def test_weights_that_leave_the_numbers(tmp_path: Path) -> None:
    with pytest.raises(DivergedError):
        fit(tmp_path / "run", optimizer="sgd", lr=1e30, warmup_epochs=0.0, epochs=4)
    _, content = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert all(torch.isfinite(tensor).all() for tensor in content["net"].values())


def test_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"run is not an empty folder.*--out.*--resume"):
        fit(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_failure_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    model = Model(tiny.SPEC)
    before = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    with pytest.raises(EffnetError):
        model.fit(*tiny.arrays(), out=tmp_path / "file", verbose=False, **tiny.FAST)
    after = model.net.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def damaged_folder(root: Path, broken: int) -> Path:
    data = tiny.folder(root, train=48)
    for path in sorted((data / "train" / "red").iterdir())[:broken]:
        path.write_bytes(path.read_bytes()[:60])
    return data


def test_unreadable_pictures_are_skipped_and_named(tmp_path: Path) -> None:
    data = damaged_folder(tmp_path / "data", 2)
    fit(tmp_path / "run", data, batch=48, bad_share=0.05, epochs=3)
    log = (tmp_path / "run" / "log.txt").read_text()
    for name in ("002.png", "005.png"):
        assert log.count(f"training picture skipped: {data / 'train' / 'red' / name}") == 1
    _, content = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert len(content["unreadable"]) == 2


def test_too_many_unreadable_pictures(tmp_path: Path) -> None:
    data = damaged_folder(tmp_path / "data", 3)
    with pytest.raises(DataError, match=r"3 training pictures.*allows \(2\).*log\.txt") as caught:
        fit(tmp_path / "run", data, batch=48, bad_share=0.05)
    assert caught.value.exit_code == 3


def test_unreadable_picture_as_an_error(tmp_path: Path) -> None:
    data = damaged_folder(tmp_path / "data", 1)
    with pytest.raises(DataError, match=r"red/002\.png: .*--bad-images skip"):
        fit(tmp_path / "run", data, batch=48, bad_images="error")


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    data = tiny.folder(tmp_path / "data", train=3)
    for name in ("red", "blue"):
        next((data / "train" / name).iterdir()).write_bytes(b"")
    with pytest.raises(DataError, match="two readable pictures"):
        fit(tmp_path / "run", data, bad_share=1.0)


def test_unreadable_validation_picture_is_left_out(tmp_path: Path) -> None:
    data = tiny.folder(tmp_path / "data")
    broken = data / "val" / "red" / "002.png"
    broken.write_bytes(b"GIF89a")
    fit(tmp_path / "run", data, epochs=1)
    assert f"validation picture left out: {broken}" in (tmp_path / "run" / "log.txt").read_text()


def test_events_read_back(tmp_path: Path) -> None:
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    fit(tmp_path / "run", tensorboard=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    for tag, column in (
        ("loss/train", "loss"),
        ("accuracy/val", "val_accuracy"),
        ("learning_rate", "lr"),
    ):
        found = events.Scalars(tag)
        assert [event.step for event in found] == [row["step"] for row in rows(tmp_path / "run")]
        assert [event.value for event in found] == pytest.approx(
            [row[column] for row in rows(tmp_path / "run")], rel=1e-6
        )


def stop_after(monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    """Press Ctrl-C during a step."""
    step = loop.Training._step

    def press(self: loop.Training, batch: Any) -> None:
        step(self, batch)
        if self.state.step == last:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop.Training, "_step", press)


def test_ctrl_c_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    stop_after(monkeypatch, 2)
    with pytest.raises(Interrupted, match=f"--resume {tmp_path / 'run'}"):
        fit(tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")[1]["step"] == 2
    monkeypatch.undo()
    _, history = Model.resume(tmp_path / "run", open_data(*tiny.arrays(48), classes=tiny.CLASSES))
    assert len(history.rows) == 2


def test_callers_state_is_untouched(tmp_path: Path) -> None:
    torch.manual_seed(3)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    model, _ = fit(tmp_path / "run", *tiny.arrays(18), mixup=0.2, threads=2, epochs=1)
    model.predict(tiny.arrays(4)[0])
    model.evaluate(*tiny.arrays(6))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"\x80\x04K\x01.", None])
def test_damaged_checkpoint_is_told(tmp_path: Path, content: bytes | None) -> None:
    fit(tmp_path / "run", epochs=1)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    whole = checkpoint.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    checkpoint.write_bytes(bytes(flipped) if content is None else content)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(EffnetError, match=r"last\.ckpt is damaged") as caught:
        Model.resume(tmp_path / "run", open_data(*tiny.arrays(48), classes=tiny.CLASSES))
    assert caught.value.exit_code == 6
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"model": torch.zeros(2)}, "not a checkpoint"),
        ({"effnet_checkpoint": 99}, "another version of effnet"),
        (torch.nn.Linear(2, 2), "not a checkpoint"),
    ],
)
def test_foreign_checkpoint_is_told(tmp_path: Path, content: Any, match: str) -> None:
    (tmp_path / "checkpoints").mkdir()
    torch.save(content, tmp_path / "checkpoints" / "last.ckpt")
    with pytest.raises(EffnetError, match=match) as caught:
        Model.resume(tmp_path)
    assert caught.value.exit_code == 6
    assert "\n" not in str(caught.value)


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert main(["fit", "--resume", str(tmp_path)]) == 2
