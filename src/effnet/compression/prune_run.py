"""Pruning a model and training it again: from a model and its data to a run folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from effnet import artifact
from effnet.card import Card
from effnet.compression.judge import Judgement, drop, judge_net
from effnet.compression.judging import require_judge
from effnet.compression.prune import Pruned, prune
from effnet.data.sources import DataSet
from effnet.devices import on_device
from effnet.files import require_writable
from effnet.nets.network import EfficientNet
from effnet.training.job import Job, declare
from effnet.training.progress import Reporter
from effnet.training.recipe import Recipe
from effnet.training.remedies import require_classes
from effnet.training.run import RunFolder
from effnet.training.train import require_parts, train

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
        judged = {name: step for name, step in steps.items() if step is not None}
        drops = {name: drop(self.whole, step, self.pruned.card) for name, step in judged.items()}
        counts = {"before": self.pruned.before, "after": self.pruned.after}
        return {
            "file": str(self.file),
            "figure": self.whole.figure,
            **{
                name: {
                    "value": step.value,
                    "interval": step.interval,
                    "drop": drops[name][0],
                    "drop_interval": drops[name][1],
                }
                for name, step in judged.items()
            },
            **{
                name: {"macs": one.macs, "params": one.parameters, "size": one.size}
                for name, one in counts.items()
            },
            "spec": self.pruned.net.spec.to_dict(),
        }


class _Run(RunFolder):
    """A run folder that has the network it starts from, once a training has begun in it."""

    def __init__(self, path: Path, pruned: Pruned) -> None:
        super().__init__(path)
        self._pruned = pruned

    def write_recipe(self, settings: Mapping[str, Any]) -> None:
        """Write that network, then the recipe, which names it."""
        artifact.write(self.path / FILE, self._pruned.net.state_dict(), self._pruned.card)
        super().write_recipe(settings)


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
        ModelFileError: the recipe's teacher cannot be read.
        ResourceError: nothing can be written there.
        UsageError: the data's task or classes are not the model's, the recipe cannot be followed,
            or the folder is in use; see `prune` and `train` for more.
    """
    val = require_judge(card, data)
    run.require_new()
    require_writable(run.model)
    job = None if recipe is None else _declared(card, data, run, recipe)
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
    if job is None:
        artifact.write(run.model, pruned.net.state_dict(), pruned.card)
    else:
        trained = judge(*_trained(pruned, data, job, _Run(run.path, pruned), reporter))
    return Report(run.model, pruned, whole, bare, trained)


def _declared(card: Card, data: DataSet, run: RunFolder, recipe: Recipe) -> Job:
    """Return the training as it is to be, but for the channels. Raises as `train` does."""
    job = declare(
        card.spec,
        data,
        recipe.with_(resolution=recipe.resolution or card.preprocessing.resolution),
        preprocessing=card.preprocessing,
        weights=str((run.path / FILE).resolve()),
        task_settings=card.task_settings or None,
    )
    require_parts(job.recipe, processes=1)
    require_classes(job.recipe, job.task)
    return job


def _trained(
    pruned: Pruned, data: DataSet, job: Job, run: RunFolder, reporter: Reporter
) -> tuple[EfficientNet, Card]:
    dropout, drop_path = job.spec.dropout, job.spec.drop_path
    job = replace(job, spec=pruned.net.spec.with_(dropout=dropout, drop_path=drop_path))
    net = EfficientNet(job.spec)
    net.load_state_dict(pruned.net.state_dict())
    train(net, data, job, run, reporter)
    return artifact.read(run.model)
