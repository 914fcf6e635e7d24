"""Pictures per second of a network with TensorFlow's 'SAME' padding and of what it converts to.

The network with 'SAME' padding, the one that `effnet convert --padding symmetric` makes of it
(mirrored kernels, of pictures turned upside down: the same answers), and the one with symmetric
padding alone are run by the same code in one process, in turns. On a GPU in bfloat16, eager and
compiled; on a CPU in float32, in torch, ONNX Runtime and OpenVINO.

    python benchmarks/padding.py
    python benchmarks/padding.py --device cuda --out benchmarks/results/padding_gpu
"""

from dataclasses import replace
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

VARIANTS = ("b0", "b3")
BASE = "same"
WAYS = {
    "cpu": {"torch": (1,), "onnxruntime": (1,), "openvino": (1,)},
    "cuda": {"torch": (1, 256), "compiled": (256,)},
}
"""By device, the runtimes, each with its sizes of batch."""
DTYPES = {"cpu": "float32", "cuda": "bfloat16"}


def networks(variant: str) -> dict[str, Any]:
    """Return a variant with each padding; the first two give the same answers."""
    from effnet.compression.padding import turned
    from effnet.measure.stand_in import stand_in
    from effnet.nets.scaling import variant_spec

    same = stand_in(variant_spec(variant, convention="tensorflow"))
    symmetric = stand_in(same.spec.with_(padding="symmetric"))
    return {BASE: same, "turned": turned(same).eval(), "symmetric": symmetric}


def compared(nets: dict[str, Any], setting: Any, options: Any) -> list[dict[str, Any]]:
    """Measure all paddings in turns."""
    from effnet.measure import runtimes

    with TemporaryDirectory() as place:
        measures = {}
        for name, net in nets.items():
            folder = Path(place) / name
            folder.mkdir()
            file = runtimes.write(net, setting, folder)
            run = runtimes.named(setting.runtime).load(file, setting)
            measures[name] = partial(answers_a_second, run, setting.batch, options.seconds)
        rows = summary(in_turns(measures, options.rounds), BASE)
    for row in rows:
        row["times_base"] = 1 / row.pop("ours_over_it")
        row["milliseconds"] = 1000 * setting.batch / row["median"]
    return rows


def main() -> None:
    """Measure every network, and write the table."""
    options = parser(__doc__, "padding")
    options.add_argument("--device", default="cpu")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--variants", nargs="+", default=list(VARIANTS))
    options.add_argument("--seconds", type=float, default=0.5, help="of a network's turn")
    settings = options.parse_args()
    from effnet.measure.records import Setting
    from effnet.nets.variants import VARIANTS as KNOWN

    kind = settings.device.partition(":")[0]
    ways = WAYS[kind]
    if settings.quick:
        settings.variants, settings.rounds, settings.seconds = settings.variants[:1], 1, 0.02
    results = []
    for variant in settings.variants:
        nets, side = networks(variant), 32 if settings.quick else KNOWN[variant].resolution
        setting = Setting(
            device=settings.device,
            dtype=DTYPES[kind],
            resolution=side,
            threads=settings.threads,
        )
        for way in chosen(ways, settings.only):
            for batch in ways[way]:
                told = {"variant": variant, "resolution": side, "batch": batch, "way": way}
                rows = compared(nets, replace(setting, runtime=way, batch=batch), settings)
                results.append({**told, "rows": rows})
    work = f"{DTYPES[kind]}, {settings.rounds} rounds of {settings.seconds:g} s"
    if kind == "cpu":
        work += f", {settings.threads} threads"
    record = {
        "machine": machine(settings.device),
        "versions": versions("effnet", "torch", "onnxruntime", "openvino"),
        "work": work,
        "unit": "pictures per second",
        "results": results,
    }
    write(settings.out, record, told_of(record))


def told_of(record: dict[str, Any]) -> str:
    """Return the table of a record."""
    lines = [
        [
            f"{result['variant']} at {result['resolution']} px, batch {result['batch']}, "
            f"{result['way']}: {row['name']}",
            row["median"],
            f"{row['low']:.1f} to {row['high']:.1f}",
            row["milliseconds"],
            row["times_base"],
        ]
        for result in record["results"]
        for row in result["rows"]
    ]
    heads = ["network", "median", "lowest to highest", "ms a batch", f"times {BASE}"]
    said = f"Pictures per second by padding on {record['machine']}: {record['work']}."
    return f"{said}\n\n{table(heads, lines)}"


if __name__ == "__main__":
    main()
