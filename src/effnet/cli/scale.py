"""`effnet scale`: a variant scaled in depth, width and resolution."""

from typing import Annotated

import typer

from effnet.cli.output import AsJson, print_json, table


def command(
    variant: Annotated[str, typer.Argument(help="The variant to start from.")] = "b0",
    phi: Annotated[float | None, typer.Option(help="Compound coefficient, any number.")] = None,
    factor: Annotated[float | None, typer.Option(help="Depth and width together.")] = None,
    depth: Annotated[float | None, typer.Option(help="Repeats over the variant's.")] = None,
    width: Annotated[float | None, typer.Option(help="Channels over the variant's.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Side of the pictures in pixels.")] = None,
    alpha: Annotated[float, typer.Option(help="Base of the depth.")] = 1.2,
    beta: Annotated[float, typer.Option(help="Base of the width.")] = 1.1,
    gamma: Annotated[float, typer.Option(help="Base of the resolution.")] = 1.15,
    as_json: AsJson = False,
) -> None:
    """Scale a variant and show the network that comes out."""
    from effnet.measure.counts import count
    from effnet.nets.scaling import scale

    spec = scale(
        variant,
        phi=phi,
        factor=factor,
        depth=depth,
        width=width,
        resolution=resolution,
        alpha=alpha,
        beta=beta,
        gamma=gamma,
    )
    counts = count(spec)
    if as_json:
        print_json({"parameters": counts.parameters, "macs": counts.macs, "spec": spec.to_dict()})
        return
    columns = ["block", "repeats", "kernel", "stride", "expansion", "channels"]
    typer.echo(
        f"{spec.name}: {counts.parameters / 1e6:.2f} M parameters, {counts.macs / 1e9:.3f} G "
        f"multiply-adds at {spec.resolution} px, stem {spec.stem}, head {spec.head}"
    )
    typer.echo(table(columns, [[str(getattr(s, name)) for name in columns] for s in spec.stages]))
