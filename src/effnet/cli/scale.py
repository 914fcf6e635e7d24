"""`effnet scale`: a variant scaled by numbers, by limits, or by bases searched on data."""

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from effnet.cli.output import AsJson, print_json
from effnet.errors import UsageError
from effnet.measure.limits import Limit, parse_limits

if TYPE_CHECKING:
    from effnet.nets.spec import Spec


def command(
    variant: Annotated[str, typer.Argument(help="The variant to start from.")] = "b0",
    phi: Annotated[float | None, typer.Option(help="Compound coefficient, any number.")] = None,
    factor: Annotated[float | None, typer.Option(help="Depth and width together.")] = None,
    depth: Annotated[float | None, typer.Option(help="Repeats over the variant's.")] = None,
    width: Annotated[float | None, typer.Option(help="Channels over the variant's.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Side of the pictures in pixels.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Base of the depth. [1.2]")] = None,
    beta: Annotated[float | None, typer.Option(help="Base of the width. [1.1]")] = None,
    gamma: Annotated[float | None, typer.Option(help="Base of the resolution. [1.15]")] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            help="Find the largest phi that keeps a limit, such as latency=8ms; of latency, macs, "
            "params, size or memory, also several."
        ),
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="With --to: scale only the width, depth or resolution.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="To measure or to search on: cpu, cuda or cuda:1.")
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="To measure: torch, compiled, onnxruntime or openvino. [torch]"),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="To measure in: float32, bfloat16 or float16. [float32]"),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Pictures at a time, to measure. [1]", min=1)
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Of a CPU; 0 for all cores. [0]", min=0)
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(
            help="Search alpha, beta and gamma by trainings on this data.", metavar="DATA"
        ),
    ] = None,
    study: Annotated[
        Path | None, typer.Option(help="The search's folder; an unfinished one goes on.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="Optuna's address of a search that processes share.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Trainings of the search, at most.")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Of the search's longest trainings. [4]", min=1)
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help="Of the search: grid, random or tpe. [grid]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the search. [0]")] = None,
    classes: Annotated[int, typer.Option(help="The network's outputs.", min=1)] = 1000,
    out: Annotated[
        Path | None,
        typer.Option(help="A JSON file for the network, which fit and bench take like a variant."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Scale a variant and show the network that comes out.

    By --phi, --factor or any of --depth, --width and --resolution; or --to limits that it must
    keep as measured on this machine. With --search the bases of phi are found first.
    """
    limits = parse_limits(to or ())
    ways: dict[str, Any] = {"phi": phi, "factor": factor, "depth": depth, "width": width}
    bases = _given(alpha=alpha, beta=beta, gamma=gamma)
    measuring = _given(runtime=runtime, dtype=dtype, batch=batch)
    where = _given(device=device, threads=threads)
    study_of = {"storage": storage, "trials": trials, "sampler": sampler, "seed": seed}
    if not limits:
        _refuse("Without --to nothing is measured", **measuring)
    if search is not None:
        _refuse("--search finds the bases of phi", **ways, **bases, only=only)
        if out is not None and not limits:
            raise UsageError("Bases are no network yet: with --search, --out needs --to.")
        bases = _searched(
            search,
            variant,
            apart=bool(limits and as_json),
            out=study,
            storage=storage,
            trials=trials,
            epochs=epochs or 4,
            sampler=sampler or "grid",
            resolution=resolution,
            seed=seed or 0,
            settings=where,
            as_json=as_json and not limits,
        )
        if not limits:
            return
    else:
        _refuse("Without --search there is no study", study=study, epochs=epochs, **study_of)
        ways["resolution"] = resolution
    if limits:
        _refuse("--to finds the scaling by itself", **ways)
        _solve(variant, limits, only, bases, classes, {**measuring, **where}, out, as_json)
        return
    _refuse("Without --to the numbers say what is scaled", only=only, **where)
    from effnet.nets.scaling import scale

    _show(scale(variant, **ways, **bases, classes=classes), out, as_json)


def _solve(
    variant: str,
    limits: tuple[Limit, ...],
    only: str | None,
    bases: dict[str, Any],
    classes: int,
    how: dict[str, Any],
    out: Path | None,
    as_json: bool,
) -> None:
    from effnet.budget.solve import solve
    from effnet.cli.solution import following, plain, told
    from effnet.measure.records import Setting

    solution = solve(
        variant,
        limits,
        setting=Setting(**how),
        only=only,
        classes=classes,
        **bases,
        tell=lambda line: typer.echo(line, err=True),
    )
    if as_json:
        print_json(plain(solution))
    else:
        typer.echo(told(solution))
    _write(solution.spec, out)
    if not as_json:
        typer.echo(following(solution, out))


def _searched(data: str, variant: str, *, apart: bool, **settings: Any) -> dict[str, Any]:
    """Return the bases found; what the search prints goes to stderr if it is to stand apart."""
    from effnet.cli.scale_search import search_scaling

    with redirect_stdout(sys.stderr) if apart else nullcontext():
        alpha, beta, gamma = search_scaling(data, variant, **settings)
    return {"alpha": alpha, "beta": beta, "gamma": gamma}


def _show(spec: "Spec", out: Path | None, as_json: bool) -> None:
    from effnet.cli.solution import network, plain_network

    _write(spec, out)
    if as_json:
        print_json(plain_network(spec))
    else:
        typer.echo(network(spec))


def _write(spec: "Spec", out: Path | None) -> None:
    from effnet.files import write_text

    if out is not None:
        write_text(out, spec.to_json() + "\n")


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _refuse(reason: str, **options: Any) -> None:
    words = [f"--{name}" for name, value in options.items() if value is not None]
    if words:
        raise UsageError(f"{reason}, so there is no use for {', '.join(words)}.")
