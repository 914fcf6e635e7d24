"""The transformer: whose vectors it returns, when it computes them, and what stands on top."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import tiny
from effnet.data.transforms import evaluation_transform
from effnet.errors import DataError, UsageError
from effnet.estimator import features as module
from effnet.estimator.features import EfficientNetFeatures
from effnet.model import Model
from estimator.small import SIDE, features

PICTURES, INDICES = tiny.arrays(24)


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFFNET_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures went through a network, call by call."""
    counts: list[int] = []
    run = module.outputs_of

    def counted(net: Any, pictures: Any, *args: Any, **options: Any) -> Any:
        counts.append(len(pictures))
        return run(net, pictures, *args, **options)

    monkeypatch.setattr(module, "outputs_of", counted)
    return counts


def inputs(model: Model) -> torch.Tensor:
    prepare = evaluation_transform(model.preprocessing)
    levels = torch.stack([prepare(Image.fromarray(picture)) for picture in PICTURES])
    return model.preprocessing.normalised(levels)


@pytest.mark.parametrize("stage", ["pooled", 0, 1, -1])
def test_vectors_are_the_networks_own(stage: Any) -> None:
    transformer = features(stage=stage)
    vectors = transformer.fit_transform(PICTURES)
    model = transformer.model_
    stride = {0: 2, 1: 4, -1: 4}
    with torch.no_grad():
        if stage == "pooled":
            expected = model.net.embed(inputs(model))
        else:
            expected = model.net.features(inputs(model), strides=[stride[stage]])[0].mean((2, 3))
    assert np.allclose(vectors, expected, atol=1e-5)
    assert vectors.shape == (24, len(transformer.get_feature_names_out()))


def test_each_picture_is_computed_once(computed: list[int]) -> None:
    first = features().fit_transform(PICTURES)
    again = features().fit(PICTURES).transform(PICTURES[::-1])
    assert np.array_equal(first, again[::-1])
    assert computed == [24]
    features().fit_transform(np.concatenate([PICTURES, PICTURES[:3] // 2, PICTURES[:3] // 2]))
    assert computed == [24, 3]


@pytest.mark.parametrize(
    "change", [{"random_state": 1}, {"stage": 1}, {"resolution": 12}, {"cache_bytes": 0}]
)
def test_other_vectors_are_computed_anew(change: dict[str, Any], computed: list[int]) -> None:
    features().fit_transform(PICTURES)
    features(**change).fit_transform(PICTURES)
    assert computed == [24, 24]


def test_what_changes_after_the_fit_is_computed_anew(computed: list[int]) -> None:
    transformer = features().fit(PICTURES)
    before = transformer.transform(PICTURES)
    with torch.no_grad():
        transformer.model_.net.stem.conv.weight.mul_(2)
    assert not np.allclose(transformer.transform(PICTURES), before)
    assert transformer.set_params(stage=0).transform(PICTURES).shape == (24, 8)
    assert computed == [24, 24, 24]
    assert np.array_equal(features().fit_transform(PICTURES), before)


def test_files_are_known_by_their_content(tmp_path: Path, computed: list[int]) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path, picture in zip(paths, PICTURES, strict=False):
        Image.fromarray(picture).save(path)
    first = features().fit_transform(paths)
    moved = [path.rename(path.with_suffix(".moved")) for path in paths]
    assert np.array_equal(features().fit_transform(moved), first)
    Image.fromarray(PICTURES[9]).save(moved[2], format="png")
    changed = features().fit_transform(moved)
    assert computed == [4, 1]
    assert [bool(np.array_equal(*rows)) for rows in zip(changed, first, strict=True)] == [
        *(True, True, False, True)
    ]


def test_a_stopped_run_has_kept_what_was_done(
    computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 10)
    features().fit_transform(PICTURES[:15])
    features().fit_transform(PICTURES)
    assert computed == [10, 5, 9]


def test_trained_features_serve_a_linear_head(tmp_path: Path) -> None:
    model = Model(tiny.SPEC)
    run = model.fit(PICTURES, INDICES, out=tmp_path / "run", verbose=False, **tiny.FAST).run
    steps = make_pipeline(EfficientNetFeatures(weights=run, device="cpu"), LogisticRegression())
    grid = {"efficientnetfeatures__stage": ["pooled", 0], "logisticregression__C": [0.1, 10]}
    search = GridSearchCV(steps, grid, cv=2, error_score="raise").fit(PICTURES, INDICES)
    assert search.score(*tiny.arrays(30, seed=5)) > 0.9
    inside = search.best_estimator_[0].model_
    assert inside.preprocessing == model.preprocessing
    assert torch.equal(inside.net.stem.conv.weight, model.net.stem.conv.weight)


def test_a_column_of_paths_stands_beside_others(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for path, picture in zip(paths, PICTURES, strict=False):
        Image.fromarray(picture).save(path)
    frame = pd.DataFrame({"path": list(map(str, paths)), "age": range(6)}, index=list("abcdef"))
    both = ColumnTransformer([("net", features(), ["path"])], remainder="passthrough")
    found = both.set_output(transform="pandas").fit_transform(frame)
    assert found.index.tolist() == list("abcdef")
    assert found["remainder__age"].tolist() == list(range(6))
    assert found.shape == (6, tiny.SPEC.head + 1)
    assert found.columns[0] == "net__efficientnetfeatures0"


def test_pickled_it_is_the_same() -> None:
    transformer = features().fit(PICTURES)
    back = pickle.loads(pickle.dumps(transformer))
    assert np.array_equal(back.transform(PICTURES), transformer.transform(PICTURES))


@pytest.mark.parametrize("stage", [2, -3, "last", 0.5, None])
def test_a_stage_that_is_not_there_is_told(stage: Any) -> None:
    with pytest.raises(UsageError, match="number from 0 to 1"):
        features(stage=stage).fit(PICTURES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"resolution": 0},
        {"resolution": "a"},
        {"batch_size": 0},
        {"workers": -1},
        {"cache_bytes": "1 GB"},
        {"cache_bytes": -1},
        {"random_state": None},
    ],
)
def test_a_number_that_cannot_be_meant_is_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(wrong))} must be a number from"):
        features(**wrong).fit(PICTURES)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png"):
        features().fit_transform([tmp_path / "gone.png"])


def test_small_pictures_are_whole() -> None:
    assert features(resolution=SIDE).fit(PICTURES).model_.preprocessing.crop == 1
