"""Several labels and numbers, from arrays and CSV files, through a training to answers in units."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics

import tiny
from effnet.data.sources import open_data
from effnet.errors import DataError, Interrupted, UsageError
from effnet.evaluation.multilabel import MultiLabelEvaluation
from effnet.evaluation.regression import RegressionEvaluation
from effnet.model import Model
from effnet.training import loop
from effnet.training.checkpoint import read_checkpoint
from effnet.training.run import RunFolder

SETTINGS: dict[str, Any] = {"verbose": False, **tiny.FAST, "epochs": 8, "batch": 16, "flip": 0.0}
NAMES = ("left", "right")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def halves(count: int = 160, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures whose left half may be red and whose right half may be blue, and which are."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (count, 2))
    pictures = rng.integers(0, 80, (count, 16, 16, 3))
    pictures[:, :, :8, 0] += 120 * labels[:, 0, None, None]
    pictures[:, :, 8:, 2] += 120 * labels[:, 1, None, None]
    return pictures.astype(np.uint8), labels.astype(np.float32)


def shades(count: int = 160, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of some brightness, and two numbers that it means: a small one and a huge one."""
    rng = np.random.default_rng(seed)
    light = rng.uniform(0, 1, count)
    noise = rng.integers(-10, 11, (count, 16, 16, 3))
    pictures = (40 + 170 * light)[:, None, None, None] + noise
    return pictures.astype(np.uint8), np.stack([0.02 * light, 1e6 - 5e4 * light], 1)


def table(root: Path, pictures: np.ndarray, values: np.ndarray, names: tuple[str, ...]) -> Path:
    lines = [",".join(["path", *names])]
    (root / "pictures").mkdir(parents=True)
    for index, (picture, row) in enumerate(zip(pictures, values, strict=True)):
        Image.fromarray(picture).save(root / "pictures" / f"{index}.png")
        lines.append(",".join([f"pictures/{index}.png", *(f"{value:.9g}" for value in row)]))
    (root / "data.csv").write_text("\n".join(lines) + "\n")
    return root / "data.csv"


def test_several_labels_of_arrays() -> None:
    model = Model(tiny.SPEC, classes=NAMES)
    history = model.fit(*halves(), out="run", **SETTINGS)
    assert {"loss", "accuracy", "val_ap_f1"} <= set(history.history)
    assert (model.task.name, model.classes) == ("multilabel", NAMES)
    pictures, labels = halves(80, seed=1)
    found = model.evaluate(pictures, labels)
    assert isinstance(found, MultiLabelEvaluation)
    assert found.mean_ap > 0.95
    assert found.f1 > 0.9
    answers = model.predict(pictures)
    assert metrics.f1_score(labels, answers >= 0.5, average="macro") == pytest.approx(found.f1)
    assert answers[(labels == 1).all(1)].min(1).max() > 0.5  # not shares of one
    loaded = Model.load("run")
    np.testing.assert_allclose(loaded.predict(pictures), answers, atol=1e-4)
    assert loaded.task == model.task


def test_numbers_of_arrays_keep_their_units() -> None:
    model = Model(tiny.SPEC)
    history = model.fit(*shades(), out="run", **SETTINGS)
    assert {"loss", "r2", "val_r2", "val_mae"} <= set(history.history)
    assert (model.task.name, model.classes) == ("regress", ("0", "1"))
    pictures, values = shades(80, seed=1)
    found = model.evaluate(pictures, values)
    assert isinstance(found, RegressionEvaluation)
    assert min(target.r2 for target in found.per_target) > 0.9
    answers = model.predict(pictures)
    np.testing.assert_allclose(answers.mean(0), values.mean(0), rtol=0.1)
    for loaded in (Model.load("run"), Model.load(model.save("copy.safetensors"))):
        np.testing.assert_allclose(loaded.predict(pictures), answers, rtol=1e-4, atol=1e-6)
        assert loaded.task == model.task


def test_whole_numbers_are_estimated_where_that_is_asked_for() -> None:
    pictures, values = shades(40)
    whole = np.rint(1000 * values[:, 0]).astype(int)
    model = Model(tiny.SPEC)
    model.fit(pictures, whole, task="regress", **{**SETTINGS, "epochs": 1})
    assert (model.task.name, model.classes) == ("regress", ("target",))
    # From now on numbers mean to the model what they did.
    model.fit(pictures, whole, **{**SETTINGS, "epochs": 1})
    assert isinstance(model.evaluate(pictures, whole), RegressionEvaluation)
    assert isinstance(model.evaluate(pictures, whole[:, None]), RegressionEvaluation)


@pytest.mark.parametrize("make", [halves, shades])
def test_csv(make: Any) -> None:
    data = table(Path("data"), *make(), NAMES)
    model = Model(tiny.SPEC)
    model.fit(data, out="run", **SETTINGS)
    assert model.classes == NAMES
    held_out = open_data(data).val
    assert held_out is not None
    assert model.evaluate(data) == model.evaluate(held_out)
    files = sorted(Path("data/pictures").iterdir())
    found = model.predict(files[:20])
    arrays = np.stack([np.asarray(Image.open(file)) for file in files[:20]])
    for prediction, answers in zip(found, model.predict(arrays), strict=True):
        assert [name for name, _ in prediction.values] == list(NAMES)
        assert [value for _, value in prediction.values] == pytest.approx(answers, rel=1e-3)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("make", [halves, shades])
def test_mixed_pictures_train_too(make: Any, mixup: float, cutmix: float) -> None:
    model = Model(tiny.SPEC)
    settings = {**SETTINGS, "epochs": 3, "mixup": mixup, "cutmix": cutmix, "val_share": 0}
    losses = model.fit(*make(64), **settings).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("make", [halves, shades])
def test_resumed_run_is_the_unbroken_one(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_data(table(Path("data"), *make(48), NAMES))
    settings = {**SETTINGS, "epochs": 3}
    Model(tiny.SPEC).fit(data, out="whole", **settings)
    end = loop.Training._end_epoch

    def stop(training: loop.Training) -> None:
        end(training)
        if len(training.state.history) == 1:
            raise Interrupted("stopped by the test")

    with monkeypatch.context() as patched:
        patched.setattr(loop.Training, "_end_epoch", stop)
        with pytest.raises(Interrupted):
            Model(tiny.SPEC).fit(data, out="broken", **settings)
    job, _ = read_checkpoint(RunFolder("broken").checkpoint)
    assert job.task == data.task
    model, _ = Model.resume("broken", verbose=False)
    files = [Path(run, "model.safetensors") for run in ("whole", "broken")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert model.task == Model.load("whole").task


@pytest.mark.parametrize("make", [halves, shades])
def test_training_on_goes_on(make: Any) -> None:
    model = Model(tiny.SPEC)
    model.fit(*make(), out="first", **SETTINGS)
    before, task = model.evaluate(*make(80, seed=1)), model.task
    pictures, values = make(64, seed=2)
    # Other pictures have another mean, but the classifier still means what it did.
    model.fit(pictures[:40], values[:40], out="second", **{**SETTINGS, "epochs": 1, "lr": 0.0})
    assert model.task == task
    after = model.evaluate(*make(80, seed=1))
    figure = "mean_ap" if isinstance(before, MultiLabelEvaluation) else "r2"
    assert getattr(after, figure) == pytest.approx(getattr(before, figure), abs=0.1)


def test_fine_tuning_for_another_task_leaves_the_classifier_out() -> None:
    pictures, labels = halves(64)
    first = Model(tiny.SPEC, classes=NAMES)
    first.fit(pictures, labels[:, 0].astype(int), out="first", **{**SETTINGS, "epochs": 1})
    assert first.task.name == "classify"
    model = Model(tiny.SPEC, weights="first/model.safetensors", classes=NAMES)
    model.fit(pictures, labels, out="second", **{**SETTINGS, "epochs": 1, "lr": 0.0, "seed": 3})
    assert model.task.name == "multilabel"
    source, tuned = first.net.state_dict(), model.net.state_dict()
    same = {
        name: torch.equal(source[name], tuned[name]) for name, _ in model.net.named_parameters()
    }
    assert not same.pop("classifier.weight")
    same.pop("classifier.bias")
    assert all(same.values())


def test_tasks_that_differ() -> None:
    pictures, labels = halves(40)
    model = Model(tiny.SPEC, classes=NAMES)
    model.fit(pictures, labels, **{**SETTINGS, "epochs": 1})
    with pytest.raises(DataError, match="neither 0 nor 1"):
        model.fit(pictures, labels / 3, **SETTINGS)
    with pytest.raises(UsageError, match="The model's task is multilabel, the data's regress"):
        model.fit(pictures, labels / 3, task="regress", **SETTINGS)
    with pytest.raises(UsageError, match="opened for the task multilabel, not regress"):
        model.fit(open_data(pictures, labels), task="regress", **SETTINGS)
    with pytest.raises(DataError, match=r"digits has classes, not labels"):
        model.evaluate("digits")
    with pytest.raises(DataError, match="3 columns for 2: left, right"):
        model.evaluate(pictures, np.zeros((40, 3)))


def test_checkpoint_without_a_task_is_of_a_classification() -> None:
    Model(tiny.SPEC).fit(*tiny.arrays(18), out="run", **{**SETTINGS, "epochs": 1})
    job, _ = read_checkpoint(RunFolder("run").checkpoint)
    document = job.to_dict()
    del document["task"], document["task_settings"]
    assert type(job).from_dict(document) == job
