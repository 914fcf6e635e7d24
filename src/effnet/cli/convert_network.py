"""`effnet convert --padding` and `--static-kernels`: a network made otherwise, as good."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from effnet.cli.output import print_json, table
from effnet.errors import UsageError
from effnet.files import require_writable

if TYPE_CHECKING:
    from effnet.compression.gate import Gate, Kept, Whole
    from effnet.measure.records import Measurement

SUFFIX = ".safetensors"


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
    from effnet.compression.padding import exact, moved, nearest_exact, require_convertible, ways

    whole = _opened(wish)
    spec, side = whole.net.spec, whole.card.preprocessing.resolution
    require_convertible(spec, padding)
    way = exact(whole, turn=wish.turn)
    if wish.data is not None:
        kept = first_good(whole, ways(whole) if way is None else (way,), _gate(wish, whole))
        what = "symmetric padding" if way is None else kept.tried[-1].name
        _write(wish, whole, kept.whole, what, kept)
    elif way is not None:
        _require_unjudged(wish)
        _write(wish, whole, way.make(whole), way.name, None)
    else:
        even = ", ".join(map(str, moved(spec, side)))
        raise UsageError(
            f"At {side} px layers of stride 2 see even sides ({even}), where symmetric padding "
            f"takes other pixels than 'SAME'. It is exact at {nearest_exact(spec, side)} px, but "
            "only data can tell what another resolution costs: give --data."
        )


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
    require_writable(wish.out)
    found = open_weights(wish.model, convention=wish.convention)
    whole = Whole(found.net, found.card)
    if wish.runtime is not None:
        from effnet.measure.bench import require_measurable

        require_measurable(whole.net, _setting(whole, wish.runtime), ("latency",))
    return whole


def _gate(wish: Wish, whole: "Whole") -> "Gate":
    from effnet.compression.gate import MENDING, Gate, open_for

    recipe = MENDING.with_(
        epochs=wish.epochs or MENDING.epochs, device=wish.device, workers=wish.workers
    )
    tell = partial(typer.echo, err=True)
    data = open_for(whole.card, wish.data or "", tell=tell)
    return Gate(data=data, max_drop=wish.max_drop, recipe=recipe, tell=tell)


def _require_unjudged(wish: Wish) -> None:
    """Raise UsageError if something was asked of the judging that there is none of."""
    from effnet.compression.gate import MENDING, Gate

    asked = {
        "--max-drop": wish.max_drop != Gate.max_drop,
        "--epochs": wish.epochs is not None,
        "--device": wish.device != MENDING.device,
        "--workers": wish.workers > 0,
    }
    words = [option for option, is_asked in asked.items() if is_asked]
    if words:
        raise UsageError(
            f"Without --data nothing is judged, so there is no use for {', '.join(words)}."
        )


def _write(wish: Wish, before: "Whole", after: "Whole", what: str, kept: "Kept | None") -> None:
    from effnet import artifact

    latencies = _latencies(wish, before, after)
    artifact.write(wish.out, after.net.state_dict(), after.card)
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
