"""What `effnet scale` says of a network, and of how it was found."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effnet.cli.output import table

if TYPE_CHECKING:
    from effnet.budget.solve import Cost, Solution
    from effnet.nets.spec import Spec

COLUMNS = ("block", "repeats", "kernel", "stride", "expansion", "channels")

TIMES = {1: "once", 2: "twice"}


def network(spec: "Spec") -> str:
    """Return what a network holds and computes, and a table of its stages."""
    from effnet.measure.counts import count

    counts = count(spec)
    rows = [[str(getattr(stage, name)) for name in COLUMNS] for stage in spec.stages]
    return (
        f"{spec.name}: {counts.parameters / 1e6:.2f} M parameters, {counts.macs / 1e9:.3f} G "
        f"multiply-adds at {spec.resolution} px, stem {spec.stem}, head {spec.head}\n"
        + table(COLUMNS, rows)
    )


def plain_network(spec: "Spec") -> dict[str, Any]:
    """Return the same for programs."""
    from effnet.measure.counts import count

    counts = count(spec)
    return {"parameters": counts.parameters, "macs": counts.macs, "spec": spec.to_dict()}


def plain(solution: "Solution") -> dict[str, Any]:
    """Return a solution for programs."""
    return {**solution.to_dict(), **plain_network(solution.spec)}


def told(solution: "Solution") -> str:
    """Return a solution for people: the network and its costs."""
    found = f"{solution.only or 'phi'} {solution.phi:g}"
    lines = [
        network(solution.spec),
        "",
        f"{found}, then {solution.filled}" if solution.filled else found,
        *(_cost(cost, solution) for cost in solution.costs),
        *([_taken(solution)] if solution.measurements else []),
        *([solution.note] if solution.note else []),
        "",
    ]
    return "\n".join(lines)


def _cost(cost: "Cost", solution: "Solution") -> str:
    from effnet.measure.limits import shown

    quantity = cost.limit.quantity
    value, most = (shown(quantity, amount) for amount in (cost.value, cost.limit.most))
    place = "under" if cost.under >= 0 else "over"
    return f"{quantity} {value} of {most}, {abs(100 * cost.under):.1f} % {place}, " + (
        _measured(len(cost.measured), solution) if cost.measured else "counted"
    )


def _measured(times: int, solution: "Solution") -> str:
    machine, setting = solution.machine, solution.setting
    words = [f"measured {TIMES.get(times, f'{times} times')}"]
    if machine is None:
        return words[0]
    words[0] += f" on {machine.processor}"
    if setting.device == "cpu":
        words.append(f"{setting.threads} thread{'s' if setting.threads > 1 else ''}")
    package = setting.runtime if setting.runtime in machine.versions else "torch"
    words.append(f"{package} {machine.versions.get(package, '')}".strip())
    return ", ".join(words)


def _taken(solution: "Solution") -> str:
    taken = f"{len(solution.measurements)} measurements"
    if not solution.disturbed:
        return taken
    return (
        f"{taken}, {solution.disturbed} of them in doubt: on a quieter machine it "
        "may find another network"
    )


def following(solution: "Solution", out: Path | None) -> str:
    """Return how to go on with a solution, which is in the file `out` if it is in any."""
    from effnet.budget.reasons import options_of

    if out is None:
        return "Give --out net.json to keep the network for `effnet fit --variant net.json`."
    file = shlex.quote(str(out))
    measured = " ".join(["", *options_of(solution.setting)]) if solution.measurements else ""
    return (
        f"Written to {out}. Train it: effnet fit DATA --variant {file}\n"
        f"Measure it: effnet bench {file}{measured}"
    )
