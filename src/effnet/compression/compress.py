"""The best way to run a trained network here: only what measured better than what came in is kept.

Candidates are built, judged and measured in turn (`attempts`); `records.winner` says which wins.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from effnet.card import Card
from effnet.compression.attempts import Attempts
from effnet.compression.building import TOOLS, Tools
from effnet.compression.candidates import PRECISIONS, RUNTIMES, candidates
from effnet.compression.gate import Whole
from effnet.compression.judging import require_judge
from effnet.compression.outcome import PICTURE, REPORT, Compression
from effnet.compression.picture import compression_picture
from effnet.compression.records import LIMITED, Demands, winner
from effnet.compression.state import State
from effnet.data.sources import DataSet
from effnet.errors import UsageError
from effnet.files import require_writable, whole_folder, write_text
from effnet.measure.limits import Limit, parse_limits
from effnet.measure.records import Machine, Setting, versions
from effnet.nets.network import EfficientNet
from effnet.training.job import fingerprint

MAX_DROP = 0.01
LIBRARIES = ("onnx", "nncf", "litert-torch", "ai-edge-litert", "ai-edge-quantizer")
"""On whose versions a candidate depends, beside those that a measurement names."""
SUFFIX = ".partial"
"""Of the folder, beside that of the result, that keeps what is finished."""


def compress(
    net: EfficientNet,
    card: Card,
    data: DataSet,
    *,
    out: Path,
    max_drop: float = MAX_DROP,
    limits: str | Iterable[str | Limit] = (),
    runtimes: Sequence[str] = tuple(RUNTIMES),
    precisions: Sequence[str] = tuple(PRECISIONS),
    resolutions: Sequence[int] = (),
    smaller: Sequence[str] = (),
    distilling: Mapping[str, Any] | None = None,
    threads: int = 0,
    workers: int = 0,
    work: Path | None = None,
    tools: Tools = TOOLS,
    tell: Callable[[str], None] = lambda _: None,
    show: Callable[[Compression], None] = lambda _: None,
) -> Compression:
    """Find the quickest way to run a network on this machine's CPU that keeps accuracy and limits.

    Every candidate is judged on the validation split and measured as what came in is: the network
    in plain torch. One that fails is told with its reason. What is finished is kept in a folder
    until the end, so that the same call goes on after a break and measures nothing twice.

    Args:
        net: the trained network; it is left as it was.
        card: what its model file says of it.
        data: to judge by (the validation split), to calibrate and to distil with (the training
            split).
        out: folder for the winner, new or empty; nothing is written if nothing is better.
        max_drop: most that the task's figure may fall; 0.01 is one point of accuracy.
        limits: on "latency" (of one picture), "size" (of the file) and "memory", such as
            "latency=8ms". Where only the size is limited the smallest wins, else the quickest.
        runtimes: keys of `effnet.compression.candidates.RUNTIMES`.
        precisions: keys of `effnet.compression.candidates.PRECISIONS`.
        resolutions: sides in pixels to try beside the network's own, with the same weights.
        smaller: variants to distil the network into, each a training; each must compute or hold
            less.
        distilling: settings of those trainings' recipe.
        threads: of a run; 0 for as many as the process has cores.
        workers: processes that load pictures; with 0 only trainings have some, as their recipe
            says.
        work: folder of what is finished, which then stays, so that a call with other limits
            measures nothing again; None for one beside `out` that goes when all is done.
        tools: build, judge and measure.
        tell: of each candidate.
        show: is given what this returns, before the winner is written; what is finished is kept
            if either fails.

    Raises:
        DataError: the data has no validation split.
        UsageError: its classes are not the model's, an argument cannot be meant, or `out` is in
            use.
        ResourceError: a folder cannot be written, or no candidate could be tried.
        Interrupted, Preempted: a signal came; what is done is kept.
    """
    demands = Demands(_allowed(max_drop), _limited(limits))
    wanted = candidates(
        card.spec,
        card.preprocessing.resolution,
        runtimes=runtimes,
        precisions=precisions,
        resolutions=resolutions,
        smaller=smaller,
    )
    require_judge(card, data)
    _require_free(out, work)
    setting = Setting(channels=card.preprocessing.channels, threads=threads).settled()
    machine = Machine.here()
    subject = {
        "model": _digest(net, card),
        "data": fingerprint(data.train, data.val),
        "setting": asdict(setting),
        "machine": asdict(machine),
        "libraries": versions(*LIBRARIES),
    }
    place = out.resolve()
    state = (
        State(place.with_name(place.name + SUFFIX), subject)
        if work is None
        else State(work.resolve(), subject, lasting=True)
    )
    with state.held():
        attempts = Attempts(
            came_in=Whole(net, card),
            data=data,
            demands=demands,
            setting=setting,
            distilling=distilling or {},
            workers=workers,
            state=state,
            tools=tools,
            tell=tell,
        )
        before = attempts.judgement()
        records = attempts.records(wanted, before)
        best = winner(records, demands)
        found = Compression(
            figure=before.figure,
            pictures=before.count,
            demands=demands,
            records=tuple(records),
            winner=best,
            setting=setting,
            machine=machine,
            out=None if best is None else out,
        )
        show(found)
        if best is not None:
            _write_winner(found, state.files_of(best.candidate))
        state.remove()
    return found


def _allowed(max_drop: float) -> float:
    if not 0 <= max_drop < 1:
        raise UsageError(
            f"The most that may be lost must be a share in [0, 1), such as 0.01; it is {max_drop}."
        )
    return max_drop


def _limited(limits: str | Iterable[str | Limit]) -> tuple[Limit, ...]:
    found = parse_limits(limits)
    for limit in found:
        if limit.quantity not in LIMITED:
            raise UsageError(
                f"{limit.quantity} cannot be limited here, only {', '.join(LIMITED)}. For other "
                "networks see `effnet choose` and `effnet scale`."
            )
    return found


def _require_free(out: Path, work: Path | None) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there and is not an empty folder. Give another with --out.")
    if out.resolve() == Path.cwd():
        raise UsageError("The folder that you are in cannot be replaced. Give another with --out.")
    if work is not None and work.resolve().is_relative_to(out.resolve()):
        raise UsageError(
            f"{out} is for the winner alone and {work} would lie in it. Give another with --work."
        )
    require_writable(out / REPORT)


def _write_winner(found: Compression, files: Path) -> None:
    """Write the winner's files, the report and the picture into `found.out`, all or nothing.

    Args:
        found: with a winner.
        files: the folder that has the winner's files.

    Raises:
        ResourceError: they could not be written.
    """
    assert found.out is not None
    with whole_folder(found.out, {REPORT}) as folder:
        shutil.copytree(files, folder)
        write_text(folder / REPORT, json.dumps(found.to_dict(), indent=1) + "\n")
        compression_picture(found, folder / PICTURE)


def _digest(net: EfficientNet, card: Card) -> str:
    found = hashlib.blake2b(card.to_json().encode(), digest_size=16)
    for tensor in net.state_dict().values():
        found.update(tensor.detach().cpu().contiguous().numpy())
    return found.hexdigest()
