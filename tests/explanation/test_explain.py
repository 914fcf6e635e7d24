"""Explanations of a network that finds a planted square: they lie on it, and follow the weights."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

import effnet
from effnet.compression.padding import turned
from effnet.data.decode import UnreadablePicture
from effnet.errors import DataError, ResourceError, UsageError
from effnet.explanation.curves import deletion, insertion
from effnet.explanation.explain import explain, explanations
from effnet.explanation.explanation import Explanation
from effnet.explanation.methods import METHODS
from effnet.nets.network import EfficientNet, fresh
from explanation import planted

pytest.importorskip("captum")

Spot = tuple[int, int, int]
SPOTS: list[Spot] = [(1, 4, 12), (2, 30, 13), (1, 32, 40), (2, 6, 40)]
"""Class, top and left of a square in the part of a picture that the network sees."""
EVERY = list(METHODS)


def explained(
    net: EfficientNet, method: str, spots: Sequence[Spot] = SPOTS, **words: object
) -> list[Explanation]:
    pictures = np.stack([planted.photograph(*spot)[0] for spot in spots])
    return explain(net, planted.card(net), pictures, method=method, **words)  # type: ignore[arg-type]


def likeness(one: Explanation, other: Explanation) -> float:
    """Return the correlation of two maps' ranks; 0 if one has none, being the same everywhere."""
    seen = one.seen.inside(one.size)
    ours, theirs = one.map[seen].ravel(), other.map[seen].ravel()
    return float(spearmanr(ours, theirs).statistic) if np.ptp(ours) and np.ptp(theirs) else 0.0


def around(where: planted.Where, margin: int) -> planted.Where:
    rows, columns = (slice(max(0, s.start - margin), s.stop + margin) for s in where)
    return rows, columns


@pytest.mark.parametrize("method", EVERY)
def test_the_map_lies_on_the_object(finder: EfficientNet, method: str) -> None:
    for spot, found in zip(SPOTS, explained(finder, method), strict=True):
        _, where = planted.photograph(*spot)
        assert found.label == planted.CLASSES[spot[0]]
        assert (found.map.shape, found.map.dtype) == ((48, 64), np.float32)
        speaks_for = found.map.clip(0)
        inside = np.zeros((48, 64), bool)
        inside[around(where, 3)] = True
        assert inside[found.peak[1], found.peak[0]]
        assert speaks_for[inside].sum() > 0.5 * speaks_for.sum()
        assert inside.mean() < 0.15


@pytest.mark.parametrize("stage", ["stem", 0, 1, "head"])
def test_the_maps_middle_is_the_objects(finder: EfficientNet, stage: str | int) -> None:
    misses = []
    for spot, found in zip(SPOTS, explained(finder, "hirescam", stage=stage), strict=True):
        _, (rows, columns) = planted.photograph(*spot)
        weights = found.map.clip(0) ** 2
        across = (weights.sum(0) * (np.arange(64) + 0.5)).sum() / weights.sum()
        down = (weights.sum(1) * (np.arange(48) + 0.5)).sum() / weights.sum()
        middle = (columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2
        misses.append((across - middle[0], down - middle[1]))
    # A cell of the last stage is 5 pixels wide here.
    assert np.abs(np.mean(misses, 0)).max() < 2.5


@pytest.mark.parametrize("method", EVERY)
def test_a_network_that_turns_pictures_has_upright_maps(finder: EfficientNet, method: str) -> None:
    other = turned(finder)
    stages = ("stem", 0, 1, "head") if METHODS[method].at_place else (None,)
    for stage in stages:
        ours = explained(other, method, stage=stage)
        theirs = explained(finder, method, stage=stage)
        for mine, yours in zip(ours, theirs, strict=True):
            assert np.allclose(mine.map, yours.map, atol=1e-3 * np.abs(yours.map).max())
            assert np.abs(yours.map - yours.map[::-1, ::-1]).max() > 0.5 * yours.map.max()


@pytest.mark.parametrize("method", EVERY)
def test_other_weights_give_another_map(finder: EfficientNet, method: str) -> None:
    """Adebayo et al. 2018, arXiv:1810.03292, figure 3."""
    across = SPOTS[::2]
    found = explained(finder, method, across)
    again = explained(finder, method, across)
    assert [likeness(*pair) for pair in zip(found, again, strict=True)] == pytest.approx([1, 1])
    alike = [
        likeness(*pair)
        for seed in (1, 2, 3)
        for pair in zip(
            found,
            explained(fresh(finder.spec, seed).eval(), method, across, label="across"),
            strict=True,
        )
    ]
    assert any(alike)
    assert abs(np.mean(alike)) < 0.5


@pytest.mark.parametrize("method", EVERY)
def test_curves_are_better_than_a_random_maps(finder: EfficientNet, method: str) -> None:
    known, rng = planted.card(finder), np.random.default_rng(0)
    areas: dict[str, list[float]] = {"deletion": [], "insertion": []}
    for found in explained(finder, method, SPOTS[:2]):
        random = replace(found, map=rng.random(found.map.shape, np.float32))
        for name, curve in (("deletion", deletion), ("insertion", insertion)):
            ours, other = (curve(finder, known, one, steps=10) for one in (found, random))
            assert (ours.shares[0], ours.shares[-1]) == (0, 1)
            assert ours.values[0] == pytest.approx(other.values[0])
            areas[name].append(ours.area - other.area)
        whole = deletion(finder, known, found, steps=1)
        assert whole.values[0] == pytest.approx(found.value, abs=1e-4)
    assert np.mean(areas["deletion"]) < -0.05
    assert np.mean(areas["insertion"]) > 0.3


def test_a_named_class_is_explained(finder: EfficientNet) -> None:
    pictures = np.stack([planted.photograph(*spot)[0] for spot in SPOTS])
    _, where = planted.photograph(*SPOTS[0])
    model = planted.card(finder)
    (across,) = explain(finder, model, pictures[:1], label="across", method="occlusion")
    (down,) = explain(finder, model, pictures[:1], label="down", method="occlusion")
    assert (across.label, down.label) == ("across", "down")
    assert across.value > 0.5 > down.value
    assert across.map[where].mean() > 0 > down.map[where].mean()


def test_labels_and_targets_are_explained_too(finder: EfficientNet) -> None:
    picture, where = planted.photograph(*SPOTS[1])
    several = planted.card(finder, "multilabel")
    (found,) = explain(finder, several, picture[None])
    assert (found.label, found.shown) == ("down", f"{found.value:.2%}")
    numbers = planted.card(finder, "regress", mean=[0.0, 5.0, 7.0], std=[1.0, 2.0, 3.0])
    with pytest.raises(UsageError, match="estimates nothing, across, down: say which"):
        explain(finder, numbers, picture[None])
    (found,) = explain(finder, numbers, picture[None], label="down")
    rows, columns = around(where, 3)
    assert rows.start <= found.peak[1] < rows.stop
    assert columns.start <= found.peak[0] < columns.stop
    with torch.no_grad():
        levels = torch.from_numpy(planted.levels(picture))
        outputs = finder(planted.PREPROCESSING.normalised(levels))
    assert found.value == pytest.approx(outputs[0, 2].item() * 3 + 7, abs=1e-3)


def test_what_the_network_does_not_see_has_no_part(finder: EfficientNet) -> None:
    pixels, _ = planted.photograph(1, 20, 20, height=40, width=120)
    for method in EVERY:
        (found,) = explain(finder, planted.card(finder), pixels[None], method=method)
        rows, columns = found.seen.inside(found.size)
        assert 35 <= columns.stop - columns.start <= 36
        assert found.map[rows, columns].any()
        assert not found.map[:, : columns.start].any()
        assert not found.map[:, columns.stop :].any()


def test_files_that_cannot_be_read_are_named_and_the_rest_go_on(
    finder: EfficientNet, tmp_path: Path
) -> None:
    paths = [tmp_path / name for name in ("a.png", "broken.png", "c.png")]
    for path in paths:
        Image.fromarray(planted.photograph(*SPOTS[0])[0]).save(path)
    paths[1].write_bytes(b"no picture")
    known = planted.card(finder)
    with pytest.warns(UserWarning, match=r"broken\.png"):
        found = explain(finder, known, paths, batch=2)
    assert [one.file for one in found] == [str(paths[0]), str(paths[2])]
    assert np.array_equal(found[0].map, found[1].map)
    every = list(explanations(finder, known, paths, methods=["gradcam", "occlusion"], batch=2))
    assert [type(one) for one in every] == [tuple, UnreadablePicture, tuple]
    with pytest.warns(UserWarning, match="left out"), pytest.raises(DataError, match="None of"):
        explain(finder, known, paths[1])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"label": "acros"}, "no class 'acros'. Did you mean 'across'"),
        ({"method": "grad-cam"}, "no method 'grad-cam'.*Did you mean 'gradcam'"),
        ({"stage": 9}, "no stage '9'"),
        ({"method": "ig", "stage": 1}, "ig: looks at pixels, so there is no use"),
        ({"label": 3}, "no class 3"),
        ({"batch": 0}, "batch must be at least 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    finder: EfficientNet, words: dict[str, object], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        explained(finder, **{"method": "gradcam", **words})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ([np.zeros((8, 8, 3), np.uint8)], "ndarray"),
        (Image.new("RGB", (8, 8)), "Image"),
        ([], "nothing"),
        (3, "int"),
        (None, "NoneType"),
    ],
)
def test_what_are_no_pictures_is_told(finder: EfficientNet, given: Any, what: str) -> None:
    with pytest.raises(UsageError, match=f"Pictures must be an array.*, not {what}"):
        explain(finder, planted.card(finder), given)


def test_a_model_that_has_diverged_is_refused(finder: EfficientNet) -> None:
    broken = fresh(finder.spec, 0).eval()
    with torch.no_grad():
        broken.classifier.weight.fill_(torch.nan)
    with pytest.raises(DataError, match="has diverged"):
        explained(broken, "gradcam")


def test_a_very_long_picture_is_explained(finder: EfficientNet) -> None:
    pixels = planted.background(1, 3000, np.random.default_rng(0))
    (found,) = explain(finder, planted.card(finder), pixels[None], method="occlusion")
    assert found.map.shape == (1, 3000)
    assert found.map.any()
    assert found.picture().size == (3000, 1)
    assert deletion(finder, planted.card(finder), found, steps=1).values.shape == (2,)


def test_without_captum_the_command_that_installs_it_is_told(
    finder: EfficientNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("effnet.extras.installed", lambda _: False)
    with pytest.raises(ResourceError, match=r"pip install 'effnet\[explain\]'"):
        explained(finder, "gradcam")


def test_the_network_is_left_as_it_was(finder: EfficientNet) -> None:
    before = {name: weight.clone() for name, weight in finder.state_dict().items()}
    finder.train()
    finder.stem.requires_grad_(False)
    learning = [weight.requires_grad for weight in finder.parameters()]
    try:
        for method in EVERY:
            explained(finder, method)
        assert finder.training
        assert [weight.requires_grad for weight in finder.parameters()] == learning
        assert all(weight.grad is None or not weight.grad.any() for weight in finder.parameters())
    finally:
        finder.eval().requires_grad_()
    assert all(torch.equal(before[name], now) for name, now in finder.state_dict().items())
    assert not finder.head._forward_hooks


@pytest.mark.parametrize("channels", [1, 4])
def test_pictures_of_other_channels_are_explained(channels: int) -> None:
    spec = planted.spec("symmetric", in_channels=channels)
    model = effnet.Model(spec, classes=planted.CLASSES)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 40, 50, channels), np.uint8)
    found = model.explain(pictures, method="occlusion", device="cpu")
    assert [one.map.shape for one in found] == [(40, 50)] * 2
    assert found[1].picture().size == (50, 40)
    assert found[1].file == "picture 1 of the array"
    assert deletion(model.net, model.card, found[0], steps=2).values.shape == (3,)
