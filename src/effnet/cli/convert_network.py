"""`effnet convert --padding` and `--static-kernels`: a network made otherwise, as good."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from effnet.cli.output import print_json, table
from effnet.errors import ModelFileError, UsageError
from effnet.files import require_writable

if TYPE_CHECKING:
    from effnet.compression.gate import Gate, Kept, Whole
    from effnet.measure.records import Measurement

SUFFIX = ".safetensors"
TOLERANCE = 1e-3
"""By which outputs may differ, as a share of the largest, where networks are the same."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What was asked for.

    Attributes:
        model: as `open_weights` takes it.
        out: the model file to write.
        turn: whether the network may turn pictures upside down.
        convention: "torch" or "tensorflow", for a file of timm.
        data: to judge and to mend by; None for none.
        max_drop: of the figure, as a share.
        epochs: of the training that mends; None for the recipe's.
        device: of judging and training.
        workers: processes that load pictures.
        runtime: that latencies are measured on; None for no measurement.
        as_json: whether to print for programs.
    """

    model: str
    out: Path
    turn: bool
    convention: str | None
    data: str | None
    max_drop: float
    epochs: int | None
    device: str
    workers: int
    runtime: str | None
    as_json: bool


def with_padding(padding: str, wish: Wish) -> None:
    """Write the network with symmetric padding.

    Raises:
        EffnetError: it cannot be converted, or nothing keeps the accuracy.
    """
    from effnet.compression.gate import first_good
    from effnet.compression.padding import (
        moved,
        nearest_exact,
        require_convertible,
        symmetric,
        turnable,
        turned,
        ways,
    )

    whole = _opened(wish)
    spec, side = whole.net.spec, whole.card.preprocessing.resolution
    require_convertible(spec, padding)
    if not moved(spec, side):
        converted = symmetric(whole, side)
        _require_same(whole, converted, side)
        _write(wish, whole, converted, f"exact: at {side} px both paddings are the same", None)
        return
    if wish.turn and turnable(spec):
        net = turned(whole.net)
        converted = whole._replace(net=net, card=replace(whole.card, spec=net.spec))
        _require_same(whole, converted, side)
        what = "exact: symmetric padding and mirrored kernels, of pictures turned upside down"
        _write(wish, whole, converted, what, None)
        return
    if wish.data is None:
        even = ", ".join(map(str, moved(spec, side)))
        raise UsageError(
            f"At {side} px layers of stride 2 see even sides ({even}), where symmetric padding "
            f"takes other pixels than 'SAME'. It is exact at {nearest_exact(spec, side)} px, but "
            "only data can tell what another resolution costs: give --data."
        )
    kept = first_good(whole, ways(whole), _gate(wish, whole))
    _write(wish, whole, kept.whole, "symmetric padding", kept)


def with_static_kernels(wish: Wish) -> None:
    """Write the network with its experts' kernels mixed once and for all.

    Raises:
        EffnetError: it has no experts, or nothing keeps the accuracy.
    """
    from effnet.compression.condconv import require_experts, ways
    from effnet.compression.gate import first_good

    whole = _opened(wish)
    require_experts(whole.net.spec)
    if wish.data is None:
        raise UsageError(
            "Kernels are mixed by what the routing is on average over training pictures, and "
            "judged on those of validation: give --data."
        )
    gate = _gate(wish, whole)
    kept = first_good(whole, ways(gate), gate)
    _write(wish, whole, kept.whole, "static kernels", kept)


def _opened(wish: Wish) -> "Whole":
    from effnet.compression.gate import Whole
    from effnet.pretrained import open_weights

    if wish.out.suffix != SUFFIX:
        raise UsageError(f"A model file's name ends in {SUFFIX}, unlike {wish.out}.")
    found = open_weights(wish.model, convention=wish.convention)
    whole = Whole(found.net, found.card)
    if wish.runtime is not None:
        from effnet.measure.bench import require_measurable

        require_measurable(whole.net, _setting(whole, wish.runtime), ("latency",))
    return whole


def _gate(wish: Wish, whole: "Whole") -> "Gate":
    from effnet.compression.gate import MENDING, Gate, open_for

    require_writable(wish.out)
    recipe = MENDING.with_(
        epochs=wish.epochs or MENDING.epochs, device=wish.device, workers=wish.workers
    )
    return Gate(
        data=open_for(whole.card, wish.data or ""),
        max_drop=wish.max_drop,
        recipe=recipe,
        tell=lambda line: typer.echo(line, err=True),
    )


def _require_same(whole: "Whole", converted: "Whole", side: int) -> None:
    from effnet.compression.padding import difference

    far = difference(whole.net, converted.net, side)
    if not far <= TOLERANCE:
        raise ModelFileError(
            "The network that should be the same answers otherwise: on noise outputs differ by "
            f"{far:.2g} of the largest, more than {TOLERANCE:g}. Nothing was written. Its weights "
            "may hold numbers that are not finite, or too large."
        )


def _write(wish: Wish, before: "Whole", after: "Whole", what: str, kept: "Kept | None") -> None:
    from effnet import artifact

    artifact.write(wish.out, after.net.state_dict(), after.card)
    latencies = _latencies(wish, before, after)
    if wish.as_json:
        print_json(_plain(wish, after, what, kept, latencies))
        return
    if kept is not None:
        typer.echo(_ways_told(kept))
    for name, measured in latencies.items():
        typer.echo(_latency_told(name, measured))
    side = after.card.preprocessing.resolution
    typer.echo(f"{wish.out}: {after.net.spec.name} at {side} px, {what}")


def _latencies(wish: Wish, before: "Whole", after: "Whole") -> "dict[str, Measurement]":
    if wish.runtime is None:
        return {}
    from effnet.measure.bench import bench

    return {
        name: bench(whole.net, _setting(whole, wish.runtime), name=name, what=("latency",))
        for name, whole in (("before", before), ("after", after))
    }


def _setting(whole: "Whole", runtime: str) -> Any:
    from effnet.measure.records import Setting

    pictures = whole.card.preprocessing
    return Setting(runtime=runtime, resolution=pictures.resolution, channels=pictures.channels)


def _ways_told(kept: "Kept") -> str:
    before = kept.before
    header = ("way", "pixels", before.figure, "points lost", "from", "to", "seconds")
    rows = [
        (
            tried.name,
            str(tried.resolution),
            f"{tried.value:.4f}",
            *(f"{100 * share:.2f}" for share in (tried.drop, *tried.drop_interval)),
            f"{tried.seconds:.0f}",
        )
        for tried in kept.tried
    ]
    low, high = before.interval
    return (
        f"{before.figure} before: {before.value:.4f} ({low:.4f} to {high:.4f}) on {before.count} "
        f"validation pictures\n{table(header, rows)}"
    )


def _latency_told(name: str, measured: "Measurement") -> str:
    from effnet.measure.limits import shown

    timing, setting = measured.latency, measured.setting
    if timing is None:
        return ""
    doubt = f" ({timing.noise})" if timing.noise else ""
    return (
        f"latency {name}: {shown('latency', timing.median)} on {setting.runtime}, "
        f"{setting.resolution} px, {setting.threads} threads, {measured.machine}{doubt}"
    )


def _plain(
    wish: Wish,
    after: "Whole",
    what: str,
    kept: "Kept | None",
    latencies: "Mapping[str, Measurement]",
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "model": wish.model,
        "out": str(wish.out),
        "what": what,
        "variant": after.net.spec.name,
        "padding": after.net.spec.padding,
        "resolution": after.card.preprocessing.resolution,
        "latency": {name: measured.to_dict() for name, measured in latencies.items()},
    }
    if kept is None:
        return told
    before, now = kept.before, kept.after
    return {
        **told,
        "figure": before.figure,
        "before": {"value": before.value, "interval": before.interval},
        "after": {"value": now.value, "interval": now.interval},
        "pictures": before.count,
        "tried": [asdict(tried) for tried in kept.tried],
    }
