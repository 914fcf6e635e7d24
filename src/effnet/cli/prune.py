"""`effnet prune`: a model with fewer channels, trained again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from effnet.cli.fit import chosen_recipe, with_settings
from effnet.cli.output import AsJson, Convention, ModelPlace, print_json, table
from effnet.errors import UsageError

if TYPE_CHECKING:
    from effnet.compression.prune_run import Report

RECIPE = "finetune"


def _prune(
    model: ModelPlace,
    data: Annotated[str, typer.Argument(help="What it was trained on; see `effnet fit`.")],
    to: Annotated[
        list[str],
        typer.Option(help="macs=50%, params=60%, macs=200M, size=10MB; several are kept all."),
    ],
    out: Annotated[Path, typer.Option(help="The run folder, which must be new.")],
    rounds: Annotated[
        int, typer.Option(min=1, help="Prune in so many steps, all channels valued anew in each.")
    ] = 1,
    train: Annotated[
        bool, typer.Option("--train/--no-train", help="Whether it is trained again.")
    ] = True,
    recipe: Annotated[str, typer.Option(help="How it is trained; see `effnet fit`.")] = RECIPE,
    convention: Convention = None,
    as_json: AsJson = False,
    **settings: Any,
) -> None:
    """Take channels out of MODEL until it keeps --to, and train it on DATA again.

    Whole channels go, by eights, where the loss needs them least for what they cost. The result is
    a model like any other. To learn from the whole model's answers, too: --distil MODEL.

    Of DATA without validation pictures those are held out that MODEL's own training held out:
    --val-share and --seed are that training's, not the recipe's, unless given here.
    """
    from effnet.compression.gate import open_for
    from effnet.compression.judging import held_out
    from effnet.compression.prune_run import prune_and_train
    from effnet.compression.teacher import teacher_file
    from effnet.pretrained import open_weights
    from effnet.training.progress import ConsoleReporter
    from effnet.training.run import RunFolder

    given = {name: value for name, value in settings.items() if value is not None}
    if given.get("batch") == "auto":
        raise UsageError("--batch auto belongs to effnet fit; give a number of pictures.")
    found = open_weights(model, convention=convention)
    card = found.card
    chosen = chosen_recipe(recipe)[0].with_(**held_out(card) | given)
    reporter = ConsoleReporter(chosen.epochs, chosen.batch)
    dataset = open_for(card, data, val_share=chosen.val_share, seed=chosen.seed, tell=reporter.tell)
    if train and chosen.distil:
        file = teacher_file(chosen.distil, data, convention=convention, classes=card.classes)
        chosen = chosen.with_(distil=str(file))
    report = prune_and_train(
        found.net,
        card,
        dataset,
        RunFolder(out),
        reporter,
        to=to,
        recipe=chosen if train else None,
        rounds=rounds,
        device=chosen.device,
        workers=max(0, chosen.workers),
    )
    print_json(report.to_dict()) if as_json else typer.echo(_told(report, card.spec.name))


def _told(report: "Report", name: str) -> str:
    told = report.to_dict()
    steps = [step for step in ("whole", "pruned", "trained") if step in told]
    rows = [
        [
            step,
            f"{told['before' if step == 'whole' else 'after']['macs'] / 1e6:.1f}",
            f"{told['before' if step == 'whole' else 'after']['params'] / 1e6:.2f}",
            f"{told[step]['value']:.4f}",
            f"{told[step]['drop']:+.4f}",
            "{:+.4f} to {:+.4f}".format(*told[step]["drop_interval"]),
        ]
        for step in steps
    ]
    header = (name, "M multiply-adds", "M parameters", told["figure"], "lost", "95 % interval")
    return f"{table(header, rows)}\n\nModel file: {report.file}"


command = with_settings(
    _prune, RECIPE, without=("task", "teacher", "unlabelled", "pseudo_threshold")
)
