"""The inverse of scaling: exact costs against every step, measured ones on made-up machines."""

import json
import warnings
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget.machines import HERE, Cost, Mill, bytes_of, fast_at, plain, with_cliff
from effnet.budget.costs import COUNTERS, counted
from effnet.budget.ledger import AIM, FULL
from effnet.budget.scalings import STEPS, Scalings, last
from effnet.budget.solve import MOST, Solution, solve
from effnet.errors import ResourceError, UsageError
from effnet.measure.limits import Limit
from effnet.measure.records import Setting
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import ScalingWarning, scale
from effnet.nets.spec import Spec

COARSE = STEPS // 20


@lru_cache
def every(variant: str, only: str | None) -> list[tuple[float, Spec]]:
    """Each twentieth of phi, or of the factor, from the smallest with its network."""
    scalings = Scalings(variant, only)
    low, high = scalings.ends
    ends = (low, high) if only is None else (low, 8 * STEPS)
    steps = range(-(-ends[0] // COARSE) * COARSE, ends[1] + 1, COARSE)
    return [(scalings.value(step), scalings(step).spec) for step in steps]


def shares(solution: Solution) -> list[float]:
    return [cost.value / cost.limit.most for cost in solution.costs]


@pytest.mark.parametrize("variant", ["b0", "v2-b0", "lite0"])
@pytest.mark.parametrize("only", [None, "width", "depth"])
@pytest.mark.parametrize("quantities", [("params",), ("macs",), ("macs", "params")])
@pytest.mark.parametrize("times", [0.31, 1.07, 2.9])
def test_phi_is_the_largest_of_all(
    variant: str, only: str | None, quantities: tuple[str, ...], times: float
) -> None:
    base = scale(variant, phi=0)
    limits = [Limit(quantity, times * COUNTERS[quantity](base)) for quantity in quantities]
    kept = [
        value
        for value, spec in every(variant, only)
        if all(limit.kept(COUNTERS[limit.quantity](spec)) for limit in limits)
    ]
    if not kept:
        with pytest.raises(UsageError, match="No scaling keeps"):
            solve(variant, limits, only=only)
        return
    solution = solve(variant, limits, only=only)
    assert max(kept) <= solution.phi < max(kept) + COARSE / STEPS
    assert max(shares(solution)) <= 1
    if only is None:
        assert max(shares(solution)) > FULL
        assert solution.note == ""
    elif max(shares(solution)) <= FULL:
        assert f"the next step of the {only} breaks a limit" in solution.note
    assert solution.measurements == ()
    assert solution.machine is None


@settings(max_examples=8)
@given(
    variant=st.sampled_from(["b0", "b3", "v2-b0", "lite0", "edge-s", "cc-b0-4e"]),
    phi=st.floats(-4, 4),
    room=st.floats(1, 1.6),
    quantities=st.sets(st.sampled_from(["params", "macs"]), min_size=1),
)
def test_a_counted_budget_is_used_up(
    variant: str, phi: float, room: float, quantities: set[str]
) -> None:
    about = scale(variant, phi=phi)
    limits = [Limit(name, room * COUNTERS[name](about)) for name in sorted(quantities)]
    solution = solve(variant, limits)
    assert solution.phi >= phi - 1 / STEPS
    for cost in solution.costs:
        assert cost.value == COUNTERS[cost.limit.quantity](solution.spec)
    assert FULL < max(shares(solution)) <= 1


def test_size_is_solved_to_the_byte() -> None:
    solution = solve("b0", [Limit("size", 12e6)], classes=10)
    assert COUNTERS["size"](solution.spec) == solution.costs[0].value
    assert 0.95 * 12e6 < solution.costs[0].value <= 12e6
    assert solution.spec.classes == 10


def test_parameters_and_multiply_adds_are_both_used_up() -> None:
    solution = solve("b0", [Limit("params", 6e6), Limit("macs", 1e9)])
    assert all(FULL < share <= 1 for share in shares(solution))
    assert "resolution from" in solution.filled
    assert "% wider" in solution.filled


def test_the_name_tells_what_it_is() -> None:
    solution = solve("b0", [Limit("macs", 0.43e9)])
    phi, wider, pixels = solution.phi, "wider=", f"resolution={solution.spec.resolution}"
    assert solution.spec.name.startswith(f"b0 phi={phi:g} ")
    assert wider in solution.spec.name or pixels in solution.spec.name
    width_only = solve("b0", [Limit("params", 4e6)], only="width")
    assert width_only.spec == scale("b0", width=width_only.phi)


@pytest.mark.parametrize("only", ["width", "depth", "resolution"])
def test_only_one_dimension_grows(only: str) -> None:
    solution = solve("b0", [Limit("macs", 0.8e9)], only=only)
    spec, b0 = solution.spec, scale("b0", phi=0)
    changed = {
        "width": spec.head != b0.head,
        "depth": spec.blocks != b0.blocks,
        "resolution": spec.resolution != b0.resolution,
    }
    assert changed == {name: name == only for name in changed}
    assert max(shares(solution)) <= 1
    assert solution.filled == ""
    assert solution.only == only


def test_bases_are_used_and_warned_of_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        solution = solve("b0", [Limit("macs", 0.8e9)], alpha=1.6, beta=1.2, gamma=1.2)
    assert [warning.category for warning in caught] == [ScalingWarning]
    bases = {"alpha": 1.6, "beta": 1.2, "gamma": 1.2}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = scale("b0", phi=solution.phi, **bases)
    assert [s.repeats for s in solution.spec.stages] == [s.repeats for s in expected.stages]


def test_what_scale_gives_is_what_it_says() -> None:
    scalings = Scalings("v2-b1")
    for step in (-3210, 0, 777):
        assert scalings(step).spec == scale("v2-b1", phi=step / STEPS)
        larger = scalings.larger(step, 1.25, 300).spec
        plain_scale = scale(
            "v2-b1", depth=1.2 ** (step / STEPS), width=1.25 * 1.1 ** (step / STEPS), resolution=300
        )
        assert larger.with_(name="") == plain_scale.with_(name="")


@pytest.mark.parametrize(
    ("limits", "words", "message"),
    [
        ([], {}, "given: none"),
        ([Limit("train-time", 60)], {}, "train-time"),
        ([Limit("params", 6e6)], {"only": "widht"}, "'width'"),
        ([Limit("params", 6e6)], {"only": "width", "alpha": 1.3}, "no meaning"),
        ([Limit("params", 6e6)], {"variant": "b00"}, "'b0'"),
        ([Limit("params", 6e6)], {"alpha": 0.9}, "at least 1"),
        ([Limit("params", 6e6)], {"most": 5}, "At least 6"),
        ([Limit("latency", 1)], {"setting": Setting(runtime="torhc")}, "'torch'"),
        ([Limit("params", 10)], {}, "the smallest, b0 phi=-8 at 73 px, takes params"),
    ],
)
def test_what_cannot_be_meant(limits: list[Limit], words: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        solve(**{"variant": "b0", "limits": limits, **words})  # type: ignore[arg-type]


def test_the_end_of_the_range_is_said() -> None:
    solution = solve("b0", [Limit("params", 1e12)])
    assert solution.phi == 10
    assert "the end of the range, phi 10" in solution.note


MACHINES = {
    "plain": lambda rate, start: plain(start, rate, rate / 20),
    "without traffic": lambda rate, start: plain(start, rate, 1e15),
    "traffic alone": lambda rate, start: plain(start, 1e16, rate / 50),
    "cliff": lambda rate, start: with_cliff(plain(start, rate, rate / 20), 8e6, 1.3),
}


def largest(cost: Cost, limit: float) -> float:
    scalings = Scalings("b0")
    return last(lambda step: cost(scalings(step).spec) <= limit, *scalings.ends) / STEPS


@settings(max_examples=12)
@given(
    machine=st.sampled_from(sorted(MACHINES)),
    rate=st.sampled_from([5e9, 1e11, 2e12]),
    start=st.floats(0, 0.3),
    phi=st.floats(-5, 5),
    room=st.floats(1, 1.5),
    noise=st.sampled_from([0.0, 0.0, 0.02]),
    seed=st.integers(0, 1000),
)
def test_a_measured_limit(
    machine: str, rate: float, start: float, phi: float, room: float, noise: float, seed: int
) -> None:
    cost = MACHINES[machine](rate, 0.0)
    cost = MACHINES[machine](rate, start * cost(scale("b0", phi=phi)))
    limit = Limit("latency", room * cost(scale("b0", phi=phi)))
    mill = Mill(latency=cost, noise=noise, seed=seed)
    solution = solve("b0", [limit], measure=mill)
    assert len(solution.measurements) == len(mill.taken) <= MOST
    [found] = solution.costs
    assert len(found.measured) == 2
    assert all(FULL * limit.most < value <= limit.most for value in found.measured)
    assert solution.note == ""
    # Phi itself, before filling: none that is larger by more than the room for noise would do.
    by_phi = cost(scale("b0", phi=solution.phi))
    assert by_phi <= limit.most / (1 - noise)
    if by_phi < (FULL - noise) * limit.most:
        assert solution.phi > largest(cost, (AIM - noise) * limit.most) - 0.05


def test_few_measurements_are_typical() -> None:
    taken = []
    for phi in (-4, -2, -0.5, 0, 0.4, 1, 3):
        cost = plain(1e-3, 3e10, 3e9)
        mill = Mill(latency=cost, noise=0.01, seed=round(10 * phi))
        solve("b0", [Limit("latency", 1.2 * cost(scale("b0", phi=phi)))], measure=mill)
        taken.append(len(mill.taken))
    assert max(taken) <= 9
    assert sum(taken) / len(taken) <= 7


@given(room=st.floats(1.0, 1.4), seed=st.integers(0, 100))
@settings(max_examples=8)
def test_steps_of_the_pixels_are_got_round(room: float, seed: int) -> None:
    cost = fast_at(plain(1e-3, 3e10, 3e9), 8, 0.8)
    limit = Limit("latency", room * cost(scale("b0", phi=0)))
    solution = solve("b0", [limit], measure=Mill(latency=cost, noise=0.005, seed=seed))
    [found] = solution.costs
    assert len(solution.measurements) <= MOST
    assert max(found.measured) <= limit.most
    assert bool(solution.note) == (found.under >= 1 - FULL)


@given(
    phi=st.floats(-3, 2),
    rooms=st.tuples(st.floats(1, 1.5), st.floats(1, 1.5), st.floats(1, 1.5)),
    quantities=st.sets(st.sampled_from(["latency", "memory", "params"]), min_size=2),
)
@settings(max_examples=8)
def test_several_limits_at_once(phi: float, rooms: tuple[float, ...], quantities: set[str]) -> None:
    costs = {
        "latency": plain(1e-3, 3e10, 3e9),
        "memory": bytes_of(1e7, 1.2),
        "params": COUNTERS["params"],
    }
    about = scale("b0", phi=phi)
    limits = [
        Limit(name, room * costs[name](about))
        for name, room in zip(costs, rooms, strict=True)
        if name in quantities
    ]
    mill = Mill(latency=costs["latency"], memory=costs["memory"])
    solution = solve("b0", limits, measure=mill)
    assert {what for _, _, what in mill.taken} == {
        tuple(q for q in costs if q in quantities - {"params"})
    }
    assert all(limit.kept(costs[limit.quantity](solution.spec)) for limit in limits)
    assert max(shares(solution)) > FULL
    assert len(mill.taken) <= MOST


@pytest.mark.parametrize("only", ["width", "depth", "resolution"])
def test_only_with_a_measured_limit(only: str) -> None:
    cost = plain(1e-3, 3e10, 3e9)
    limit = Limit("latency", 1.9 * cost(scale("b0", phi=0)))
    mill = Mill(latency=cost)
    solution = solve("b0", [limit], only=only, measure=mill)
    [found] = solution.costs
    assert max(found.measured) <= limit.most
    assert len(mill.taken) <= MOST
    if only == "depth":
        assert solution.spec.blocks > scale("b0", phi=0).blocks
    else:
        assert found.under < 1 - FULL
    assert bool(solution.note) == (found.under >= 1 - FULL)


def test_each_network_is_run_at_its_own_resolution() -> None:
    mill = Mill(latency=plain(1e-3, 3e10, 3e9))
    setting = Setting(batch=4, threads=1, resolution=999)
    solution = solve("b0", [Limit("latency", 0.02)], setting=setting, measure=mill)
    assert [setting.resolution for _, setting, _ in mill.taken] == [
        spec.resolution for spec, _, _ in mill.taken
    ]
    assert {(setting.batch, setting.threads) for _, setting, _ in mill.taken} == {(4, 1)}
    assert solution.setting.batch == 4
    assert solution.machine == HERE


def test_an_impossible_limit_is_told_with_the_nearest() -> None:
    mill = Mill(latency=plain(5e-3, 3e10, 3e9))
    with pytest.raises(
        UsageError, match=r"latency 2 ms.*b0 phi=-8 at 73 px.*takes latency 5\."
    ) as e:
        solve("b0", [Limit("latency", 2e-3), Limit("params", 6e6)], measure=mill)
    assert "mill" in str(e.value)
    assert "params" not in str(e.value)
    assert len(mill.taken) <= 3


def test_networks_beyond_the_free_memory_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("effnet.budget.ledger.free_memory", lambda device: 1.5e8)
    mill = Mill(latency=plain(1e-3, 3e10, 3e9))
    solution = solve("b0", [Limit("latency", 60)], measure=mill)
    assert all(counted(spec).size < 1.5e8 for spec, _, _ in mill.taken)
    assert "free memory" in solution.note
    monkeypatch.setattr("effnet.budget.ledger.free_memory", lambda device: 1e6)
    with pytest.raises(ResourceError, match="free memory"):
        solve("b0", [Limit("latency", 60)], measure=mill)


def test_figures_too_wild_to_keep_a_limit_are_said() -> None:
    cost = plain(1e-3, 3e10, 3e9)
    limit = Limit("latency", cost(scale("b0", phi=-1)))
    for seed in range(4):
        solution = solve("b0", [limit], measure=Mill(latency=cost, noise=0.3, seed=seed))
        [found] = solution.costs
        assert len(solution.measurements) <= MOST
        steady = all(FULL < value / limit.most <= 1 for value in found.measured)
        assert bool(solution.note) == (not steady)


def test_what_is_not_measured_is_an_error() -> None:
    with pytest.raises(ResourceError, match="memory cannot be measured"):
        solve("b0", [Limit("memory", 2e8)], measure=Mill(memory=lambda spec: 0))


def test_a_solution_builds_and_says_itself_in_json() -> None:
    told: list[str] = []
    mill = Mill(latency=plain(1e-3, 3e10, 3e9))
    solution = solve("lite0", [Limit("latency", 2.5e-3)], classes=5, measure=mill, tell=told.append)
    printed = json.loads(json.dumps(solution.to_dict()))
    assert Spec.from_dict(printed["spec"]) == solution.spec
    assert printed["phi"] == solution.phi
    assert [row["latency"]["median"] for row in printed["measurements"]] == [
        row.latency.median for row in solution.measurements if row.latency
    ]
    assert printed["costs"][0]["under"] == pytest.approx(1 - shares(solution)[0])
    assert EfficientNet(solution.spec).spec == solution.spec
    assert len(told) == len(solution.measurements)
    assert all(line.startswith(f"{n}: lite0 phi=") for n, line in enumerate(told, start=1))


def test_a_counted_limit_may_be_impossible_beside_a_measured_one() -> None:
    mill = Mill()
    with pytest.raises(UsageError, match=r"No scaling keeps params 0.01 k: .* takes params"):
        solve("b0", [Limit("latency", 0.01), Limit("params", 10)], measure=mill)
    assert mill.taken == []
