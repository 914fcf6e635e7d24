"""The training loop.

All randomness is keyed: the order of an epoch is a pure function of (seed, epoch), a picture's
augmentation of (seed, epoch, picture), dropout and mixing of (seed, step, rank). So neither the
number of workers nor an interruption changes the result, and a resumed run needs no replay.
"""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NoReturn

import torch

from effnet import artifact
from effnet.card import Card
from effnet.data.batches import Batch, loading_told, steps_per_epoch, training_batches
from effnet.data.orders import order_of
from effnet.data.sources import DataSet
from effnet.data.splits import class_counts
from effnet.errors import DataError, DivergedError
from effnet.tasks.inference import Outputs, collect_outputs
from effnet.tasks.task import Task
from effnet.training.checkpoint import State, write_checkpoint
from effnet.training.distributed import Group
from effnet.training.events import EventWriter
from effnet.training.gallery import Gallery
from effnet.training.guard import MOST_IN_A_ROW
from effnet.training.job import Job
from effnet.training.progress import Reporter
from effnet.training.progressive import EpochTransforms
from effnet.training.run import RunFolder
from effnet.training.schedules import learning_rate
from effnet.training.signals import StopSignals
from effnet.training.step import Learner
from effnet.training.suspicions import never_right
from effnet.training.weighting import picture_weights


@dataclass
class Training:
    """One training: what the loop works on and the steps it is made of."""

    job: Job
    data: DataSet
    task: Task
    run: RunFolder
    state: State
    reporter: Reporter
    events: EventWriter
    group: Group

    def __post_init__(self) -> None:
        self.steps = steps_per_epoch(len(self.data.train), self.job.recipe.batch)
        self.learner = Learner(
            self.job,
            self.task,
            self.state,
            self.data.train.labels,
            self.group,
            picture_weights(self.data),
        )
        self.gallery = Gallery(
            self.data.val,
            self.task,
            self.job.preprocessing,
            self.events,
            self.job.recipe.epochs,
        )
        self._checkpoint_time = time.monotonic()
        self._told: set[str] = set()

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
            EpochTransforms(recipe, self.job.preprocessing),
            batch=recipe.batch,
            seed=recipe.seed,
            epochs=recipe.epochs,
            order=order_of(self.data.train, recipe.sampling, recipe.seed),
            start_step=self.state.step,
            rank=self.group.rank,
            ranks=self.group.size,
            workers=recipe.workers,
            timeout=recipe.worker_timeout,
        )
        # Closing ends the processes that load pictures, whatever ends the loop.
        with StopSignals() as signals, self.reporter, loading_told(), closing(batches):
            self.reporter.begin(self.steps, self.task.running)
            self.learner.begin_epoch(self.state.step // self.steps)
            while not self.finished:
                batch = next(batches)
                self._count_unreadable(batch)
                self._step(batch)
                if self.state.step % self.steps == 0:
                    self._end_epoch()
                stop = self.group.any(signals.received is not None)
                if stop or self.group.any(self._checkpoint_due()):
                    self._checkpoint()
                if stop:
                    signals.raise_stopped(f"Go on with: effnet fit --resume {self.run.path}")

    def _step(self, batch: Batch) -> None:
        state = self.state
        learned = self.learner.step(batch, learning_rate(self.job.recipe, state.step, self.steps))
        state.step += 1
        state.skipped += not learned
        state.skipped_in_a_row = 0 if learned else state.skipped_in_a_row + 1
        if not learned:
            self.run.note(f"step {state.step} undone: its gradient is not finite")
            self._require_good_steps()
        if self.reporter.due(state.step):
            self.reporter.step(state.step, *self._means())

    def _require_good_steps(self) -> None:
        if self.state.skipped_in_a_row < MOST_IN_A_ROW:
            return
        self._checkpoint()
        raise DivergedError(
            f"The last {MOST_IN_A_ROW} steps up to {self.state.step} had no finite gradient and "
            f"were undone. The last good state is in {self.run.checkpoint}; start again with a "
            f"lower lr than {self.job.recipe.lr:g}, or with --clip 1."
        )

    def _means(self, everyone: bool = False) -> tuple[float, float]:
        totals = self.group.total(self.state.totals) if everyone else self.state.totals
        loss, correct, seen = totals.tolist()
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
        loss, score = self._means(everyone=True)
        if not self.group.any(bool(state.totals[2])):
            self._raise_nothing_learned()
        self.reporter.step(state.step, loss, score)
        epoch = len(state.history) + 1
        figures = {"loss": loss, self.task.running: score, **self._validate()}
        watched = figures.get(f"val_{self.task.monitor}")
        better = watched is not None and watched > state.best
        if better or watched is None:  # training pictures cannot tell which epoch is better
            state.best = state.best if watched is None else watched
            state.best_epoch = epoch
            self._write_model(epoch, figures)
        rate = learning_rate(self.job.recipe, state.step - 1, self.steps)
        state.history.append({"epoch": epoch, "step": state.step, "lr": rate, **figures})
        state.totals.zero_()
        if self.group.first:
            self.run.write_metrics(state.history)
            self.events.epoch(state.step, rate, figures)
            self.run.note(f"epoch {epoch}: {figures}")
        self.reporter.epoch(epoch, figures, "best so far" if better else "")
        self._checkpoint()
        if not self.finished:
            self.learner.begin_epoch(epoch)

    def _raise_nothing_learned(self) -> NoReturn:
        if self.state.skipped_in_a_row:
            raise DivergedError(
                "No step of the epoch had a finite gradient. The last good state is in "
                f"{self.run.checkpoint}; start again with a lower lr than "
                f"{self.job.recipe.lr:g}, or with --clip 1."
            )
        raise DataError("No step of the epoch had two readable pictures; see effnet check.")

    def _validate(self) -> Mapping[str, float]:
        val = self.data.val
        if val is None:
            return {}
        recipe, group = self.job.recipe, self.group
        own = collect_outputs(
            self.state.kept,
            val.subset(range(group.rank, len(val), group.size)),
            self.job.preprocessing,
            workers=recipe.workers,
            timeout=recipe.worker_timeout,
            precision=recipe.precision,
            channels_last=recipe.channels_last,
        )
        whole = replace(own, indices=own.indices * group.size + group.rank)
        found = _joined(group.gathered(whole))
        for name, reason in found.unreadable:
            self.run.note(f"validation picture left out: {name}: {reason}")
        if not len(found.labels):
            raise DataError("None of the validation pictures could be read; see effnet check.")
        figures = self.task.figures(found.outputs, found.labels)
        self._require_finite(figures["loss"], "validation loss")
        if self.task.exclusive:
            self._tell_never_right(found)
        self.gallery.predictions(len(self.state.history) + 1, self.state.step, found)
        return {f"val_{name}": value for name, value in figures.items()}

    def _tell_never_right(self, found: Outputs) -> None:
        labels, classes = self.data.train.labels, self.job.classes
        for line in never_right(
            found.labels.numpy(),
            found.outputs.argmax(1).numpy(),
            classes,
            class_counts(labels, len(classes)),
            epoch=len(self.state.history) + 1,
            epochs=self.job.recipe.epochs,
        ):
            self.tell(line)

    def tell(self, line: str) -> None:
        """Warn once, in the log and to whoever watches."""
        if line not in self._told:
            self._told.add(line)
            self.run.note(line)
            self.reporter.tell(line)

    def _write_model(self, epoch: int, figures: Mapping[str, float]) -> None:
        if not self.group.first:
            return
        card = Card(
            spec=self.job.spec,
            task=self.task.name,
            classes=self.job.classes,
            preprocessing=self.job.preprocessing,
            training={
                "data": self.job.data,
                "fingerprint": self.job.fingerprint,
                "recipe": self.job.recipe.to_dict(),
            },
            figures={"epoch": epoch, **figures},
            task_settings=self.task.settings,
        )
        artifact.write(self.run.model, self.state.kept.state_dict(), card)

    def _checkpoint_due(self) -> bool:
        elapsed = time.monotonic() - self._checkpoint_time
        return elapsed >= self.job.recipe.checkpoint_seconds

    def _checkpoint(self) -> None:
        state, group = self.state, self.group
        self._means()
        totals = group.total(state.totals)
        state.unreadable.update(*group.gathered(state.unreadable))
        if group.first:
            write_checkpoint(self.run.checkpoint, replace(state, totals=totals), self.job)
        group.wait()  # whoever ended now would have the first one killed while it writes
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


def _joined(parts: Sequence[Outputs]) -> Outputs:
    """Put the processes' outputs together; an empty part has no shape to join."""
    full = [part for part in parts if len(part.labels)] or parts[:1]
    return Outputs(
        torch.cat([part.outputs for part in full]),
        torch.cat([part.labels for part in full]),
        torch.cat([part.indices for part in full]),
        tuple(problem for part in parts for problem in part.unreadable),
    )
