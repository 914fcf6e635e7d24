"""How long an idle OpenMP thread should hold its core, measured on a training step of B0.

A parallel loop ends with threads waiting for the next one. GNU's OpenMP lets them spin first, which
is quick while the cores are free and ruinous when another process wants one: the spinning thread
keeps the core from the one it waits for. `effnet` therefore sets GOMP_SPINCOUNT before torch is
imported. This script times the step with several counts, alone and beside busy neighbours, each
setting in a process of its own, the settings in turn, and prints medians in milliseconds.

    python benchmarks/openmp_wait.py --out benchmarks/results/openmp_wait.json
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

COUNTS = {"library default": None, "10000 (effnet)": "10000", "100": "100", "0": "0"}
NEIGHBOURS = (0, 1, 2)
BATCH, RESOLUTION, STEPS, WARM_UP = 32, 64, 10, 3


def time_steps() -> None:
    """Print the median milliseconds of a training step in this process."""
    import torch

    from effnet.nets.network import EfficientNet
    from effnet.nets.scaling import variant_spec

    torch.manual_seed(0)
    net = EfficientNet(variant_spec("b0", classes=10)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    pictures = torch.randn(BATCH, 3, RESOLUTION, RESOLUTION).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (BATCH,))
    times = []
    for step in range(WARM_UP + STEPS):
        start = time.perf_counter()
        torch.nn.functional.cross_entropy(net(pictures), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step >= WARM_UP:
            times.append(time.perf_counter() - start)
    print(json.dumps({"ms": statistics.median(times) * 1e3, "torch": torch.__version__}))


def be_busy() -> None:
    """Use a core, as a process that loads pictures does."""
    while True:
        sum(range(100_000))


def measure(spin_count: str | None, neighbours: int) -> dict[str, object]:
    """Time the step in a fresh process beside so many busy ones."""
    busy = [multiprocessing.Process(target=be_busy, daemon=True) for _ in range(neighbours)]
    for process in busy:
        process.start()
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    environment |= {"GOMP_SPINCOUNT": spin_count} if spin_count else {}
    try:
        answer = subprocess.run(
            [sys.executable, __file__, "--worker"],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    finally:
        for process in busy:
            process.terminate()
            process.join()
    return json.loads(answer)


def main() -> None:
    """Measure every setting in turn, several times over."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        time_steps()
        return
    found: dict[tuple[str, int], list[float]] = {}
    version = ""
    for _ in range(options.rounds):
        for name, spin_count in COUNTS.items():
            for neighbours in NEIGHBOURS:
                answer = measure(spin_count, neighbours)
                found.setdefault((name, neighbours), []).append(float(str(answer["ms"])))
                version = str(answer["torch"])
    print(f"{'GOMP_SPINCOUNT':<18}" + "".join(f"{n} busy neighbours".rjust(20) for n in NEIGHBOURS))
    for name in COUNTS:
        medians = [statistics.median(found[name, n]) for n in NEIGHBOURS]
        print(f"{name:<18}" + "".join(f"{median:17.0f} ms" for median in medians))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "torch": version,
            "step": f"b0, batch {BATCH}, {RESOLUTION} px, float32, channels_last",
            "milliseconds": [
                {"spin_count": name, "neighbours": n, "runs": runs}
                for (name, n), runs in found.items()
            ],
        }
        options.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
