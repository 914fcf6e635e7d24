"""What runs a network: torch, or the program of an exported file; each as one call.

The call takes pictures as levels from 0 to 255 (N, C, H, W), any number of them, and returns the
network's outputs (N, K). torch is imported only where it runs the network.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from effnet import extras
from effnet.card import Card
from effnet.data.prepare import Levels
from effnet.data.preprocessing import Preprocessing
from effnet.deployment.form import Form
from effnet.deployment.predict import Run
from effnet.errors import ModelFileError, UsageError, closest
from effnet.measure.sessions import ENGINES, Session, open_session, told_of

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("auto", "float32", "bfloat16")
"""Of the arithmetic; "auto" is what the file says where the processor has it, and in torch bfloat16
on a GPU that has it."""
_TORCH = {"auto": "auto", "float32": "fp32", "bfloat16": "bf16"}


def require_precision(precision: str) -> None:
    """Raise UsageError unless a precision is one of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise UsageError(
            f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}."
            f"{closest(precision, PRECISIONS)}"
        )


def torch_run(net: "nn.Module", preprocessing: Preprocessing, *, precision: str = "auto") -> Run:
    """Return the call of a network in plain torch, on the device where it is at each call.

    Args:
        net: from normalised pictures to outputs; its mode is as before after each call.
        preprocessing: how pictures are normalised.
        precision: one of `PRECISIONS`.

    Raises:
        UsageError: there is no such precision.
    """
    require_precision(precision)
    import torch

    from effnet.devices import autocast, memory_format
    from effnet.tasks.inference import evaluating

    @torch.inference_mode()
    def run(levels: Levels) -> NDArray[np.float32]:
        device = next(net.parameters()).device
        batch = torch.from_numpy(levels).to(device, memory_format=memory_format(True))
        with evaluating(net), autocast(device, _TORCH[precision]):
            outputs = net(preprocessing.normalised(batch))
        found: NDArray[np.float32] = outputs.float().cpu().numpy()
        return found

    return run


def runtime_of(file: Path) -> str:
    """Return the program that runs a file: of those that can, the first that is installed.

    Raises:
        ModelFileError: none can.
    """
    able = [name for name, engine in ENGINES.items() if file.suffix in engine.suffixes]
    if not able:
        raise ModelFileError(f"{file} ends as no file that a runtime knows.")
    here = (name for name in able if extras.installed(ENGINES[name].module))
    return next(here, able[0])


def file_run(
    file: Path, card: Card, form: Form, *, runtime: str, threads: int = 0, precision: str = "auto"
) -> Run:
    """Return the call of an exported file on this machine's CPU, tried once with a blank picture.

    Args:
        file: the file, or the folder of an OpenVINO model.
        card: what it says of its model.
        form: what it says of its graph.
        runtime: key of `ENGINES`.
        threads: to compute with; 0 for as many as the process has cores.
        precision: one of `PRECISIONS`.

    Raises:
        UsageError: the runtime has not that arithmetic.
        ModelFileError: the file is damaged, or its graph is not what it says of it.
        ResourceError: the runtime is not installed, or memory did not suffice.
    """
    dtype = _dtype(runtime, form, precision)
    try:
        session = open_session(runtime, file, threads=threads, dtype=dtype)
    except UsageError:
        if precision != "auto" or dtype == "float32":
            raise
        session = open_session(runtime, file, threads=threads)  # this processor lacks the other
    _require_fitting(session, card, form, file)
    run = session_run(session, card.preprocessing, form)
    blank = np.zeros((1, card.preprocessing.channels, *_sides(card)), np.uint8)
    with told_of(file, runtime, "run"):
        given = run(blank).shape
    if given != (1, len(card.classes)):
        raise ModelFileError(
            f"{file} says that it has {len(card.classes)} outputs, but gives the shape {given} for "
            "one picture: its graph and what it says of it belong to different models."
        )
    return run


def session_run(session: Session, preprocessing: Preprocessing, form: Form) -> Run:
    """Return the call of an open file, which may take so many pictures at a time and no others.

    Args:
        session: the file.
        preprocessing: how pictures are normalised.
        form: whether its graph does so itself.
    """
    batch = session.shape[0] or form.batch

    def run(levels: Levels) -> NDArray[np.float32]:
        inputs = _as_pixels(levels) if form.pixels else preprocessing.inputs(levels)
        if session.channels_last or form.pixels:
            inputs = inputs.transpose(0, 2, 3, 1)
        return session(inputs) if batch is None else _in_groups(session, inputs, batch)

    return run


def _in_groups(session: Session, inputs: Levels, batch: int) -> NDArray[np.float32]:
    """Run so many pictures at a time, the last group filled up with blank ones."""
    groups = (inputs[start : start + batch] for start in range(0, len(inputs), batch))
    return np.concatenate([session(_filled(group, batch))[: len(group)] for group in groups])


def _filled(group: Levels, batch: int) -> Levels:
    missing = batch - len(group)
    if not missing:
        return group
    return np.concatenate([group, np.zeros((missing, *group.shape[1:]), group.dtype)])


def _as_pixels(levels: Levels) -> Levels:
    """Return levels as uint8; those that TensorFlow's resizing leaves between two are rounded."""
    if levels.dtype == np.uint8:
        return levels
    return np.rint(levels).clip(0, 255).astype(np.uint8)


def _dtype(runtime: str, form: Form, precision: str) -> str:
    """Return the arithmetic of a runtime's float layers."""
    if precision != "auto":
        return precision
    return form.precision if form.precision in ENGINES[runtime].dtypes else "float32"


def _sides(card: Card) -> tuple[int, int]:
    return (card.preprocessing.resolution,) * 2


def _require_fitting(session: Session, card: Card, form: Form, file: Path) -> None:
    """Raise ModelFileError unless a graph takes the pictures that its file says it takes."""
    kind = "uint8" if form.pixels else "float32"
    last = session.channels_last or form.pixels
    channels = card.preprocessing.channels
    wanted = (*_sides(card), channels) if last else (channels, *_sides(card))
    sides = zip(session.shape[1:], wanted, strict=True)
    if session.kind != kind or any(side not in (None, needed) for side, needed in sides):
        raise ModelFileError(
            f"{file} says that it takes {kind} pictures of {wanted}, but its graph takes "
            f"{session.kind} of {session.shape[1:]}: they belong to different models."
        )
