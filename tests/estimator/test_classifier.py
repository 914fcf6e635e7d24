"""The classifier: what it takes, learns, keeps, and how searches and calibration use it."""

import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from PIL import Image
from scipy.stats import loguniform, randint
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import effnet
import tiny
from effnet.data.sources import open_data
from effnet.data.splits import ArraySplit
from effnet.data.weighted import WeightedData
from effnet.errors import DataError, Interrupted, ModelFileError, Preempted, UsageError
from effnet.estimator.classifier import EfficientNetClassifier
from effnet.estimator.dataset import parted
from effnet.model import Model
from estimator.small import classifier

PICTURES, INDICES = tiny.arrays(48)
LABELS = np.array(tiny.CLASSES)[INDICES]


@pytest.fixture(scope="module")
def fitted() -> EfficientNetClassifier:
    return classifier().fit(PICTURES, LABELS)


@pytest.fixture(scope="module")
def begun() -> EfficientNetClassifier:
    return classifier(epochs=1).fit(PICTURES, LABELS)


def files(folder: Path, pictures: np.ndarray = PICTURES) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:02}.png" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    return paths


def test_learns_what_can_be_learned(fitted: EfficientNetClassifier) -> None:
    pictures, indices = tiny.arrays(30, seed=7)
    labels = np.array(tiny.CLASSES)[indices]
    assert fitted.classes_.tolist() == sorted(tiny.CLASSES)
    assert fitted.score(pictures, labels) > 0.9
    assert len(fitted.history_["val_accuracy"]) == 8
    assert fitted.run_ is None


def test_answers_are_those_of_the_model_inside(fitted: EfficientNetClassifier) -> None:
    assert np.allclose(fitted.predict_proba(PICTURES), fitted.model_.predict(PICTURES), atol=1e-5)


def test_a_fit_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    classifier(epochs=1).fit(PICTURES, LABELS)
    assert list(tmp_path.iterdir()) == []


def test_out_keeps_the_run_of_each_fit(tmp_path: Path) -> None:
    estimator = classifier(epochs=1, out=tmp_path / "runs")
    first, second = (estimator.fit(PICTURES, LABELS).run_ for _ in range(2))
    assert first != second
    for run in (first, second):
        assert Model.load(run).classes == tuple(sorted(tiny.CLASSES))


@pytest.mark.parametrize("form", ["rows", "lists", "floats", "paths", "names", "frame", "series"])
def test_pictures_come_in_many_forms(
    form: str, begun: EfficientNetClassifier, tmp_path: Path
) -> None:
    paths = files(tmp_path / "files")
    frame = pd.DataFrame({"path": list(map(str, paths))})
    given: dict[str, Any] = {
        "rows": PICTURES.reshape(len(PICTURES), -1),
        "lists": PICTURES.reshape(len(PICTURES), -1).tolist(),
        "floats": PICTURES / 255,
        "paths": paths,
        "names": list(map(str, paths)),
        "frame": frame,
        "series": frame["path"],
    }
    learned = classifier(epochs=1).fit(given[form], LABELS)
    answers = learned.predict_proba(given[form])
    # Values of other types are stretched from the smallest to the largest.
    close = 0.1 if form in ("lists", "floats") else 1e-6
    assert np.abs(answers - begun.predict_proba(PICTURES)).max() < close
    if form in ("paths", "frame"):
        assert np.allclose(answers, learned.predict_proba(PICTURES))


def test_the_training_pictures_say_what_is_black_and_white() -> None:
    pictures = PICTURES.copy()
    pictures[0, 0, 0] = 0, 255, 0
    values = 16.0 * pictures / 255 - 8
    estimator = classifier(epochs=1).fit(values, LABELS)
    assert estimator.value_range_ == (-8, 8)
    one, whole = (estimator.predict_proba(given) for given in (values[1:2], values))
    assert np.allclose(one, whole[1:2])  # though a single picture does not reach both ends


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_the_same_values_are_the_same_picture_in_every_type(kind: type) -> None:
    values = (PICTURES // 16).astype(kind)
    values[0, 0, 0] = 0, 15, 0
    estimator = classifier(epochs=1).fit(values, LABELS)
    assert estimator.value_range_ == ((0, 255) if kind is np.uint8 else (0, 15))
    expected = estimator.predict_proba(values)
    for other in (np.uint8, np.int64, np.float32, np.float64):
        assert np.array_equal(estimator.predict_proba(values.astype(other)), expected)


def test_values_on_another_scale_are_told(begun: EfficientNetClassifier) -> None:
    with pytest.warns(UserWarning, match="where black is 0 and white 255: give"):
        begun.predict(PICTURES / 255)
    begun.predict(np.zeros_like(PICTURES))  # simply black
    with pytest.warns(UserWarning, match="from 0 to 1, .*or set value_range"):
        classifier(epochs=1).fit(PICTURES // 128, LABELS)
    shares = classifier(epochs=1).fit(PICTURES / 255, LABELS)
    with pytest.warns(UserWarning, match="scale of fit"):
        shares.predict(PICTURES)


def test_one_picture_is_not_taken_for_many(begun: EfficientNetClassifier) -> None:
    with pytest.raises(DataError, match=r"one picture in colour has: give picture\[None\]"):
        begun.predict(PICTURES[0])
    assert begun.predict(PICTURES[0][None]).shape == (1,)


def test_a_fit_that_fails_changes_nothing(begun: EfficientNetClassifier) -> None:
    before = vars(begun).copy()
    with pytest.raises(UsageError, match="only one class"):
        begun.fit(PICTURES * 16.0, np.zeros(len(PICTURES)))
    with pytest.raises(UsageError, match="weights"):
        begun.fit(PICTURES.reshape(len(PICTURES), -1), LABELS, sample_weight=-np.ones(len(LABELS)))
    assert vars(begun) == before


def test_labels_that_no_file_can_keep_are_told_at_once(begun: EfficientNetClassifier) -> None:
    dates = np.array(["2020-01-01", "2021-01-01"], "datetime64[D]")[np.arange(len(PICTURES)) % 2]
    with pytest.raises(UsageError, match="labels of type date, which no model file"):
        classifier(epochs=1).fit(PICTURES, dates)


def test_what_black_and_white_are_said_to_be_holds_after_a_fit_on_files(tmp_path: Path) -> None:
    paths = files(tmp_path / "files")
    estimator = classifier(epochs=1, value_range=(0, 16)).fit(paths, LABELS)
    one = estimator.predict_proba(PICTURES[:1] / 255 * 16)
    assert np.allclose(one, estimator.predict_proba(paths[:1]))


def test_a_picture_that_counts_more_is_right_where_labels_contradict() -> None:
    twice, labels = np.concatenate([PICTURES] * 2), np.repeat([0, 1], len(PICTURES))
    estimator = classifier(settings={"label_smoothing": 0.0})
    for favoured in (0, 1):
        weights = np.where(labels == favoured, 4.0, 1.0)
        answers = estimator.fit(twice, labels, sample_weight=weights).predict_proba(PICTURES)
        assert answers[:, favoured].mean() == pytest.approx(0.8, abs=0.12)


def test_pictures_that_count_nothing_are_as_if_left_out() -> None:
    weights = np.ones(len(PICTURES))
    weights[::5] = 0
    kept = weights > 0
    ours = classifier(epochs=2).fit(PICTURES, LABELS, sample_weight=weights)
    without = classifier(epochs=2).fit(PICTURES[kept], LABELS[kept])
    assert np.allclose(ours.predict_proba(PICTURES), without.predict_proba(PICTURES), atol=1e-6)


def test_the_seed_decides() -> None:
    first, second, other = (
        classifier(epochs=1, random_state=seed).fit(PICTURES, LABELS).predict_proba(PICTURES)
        for seed in (3, np.random.RandomState(0), None)
    )
    again = classifier(epochs=1, random_state=3).fit(PICTURES, LABELS).predict_proba(PICTURES)
    assert np.array_equal(first, again)
    assert not np.allclose(first, second)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(object), INDICES - 1, INDICES / 1.0])
def test_saved_and_loaded_it_is_the_same(labels: np.ndarray, tmp_path: Path) -> None:
    rows = pd.DataFrame(PICTURES.reshape(len(PICTURES), -1) / 255.0)
    rows.columns = [f"pixel {number}" for number in range(rows.shape[1])]
    estimator = classifier(epochs=1, settings={"label_smoothing": 0.0}).fit(rows, labels)
    loaded = EfficientNetClassifier.load(estimator.save(tmp_path / "model.safetensors"))
    assert loaded.classes_.dtype == estimator.classes_.dtype
    assert loaded.classes_.tolist() == estimator.classes_.tolist()
    assert np.array_equal(loaded.predict_proba(rows), estimator.predict_proba(rows))
    assert loaded.n_features_in_ == rows.shape[1]
    assert loaded.feature_names_in_.tolist() == list(rows.columns)
    refitted = clone(loaded).set_params(device="cpu").fit(rows, labels)
    assert np.allclose(refitted.predict_proba(rows), estimator.predict_proba(rows), atol=1e-6)


def test_loaded_it_sees_pictures_as_before(tmp_path: Path) -> None:
    rows = PICTURES[:, ::2].reshape(len(PICTURES), -1)
    form = {"image_shape": (8, 16, 3), "value_range": (0.0, 128.0)}
    estimator = classifier(epochs=1, **form).fit(rows, LABELS)
    loaded = EfficientNetClassifier.load(estimator.save(tmp_path / "model.safetensors"))
    assert np.array_equal(loaded.predict_proba(rows), estimator.predict_proba(rows))
    assert {name: loaded.get_params()[name] for name in form} == form


def test_any_model_of_classes_can_be_loaded(tmp_path: Path) -> None:
    run = Model(tiny.SPEC).fit(PICTURES, LABELS, out=tmp_path / "run", verbose=False, **tiny.FAST)
    loaded = EfficientNetClassifier.load(run.run)
    assert loaded.classes_.tolist() == sorted(tiny.CLASSES)
    expected = effnet.load(run.run).predict(PICTURES)
    assert np.allclose(loaded.predict_proba(PICTURES), expected, atol=1e-5)
    assert loaded.get_params()["recipe"].lr == tiny.FAST["lr"]


def test_a_damaged_note_is_told(fitted: EfficientNetClassifier, tmp_path: Path) -> None:
    copy = pickle.loads(pickle.dumps(fitted))
    copy.model_.training = {**copy.model_.training, "estimator": {"classes": [1, 2]}}
    with pytest.raises(ModelFileError, match="damaged note"):
        EfficientNetClassifier.load(copy.save(tmp_path / "model.safetensors"))


def test_a_pickle_holds_the_bytes_of_a_model_file_and_nothing_of_torch(
    fitted: EfficientNetClassifier, tmp_path: Path
) -> None:
    content = pickle.dumps(fitted)
    words = {str(arg) for _, arg, _ in pickletools.genops(content) if isinstance(arg, str)}
    assert not [word for word in words if word.startswith("torch")]
    file = fitted.save(tmp_path / "model.safetensors")
    assert file.read_bytes() in content
    back = pickle.loads(content)
    assert np.array_equal(back.predict_proba(PICTURES), fitted.predict_proba(PICTURES))


def test_grid_search_in_a_pipeline_finds_what_learns() -> None:
    steps = make_pipeline(
        FunctionTransformer(lambda pictures: pictures[:, ::2, ::2]), classifier(epochs=6)
    )
    grid = {"efficientnetclassifier__lr": [1e-6, 0.02]}
    search = GridSearchCV(steps, grid, cv=2).fit(PICTURES, LABELS)
    assert search.best_params_ == {"efficientnetclassifier__lr": 0.02}
    assert search.best_score_ > 0.8
    assert search.predict(PICTURES).tolist() == search.best_estimator_.predict(PICTURES).tolist()


def test_random_search_draws_numbers_of_numpy() -> None:
    spread = {"lr": loguniform(1e-3, 1e-1), "epochs": randint(1, 3), "settings": [{}, {"ema": 0.5}]}
    search = RandomizedSearchCV(
        classifier(), spread, n_iter=2, cv=2, random_state=0, error_score="raise"
    )
    search.fit(list(PICTURES.reshape(len(PICTURES), -1)), LABELS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_cross_validation_and_calibration_take_files(tmp_path: Path) -> None:
    paths = files(tmp_path / "files")
    assert cross_val_score(classifier(), paths, LABELS, cv=2).shape == (2,)
    few = classifier(epochs=1).fit(paths[:24], LABELS[:24])
    calibrated = CalibratedClassifierCV(FrozenEstimator(few), method="temperature")
    calibrated.fit(paths[24:], LABELS[24:])
    before, after = (
        log_loss(LABELS[24:], one.predict_proba(paths[24:])) for one in (few, calibrated)
    )
    assert after < before


def test_one_of_several_jobs_starts_no_processes_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with get_reusable_executor(max_workers=1) as jobs:  # what n_jobs works with
        asked = jobs.submit(lambda: __import__("multiprocessing").get_start_method(allow_none=True))
        method = asked.result()
    monkeypatch.setattr("multiprocessing.get_start_method", lambda allow_none: method)
    fitted = classifier(epochs=1, settings={"workers": 1}).fit(PICTURES, LABELS)
    assert fitted.model_.training["recipe"]["workers"] == 0


def test_calibration_fits_anew_on_each_fold() -> None:
    calibrated = CalibratedClassifierCV(classifier(), cv=2).fit(PICTURES, INDICES == 1)
    assert calibrated.predict_proba(PICTURES).sum(1) == pytest.approx(1)
    assert calibrated.score(PICTURES, INDICES == 1) > 0.9


@pytest.mark.parametrize(
    ("stop", "expected"), [(Interrupted, KeyboardInterrupt), (Preempted, SystemExit)]
)
def test_a_signal_ends_a_whole_search(
    stop: type[Exception], expected: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: object, **__: object) -> None:
        raise stop("a signal came")

    monkeypatch.setattr(Model, "fit", fit)
    with pytest.raises(expected):
        cross_val_score(classifier(), PICTURES, LABELS, cv=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": LABELS[:-1]}, "inconsistent numbers of samples"),
        ({"y": np.zeros(48)}, "only one class"),
        ({"y": None}, "requires y"),
        ({"y": ["a", None] * 24}, "cannot be classes together"),
        ({"X": PICTURES[None]}, "shape"),
        ({"X": PICTURES.reshape(48, -1)[:, :-1]}, "no square"),
        ({"X": [["a.png", "b.png"]] * 48}, "one column"),
        ({"X": ["a.png", 7] * 24}, "row 1 is 7"),
        ({"sample_weight": np.full(48, -1)}, "at least 0"),
        ({"image_shape": (5, 5), "X": PICTURES.reshape(48, -1)}, "image_shape"),
        ({"value_range": (1, 0)}, "black < white"),
        ({"lr": -1.0}, "lr must be in"),
        ({"settings": {"lrr": 1}}, "Did you mean 'lr'"),
        ({"settings": ["lr"]}, "settings must be a mapping"),
        ({"settings": {"mixup": 0.2}, "sample_weight": np.ones(48)}, "mixup must be off"),
        ({"variant": "b99"}, "b99"),
    ],
)
def test_what_cannot_be_meant_is_told(change: dict[str, Any], message: str) -> None:
    given = {"X": PICTURES, "y": LABELS, **change}
    data = {name: given.pop(name) for name in ("X", "y", "sample_weight") if name in given}
    with pytest.raises(ValueError, match=message):
        classifier().set_params(**given).fit(**data)


def test_a_failed_fit_is_no_fit() -> None:
    estimator = classifier()
    with pytest.raises(UsageError):
        estimator.fit(PICTURES, np.zeros(48))
    with pytest.raises(ValueError, match="not fitted yet"):
        estimator.predict(PICTURES)


def test_a_picture_that_cannot_be_read_is_named(
    fitted: EfficientNetClassifier, tmp_path: Path
) -> None:
    paths = files(tmp_path / "files")
    paths[1].write_bytes(b"no picture")
    learning = classifier(epochs=1, val_share=0)
    for answer in (fitted.predict, lambda given: learning.fit(given, LABELS)):
        with pytest.raises(DataError, match=r"01\.png"):
            answer(paths)
    learning.set_params(settings={**learning.settings, "bad_images": "skip"}).fit(paths, LABELS)


def test_a_path_of_no_file_is_told_before_the_fit(tmp_path: Path) -> None:
    paths = files(tmp_path / "files")
    for path in paths[1:4]:
        path.unlink()
    with pytest.raises(DataError, match=r"01\.png is no file, nor are 2 others"):
        classifier().fit(paths, LABELS)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_what_is_held_out_is_what_open_data_holds_out(share: float) -> None:
    labels = np.array([0] * 7 + [1] * 31 + [2])
    pictures = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    expected = open_data(pictures, labels, val_share=share, seed=5)
    split = ArraySplit(pictures, np.zeros_like(labels))
    data = parted(split, labels, ("0", "1", "2"), np.arange(1.0, 40.0), share, seed=5)
    assert isinstance(data, WeightedData)
    known = levels(expected.train) + 1.0
    assert np.allclose(data.weights, known / known.max())
    for name in ("train", "val"):
        ours, theirs = getattr(data, name), getattr(expected, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert np.array_equal(levels(ours), levels(theirs))
            assert np.array_equal(ours.labels, theirs.labels)


def levels(split: Any) -> np.ndarray:
    return np.array([np.asarray(split.read(place))[0, 0] for place in range(len(split))])


def test_torch_is_left_as_it_was() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    classifier(epochs=1).fit(PICTURES, LABELS).predict(PICTURES)
    assert torch.equal(torch.get_rng_state(), before)
