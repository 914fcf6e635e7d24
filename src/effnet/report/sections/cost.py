"""What the network costs: numbers it holds, arithmetic, and time on this machine."""

from effnet.measure.counts import count
from effnet.measure.limits import shown
from effnet.measure.records import Measurement
from effnet.model import Model
from effnet.report.subject import Section, Subject

Row = tuple[str, str, str]


def section(subject: Subject) -> Section | None:
    """Return the section; None without a model."""
    model = subject.run.model
    if model is None:
        return None
    return Section(
        "cost",
        "Cost",
        {
            "rows": [*counted(model), *measured(subject.cost)],
            "machine": None if subject.cost is None else str(subject.cost.machine),
            "noise": noise(subject.cost),
        },
    )


def counted(model: Model) -> list[Row]:
    """Return (name, value, meaning) of what can be counted."""
    side = model.preprocessing.resolution
    counts = count(model.spec, side)
    return [
        ("parameters", f"{counts.parameters:,}", "trainable numbers"),
        ("multiply-adds", f"{counts.macs:,}", f"for a picture of {side} x {side} pixels"),
        ("activations", f"{counts.activations:,}", "numbers that its layers give for one picture"),
        ("size", shown("size", counts.size), "of the model file's tensors"),
    ]


def measured(cost: Measurement | None) -> list[Row]:
    """Return (name, value, meaning) of what was measured here."""
    if cost is None or cost.latency is None:
        return []
    setting, latency = cost.setting, cost.latency
    low, high = shown("latency", latency.low), shown("latency", latency.high)
    rows = [
        (
            "latency",
            shown("latency", latency.median),
            f"of one picture in {setting.runtime}, {setting.dtype}, {setting.threads} threads; the "
            f"middle half of {latency.runs} runs took {low} to {high}",
        )
    ]
    if cost.memory is not None:
        rows.append(("memory", shown("memory", cost.memory), "beside the libraries"))
    return rows


def noise(cost: Measurement | None) -> str:
    """Return why the time is in doubt; empty if it is not."""
    return "" if cost is None or cost.latency is None else cost.latency.noise
