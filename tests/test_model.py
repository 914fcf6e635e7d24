"""What a person holds in Python: fit, evaluate, predict, in our words and in Keras's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import effnet
import tiny
from effnet.deployment.fastest import Fastest
from effnet.errors import DataError, EffnetError, ModelFileError, UsageError
from effnet.history import History
from effnet.model import Model
from effnet.training.keras_words import OPTIMIZERS

QUIET: dict[str, Any] = {"verbose": False, **tiny.FAST}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(len(tiny.CLASSES))[labels]


@pytest.mark.parametrize("scale", [1, 255], ids=["floats to 1", "floats to 255"])
@pytest.mark.parametrize(
    "encode", [one_hot, np.int64, lambda y: y[:, None]], ids=["hot", "int", "column"]
)
def test_keras_habit(scale: int, encode: Any) -> None:
    (x_train, y_train), (x_val, y_val) = tiny.arrays(32), tiny.arrays(12, seed=1)
    x_train, x_val = (x.astype(np.float32) / 255 * scale for x in (x_train, x_val))
    y_train, y_val = encode(y_train), encode(y_val)

    model = Model(tiny.SPEC, classes=3)
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(
        x_train, y_train, batch_size=32, epochs=10, validation_data=(x_val, y_val), verbose=False
    )
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(history.history)
    assert {len(values) for values in history.history.values()} == {10}
    assert history.epoch == list(range(10))
    recipe = model.training["recipe"]
    assert (recipe["optimizer"], recipe["lr"], recipe["batch"]) == ("adam", 1e-3, 32)
    assert recipe["label_smoothing"] == 0


def test_labels_and_pictures_of_every_form_train_alike() -> None:
    pictures, labels = tiny.arrays(24)
    forms = [
        (pictures, labels),
        (pictures.astype(np.float64) / 255, one_hot(labels)),
        (pictures.astype(np.float32), labels.astype(float)),
    ]
    histories = [
        Model(tiny.SPEC, classes=3).fit(*form, out=f"run{i}", **QUIET).history
        for i, form in enumerate(forms)
    ]
    assert histories[0] == histories[1] == histories[2]


def test_named_variant_on_arrays() -> None:
    pictures, _ = tiny.arrays(20)
    model = effnet.Model("b0", classes=10)
    model.fit(pictures, np.arange(20) % 10, resolution=32, **{**QUIET, "epochs": 1, "val_share": 0})
    assert model.spec.classes == 10
    assert model.predict(pictures[:2]).shape == (2, 10)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_compile_takes_keras_learning_rate(name: str) -> None:
    model = Model(tiny.SPEC)
    model.compile(optimizer=name, loss="sparse_categorical_crossentropy")
    model.fit(*tiny.arrays(12), **{**QUIET, "lr": None, "epochs": 1})
    assert model.training["recipe"]["lr"] == OPTIMIZERS[name]["lr"]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"optimizer": "adaam"}, "Unknown optimizer 'adaam'. Did you mean 'adam'"),
        ({"loss": "categorical_crossentropi"}, "Did you mean 'categorical_crossentropy'"),
        ({"metrics": ["acuracy"]}, "Unknown metric 'acuracy'. Did you mean 'accuracy'"),
    ],
)
def test_compile_with_a_typo(words: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        Model(tiny.SPEC).compile(**words)


def test_setting_with_a_typo() -> None:
    with pytest.raises(UsageError, match=r"Unknown setting 'epoch'\. Did you mean 'epochs'"):
        Model(tiny.SPEC).fit(*tiny.arrays(12), epoch=3)


def test_history_of_no_epochs() -> None:
    history = History((), Path("run"))
    assert (history.history, history.epoch) == ({}, [])


def test_tutorials_call() -> None:
    model = effnet.build_efficientnet(input_shape=(224, 224, 3), scale_factor=1.1)
    assert model.spec.classes == 10
    assert [stage.repeats for stage in model.spec.stages] == [2, 3, 3, 4, 4, 5, 2]
    answers = model.predict(np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8))
    assert answers.shape == (2, 10)
    assert answers.sum(1) == pytest.approx(1, abs=1e-6)
    assert (answers > 0).all()


@pytest.mark.parametrize(
    "arguments", [{"input_shape": (224, 200, 3)}, {"scale_factor": 0}, {"num_classes": 0}]
)
def test_tutorials_call_gone_wrong(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        effnet.build_efficientnet(**arguments)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_channels(channels: int) -> None:
    pictures, labels = tiny.arrays(48, channels=channels)
    model = Model(tiny.SPEC.with_(in_channels=channels))
    model.fit(pictures, labels, **{**QUIET, "epochs": 6})
    assert len(model.preprocessing.mean) == channels
    assert Model.load(model.save("m.safetensors")).evaluate(pictures, labels).accuracy > 0.6


def test_the_precision_of_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Noting(Fastest):
        def __init__(self, *given: Any, **named: Any) -> None:
            asked.append(named["precision"])
            super().__init__(*given, **named)

    monkeypatch.setattr("effnet.trained.Fastest", Noting)
    model, (pictures, _) = Model(tiny.SPEC, classes=tiny.CLASSES), tiny.arrays(2)
    for precision in ("auto", "auto", "float32"):
        model.precision = precision
        model.predict(pictures)
    assert asked == ["auto", "float32"]
    model.precision = "float23"
    with pytest.raises(UsageError, match="Did you mean 'float32'"):
        model.predict(pictures)


def test_grey_arrays_without_an_axis_for_it() -> None:
    pictures, labels = tiny.arrays(18, channels=1)
    model = Model(tiny.SPEC.with_(in_channels=1))
    model.fit(pictures[..., 0], labels, **QUIET)
    assert (model.predict(pictures[..., 0]) == model.predict(pictures)).all()


def test_evaluation_agrees_with_prediction() -> None:
    pictures, labels = tiny.arrays(30, noise=200)
    model = Model(tiny.SPEC, classes=tiny.CLASSES)
    called = model.predict(pictures).argmax(1)
    found = model.evaluate(pictures, labels)
    assert found.accuracy == (called == labels).mean()
    assert found == model.evaluate(pictures, np.array(tiny.CLASSES)[labels])
    assert found.confusion == model.evaluate(pictures, labels, batch_size=7).confusion
    assert [figures.name for figures in found.per_class] == list(tiny.CLASSES)


def test_names_of_a_model_give_numbers_their_meaning() -> None:
    pictures, labels = tiny.arrays(18)
    model = Model(tiny.SPEC, classes=tiny.CLASSES)
    model.fit(pictures, labels % 2, **QUIET)  # no picture of the third class
    assert model.classes == tiny.CLASSES


def test_absent_last_class_of_one_hot_labels() -> None:
    pictures, labels = tiny.arrays(18)
    model = Model(tiny.SPEC)
    model.fit(pictures, one_hot(labels % 2), **QUIET)
    assert model.classes == ("0", "1", "2")


def test_classes_that_differ_are_both_listed() -> None:
    data = tiny.folder(Path("data"))
    model = Model(tiny.SPEC, classes=["blue", "green", "scarlet"])
    with pytest.raises(UsageError) as caught:
        model.fit(data, **QUIET)
    for words in ("blue, green, scarlet", "blue, green, red", "Only in the model: scarlet"):
        assert words in str(caught.value)
    with pytest.raises(DataError) as other:
        model.evaluate(data)
    assert "blue, green, scarlet" in str(other.value)
    assert "red" in str(other.value)


def test_number_of_classes_that_differs() -> None:
    with pytest.raises(UsageError, match="The model has 5 classes, the data 3: blue, green, red"):
        Model(tiny.SPEC, classes=5).fit(tiny.folder(Path("data")), **QUIET)


def test_model_without_classes_takes_the_datas() -> None:
    model = Model(tiny.SPEC.with_(classes=1000))
    model.fit(tiny.folder(Path("data")), **QUIET)
    assert model.classes == tiny.CLASSES
    assert model.net.classifier.out_features == 3


@pytest.fixture
def trained() -> Path:
    model = Model(tiny.SPEC, classes=tiny.CLASSES)
    model.preprocessing = model.preprocessing.__class__(
        16, 1.0, "bilinear", (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    )
    return model.fit(*tiny.arrays(18), out="trained", **QUIET).run / "model.safetensors"


@pytest.mark.parametrize(
    ("classes", "kept"),
    [(["a", "b"], False), (["a", "b", "c"], False), (tiny.CLASSES, True), (None, True), (3, False)],
)
def test_fine_tuning_keeps_all_but_another_classifier(
    trained: Path, classes: Any, kept: bool
) -> None:
    source = Model.load(trained).net.state_dict()
    model = Model(tiny.SPEC, classes=classes, weights=trained)
    for name, tensor in model.net.state_dict().items():
        same = tensor.shape == source[name].shape and torch.equal(tensor, source[name])
        assert same == (kept or not name.startswith("classifier")), name
    assert model.preprocessing.mean == (0.4, 0.5, 0.6)


def test_fine_tuned_weights_start_from_the_file(trained: Path) -> None:
    source = Model.load(trained).net.state_dict()
    model = Model(tiny.SPEC, weights=trained)
    pictures, labels = tiny.arrays(18)
    model.fit(pictures, labels % 2, out="tuned", **{**QUIET, "lr": 0.0})
    tuned = dict(model.net.named_parameters())
    for name, weight in tuned.items():
        if not name.startswith("classifier"):
            assert torch.equal(weight, source[name]), name
    assert tuned["classifier.weight"].shape[0] == 2
    assert model.preprocessing.mean == (0.4, 0.5, 0.6)
    assert model.preprocessing.interpolation == "bilinear"


def test_run_of_fine_tuning_is_repeated_by_its_recipe(trained: Path) -> None:
    from effnet.cli.main import main

    data = tiny.folder(Path("data"))
    Model(tiny.SPEC, classes=tiny.CLASSES, weights=trained).fit(data, out="run", **QUIET)
    assert main(["fit", "--recipe", "run/recipe.yaml", "--out", "again"]) == 0
    files = [Path(run, "model.safetensors").read_bytes() for run in ("run", "again")]
    assert files[0] == files[1]
    Model(tiny.SPEC, weights=trained).fit(data, recipe="run/recipe.yaml", out="py", verbose=False)
    assert Path("py", "model.safetensors").read_bytes() == files[0]


def test_weights_of_another_variant() -> None:
    path = Model(tiny.SPEC).save("m.safetensors")
    with pytest.raises(ModelFileError, match=r"m\.safetensors cannot be used in this network"):
        Model("lite0", weights=path)


def test_fitting_twice_goes_on() -> None:
    pictures, labels = tiny.arrays(48)
    model = Model(tiny.SPEC)
    first = model.fit(pictures, labels, **QUIET)
    second = model.fit(pictures, labels, **{**QUIET, "warmup_epochs": 0.0})
    assert second.run != first.run
    assert second.history["loss"][0] < first.history["loss"][0]
    assert str(first.run.resolve()) in (second.run / "recipe.yaml").read_text()


def test_initial_weights_depend_on_the_seed_alone() -> None:
    weights = []
    for noise, classes in ((1, 3), (2, 7)):
        torch.manual_seed(noise)
        weights.append(Model(tiny.SPEC, classes=classes, seed=4).net.stages.state_dict())
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    other = Model(tiny.SPEC, seed=5).net.stages.state_dict()
    assert any(not torch.equal(tensor, other[name]) for name, tensor in weights[0].items())


@pytest.mark.parametrize("more", [{"labels": [1]}, {"validation_data": ([1], [1])}])
def test_labels_beside_a_folder(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="belong to pictures in memory"):
        Model(tiny.SPEC).fit(tiny.folder(Path("data")), **more)


def test_evaluating_on_a_device_that_is_not_there() -> None:
    model = Model(tiny.SPEC)
    with pytest.raises(EffnetError) as caught:
        model.evaluate(*tiny.arrays(6), device="cuda:77")
    assert caught.value.exit_code == 5
    with pytest.raises(UsageError, match="Unknown device 'gpu'"):
        model.evaluate(*tiny.arrays(6), device="gpu")


def test_weights_bring_their_own_network(tmp_path: Path) -> None:
    file = Model(tiny.SPEC, classes=tiny.CLASSES).save(tmp_path / "model.safetensors")
    assert Model(weights=file).spec == tiny.SPEC
    assert Model(weights=file, classes=["a", "b"]).spec == tiny.SPEC.with_(classes=2)
    assert Model(classes=2).spec.name == "b0"
