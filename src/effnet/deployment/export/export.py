"""Exporting: one way to write, check and keep a file of any kind."""

from collections.abc import Callable, Mapping
from importlib import import_module
from itertools import filterfalse
from pathlib import Path
from typing import Any

import numpy as np

from effnet.card import Card
from effnet.data.prepare import Levels
from effnet.deployment.export.check import Compared, ExportCheck, made_pictures
from effnet.deployment.export.targets import FILES, TARGETS, Target
from effnet.errors import ModelFileError, UsageError, closest
from effnet.extras import installed, require
from effnet.files import files_in, whole_file, whole_folder
from effnet.measure.writers import told
from effnet.nets.network import EfficientNet

TOLERANCES = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1}
"""Largest difference, over the largest output, with which a file is still written."""


def export(
    net: EfficientNet,
    card: Card,
    out: str | Path,
    *,
    to: str,
    pixels: bool = False,
    precision: str = "float32",
    pictures: Levels | None = None,
    tolerance: float | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> ExportCheck:
    """Write a model as another program's file, load it again, and compare it with torch.

    The file is for pictures of the card's resolution; resizing stays outside.

    Args:
        net: the network; it is left as it was.
        card: what the model file says of it.
        out: the file or folder to write, whole or not at all.
        to: key of `effnet.deployment.export.targets.TARGETS`.
        pixels: the graph takes pictures as they are, uint8 (N, H, W, C), and normalises them;
            otherwise it takes what the network takes.
        precision: of the weights, one of the target's.
        pictures: to compare on, (N, C, H, W) of levels from 0 to 255 and the card's resolution;
            None for some that are made. See `effnet.deployment.export.check.real_pictures`.
        tolerance: largest difference of an output, over the largest output, above which nothing is
            written; None for the precision's of `TOLERANCES`.
        tell: is told what goes on.

    Returns:
        What was written, and how it compares.

    Raises:
        UsageError: there is no such target, it has not that precision, it cannot hold such a
            network, or the name of `out` does not fit it.
        ModelFileError: the answers differ by more than `tolerance`; nothing is written.
        ResourceError: a package is not installed, or the file could not be written.
    """
    target, path = _target(to, precision), Path(out)
    _require_name(target, path)
    allowed = TOLERANCES[precision] if tolerance is None else tolerance
    for module in filterfalse(installed, target.needs):  # said before long work is begun
        require(module, f"write {target.owner}'s files")
    if len(target.precisions) > 1:
        options: dict[str, Any] = {"pixels": pixels, "precision": precision}
    else:
        options = {"pixels": pixels}
    contents = target.contents
    with whole_folder(path, contents) if contents else whole_file(path) as temporary:
        tell(f"Writing {path} for {target.owner}")
        details = _written(target, net, card, temporary, options)
        runtime, figures = None, Compared(0, None, None)
        if target.compare is not None:
            tell("Comparing its answers with torch")
            levels = made_pictures(card.preprocessing) if pictures is None else pictures
            levels = np.rint(levels).astype(np.uint8) if pixels else levels
            runtime, figures = target.compare(temporary, net, card, levels)
            _require_same(figures, allowed, path)
        size = sum(file.stat().st_size for file in files_in(temporary))
    pixels = pixels or target.normalises
    return ExportCheck(
        file=path,
        target=to,
        runtime=runtime,
        shape=_shape(target, card, pixels=pixels),
        kind="uint8" if pixels and not target.normalises else "float32",
        pixels=pixels,
        precision=precision,
        size=size,
        pictures=figures.pictures,
        difference=figures.difference,
        agreement=figures.agreement,
        details=details,
        note=target.note,
    )


def _target(to: str, precision: str) -> Target:
    if to not in TARGETS:
        raise UsageError(
            f"There is no kind of file {to!r}: choose from {', '.join(TARGETS)}."
            f"{closest(to, TARGETS)}"
        )
    target = TARGETS[to]
    if precision not in target.precisions:
        raise UsageError(
            f"{target.owner}'s files are written in {' or '.join(target.precisions)}, not in "
            f"{precision!r}.{closest(precision, target.precisions)}"
        )
    return target


def _require_name(target: Target, path: Path) -> None:
    if target.suffix and path.suffix != target.suffix:
        right = Path(path.name or "model").with_suffix(target.suffix).name
        raise UsageError(
            f"{target.owner}'s files end in {target.suffix}; {path.name!r} does not: {right}"
        )
    if not target.suffix and path.suffix in FILES:
        raise UsageError(
            f"{target.owner} has several files, which go into a folder: give its name, not that of "
            f"a file, {path.name!r}: {path.stem}"
        )


def _written(
    target: Target, net: EfficientNet, card: Card, path: Path, options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Write a file, and return what there is to say of it."""
    writer = import_module(f"effnet.deployment.export.{target.module}")
    with told(card.spec.name, target.owner):
        return writer.write(net, card, path, **options) or {}


def _require_same(figures: Compared, allowed: float, path: Path) -> None:
    apart = figures.difference
    if apart is None or apart <= allowed:
        return
    same = "" if figures.agreement is None else f", {figures.agreement:.0%} get the same class"
    raise ModelFileError(
        f"The exported network answers otherwise: on {figures.pictures} pictures the largest "
        f"difference is {apart:.2g} of the largest output, more than {allowed:g}{same}. {path} was "
        "not written."
    )


def _shape(target: Target, card: Card, *, pixels: bool) -> tuple[int | None, ...]:
    side, channels = card.preprocessing.resolution, card.preprocessing.channels
    last = target.last or (pixels and target.module != "coreml")
    return (target.batch, side, side, channels) if last else (target.batch, channels, side, side)
