"""What the benchmarks share: the machine's name, fair turns, tables and files."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from effnet.measure.records import Machine, versions

__all__ = [
    "RESULTS",
    "Competitor",
    "answers_a_second",
    "chosen",
    "in_turns",
    "machine",
    "parser",
    "serve",
    "summary",
    "table",
    "versions",
    "write",
]

WARM_UP = 5
RESULTS = Path(__file__).parent / "results"


def parser(description: str, name: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    found = argparse.ArgumentParser(description=description.partition("\n")[0])
    found.add_argument("--quick", action="store_true", help="a few seconds, only to see it run")
    found.add_argument("--rounds", type=int, default=7, help="turns of each competitor")
    found.add_argument(
        "--only", nargs="+", metavar="NAME", help="only these, or names that begin so"
    )
    found.add_argument("--out", type=Path, default=RESULTS / name, help="path without suffix")
    return found


def machine(device: str = "cpu") -> str:
    """Name the processor and its cores, or the GPU."""
    if device != "cpu":
        import torch

        return torch.cuda.get_device_name(device)
    return str(Machine.here())


def chosen(names: Iterable[str], only: Sequence[str] | None) -> list[str]:
    """Return the names in `only`, and those that begin with what is no name itself; or all."""
    known = list(names)
    if only is None:
        return known
    starts = tuple(word for word in only if word not in known)
    return [name for name in known if name in only or name.startswith(starts)]


def in_turns(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure everything once a round, each round beginning with another.

    What else the machine does at a time then meets all alike.
    """
    names, found = list(measures), {name: list[float]() for name in measures}
    for turn in range(rounds):
        first = turn % max(1, len(names))
        for name in names[first:] + names[:first]:
            found[name].append(measures[name]())
    return found


def summary(runs: Mapping[str, Sequence[float]], ours: str) -> list[dict[str, Any]]:
    """Return a row for each name: median, lowest, highest, all runs, and `ours` divided by it.

    The runs are rates: more is better. The ratio is the median of those within a round, as what
    slows a machine down for a while slows all of a round.
    """
    rows = []
    for name, rates in runs.items():
        row: dict[str, Any] = {
            "name": name,
            "median": statistics.median(rates),
            "low": min(rates),
            "high": max(rates),
            "runs": list(rates),
        }
        if ours in runs:
            pairs = zip(runs[ours], rates, strict=True)
            row["ours_over_it"] = statistics.median(our / its for our, its in pairs)
        rows.append(row)
    return rows


def answers_a_second(run: Callable[[], Any], batch: int, seconds: float) -> float:
    """Return how many pictures a call that takes a batch gets through, after some to warm up."""
    for _ in range(WARM_UP):
        run()
    runs, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        run()
        runs += 1
    return runs * batch / passed


class Competitor:
    """A process that works when it is told to, and waits while others do.

    Args:
        name: of the competitor, for error messages.
        command: that starts it; it ends up in `serve`.
        environment: variables that it has beside this process's.

    Raises:
        RuntimeError: it ended before it was ready.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.name = name
        self.versions = self._answer()

    def seconds(self, times: int) -> float:
        """Return how long it takes to do its work so many times."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{times}\n")
        self.process.stdin.flush()
        return float(self._answer())

    def end(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:  # libraries print as well
            if line.startswith("answer "):
                return json.loads(line.removeprefix("answer "))
        raise RuntimeError(f"{self.name} ended with status {self.process.wait()}")


def serve(work: Callable[[], Any], found: Mapping[str, str], warm_up: int) -> None:
    """Work as the parent process asks, a number of times a line, and answer with seconds.

    Args:
        work: what is measured.
        found: versions of the libraries, which are the first answer.
        warm_up: times that it is done before that.
    """
    for _ in range(warm_up):
        work()
    print("answer", json.dumps(found), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            work()
        print("answer", time.perf_counter() - start, flush=True)


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    lines += [[_cell(value) for value in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 1000 else f"{value:.3g}" if value < 10 else f"{value:.1f}"
    return str(value)


def write(out: Path, record: Mapping[str, Any], text: str) -> None:
    """Write the record as JSON and the text as Markdown, and print the text."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    out.with_suffix(".md").write_text(text + "\n")
    print(text)
