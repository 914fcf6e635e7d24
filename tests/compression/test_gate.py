"""What is kept of several ways to make a network, and how one is mended."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tiny
from effnet.card import Card
from effnet.compression.gate import (
    MENDING,
    Gate,
    Way,
    Whole,
    first_good,
    open_for,
    take_statistics,
)
from effnet.compression.judge import Tried, tried
from effnet.data.defaults import default_preprocessing
from effnet.data.sources import DataSet, open_data, source_name
from effnet.data.splits import Split
from effnet.errors import (
    DataError,
    DivergedError,
    EffnetError,
    Interrupted,
    NothingBetter,
    Preempted,
    UsageError,
)
from effnet.nets.network import EfficientNet, fresh
from effnet.training.job import fingerprint
from effnet.training.own import all_to_learn_from

CARD = Card(
    tiny.SPEC,
    "classify",
    tiny.CLASSES,
    default_preprocessing(tiny.SPEC, tiny.SIDE, crop=1.0),
    training={"data": "colours"},
    figures={"val_accuracy": 0.5},
)
RECIPE = MENDING.with_(**{**tiny.FAST, "epochs": 6, "lr": 0.02, "flip": 0.0})


@pytest.fixture(scope="module")
def data() -> DataSet:
    return open_data(*tiny.arrays(64), validation=tiny.arrays(30, seed=1), classes=tiny.CLASSES)


@pytest.fixture(scope="module")
def whole(data: DataSet) -> Whole:
    """A network that knows its colours."""
    net = fresh(tiny.SPEC, 0)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    levels, labels = tiny.arrays(64)
    x = CARD.preprocessing.normalised(torch.from_numpy(levels).permute(0, 3, 1, 2))
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net.train()(x), torch.from_numpy(labels)).backward()
        optimizer.step()
    whole = Whole(net.eval(), CARD)
    take_statistics(net, iter([x]))
    assert Gate(data=data, recipe=RECIPE).judged(whole).value == 1
    return whole


def ruined(change: Callable[[EfficientNet], None]) -> Callable[[Whole], Whole]:
    def make(whole: Whole) -> Whole:
        net = copy.deepcopy(whole.net)
        with torch.no_grad():
            change(net)
        return whole._replace(net=net)

    return make


def forget_statistics(net: EfficientNet) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean += 10  # type: ignore[operator]


def forget_classes(net: EfficientNet) -> None:
    net.classifier.weight.copy_(-net.classifier.weight)


NOTHING = Way("nothing", lambda whole: whole)
STATISTICS = Way("other statistics", ruined(forget_statistics))
CLASSES = Way("other classes", ruined(forget_classes))


def test_the_first_that_holds_is_kept(whole: Whole, data: DataSet) -> None:
    lines: list[str] = []
    gate = Gate(data=data, recipe=RECIPE, tell=lines.append)
    kept = first_good(whole, (CLASSES, NOTHING, STATISTICS), gate)
    assert [(tried.name, tried.kept) for tried in kept.tried] == [
        ("other classes", False),
        ("nothing", True),
    ]
    assert kept.tried[0].drop > 0.5
    assert kept.tried[1].drop == 0
    assert kept.before.value == kept.after.value == 1
    assert kept.whole.net is whole.net
    assert kept.whole.card.training == {"data": "colours", "converted": "nothing"}
    assert kept.whole.card.figures == {"val_accuracy": 1.0, "before_conversion": 1.0}
    assert len(lines) == 3


def test_statistics_are_taken_anew(whole: Whole, data: DataSet) -> None:
    state = copy.deepcopy(whole.net.state_dict())
    kept = first_good(whole, (STATISTICS,), Gate(data=data, recipe=RECIPE))
    assert [tried.name for tried in kept.tried] == [
        "other statistics",
        "BatchNorm statistics taken anew",
    ]
    mended = kept.whole.net
    assert not mended.training
    momenta = {m.momentum for m in mended.modules() if isinstance(m, nn.BatchNorm2d)}
    assert momenta == {tiny.SPEC.norm_momentum}
    assert all(torch.equal(tensor, state[name]) for name, tensor in whole.net.state_dict().items())


def test_statistics_are_those_of_the_batches() -> None:
    """torch's own statistics of a norm that sees all pictures at once are the oracle."""
    net = fresh(tiny.SPEC, 0)
    x = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    seen: list[torch.Tensor] = []
    net.stem.conv.register_forward_hook(lambda *call: seen.append(call[2]))
    take_statistics(net, iter([x[:8], x[8:]]))
    parts = [part.detach() for part in seen]
    mean = torch.stack([part.mean((0, 2, 3)) for part in parts]).mean(0)
    variance = torch.stack([part.var((0, 2, 3)) for part in parts]).mean(0)
    assert torch.allclose(net.stem.norm.running_mean, mean, atol=1e-6)  # type: ignore[arg-type]
    assert torch.allclose(net.stem.norm.running_var, variance, atol=1e-5)  # type: ignore[arg-type]


def test_a_training_mends_what_statistics_do_not(whole: Whole, data: DataSet) -> None:
    kept = first_good(whole, (CLASSES,), Gate(data=data, recipe=RECIPE, max_drop=0.1))
    assert [tried.kept for tried in kept.tried] == [False, False, True]
    assert kept.tried[-1].name == "trained for 6 epochs"
    assert kept.whole.net.spec == kept.whole.card.spec == tiny.SPEC
    assert kept.whole.card.preprocessing == CARD.preprocessing
    assert not kept.whole.net.training


def test_nothing_is_better(whole: Whole, data: DataSet) -> None:
    gate = Gate(data=data, recipe=RECIPE.with_(epochs=1, lr=1e-7))
    with pytest.raises(NothingBetter, match=r"of 1\.0000 within 1\.00 points.*Nothing was written"):
        first_good(whole, (CLASSES,), gate)


def test_the_network_that_came_in_is_never_mended_in_place_of_one_made(
    whole: Whole, data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the loss of none that was made is a number."""

    def without_number(name: str, *given: Any, **more: Any) -> Tried:
        made = tried(name, *given, **more)
        return replace(made, drop=math.nan, kept=False) if name == CLASSES.name else made

    monkeypatch.setattr("effnet.compression.gate.tried", without_number)
    gate = Gate(data=data, recipe=RECIPE.with_(epochs=1, lr=1e-7))
    with pytest.raises(NothingBetter, match=r"the nearest \(BatchNorm statistics taken anew\)"):
        first_good(whole, (CLASSES,), gate)


def test_what_judges_must_fit(whole: Whole, data: DataSet, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no validation split"):
        first_good(whole, (NOTHING,), Gate(data=replace(data, val=None), recipe=RECIPE))
    with pytest.raises(UsageError, match="the data's regress"):
        first_good(whole, (NOTHING,), Gate(data=replace(data, task="regress"), recipe=RECIPE))
    turned = replace(data, classes=data.classes[::-1])
    with pytest.raises(UsageError, match="another order"):
        first_good(whole, (NOTHING,), Gate(data=turned, recipe=RECIPE))
    folder = tiny.folder(tmp_path)
    assert open_for(CARD, folder).classes == tiny.CLASSES
    own = replace(CARD, training={"data": source_name(folder), "recipe": {"val_share": 0.0}})
    assert len(open_for(own, folder).val or ()) == 12
    (folder / "train" / "blue").rename(folder / "train" / "cyan")
    (folder / "val" / "blue").rename(folder / "val" / "cyan")
    with pytest.raises(UsageError, match="Only in the model: blue; only in the data: cyan"):
        open_for(CARD, folder)


def test_pictures_that_a_network_has_learnt_from_do_not_judge_it(tmp_path: Path) -> None:
    folder = tiny.folder(tmp_path / "photos") / "train"

    def opened(data: Path, **recipe: float) -> DataSet:
        return open_for(
            replace(CARD, training={"data": source_name(data), "recipe": recipe}), folder
        )

    with pytest.raises(DataError, match="trained on all others: add a val folder"):
        opened(folder, val_share=0.0)
    held_out = opened(folder, val_share=0.25, seed=3)
    assert names(held_out.val) == names(open_data(folder, val_share=0.25, seed=3).val)
    assert len(opened(tmp_path / "others", val_share=0.0).val or ()) == 3  # one of each class
    photos = folder.parent
    assert len(open_for(trained_on(photos), photos).val or ()) == 12
    everything = all_to_learn_from(open_data(photos))
    training = {"fingerprint": fingerprint(everything.train, None)}
    with pytest.raises(DataError, match=r"trained on the validation pictures of .*photos, too"):
        open_for(replace(CARD, training=training), photos)


def trained_on(data: Path, **recipe: Any) -> Card:
    """The card of a training on data, as the training loop writes it."""
    found = open_data(data, **recipe)
    known = fingerprint(found.train, found.val)
    return replace(
        CARD, training={"data": source_name(data), "fingerprint": known, "recipe": recipe}
    )


def names(split: Split | None) -> list[str]:
    return [Path(split.name(index)).name for index in range(len(split))] if split else []


def test_a_part_of_what_a_network_has_learnt_from_does_not_judge_it(tmp_path: Path) -> None:
    photos = tiny.folder(tmp_path / "photos")
    card = trained_on(photos)
    with pytest.raises(DataError, match=r"photos/train .*a part of what it was trained on"):
        open_for(card, photos / "train")
    assert names(open_for(card, photos / "val").val)  # it has not learnt from these
    alone = tiny.folder(tmp_path / "alone", val=0)
    card = trained_on(alone, val_share=0.25, seed=3)
    assert names(open_for(card, alone / "train").val) == names(open_for(card, alone).val) != []


def test_the_data_of_a_training_is_known_again_where_it_was_moved(tmp_path: Path) -> None:
    photos = tiny.folder(tmp_path / "photos", val=0)
    of_all, of_some = trained_on(photos, val_share=0.0), trained_on(photos, val_share=0.25, seed=3)
    before = names(open_for(of_some, photos).val)
    moved = photos.rename(tmp_path / "moved")
    with pytest.raises(DataError, match="moved has no validation pictures, and the model was trai"):
        open_for(of_all, moved)
    lines: list[str] = []
    assert names(open_for(of_some, moved, tell=lines.append).val) == before
    assert lines == [f"judged by 6 pictures held out of {moved} (val_share 0.25, seed 3)"]


def test_data_that_has_changed_since_the_training_does_not_judge(tmp_path: Path) -> None:
    photos = tiny.folder(tmp_path / "photos", val=0)
    card = trained_on(photos, val_share=0.25, seed=3)
    next((photos / "train" / "red").iterdir()).unlink()
    with pytest.raises(DataError, match="changed since"):
        open_for(card, photos)
    assert names(open_for(card, photos, seed=4).val)  # as asked


@pytest.mark.parametrize(
    "error", [Interrupted("resume run"), Preempted("resume run"), DivergedError("in run")]
)
def test_what_is_said_of_a_training_that_is_not_kept(
    whole: Whole, data: DataSet, monkeypatch: pytest.MonkeyPatch, error: EffnetError
) -> None:
    def stopped(*given: object) -> None:
        raise error

    monkeypatch.setattr("effnet.compression.gate.train", stopped)
    with pytest.raises(type(error), match=r"^(?!.*run).*Nothing was written"):
        first_good(whole, (CLASSES,), Gate(data=data, recipe=RECIPE))
