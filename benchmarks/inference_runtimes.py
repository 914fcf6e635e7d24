"""Pictures per second of B0's answers on a CPU, ours beside timm's network through each runtime.

Both are in one process, run by the same code in turns: torch eager in both memory layouts, compiled
by torch, as a file in ONNX Runtime and in OpenVINO, which are measured where they are installed.
So a ratio says what the network's own code and graph are worth to a runtime, and nothing else.

    python benchmarks/inference_runtimes.py
"""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import (
    answers_a_second,
    chosen,
    in_turns,
    machine,
    parser,
    summary,
    table,
    versions,
    write,
)

OURS, THEIRS = "effnet", "timm"
EAGER = "torch, contiguous"
"""The way that is not a runtime of its own: torch without channels last."""
WAYS = (EAGER, "torch", "compiled", "onnxruntime", "openvino")
QUICK = (EAGER, "torch", "onnxruntime", "openvino")

Run = Callable[[], Any]


def networks() -> dict[str, Any]:
    """Return B0 as we and as timm build it, with the same weights.

    Numbers so small that a CPU is slow with them, as other weights might give, meet both alike.
    """
    import timm

    from effnet.measure.stand_in import stand_in
    from effnet.nets.scaling import variant_spec
    from effnet.weights import convert

    ours, theirs = stand_in(variant_spec("b0")), timm.create_model("efficientnet_b0")
    theirs.load_state_dict(convert(ours.state_dict(), target="timm", spec=ours.spec))
    return {OURS: ours, THEIRS: theirs.eval()}


def ready(way: str, net: Any, setting: Any, folder: Path) -> Run:
    """Return a call that runs a network in a way."""
    from effnet.measure import runtimes

    if way == EAGER:
        return runtimes.eager(deepcopy(net), setting, channels_last=False)
    folder.mkdir()
    return runtimes.named(way).load(runtimes.write(net, setting, folder), setting)


def compared(way: str, setting: Any, rounds: int, seconds: float) -> dict[str, Any]:
    """Measure both networks in one way, in turns."""
    with TemporaryDirectory() as place:
        runs = {
            name: ready(way, net, setting, Path(place) / name) for name, net in networks().items()
        }
        measures = {
            name: partial(answers_a_second, run, setting.batch, seconds)
            for name, run in runs.items()
        }
        return {"way": way, "rows": summary(in_turns(measures, rounds), OURS)}


def main() -> None:
    """Measure every way, and write the table."""
    options = parser(__doc__, "inference_runtimes")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--batch", type=int, default=1)
    options.add_argument("--resolution", type=int, default=224)
    # Many short turns: a machine that others share drifts within seconds by more than the networks
    # differ, and what it does at a time should meet both alike.
    options.set_defaults(rounds=100)
    options.add_argument("--seconds", type=float, default=0.15, help="of a competitor's turn")
    settings = options.parse_args()
    if settings.quick:
        settings.resolution, settings.seconds, settings.rounds = 32, 0.05, 1

    from effnet.errors import ResourceError
    from effnet.measure.records import Setting
    from effnet.measure.runtimes import require_possible

    results, left_out = [], {}
    for way in chosen(QUICK if settings.quick and not settings.only else WAYS, settings.only):
        setting = Setting(
            runtime="torch" if way == EAGER else way,
            batch=settings.batch,
            resolution=settings.resolution,
            threads=settings.threads,
        )
        try:
            require_possible(setting)
        except ResourceError as error:
            left_out[way] = str(error)
            continue
        results.append(compared(way, setting, settings.rounds, settings.seconds))
    work = (
        f"b0, float32, {settings.threads} threads, batch {settings.batch}, "
        f"{settings.resolution} px, {settings.rounds} rounds of {settings.seconds:g} s"
    )
    record = {
        "machine": machine(),
        "work": work,
        "unit": "pictures per second",
        "versions": versions("effnet", "timm", "torch", "onnx", "onnxruntime", "openvino"),
        "results": results,
        "left_out": left_out,
    }
    lines = [
        f"Pictures per second of inference on {machine()}: {work}.",
        table(
            [
                "runtime",
                "effnet",
                "lowest to highest",
                "timm",
                "lowest to highest",
                "effnet / timm",
            ],
            [_cells(result) for result in results],
        ),
        *(f"{way}: not measured. {reason}" for way, reason in left_out.items()),
    ]
    write(settings.out, record, "\n\n".join(lines))


def _cells(result: dict[str, Any]) -> list[Any]:
    rows = {row["name"]: row for row in result["rows"]}
    figures: list[Any] = []
    for name in (OURS, THEIRS):
        figures += [rows[name]["median"], f"{rows[name]['low']:.1f} to {rows[name]['high']:.1f}"]
    return [result["way"], *figures, rows[THEIRS]["ours_over_it"]]


if __name__ == "__main__":
    main()
