"""Pruning a model and training it again: from a model and its data to a run folder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from effnet import artifact
from effnet.card import Card
from effnet.compression.judge import Judgement, drop, judge_net
from effnet.compression.prune import Pruned, prune
from effnet.data.imagenet import folder_classes
from effnet.data.sources import DataSet, open_data
from effnet.data.splits import Split
from effnet.data.targets import difference
from effnet.devices import on_device
from effnet.errors import DataError, UsageError
from effnet.files import require_writable
from effnet.nets.network import EfficientNet
from effnet.training.job import declare
from effnet.training.progress import Reporter
from effnet.training.recipe import Recipe
from effnet.training.run import RunFolder
from effnet.training.train import train

FILE = "pruned.safetensors"
"""In the run folder: the network before it was trained again, which `recipe.yaml` starts from."""


@dataclass(frozen=True)
class Report:
    """What became of a network.

    Attributes:
        file: the model file.
        pruned: the network before it was trained again.
        whole: how good the whole network is on the validation pictures.
        bare: how good the pruned one is before it is trained again.
        trained: and after; None if it was not.
    """

    file: Path
    pruned: Pruned
    whole: Judgement
    bare: Judgement
    trained: Judgement | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        steps = {"whole": self.whole, "pruned": self.bare, "trained": self.trained}
        counts = {"before": self.pruned.before, "after": self.pruned.after}
        return {
            "file": str(self.file),
            "figure": self.whole.figure,
            **{
                name: {
                    "value": one.value,
                    "interval": one.interval,
                    "drop": drop(self.whole, one, self.pruned.card)[0],
                    "drop_interval": drop(self.whole, one, self.pruned.card)[1],
                }
                for name, one in steps.items()
                if one is not None
            },
            **{
                name: {"macs": one.macs, "params": one.parameters, "size": one.size}
                for name, one in counts.items()
            },
            "spec": self.pruned.net.spec.to_dict(),
        }


def split_settings(card: Card) -> dict[str, Any]:
    """Return the settings of a recipe by which a network's training held out pictures.

    With others it would be judged by pictures that it has learned from.
    """
    recipe = card.training.get("recipe", {})
    return {name: recipe[name] for name in ("val_share", "seed") if recipe.get(name) is not None}


def open_to_prune(card: Card, source: str, recipe: Recipe) -> DataSet:
    """Open the data that a network was trained on, its pictures held out as a recipe says.

    Raises:
        DataError: the data cannot be used.
    """
    found = open_data(source, val_share=recipe.val_share, seed=recipe.seed, task=card.task)
    same = found.classes == folder_classes(source, card.classes)
    return replace(found, classes=card.classes) if same else found


def prune_and_train(
    net: EfficientNet,
    card: Card,
    data: DataSet,
    run: RunFolder,
    reporter: Reporter,
    *,
    to: str | Sequence[str],
    recipe: Recipe | None,
    rounds: int = 1,
    device: str = "auto",
    workers: int = 0,
) -> Report:
    """Prune a network, train it again, and leave a run folder.

    Args:
        net: the network, which stays as it is.
        card: its card.
        data: what it was trained on, its validation split the one of that training.
        run: an empty folder.
        reporter: is told of the progress.
        to: see `prune`.
        recipe: how it is trained again, with the `val_share` and the `seed` by which the data was
            opened; None if it is not, and the folder has the model file only.
        rounds: see `prune`.
        device: where the networks run; the recipe says where one is trained.
        workers: processes that load pictures.

    Raises:
        DataError: there are no validation pictures.
        ResourceError: nothing can be written there.
        UsageError: the data's task or classes are not the model's, or the folder is in use; see
            `prune` and `train` for more.
    """
    val = _required(data, card)
    run.require_new()
    require_writable(run.model)
    pruned = prune(
        net,
        card,
        data.train,
        to=to,
        rounds=rounds,
        workers=workers,
        device=device,
        tell=reporter.tell,
    )

    def judge(net: EfficientNet, card: Card) -> Judgement:
        with on_device(net, device):
            return judge_net(net, card, val, workers=workers)

    whole, bare, trained = judge(net, card), judge(pruned.net, pruned.card), None
    reporter.tell(f"{whole.figure} {whole.value:.4f}, pruned {bare.value:.4f}")
    if recipe is None:
        artifact.write(run.model, pruned.net.state_dict(), pruned.card)
    else:
        trained = judge(*_trained(pruned, data, run, reporter, recipe))
    return Report(run.model, pruned, whole, bare, trained)


def _trained(
    pruned: Pruned, data: DataSet, run: RunFolder, reporter: Reporter, recipe: Recipe
) -> tuple[EfficientNet, Card]:
    start = run.path / FILE
    job = declare(
        pruned.net.spec,
        data,
        recipe.with_(resolution=recipe.resolution or pruned.card.preprocessing.resolution),
        preprocessing=pruned.card.preprocessing,
        weights=str(start.resolve()),
        task_settings=pruned.card.task_settings or None,
    )
    net = EfficientNet(job.spec)
    net.load_state_dict(pruned.net.state_dict())
    try:
        train(net, data, job, run, reporter)
    finally:
        artifact.write(start, pruned.net.state_dict(), pruned.card)
    return artifact.read(run.model)


def _required(data: DataSet, card: Card) -> Split:
    """Return the validation pictures. Raises as `prune_and_train` does."""
    if data.task != card.task:
        raise UsageError(f"The model's task is {card.task}, the data's {data.task}.")
    if data.classes != card.classes:
        raise UsageError(difference("the model", card.classes, "the data", data.classes))
    if data.val is None:
        raise DataError(
            "Pruning is judged by validation pictures, and there are none. Add a val folder."
        )
    return data.val
