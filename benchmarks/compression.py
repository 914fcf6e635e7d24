"""What compressing two trained networks costs in accuracy, by effnet's own commands.

A run of B0 and one of Lite0 are compressed, quantized for each runtime, the first is pruned to half
of its multiply-adds and is the teacher of the second; a twin of that student learns for as long
without it. Each command is one step, and its answer is kept in the work folder: after a break the
script goes on, and with --only it does some of the steps. Leave the machine alone meanwhile, as
`compress` measures times.

    python benchmarks/compression.py photos run-b0 run-lite0 --work work
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import chosen, machine, parser, table, versions, write
from torch import cuda

Found = dict[str, Any]

FILES = {"openvino": "", "onnxruntime": ".onnx", "litert": ".tflite"}
NOTHING_BETTER = 7
"""The exit code of a compression that found nothing better, which is an answer as well."""
LEARN = {
    "lr": 0.001,
    "warmup-epochs": 0.25,
    "ema": 0.999,
    "augment": "none",
    "mixup": 0,
    "cutmix": 0,
    "erasing": 0,
    "drop-path": 0,
    "dropout": 0,
    "label-smoothing": 0,
}
"""How the students learn: in a few epochs what a recipe of many asks for would only disturb."""


@dataclass(frozen=True)
class Step:
    """A command of effnet, and where its run is evaluated if it does not say that itself."""

    words: tuple[str, ...]
    run: Path | None = None


def steps(options: Any) -> dict[str, Step]:
    """Return all steps by name, in their order."""
    data, work, threads = str(options.data), options.work, str(options.threads)
    models = {"b0": str(options.b0), "lite0": str(options.lite0)}
    own = {"epochs": options.epochs, "batch": options.batch, "threads": options.training_threads}
    settings = {**LEARN, **own}
    training = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    found = {}
    for name, model in models.items():
        for runtime, suffix in FILES.items():
            file = str(work / f"{name}-{runtime}-int8{suffix}")
            words = ("quantize", model, data, file, "--runtime", runtime)
            found[f"quantize {name} {runtime}"] = Step(words)
    for name, model in models.items():
        picture = str(options.out.with_name(f"{options.out.name}_{name}.png"))
        words = ("compress", model, data, "--out", str(work / f"{name}-small"), "--plot", picture)
        words += ("--threads", threads)
        words += ("--resolutions", options.resolutions) if options.resolutions else ()
        found[f"compress {name}"] = Step(words)
    words = ("prune", models["b0"], data, "--to", "macs=50%", "--distil", models["b0"])
    found["prune b0"] = Step((*words, "--out", str(work / "pruned"), *training))
    weights = ("--weights", models["lite0"], "--resolution", str(options.side))
    student, twin = work / "student", work / "twin"
    words = ("distil", data, "--teacher", models["b0"], "--student", "lite0", *weights)
    found["distil lite0"] = Step((*words, "--out", str(student), *training), student)
    words = ("fit", data, "--variant", "lite0", *weights, "--recipe", "distil", "--out", str(twin))
    found["without a teacher"] = Step((*words, *training), twin)
    return found


def answer(words: Sequence[str]) -> Any:
    """Return what a command answers with --json; what it tells meanwhile is shown."""
    command = [sys.executable, "-m", "effnet", *words, "--json"]
    print("+ effnet", *words, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, NOTHING_BETTER) or not done.stdout:
        return {"failed": done.returncode}
    return json.loads(done.stdout)


def done(name: str, step: Step, options: Any) -> Found:
    """Return what a step gives, now or before."""
    kept = options.work / f"{name.replace(' ', '-')}.json"
    command = " ".join(("effnet", *step.words))
    if kept.exists():
        found: Found = json.loads(kept.read_text())
        if found["command"] == command:
            return found
    began = time.monotonic()
    found = {"command": command, "answer": answer(step.words)}
    found["seconds"] = round(time.monotonic() - began)
    if step.run is not None and not failed(found):
        words = ("evaluate", str(step.run), str(options.data), "--split", "val")
        found["validation"] = answer(words)
    if not failed(found):
        kept.write_text(json.dumps(found, indent=1))
    return found


def failed(found: Found) -> bool:
    """Whether a step's command failed, or what judged it."""
    return any("failed" in found.get(part, {}) for part in ("answer", "validation"))


def placeless(found: dict[str, Found], options: Any) -> dict[str, Found]:
    """Return the same without the paths of this machine."""
    places = {
        options.data: "photos",
        options.b0: "run-b0",
        options.lite0: "run-lite0",
        options.work: "work",
        options.out.parent: "results",
    }
    text = json.dumps(found)
    for place, name in places.items():
        text = text.replace(str(place), name)
    same: dict[str, Found] = json.loads(text)
    return same


def compressed(found: Found) -> list[str]:
    """Return the lines of a compression: every candidate."""
    told = found["answer"]
    rows = []
    for record in told["records"]:
        of, figures = record["candidate"], record["figures"]
        name = f"{of['runtime']}, {of['precision']}, {of['resolution']} px"
        if not figures:
            rows.append([name, *["-"] * 8, record["problem"]])
            continue
        low, high = figures["drop_interval"]
        rows.append(
            [
                name,
                f"{figures['value']:.2%}",
                f"{100 * figures['drop']:+.2f}",
                f"{100 * low:+.2f} to {100 * high:+.2f}",
                f"{figures['latency']['median'] * 1e3:.2f}",
                f"{figures['latency']['p99'] * 1e3:.2f}",
                f"{figures['throughput']:.0f}",
                f"{figures['size'] / 1e6:.1f}",
                f"{figures['memory'] / 1e6:.0f}",
                figures["note"],
            ]
        )
    heads = ["candidate", told["figure"], "points lost", "95 %", "ms", "p99 ms", "a second"]
    heads += ["file MB", "memory MB", "way"]
    return [table(heads, rows), *told["reasons"]]


def quantized(found: Mapping[str, Found]) -> list[str]:
    """Return the lines of the quantized files: each way that was tried."""
    rows = []
    for name, one in found.items():
        told = one["answer"]
        before = f"{told['before']['value']:.2%}"
        for rung in told["rungs"]:
            low, high = rung["drop_interval"]
            size = f"{told['size'] / 1e6:.1f}" if rung["kept"] else ""
            change = [f"{100 * rung['drop']:+.2f}", f"{100 * low:+.2f} to {100 * high:+.2f}"]
            value = f"{rung['value']:.2%}"
            rows.append([name, rung["name"], before, value, *change, size, round(rung["seconds"])])
    heads = ["model", "way", "float32", "int8", "points lost", "95 %", "MB if kept", "seconds"]
    return [table(heads, rows)]


def pruned(found: Found) -> list[str]:
    """Return the lines of a pruning: whole, pruned, trained again."""
    told = found["answer"]
    rows = []
    for step in ("whole", "pruned", "trained"):
        counts = told["before" if step == "whole" else "after"]
        low, high = told[step]["drop_interval"]
        rows.append(
            [
                step,
                f"{counts['macs'] / 1e6:.1f}",
                f"{counts['params'] / 1e6:.2f}",
                f"{told[step]['value']:.2%}",
                f"{100 * told[step]['drop']:+.2f}",
                f"{100 * low:+.2f} to {100 * high:+.2f}",
            ]
        )
    heads = ["network", "M multiply-adds", "M parameters", told["figure"], "points lost", "95 %"]
    return [table(heads, rows)]


def learned(found: Mapping[str, Found]) -> list[str]:
    """Return the lines of students with and without a teacher."""
    rows = []
    for name, one in found.items():
        told = one["validation"]
        low, high = told["accuracy_interval"]
        rows.append([name, f"{told['accuracy']:.2%}", f"{low:.2%} to {high:.2%}", one["seconds"]])
    return [table(["student", "accuracy", "95 %", "seconds"], rows)]


def main() -> None:
    """Do all steps, and write the tables."""
    options = parser(__doc__, "compression")
    options.add_argument("data", type=Path, help="the photographs that both were trained on")
    options.add_argument("b0", type=Path, help="the run of a B0")
    options.add_argument("lite0", type=Path, help="the run of a Lite0")
    options.add_argument("--work", type=Path, required=True, help="where answers and runs go")
    options.add_argument("--epochs", type=int, default=2, help="of a student's training")
    options.add_argument("--side", type=int, default=96, help="of a student's pictures in pixels")
    options.add_argument("--batch", type=int, default=32, help="of a student's step")
    options.add_argument("--threads", type=int, default=2, help="that candidates run with")
    options.add_argument("--resolutions", help="that `compress` tries as well: 80,64")
    options.add_argument("--training-threads", type=int, default=2)
    settings = options.parse_args()
    settings.work.mkdir(parents=True, exist_ok=True)
    every = steps(settings)
    found = {
        name: done(name, every[name], settings)
        for name in chosen(every, ["quantize b0 openvino"] if settings.quick else settings.only)
    }
    found = placeless(found, settings)
    good = {name: one for name, one in found.items() if not failed(one)}
    kinds = {name: one for name, one in good.items() if name.startswith("quantize")}
    students = {name: one for name, one in good.items() if "validation" in one}
    trained_on = machine("cuda" if cuda.is_available() else "cpu")
    lines = [f"Compressing trained networks on {machine()}; they learn on {trained_on}."]
    for name, one in good.items():
        if name.startswith("compress"):
            lines += [f"## {name}", f"`{one['command']}`, {one['seconds']} s", *compressed(one)]
    if kinds:
        lines += ["## quantize", *quantized(kinds)]
    if "prune b0" in good:
        one = good["prune b0"]
        lines += ["## prune", f"`{one['command']}`, {one['seconds']} s", *pruned(one)]
    if students:
        lines += ["## distil", *(f"`{one['command']}`" for one in students.values())]
        lines += learned(students)
    lines += [f"- {name} failed." for name in found if name not in good]
    packages = ("effnet", "torch", "openvino", "onnxruntime", "nncf", "ai-edge-litert")
    record = {
        "machine": machine(),
        "trained_on": trained_on,
        "versions": versions(*packages),
        "steps": found,
    }
    write(settings.out, record, "\n\n".join(lines))


if __name__ == "__main__":
    main()
