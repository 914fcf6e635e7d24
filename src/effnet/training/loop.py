"""The training loop.

All randomness is keyed: the order of an epoch is a pure function of (seed, epoch), a picture's
augmentation of (seed, epoch, picture), dropout and mixing of (seed, step). So neither the number of
workers nor an interruption changes the result, and a resumed run needs no replay.
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from effnet import artifact
from effnet.data.batches import Batch, steps_per_epoch, training_batches
from effnet.data.keyed import key
from effnet.data.sources import DataSet
from effnet.data.transforms import Transform, training_transform
from effnet.devices import autocast, memory_format, pick_device
from effnet.errors import DataError, DivergedError, ResourceError, out_of_memory
from effnet.nets.network import EfficientNet
from effnet.tasks.classify import Classification
from effnet.tasks.inference import collect_outputs
from effnet.training.checkpoint import (
    State,
    read_checkpoint,
    require_same,
    restore,
    write_checkpoint,
)
from effnet.training.events import EventWriter
from effnet.training.job import Job
from effnet.training.progress import Reporter
from effnet.training.run import RunFolder
from effnet.training.schedules import learning_rate
from effnet.training.signals import StopSignals

STEP_KEY = 1
"""Sets the steps' randomness apart from that of the order and the augmentation."""


@dataclass
class Training:
    """One training: what the loop works on and the steps it is made of."""

    job: Job
    data: DataSet
    task: Classification
    run: RunFolder
    state: State
    reporter: Reporter
    events: EventWriter

    def __post_init__(self) -> None:
        self.device = next(self.state.net.parameters()).device
        self.steps = steps_per_epoch(len(self.data.train), self.job.recipe.batch)
        self._checkpoint_time = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        recipe, state = self.job.recipe, self.state
        waited = len(state.history) - state.best_epoch
        out_of_patience = 0 < recipe.patience <= waited and bool(state.history)
        return state.step >= recipe.epochs * self.steps or out_of_patience

    def go(self) -> None:
        """Train from the state's step to the end."""
        recipe = self.job.recipe
        batches = training_batches(
            self.data.train,
            _transform(self.job),
            batch=recipe.batch,
            seed=recipe.seed,
            epochs=recipe.epochs,
            start_step=self.state.step,
            workers=recipe.workers,
            at_least=math.ceil(self.job.train_resolution / math.sqrt(recipe.crop_scale)),
        )
        # Closing ends the processes that load pictures, whatever ends the loop.
        with StopSignals() as signals, self.reporter, closing(batches):
            while not self.finished:
                batch = next(batches)
                self._count_unreadable(batch)
                self._step(batch)
                if self.state.step % self.steps == 0:
                    self._end_epoch()
                if signals.received is not None or self._checkpoint_due():
                    self._checkpoint()
                signals.raise_if_received(f"Go on with: effnet fit --resume {self.run.path}")

    def _step(self, batch: Batch) -> None:
        state, recipe = self.state, self.job.recipe
        torch.manual_seed(key(recipe.seed, STEP_KEY, state.step))
        if len(batch.labels) > 1:  # BatchNorm has no statistics of a single small map
            with _memory_told(recipe.batch):
                self._learn(batch, learning_rate(recipe, state.step, self.steps))
        state.step += 1
        if self.reporter.due(state.step):
            self.reporter.step(state.step, *self._means())

    def _learn(self, batch: Batch, rate: float) -> None:
        state, recipe = self.state, self.job.recipe
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        layout = memory_format(recipe.channels_last)
        pictures = batch.pictures.to(self.device, memory_format=layout, non_blocking=True)
        labels = batch.labels.to(self.device, non_blocking=True)
        mixed, targets = self.task.mixed(pictures, labels, mixup=recipe.mixup, cutmix=recipe.cutmix)
        with autocast(self.device, recipe.precision):
            outputs: Tensor = state.net(mixed)
        loss = self.task.loss(outputs, targets, smoothing=recipe.label_smoothing)
        loss.backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        if state.average is not None:
            state.average.update_parameters(state.net)
        seen = len(labels)
        state.totals += torch.stack(
            [loss.detach() * seen, self.task.correct(outputs, labels), loss.new_tensor(seen)]
        )

    def _means(self) -> tuple[float, float]:
        loss, correct, seen = self.state.totals.tolist()
        self._require_finite(loss, "loss")
        return loss / max(seen, 1), correct / max(seen, 1)

    def _require_finite(self, loss: float, name: str) -> None:
        if not math.isfinite(loss):
            raise DivergedError(
                f"The {name} is no longer finite at step {self.state.step}. The last good state is "
                f"in {self.run.checkpoint}; start again with a lower lr than "
                f"{self.job.recipe.lr:g}."
            )

    def _end_epoch(self) -> None:
        state = self.state
        loss, accuracy = self._means()
        if not state.totals[2]:
            raise DataError("No step of the epoch had two readable pictures; see effnet check.")
        self.reporter.step(state.step, loss, accuracy)
        epoch = len(state.history) + 1
        figures = {"loss": loss, "accuracy": accuracy, **self._validate()}
        watched = figures.get(f"val_{self.task.monitor}", figures[self.task.monitor])
        better = watched > state.best
        if better:
            state.best, state.best_epoch = watched, epoch
            self._write_model(epoch, figures)
        rate = learning_rate(self.job.recipe, state.step - 1, self.steps)
        state.history.append({"epoch": epoch, "step": state.step, "lr": rate, **figures})
        state.totals.zero_()
        self.run.write_metrics(state.history)
        self.events.epoch(state.step, rate, figures)
        self.reporter.epoch(epoch, figures, "best so far" if better else "")
        self.run.note(f"epoch {epoch}: {figures}")
        self._checkpoint()

    def _validate(self) -> Mapping[str, float]:
        if self.data.val is None:
            return {}
        recipe = self.job.recipe
        found = collect_outputs(
            self.state.kept,
            self.data.val,
            self.job.preprocessing,
            workers=recipe.workers,
            precision=recipe.precision,
            channels_last=recipe.channels_last,
        )
        for name, reason in found.unreadable:
            self.run.note(f"validation picture left out: {name}: {reason}")
        if not len(found.labels):
            raise DataError("None of the validation pictures could be read; see effnet check.")
        figures = self.task.figures(found.outputs, found.labels)
        self._require_finite(figures["loss"], "validation loss")
        return {f"val_{name}": value for name, value in figures.items()}

    def _write_model(self, epoch: int, figures: Mapping[str, float]) -> None:
        card = artifact.Card(
            spec=self.job.spec,
            task=self.task.name,
            classes=self.job.classes,
            preprocessing=self.job.preprocessing,
            training={"data": self.job.data, "recipe": self.job.recipe.to_dict()},
            figures={"epoch": epoch, **figures},
        )
        artifact.write(self.run.model, self.state.kept.state_dict(), card)

    def _checkpoint_due(self) -> bool:
        elapsed = time.monotonic() - self._checkpoint_time
        return elapsed >= self.job.recipe.checkpoint_seconds

    def _checkpoint(self) -> None:
        self._means()
        write_checkpoint(self.run.checkpoint, self.state, self.job)
        self._checkpoint_time = time.monotonic()

    def _count_unreadable(self, batch: Batch) -> None:
        recipe, seen = self.job.recipe, self.state.unreadable
        for name, reason in batch.unreadable:
            if recipe.bad_images == "error":
                raise DataError(f"{name}: {reason} (--bad-images skip leaves such pictures out)")
            if name not in seen:
                seen.add(name)
                self.run.note(f"training picture skipped: {name}: {reason}")
        allowed = max(1, int(recipe.bad_share * len(self.data.train)))
        if len(seen) > allowed:
            raise DataError(
                f"{len(seen)} training pictures could not be read, more than --bad-share "
                f"{recipe.bad_share:g} allows ({allowed}); {self.run.log} names them."
            )


def train(
    net: EfficientNet,
    data: DataSet,
    job: Job,
    run: RunFolder,
    reporter: Reporter,
    *,
    resume: bool = False,
) -> list[dict[str, float]]:
    """Train `net` in place and leave it with the best weights, on the CPU, in evaluation mode.

    Args:
        net: the network of `job.spec`; with `resume` its weights are overwritten.
        data: the pictures.
        job: what `declare` decided, or what a checkpoint says.
        run: an empty folder, or with `resume` the folder of the run to go on with.
        reporter: is told of the progress.
        resume: go on from the run's last checkpoint, to the same result bit for bit.

    Returns:
        A row of figures for each epoch.

    Raises:
        DataError: pictures cannot be read.
        DivergedError: the loss or a weight is no longer finite.
        Interrupted, Preempted: a signal came; a checkpoint is written.
        ResourceError: a step needs more memory than there is, or the disk is full.
        UsageError: the folder is in use, or holds another run.
    """
    if not resume:
        run.require_new()
    with run.held():
        return _train_held(net, data, job, run, reporter, resume=resume)


def _train_held(
    net: EfficientNet, data: DataSet, job: Job, run: RunFolder, reporter: Reporter, *, resume: bool
) -> list[dict[str, float]]:
    device = pick_device(job.recipe.device)
    net.to(device).to(memory_format=memory_format(job.recipe.channels_last)).train()
    state = State.start(net, job.recipe)
    if resume:
        saved_job, content = read_checkpoint(run.checkpoint)
        require_same(job, saved_job, run.path)
        restore(state, content)
        run.note(f"resumed at step {state.step}")
    else:
        run.begin(job)
        write_checkpoint(run.checkpoint, state, job)  # from here on the run can be resumed
    with (
        _threads(job.recipe.threads),
        EventWriter(run.tensorboard if job.recipe.tensorboard else None, state.step) as events,
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
    ):
        Training(job, data, Classification(job.classes), run, state, reporter, events).go()
    best, _ = artifact.read(run.model)
    net.load_state_dict(best.state_dict())
    net.to("cpu").eval()
    return state.history


@contextmanager
def _memory_told(batch: int) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise ResourceError(
            f"Out of memory in a step of {batch} pictures; try --batch {max(2, batch // 2)}, or a "
            "smaller --resolution."
        ) from error


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _transform(job: Job) -> Transform:
    recipe = job.recipe
    return training_transform(
        job.preprocessing.at(job.train_resolution),
        crop_scale=(recipe.crop_scale, 1.0),
        flip=recipe.flip or 0.0,
        augment=recipe.augment,
        magnitude=recipe.magnitude,
        layers=recipe.layers,
        erasing=recipe.erasing,
    )
