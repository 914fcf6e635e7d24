"""A training from beginning to end: what is set up for the loop, and taken down after it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from effnet import artifact
from effnet.data.sources import DataSet
from effnet.devices import memory_format, memory_kept, pick_device
from effnet.errors import UsageError
from effnet.nets.network import EfficientNet
from effnet.tasks.task import build_task
from effnet.training.checkpoint import (
    State,
    read_checkpoint,
    require_same,
    restore,
    write_checkpoint,
)
from effnet.training.distillation import require_same_teacher
from effnet.training.distributed import Group, joined, local_device
from effnet.training.events import EventWriter, tried
from effnet.training.job import Job
from effnet.training.loop import Training
from effnet.training.progress import Reporter
from effnet.training.pseudo import prepared
from effnet.training.recipe import Recipe
from effnet.training.remedies import require_classes
from effnet.training.run import RunFolder
from effnet.training.step import FEWEST
from effnet.training.suspicions import leakage
from effnet.training.syncnorm import synchronised
from effnet.training.weighting import require_apart


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

    In a group of processes each calls this with the same arguments; the first writes the files.

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
        ResourceError: a step needs more memory than there is, the disk is full, or pictures or
            another process of the group no longer answer.
        UsageError: the folder is in use, or holds another run; or the recipe does not go with the
            data or with the number of processes.
    """
    device = local_device(pick_device(job.recipe.device))
    with joined(device) as group:
        require_parts(job.recipe, group.size)
        require_classes(job.recipe, job.task)
        require_apart(job.recipe, data)
        with _opened(run, job, group, resume), settings(job.recipe, device):
            history = _train_joined(net.to(device), data, job, run, reporter, group, resume=resume)
        group.wait()
    best, _ = artifact.read(run.model)
    net.load_state_dict(best.state_dict())
    net.to("cpu").requires_grad_().eval()
    return history


def _train_joined(
    net: EfficientNet,
    data: DataSet,
    job: Job,
    run: RunFolder,
    reporter: Reporter,
    group: Group,
    *,
    resume: bool,
) -> list[dict[str, float]]:
    recipe = job.recipe
    net.to(memory_format=memory_format(recipe.channels_last)).train()
    if recipe.sync_norm:
        synchronised(net, group)
    state = State.start(net, recipe)
    if resume:
        saved_job, content = read_checkpoint(run.checkpoint)
        require_same(job, saved_job, run.path)
        require_same_teacher(job, saved_job)
        restore(state, content)
        run.note(f"resumed at step {state.step}")
        if not group.first:  # the checkpoint has everyone's sums
            state.totals.zero_()
    elif group.first:
        write_checkpoint(run.checkpoint, state, job)  # from here on the run can be resumed
    if group.first and not run.recipe.exists():
        run.write_recipe(job.to_recipe())
    data = _with_pseudo_labels(data, job, run, reporter, group, resume=resume)
    task = build_task(job.task, job.classes, job.task_settings)
    folder = run.tensorboard if recipe.tensorboard and group.first else None
    with EventWriter(folder, state.step, run.note) as events:
        training = Training(job, data, task, run, state, reporter, events, group)
        if group.first:
            for line in leakage(data):
                training.tell(line)
        if events.active:
            reporter.tell(f"Watch it: tensorboard --logdir {run.path}")
            if not state.step:
                events.graph(net)
        training.go()
        if events.active:
            best, _ = artifact.read(run.model)
            best.to(next(net.parameters()).device)
            training.gallery.embedding(best, state.step)
            events.outcome(state.step, tried(job), state.history[state.best_epoch - 1])
    return state.history


def _with_pseudo_labels(
    data: DataSet, job: Job, run: RunFolder, reporter: Reporter, group: Group, *, resume: bool
) -> DataSet:
    """Return data with a teacher's labels; the first process asks the teacher, the others read."""
    recipe = job.recipe
    if not group.first:
        group.wait()
    found = prepared(
        data,
        run,
        teacher=recipe.teacher,
        unlabelled=recipe.unlabelled,
        threshold=recipe.pseudo_threshold,
        workers=recipe.workers,
        device=recipe.device,
        resume=resume or not group.first,
        tell=reporter.tell,
    )
    if group.first:
        group.wait()
    return found


def require_parts(recipe: Recipe, processes: int) -> None:
    """Raise UsageError unless a step's pictures can be parted among the processes and in time."""
    fewest = FEWEST * recipe.accumulate * processes
    if recipe.batch % processes or recipe.batch < fewest:
        raise UsageError(
            f"batch {recipe.batch} cannot be parted among {processes} processes and "
            f"{recipe.accumulate} parts: it must be a multiple of {processes}, at least {fewest}."
        )


@contextmanager
def _opened(run: RunFolder, job: Job, group: Group, resume: bool) -> Iterator[None]:
    """Have the first process hold the run folder."""
    if not group.first:
        group.wait()
        yield
        return
    if not resume:
        run.require_new()
    with run.held():
        group.wait()
        yield


@contextmanager
def settings(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Use the recipe's threads for a while, leave the caller's random numbers alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(recipe.threads or before)
    kept = memory_kept() if device.type == "cpu" else nullcontext()
    try:
        with kept, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        torch.set_num_threads(before)
