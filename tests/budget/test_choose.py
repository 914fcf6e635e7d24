"""The choice of a variant, on a machine whose costs are known."""

import json
import math
import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

import tiny
from budget.abacus import HERE, Abacus
from effnet.budget.choose import Choice, choose
from effnet.budget.ranking import Row, error_of
from effnet.data.sources import DataSet, open_data
from effnet.errors import DataError, ResourceError, UsageError
from effnet.measure.counts import count
from effnet.measure.limits import Limit, parse_limits
from effnet.measure.records import Measurement, Setting
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import variant_spec
from effnet.nets.spec import Spec
from effnet.nets.variants import VARIANTS
from effnet.training import batch_size
from effnet.weights.catalog import find

SPECS = {name: variant_spec(name) for name in VARIANTS}


def chosen_on(machine: Abacus, limits: str = "", data: Any = None, **options: Any) -> Choice:
    return choose(
        data,
        limits=parse_limits([limits]),
        measure=machine.measure,
        speed=machine.speed,
        **options,
    )


def judged_by(pictures: int) -> DataSet:
    """Three classes of tiny pictures, of which so many are for validation."""
    return open_data(*tiny.arrays(30), validation=tiny.arrays(max(3, pictures)))


def row_of(choice: Choice, variant: str) -> Row:
    return next(row for row in choice.rows if row.variant == variant)


def sentences(text: str) -> int:
    return len(re.findall(r"[.!?](?=\s|$)", text))


@pytest.mark.parametrize("most", [0.0085, 0.02, 0.07, 0.5])
def test_the_best_that_keeps_the_latency(most: float) -> None:
    machine = Abacus()
    choice = chosen_on(machine, f"latency={most}s")
    keeping = {name for name, spec in SPECS.items() if machine.latency(spec) <= most}
    assert {row.variant for row in choice.rows if row.kept} == keeping
    best = max(keeping, key=lambda name: VARIANTS[name].top1)
    assert choice.chosen.top1 == VARIANTS[best].top1
    assert choice.chosen.amounts["latency"] == machine.latency(SPECS[choice.chosen.variant])
    assert (choice.margin, choice.machine) == (0.0, HERE)
    # What is twice over the limit is not measured, but for a few until that is known.
    near = {name for name, spec in SPECS.items() if machine.latency(spec) <= 2.5 * most}
    assert len(set(machine.seen) - near) <= 3
    assert len(machine.seen) == len(set(machine.seen))
    assert "l2" not in machine.seen


def test_a_family_that_this_machine_likes_is_not_missed() -> None:
    quick = Abacus(quick="edgetpu")
    usual, found = Abacus().latency(SPECS["edge-s"]), quick.latency(SPECS["edge-s"])
    assert found < 0.0085 < usual / 2
    assert row_of(chosen_on(quick, "latency=8.5ms"), "edge-s").amounts["latency"] == found


def test_what_was_not_measured_says_so() -> None:
    choice = chosen_on(Abacus(), "latency=10ms")
    largest = row_of(choice, "l2")
    assert largest.predicted == {"latency"}
    assert re.fullmatch(
        r"latency about [\d.]+ s by its multiply-adds, not measured", largest.broken[0]
    )
    assert largest.amounts["latency"] == pytest.approx(Abacus().latency(SPECS["l2"]), rel=0.5)
    measured = row_of(choice, "b0")
    assert (measured.predicted, measured.note, measured.broken) == (set(), "", ())


def test_what_breaks_a_counted_limit_is_not_measured() -> None:
    machine = Abacus()
    choice = chosen_on(machine, "params=6M")
    small = {name for name in VARIANTS if parameters(name) <= 6e6}
    assert set(machine.seen) == small == {row.variant for row in choice.rows if row.kept}
    assert choice.chosen.variant == "edge-s"
    assert row_of(choice, "b1").broken == ("params 7.79 M",)
    assert all(asked == ("latency",) for asked in machine.asked)


def parameters(name: str) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in EfficientNet(SPECS[name]).parameters())


def test_patience() -> None:
    machine = Abacus()
    choice = chosen_on(machine, "macs=100G", patience=30.0)
    assert len(machine.seen) == 5  # of about six seconds each
    assert all(row.measured("latency") == (row.variant in machine.seen) for row in choice.rows)
    assert choice.chosen.variant == "v2-xl"  # unmeasured, and still the best that keeps the limit
    assert "not measured" in choice.chosen.note
    assert re.search(
        r"at about [\d.]+ s, predicted by its multiply-adds and not measured\. ", choice.reason
    )
    eager = Abacus()
    chosen_on(eager, "macs=100G", patience=1000.0)
    assert len(eager.seen) == 28


def test_memory_is_measured_where_it_is_limited() -> None:
    machine = Abacus()
    choice = chosen_on(machine, "memory=200MB", patience=30.0)
    keeping = {name for name, spec in SPECS.items() if machine.memory(spec) <= 200e6}
    assert {row.variant for row in choice.rows if row.kept} == keeping
    assert machine.asked[0] == ("latency", "memory")
    assert machine.asked[-1] == ("memory",)  # the latency is not asked for, and patience was up
    assert "l2" not in machine.seen


FEW = tuple(name for name in VARIANTS if name not in ("v2-l", "v2-xl", "b8"))


def costs_on(machine: Abacus, data: DataSet | None) -> dict[str, dict[str, float]]:
    """What the variants of `FEW` cost, on tiny pictures of three classes if there is data."""
    changes = {} if data is None else {"classes": 3, "resolution": 48, "train_resolution": 48}
    specs = {name: SPECS[name].with_(**changes) for name in FEW}
    return {
        name: {
            "latency": machine.latency(spec),
            "memory": machine.memory(spec),
            "params": count(spec).parameters,
        }
        for name, spec in specs.items()
    }


@settings(max_examples=12)
@given(
    start=st.floats(0, 0.01),
    per_mac=st.floats(1e-12, 1e-10),
    per_number=st.floats(0, 1e-9),
    latency=st.none() | st.floats(1e-3, 10),
    params=st.none() | st.floats(3e6, 1e8),
    memory=st.none() | st.floats(3e7, 1e9),
    pictures=st.none() | st.integers(3, 300),
)
def test_no_choice_can_be_bettered(
    start: float,
    per_mac: float,
    per_number: float,
    latency: float | None,
    params: float | None,
    memory: float | None,
    pictures: int | None,
) -> None:
    machine = Abacus(start, per_mac, per_number)
    amounts = {"latency": latency, "params": params, "memory": memory}
    limits = [Limit(name, most) for name, most in amounts.items() if most is not None]
    data = None if pictures is None else judged_by(pictures)
    options: dict[str, Any] = {"measure": machine.measure, "limits": limits, "variants": FEW}
    if not limits and data is None:
        with pytest.raises(UsageError, match="for what"):
            choose(data, **options)
        return
    possible = {
        name
        for name, costs in costs_on(machine, data).items()
        if all(costs[limit.quantity] <= limit.most for limit in limits)
    }
    if not possible:
        with pytest.raises(UsageError, match="No variant keeps"):
            choose(data, **options)
        return
    choice = choose(data, **options)
    chosen, kept = choice.chosen, [row for row in choice.rows if row.kept]
    assert {row.variant for row in kept} == possible
    for limit in limits:
        assert chosen.amounts[limit.quantity] <= limit.most
        assert limit.quantity not in chosen.predicted
    for row in kept:
        assert row.top1 - chosen.top1 <= choice.margin
        if row.top1 >= max(other.top1 for other in kept) - choice.margin:
            assert row.amounts["latency"] >= chosen.amounts["latency"]
    assert sentences(choice.reason) == 2
    assert json.loads(json.dumps(choice.to_dict()))["chosen"] == chosen.variant


def test_fewer_pictures_make_a_cheaper_choice() -> None:
    choices = [chosen_on(Abacus(), "latency=1s", judged_by(n)) for n in (5, 50, 400, 5000)]
    costs = [choice.chosen.amounts["latency"] for choice in choices]
    assert costs == sorted(costs)
    assert len(set(costs)) > 2
    for choice, pictures in zip(choices, (5, 50, 400, 5000), strict=True):
        best = max(row.top1 for row in choice.rows if row.kept)
        scatter = math.sqrt(best * (100 - best) / pictures)
        assert choice.margin == pytest.approx(norm.ppf(0.975) * scatter, rel=1e-4)
        assert best - choice.chosen.top1 <= choice.margin
        assert f"With {pictures} pictures" in choice.reason
        assert f"{choice.margin:.1f} points" in choice.reason


def test_the_margin_of_data_without_a_validation_split_is_of_what_fit_would_hold_out() -> None:
    data = open_data(*tiny.arrays(100), val_share=0.0)
    assert data.val is None
    assert chosen_on(Abacus(), "latency=1s", data).judged_by == 10


def test_an_accuracy_over_everything_has_no_error() -> None:
    assert error_of(77.0, 0) == 0.0
    assert error_of(77.0, 10**12) < 1e-4


def test_the_data_decide_classes_and_resolution() -> None:
    data = judged_by(6)
    choice = chosen_on(Abacus(), "latency=1s", data)
    assert {row.resolution for row in choice.rows} == {48}  # pictures of 16 pixels
    own = parameters("b0") - 997 * (1280 + 1)
    assert row_of(choice, "b0").amounts["params"] == own
    large = chosen_on(Abacus(), "latency=1s")
    assert row_of(large, "b0").resolution == 224
    given = chosen_on(Abacus(), "macs=1G", resolution=96, variants=["b0", "v2-s"])
    assert {row.resolution for row in given.rows} == {96}


@pytest.mark.parametrize("task", ["multilabel", "regress"])
def test_other_tasks(task: str) -> None:
    pictures, labels = tiny.arrays(30)
    values = np.eye(3)[labels] if task == "multilabel" else np.eye(3)[labels] + labels[:, None]
    machine = Abacus()
    choice = chosen_on(
        machine, "train-time=1h", open_data(pictures, values, task=task), variants=["b0"]
    )
    assert (choice.chosen.variant, machine.trained) == ("b0", ["b0"])


def test_there_is_no_such_task() -> None:
    with pytest.raises(UsageError, match="classify"):
        chosen_on(Abacus(), "latency=1s", "digits", task="clasify")


def test_training_time() -> None:
    machine, data = Abacus(), judged_by(6)
    choice = chosen_on(machine, "latency=20ms,train-time=30s", data, epochs=100)
    assert [row.variant for row in choice.rows if row.kept]
    for row in choice.rows:
        spec = SPECS[row.variant].with_(classes=3, resolution=48, train_resolution=48)
        seconds = 100 * 30 / machine.training_speed(spec)
        fits = machine.latency(spec) <= 0.02 and seconds <= 30
        assert row.kept == fits, row
        if row.kept:
            assert row.amounts["train-time"] == pytest.approx(seconds)
        if machine.latency(spec) > 0.02:
            assert row.variant not in machine.trained
    macs = [row_of(choice, name).amounts["macs"] for name in machine.trained]
    assert macs == sorted(macs)
    assert row_of(choice, machine.trained[0]).amounts["train-time"] < 30


def test_a_training_that_is_far_too_long_is_not_begun() -> None:
    machine = Abacus()
    with pytest.raises(UsageError, match=r"No variant keeps train-time 1 s of steps on .*epochs"):
        chosen_on(machine, "train-time=1s", judged_by(6), epochs=10_000)
    assert len(machine.trained) <= 4


def test_a_training_that_takes_too_long_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "SECONDS_A_BATCH", 0.01)  # its process is still starting
    with pytest.raises(ResourceError, match=r"b0: .* too long, more than 0\.01 s"):
        choose(judged_by(6), limits="train-time=1h", variants=["b0"], measure=Abacus().measure)


def test_training_time_is_said_to_be_that_of_the_steps() -> None:
    lines: list[str] = []
    limits = "train-time=1h"
    choice = chosen_on(Abacus(), limits, judged_by(6), variants=["b0"], tell=lines.append)
    assert "alone keeps train-time 60 min of steps on" in choice.reason
    assert re.search(r"train-time [\d.]+ \w+ of steps", lines[-1])


def test_what_cannot_be_measured_is_not_chosen() -> None:
    choice = chosen_on(Abacus(fails=["v2-b0"]), "latency=11ms")
    assert row_of(choice, "v2-b0").broken == ("it could not be measured: a bead is missing",)
    assert row_of(choice, "v2-b0").amounts.keys() == {"macs", "params", "size"}
    assert choice.chosen.variant != "v2-b0"
    assert chosen_on(Abacus(), "latency=11ms").chosen.variant == "v2-b0"


def test_a_choice_by_a_disturbed_figure_is_looked_at_again() -> None:
    best = chosen_on(Abacus(), "latency=11ms").chosen.variant
    once = Abacus(disturbed={best: 1})
    seconds = once.latency(SPECS[best])
    lines: list[str] = []
    choice = chosen_on(once, f"latency={1.6 * seconds}s", variants=[best], tell=lines.append)
    assert (once.seen, choice.chosen.noise) == ([best, best], "")
    assert choice.chosen.amounts["latency"] == seconds
    assert "shaken" in lines[0]
    assert "measured again" in lines[1]

    always = Abacus(disturbed={best: 9})
    choice = chosen_on(always, f"latency={1.6 * seconds}s", variants=[best])
    assert always.seen == [best, best]
    assert "measured (in doubt: shaken)" in choice.reason
    assert sentences(choice.reason) == 2
    assert choice.to_dict()["rows"][0]["noise"] == "shaken"


def test_one_that_is_slower_when_looked_at_again_is_not_chosen() -> None:
    """The first figure was within the limit, the second is not."""
    machine = Abacus()
    start, limit = machine.latency(SPECS["b1"]), "latency=1s"

    def measure(spec: Spec, setting: Setting, what: Collection[str]) -> Measurement:
        found = machine.measure(spec, setting, what)
        first = machine.seen.count(spec.name) == 1
        if spec.name != "b1" or found.latency is None:
            return found
        noisy = replace(
            found.latency, median=start if first else 2.0, noise="shaken" if first else ""
        )
        return replace(found, latency=noisy)

    choice = choose(limits=limit, variants=["b0", "b1"], measure=measure)
    assert choice.chosen.variant == "b0"
    assert row_of(choice, "b1").broken == ("latency 2 s",)
    assert machine.seen.count("b0") == 1


def test_where_nothing_can_be_measured_the_reason_is_told() -> None:
    with pytest.raises(ResourceError, match="bead"):
        chosen_on(Abacus(fails=list(VARIANTS)), "latency=1s")


def test_nothing_keeps_the_limits() -> None:
    machine = Abacus()
    with pytest.raises(UsageError) as caught:
        chosen_on(machine, "latency=2ms,params=50M")
    nearest = min(SPECS, key=lambda name: machine.latency(SPECS[name]))
    times = machine.latency(SPECS[nearest]) / 0.002
    told = str(caught.value)
    assert f"{nearest} comes nearest" in told
    assert f"{times:.3g} times" in told
    assert "effnet scale --to latency=2ms,params=50M" in told
    assert len(machine.seen) < 8


@pytest.mark.parametrize(
    ("limit", "options"),
    [
        ("latency=0.6ms", " --runtime openvino --batch 4 --threads 97 --classes 3"),
        ("params=1M", " --classes 3"),
    ],
)
def test_the_remedy_is_for_the_same_question(limit: str, options: str) -> None:
    setting = Setting(runtime="openvino", batch=4, threads=97)
    with pytest.raises(UsageError) as caught:
        chosen_on(Abacus(), limit, judged_by(6), setting=setting)
    assert str(caught.value).endswith(f"effnet scale --to {limit}{options}")


def test_the_reason_without_data() -> None:
    choice = chosen_on(Abacus(), "latency=11ms", setting=Setting(threads=2, runtime="openvino"))
    kept = [row for row in choice.rows if row.kept]
    first, second = choice.reason.split(". ")
    amount = f"{1e3 * choice.chosen.amounts['latency']:.3g} ms measured"
    for words in (
        choice.chosen.variant,
        f"{len(kept)} variants",
        "latency 11 ms on Abacus, 2 threads, openvino",
        f"{choice.chosen.top1:g} %",
        amount,
    ):
        assert words in first
    better = [row for row in choice.rows if row.top1 > choice.chosen.top1]
    following = min(better, key=lambda row: row.top1)
    assert f"{following.variant} ({following.top1:g} %)" in second
    assert following.broken[0] in second


@pytest.mark.parametrize(
    ("limits", "data", "variants", "words"),
    [
        ("latency=8.5ms", None, ["b0", "b1"], "it alone keeps latency 8.5 ms on Abacus"),
        ("", judged_by(5), ["b0"], "it is the only one"),
        ("", judged_by(5), ["b0", "b1", "b2"], "3 variants"),
        ("", judged_by(3000), ["b0", "b7"], "no other that could be taken"),
        ("", judged_by(3000), ["v2-b0", "edge-m"], "none of the others"),
        ("params=6M", None, ["b0", "lite0"], "None of the others"),
    ],
)
def test_every_reason_is_two_sentences(
    limits: str, data: DataSet | None, variants: list[str], words: str
) -> None:
    choice = chosen_on(Abacus(), limits, data, variants=variants)
    assert sentences(choice.reason) == 2
    assert words in choice.reason
    assert choice.reason.startswith(f"{choice.chosen.variant} is chosen: ")


def test_what_was_asked_wrongly() -> None:
    with pytest.raises(UsageError, match="Did you mean 'b0'"):
        chosen_on(Abacus(), "latency=1s", variants=["b00"])
    with pytest.raises(UsageError, match="no variant"):
        chosen_on(Abacus(), "latency=1s", variants=[])
    with pytest.raises(UsageError, match="data"):
        chosen_on(Abacus(), "train-time=1h")
    with pytest.raises(UsageError, match="for what"):
        chosen_on(Abacus())
    with pytest.raises(DataError):
        chosen_on(Abacus(), "latency=1s", "no such folder")
    with pytest.raises(UsageError, match="epochs"):
        chosen_on(Abacus(), "latency=1s", epochs=0)


def test_weights_that_can_be_fetched_are_named() -> None:
    for row in chosen_on(Abacus(), "macs=1000G", patience=10.0).rows:
        entry = find(row.variant, row.weights)
        assert (entry.variant, entry.unbuilt) == (row.variant, "")
