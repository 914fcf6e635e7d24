"""What is tried, what wins, and what fails."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from compression.made_up import BUSY, LARGE, NET, USUAL, Figure, MadeUp, compressed, data, won
from effnet.compression.building import Built, Order
from effnet.compression.candidates import PRECISIONS, RUNTIMES, Candidate, candidates
from effnet.compression.outcome import PICTURE, REPORT, Compression
from effnet.compression.records import Demands, Figures, Record, winner
from effnet.errors import DataError, NothingBetter, ResourceError, UsageError
from effnet.measure.limits import Limit
from effnet.measure.records import Measurement, Setting, Timing
from effnet.nets.scaling import variant_spec


def tried(found: Compression) -> dict[tuple[str, str, int], Record]:
    every = ((record.candidate, record) for record in found.records)
    return {(one.runtime, one.precision, one.resolution): record for one, record in every}


# What is tried.


@given(
    st.lists(st.sampled_from(list(RUNTIMES)), min_size=1),
    st.lists(st.sampled_from(list(PRECISIONS)), min_size=1),
    st.lists(st.integers(1, 99), max_size=3),
    st.lists(st.sampled_from(["lite0", "b0", "b1"]), max_size=2),
)
def test_candidates_are_what_came_in_and_then_each_combination_once(
    runtimes: list[str], precisions: list[str], sides: list[int], smaller: list[str]
) -> None:
    every = {
        (network, runtime, precision, side)
        for network in ("own", *smaller)
        for runtime in runtimes
        for precision in precisions
        for side in (50, *sides)
        if precision in RUNTIMES[runtime]
    } | {("own", "torch", "float32", 50)}
    spec = variant_spec("b2").with_(name="own")
    options: dict[str, Any] = {
        "runtimes": runtimes,
        "precisions": precisions,
        "resolutions": sides,
        "smaller": smaller,
    }
    if len(every) == 1:
        with pytest.raises(UsageError, match="Nothing is left to try"):
            candidates(spec, 50, **options)
        return
    found = candidates(spec, 50, **options)
    told = [(one.network, one.runtime, one.precision, one.resolution) for one in found]
    assert told[0] == ("own", "torch", "float32", 50)
    assert len(told) == len(every)
    assert set(told) == every
    dear = [(network != "own", precision == "int8") for network, _, precision, _ in told]
    assert dear == sorted(dear)
    assert len({one.slug for one in found}) == len(found)


def test_all_precisions_are_tried_if_none_are_named() -> None:
    every = {(one.runtime, one.precision) for one in candidates(tiny.SPEC, 16)}
    assert every == {(runtime, each) for runtime, its in RUNTIMES.items() for each in its}


@pytest.mark.parametrize(
    ("name", "smaller"),
    [
        ("b1", True),
        ("b2", False),
        ("b3", False),
        ("v2-b0", True),
        ("v2-b2", False),
    ],
)
def test_a_relative_computes_or_holds_less(name: str, smaller: bool) -> None:
    spec = variant_spec("b2", classes=3)
    if smaller:
        assert {one.network for one in candidates(spec, 96, smaller=[name])} == {"b2", name}
    else:
        with pytest.raises(UsageError, match=f"{name} is not smaller than b2"):
            candidates(spec, 96, smaller=["b1", name])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"runtimes": ["openvin"]}, "Did you mean 'openvino'"),
        ({"precisions": ["int4"]}, "Did you mean 'int8'"),
        ({"resolutions": [0]}, "at least 1 pixel"),
        ({"smaller": ["lite9"]}, "lite"),
        ({"smaller": ["tiny"]}, "Unknown variant 'tiny'"),
        ({"smaller": ["lite0"]}, "lite0 is not smaller than tiny"),
        ({"limits": "macs=1G"}, "latency, size, memory"),
        ({"max_drop": 1.5}, r"\[0, 1\)"),
        ({"data": data(classes=("blue", "green", "pink"))}, "Only in the model: red"),
        ({"data": data(task="regress")}, "the data's regress"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_built(
    options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    made_up = MadeUp()
    with pytest.raises(UsageError, match=words):
        compressed(tmp_path / "out", made_up, **options)
    assert not made_up.asked
    assert not list(tmp_path.iterdir())


def test_validation_pictures_are_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no validation split"):
        compressed(tmp_path / "out", MadeUp(), data=data(val=None))


# What wins.

TIMES = st.sampled_from([1.0, 1.02, 1.1, 2.0, 3.0])


@st.composite
def figures(draw: st.DrawFn) -> Figures:
    median = draw(TIMES)
    spread = draw(st.sampled_from([0.001, 0.1, 1.0]))
    return Figures(
        value=0.9,
        interval=(0.88, 0.92),
        drop=draw(st.sampled_from([-0.01, 0.0, 0.01, 0.02])),
        drop_interval=(-0.1, 0.1),
        latency=Timing(
            median=median, low=median / (1 + spread), high=median * (1 + spread), p99=9, runs=9
        ),
        throughput=1.0,
        size=draw(st.integers(1, 4)),
        memory=draw(st.integers(1, 4)),
        file="model",
    )


def records(found: Sequence[Figures | None]) -> list[Record]:
    return [
        Record(
            candidate=Candidate(
                network="b0", runtime="torch", precision="float32", resolution=number
            ),
            figures=each,
        )
        for number, each in enumerate(found)
    ]


LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "latency": st.sampled_from([1.05, 2.5]),
        "size": st.sampled_from([2.0, 3.0]),
        "memory": st.sampled_from([2.0, 3.0]),
    },
)


@given(figures(), st.lists(st.none() | figures(), max_size=6), LIMITS)
def test_the_winner_keeps_what_is_demanded_and_no_other_is_better(
    before: Figures, others: list[Figures | None], limits: dict[str, float]
) -> None:
    def keeps(each: Figures) -> bool:
        taken = {"latency": each.latency.median, "size": each.size, "memory": each.memory}
        return each.drop <= 0.01 and all(taken[name] <= most for name, most in limits.items())

    def beats(one: Figures, other: Figures) -> bool:
        if set(limits) == {"size"}:
            return one.size < other.size / 1.05
        apart = one.latency.high < other.latency.low
        return apart and one.latency.median < other.latency.median / 1.05

    before = replace(before, drop=0.0)  # it is what others are compared with
    demands = Demands(0.01, tuple(Limit(*pair) for pair in limits.items()))
    found = winner(records([before, *others]), demands)
    able = [
        each
        for each in others
        if each and keeps(each) and (beats(each, before) or not keeps(before))
    ]
    if not able:
        assert found is None
        return
    assert found is not None
    best = found.figures
    assert best in able
    assert not any(beats(each, best) for each in able)
    equals = [each for each in able if not any(beats(other, each) for other in able)]
    assert best.drop == min(each.drop for each in equals)


def test_the_quickest_that_keeps_a_point_is_written_and_said_why(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    found = compressed(out, MadeUp())
    best = won(found)
    assert best is not None
    assert (best.runtime, best.precision) == ("openvino", "bfloat16")
    assert {path.name for path in out.iterdir()} == {"model.xml", REPORT, PICTURE}
    assert found.file == out / "model.xml"
    assert (out / "model.xml").read_text() == str(best)
    assert [path.name for path in out.parent.iterdir()] == ["out"]  # nothing else is left
    assert json.loads((out / REPORT).read_text()) == json.loads(json.dumps(found.to_dict()))
    gain, binding = found.reasons
    assert "4 times quicker (3 ms instead of 12 ms)" in gain
    assert "1.05 times smaller" in gain
    assert "94.50 % instead of 95.00 %, a loss of 0.50 points" in gain
    assert "openvino in int8" in binding
    assert "loses 5.00 points" in binding


def test_limits_decide(tmp_path: Path) -> None:
    def best(name: str, **options: Any) -> Candidate | None:
        return won(compressed(tmp_path / name, MadeUp(), **options))

    smallest = best("size", limits="size=6MB")
    assert smallest is not None
    assert (smallest.runtime, smallest.precision) == ("onnxruntime", "int8")
    quickest = best("generous", max_drop=0.06)
    assert quickest is not None
    assert (quickest.runtime, quickest.precision) == ("openvino", "int8")
    assert best("both", limits="size=6MB,latency=10ms") is None
    lean = best("memory", limits="memory=39MB", precisions=["float32"])
    assert lean is not None
    assert (lean.runtime, lean.precision) == ("openvino", "float32")


def test_nothing_better_writes_nothing_and_says_why(tmp_path: Path) -> None:
    slow = {**USUAL, ("openvino", "float32"): Figure(0.0118, 19_000_000, 10)}
    found = compressed(
        tmp_path / "out", MadeUp(slow), precisions=["float32"], limits="latency=20ms"
    )
    made_up = MadeUp(slow, fails={("onnxruntime", "float32"): ResourceError("not here")})
    failed = compressed(tmp_path / "other", made_up, precisions=["float32"])
    assert won(found) is not None  # ONNX Runtime is quick
    assert failed.winner is None
    assert failed.file is None
    assert failed.out is None
    assert not (tmp_path / "other").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (reason,) = failed.reasons
    assert "Nothing is better" in reason
    assert "1 failed" in reason
    assert "1 not surely quicker" in reason


def test_other_resolutions_and_relatives_are_tried(tmp_path: Path) -> None:
    made_up = MadeUp()
    found = compressed(
        tmp_path / "out",
        made_up,
        card=LARGE,
        runtimes=["openvino"],
        precisions=["float32"],
        resolutions=[8],
        smaller=["lite0"],
        distilling={"epochs": 3},
        threads=1,
        workers=2,
    )
    assert made_up.distilled == ["lite0"]
    assert made_up.settings == [{"threads": 1, "workers": 2, "epochs": 3}]
    networks = [(one.candidate.network, one.candidate.resolution) for one in found.records]
    assert networks == [("b1", 16), ("b1", 16), ("b1", 8), ("lite0", 16), ("lite0", 8)]
    assert str(won(found)) == "lite0 on openvino in float32 at 8 px"


# What is in doubt.


def test_a_time_in_doubt_is_taken_again_before_one_wins(tmp_path: Path) -> None:
    told: list[str] = []
    made_up = MadeUp(busy={("torch", "float32"): 1, ("openvino", "bfloat16"): 1})
    found = compressed(tmp_path / "out", made_up, tell=told.append)
    again = [line.split(":")[1] for line in told if line.startswith("again")]
    assert again == [f" the time of {one} ..." for one in (found.records[0].candidate, won(found))]
    assert len(made_up.asked) == len(set(made_up.asked))  # nothing is built twice
    assert "4 times quicker (3 ms instead of 12 ms)" in found.reasons[0]
    assert not [line for line in found.reasons if "doubt" in line]


@pytest.mark.parametrize(
    ("busy", "limits", "doubted"),
    [
        (("torch", "float32"), "", "tiny on torch in float32 at 16 px"),
        (("openvino", "bfloat16"), "", "tiny on openvino in bfloat16 at 16 px"),
        (("torch", "float32"), "latency=1us", "tiny on torch in float32 at 16 px"),
        (("onnxruntime", "float32"), "", None),
        (("torch", "float32"), "size=6MB", None),
    ],
)
def test_what_stays_in_doubt_is_said_where_it_decides(
    busy: tuple[str, str], limits: str, doubted: str | None, tmp_path: Path
) -> None:
    found = compressed(tmp_path / "out", MadeUp(busy={busy: 2}), limits=limits)
    doubts = [line for line in found.reasons if line.startswith("In doubt")]
    assert [line.partition(". ")[0] for line in doubts] == (
        [f"In doubt is the time of {doubted}: {BUSY}"] if doubted else []
    )


def test_a_time_that_cannot_be_taken_again_stays_in_doubt(tmp_path: Path) -> None:
    class Hindered(MadeUp):
        def _measure(self, order: Order, built: Built, setting: Setting) -> Measurement:
            if len(self.asked) == 6 and order.candidate.runtime == "torch":
                raise ResourceError("no memory")
            return super()._measure(order, built, setting)

    told: list[str] = []
    made_up = Hindered(busy={("torch", "float32"): 1})
    found = compressed(tmp_path / "out", made_up, tell=told.append)
    assert told[-1].strip() == "no memory"
    assert "In doubt" in found.reasons[-1]


# What fails, what is hopeless.


def test_a_failure_is_a_row_with_its_reason(tmp_path: Path) -> None:
    fails: dict[tuple[str, str], BaseException] = {
        ("openvino", "bfloat16"): RuntimeError("\nOperation Foo is unknown\nat line 7"),
        ("openvino", "float32"): ResourceError("openvino is needed to write files."),
        ("onnxruntime", "int8"): NothingBetter("No way loses less than 2 points."),
    }
    told: list[str] = []
    found = compressed(tmp_path / "out", MadeUp(fails=fails), tell=told.append)
    problems = {key[:2]: one.problem for key, one in tried(found).items() if not one.figures}
    assert problems == {
        ("openvino", "bfloat16"): "Operation Foo is unknown",
        ("openvino", "float32"): "openvino is needed to write files.",
        ("onnxruntime", "int8"): "No way loses less than 2 points.",
    }
    best = won(found)
    assert best is not None
    assert best.runtime == "onnxruntime"
    begun = [place for place, line in enumerate(told) if " of 6: " in line]
    assert [told[place].split()[0] for place in begun] == list("123456")
    assert told[begun[3] :][:2] == [
        "4 of 6: tiny on openvino in bfloat16 at 16 px ...",
        "    Operation Foo is unknown",
    ]
    assert told[begun[4] + 1] == "    convolutions only"


EVERY: dict[tuple[str, str], BaseException] = {
    key: ResourceError(f"{key[0]} is needed.") for key in USUAL if key[0] != "torch"
}


@pytest.mark.parametrize("last", [None, NothingBetter("No way loses less.")])
def test_where_no_candidate_could_be_tried_that_is_said(
    last: NothingBetter | None, tmp_path: Path
) -> None:
    fails = EVERY if last is None else {**EVERY, ("openvino", "int8"): last}
    with pytest.raises(ResourceError, match=r"None of 5 .*float32.*: openvino is needed"):
        compressed(tmp_path / "out", MadeUp(fails=fails))
    found = compressed(tmp_path / "out", second := MadeUp())
    assert won(found) is not None
    assert f"{found.records[0].candidate}" not in second.asked  # as that was done


def test_ladders_that_are_climbed_in_vain_are_no_failure(tmp_path: Path) -> None:
    fails: dict[tuple[str, str], BaseException] = {("openvino", "int8"): NothingBetter("Too much.")}
    options: dict[str, Any] = {"runtimes": ["openvino"], "precisions": ["int8"]}
    assert won(compressed(tmp_path / "out", MadeUp(fails=fails), **options)) is None


def test_what_came_in_must_not_fail(tmp_path: Path) -> None:
    made_up = MadeUp(fails={("torch", "float32"): ResourceError("no memory")})
    with pytest.raises(ResourceError, match="no memory"):
        compressed(tmp_path / "out", made_up)


def test_what_cannot_keep_a_limit_is_not_built(tmp_path: Path) -> None:
    weights = sum(weight.numel() for weight in NET.parameters())
    made_up = MadeUp()
    found = compressed(tmp_path / "a", made_up, limits=[Limit("size", 3 * weights)])
    assert {key[1] for key, one in tried(found).items() if "left out" in one.problem} == {"float32"}
    assert not any("float32" in name for name in made_up.asked[1:])
    options: dict[str, Any] = {"runtimes": ["onnxruntime"], "resolutions": [8]}
    found = compressed(tmp_path / "b", made_up := MadeUp(blurred=50), **options)
    hopeless = {key: one.problem for key, one in tried(found).items() if one.problem}
    told = "left out: in float32 it loses 25.00 points already"
    assert hopeless == {("onnxruntime", "int8", 8): told}
    assert len(made_up.asked) == 4
