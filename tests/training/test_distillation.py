"""Learning from a teacher: the loss against other libraries, what both see, and going on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, rel_entr, softmax
from sklearn.metrics import log_loss
from torch import Tensor

import tiny
from effnet import artifact
from effnet.card import Card
from effnet.data.preprocessing import Preprocessing
from effnet.data.sources import open_data
from effnet.errors import EffnetError, ModelFileError, UsageError
from effnet.model import Model
from effnet.nets.network import EfficientNet, fresh
from effnet.tasks.classify import Classification
from effnet.tasks.multilabel import MultiLabel
from effnet.tasks.regress import Regression
from effnet.tasks.task import Task
from effnet.training import loop
from effnet.training.distillation import Teacher
from effnet.training.job import declare
from effnet.training.recipe import Recipe
from running import assert_same

SETTINGS: dict[str, Any] = {**tiny.FAST, "flip": 0.0, "verbose": False}


def fit(run: Path, labels: Any = None, **settings: Any) -> Model:
    pictures, true = tiny.arrays(48)
    model = Model(tiny.SPEC, classes=tiny.CLASSES)
    model.fit(pictures, true if labels is None else labels, out=run, **{**SETTINGS, **settings})
    return model


def write_teacher(path: Path, **changes: Any) -> Path:
    """A teacher of random weights."""
    card = Card(
        **{
            "spec": tiny.SPEC,
            "task": "classify",
            "classes": tiny.CLASSES,
            "preprocessing": Preprocessing(24, 1.0, "bilinear", (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)),
            **changes,
        }
    )
    artifact.write(path, fresh(card.spec, 1).state_dict(), card)
    return path


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a teacher that is right about all pictures."""
    run = tmp_path_factory.mktemp("teacher") / "run"
    model = fit(run, epochs=12, lr=0.02)
    assert model.evaluate(*tiny.arrays(60, seed=7)).accuracy == 1
    return run


def logits(seed: int, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))


def loss_of(task: Task, teacher: Task, temperature: float) -> float:
    answers = teacher.softened(logits(0), temperature)
    return task.distilled(logits(1), answers, temperature=temperature).item()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_classes_are_learned_by_their_divergence(temperature: float) -> None:
    teacher, student = (
        softmax(logits(seed).double().numpy() / temperature, axis=1) for seed in (0, 1)
    )
    divergence = rel_entr(teacher, student).sum(1).mean()
    task = Classification(tiny.CLASSES)
    assert loss_of(task, task, temperature) == pytest.approx(temperature**2 * divergence, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_labels_are_learned_by_their_cross_entropy(temperature: float) -> None:
    teacher, student = (expit(logits(seed).double().numpy() / temperature) for seed in (0, 1))
    # Each label counts as yes by the teacher's probability, and as no by the rest of it.
    entropy = log_loss(
        np.repeat([1, 0], teacher.size),
        np.tile(student.ravel(), 2),
        sample_weight=np.concatenate([teacher.ravel(), 1 - teacher.ravel()]),
    )
    task = MultiLabel(tiny.CLASSES)
    assert loss_of(task, task, temperature) == pytest.approx(temperature**2 * entropy, rel=1e-5)


def test_numbers_are_learned_in_the_units_of_the_user() -> None:
    teacher = Regression(tiny.CLASSES, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    student = Regression(tiny.CLASSES, (7.0, 8.0, 9.0), (10.0, 11.0, 12.0))
    told = logits(0).numpy() * [4, 5, 6] + [1, 2, 3]
    said = logits(1).numpy() * [10, 11, 12] + [7, 8, 9]
    expected = (((told - said) / [10, 11, 12]) ** 2).mean()
    assert loss_of(student, teacher, 2.0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_a_student_believes_its_teacher(taught: Path, tmp_path: Path) -> None:
    wrong = (tiny.arrays(48)[1] + 1) % 3
    settings = {"epochs": 12, "lr": 0.02, "distil": str(taught)}
    true = tiny.arrays(60, seed=7)
    # Judged by labels that are all wrong, the best epoch would be one of the first.
    judged = {"validation_data": tiny.arrays(12, seed=3)}
    student = fit(tmp_path / "student", wrong, **settings, **judged)
    assert student.evaluate(*true).accuracy == 1
    unmoved = fit(tmp_path / "unmoved", wrong, **settings, distil_share=0.0)
    assert unmoved.evaluate(*true).accuracy == 0


def test_both_see_the_same_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixed, augmented, in parts and growing; the teacher's are normalised and resized anew."""
    other = Preprocessing(32, 1.0, "bilinear", (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    file = write_teacher(tmp_path / "teacher.safetensors", preprocessing=other)
    seen: list[tuple[bool, Tensor]] = []
    forward = EfficientNet.forward

    def watched(net: EfficientNet, x: Tensor) -> Tensor:
        if net.training or torch.is_grad_enabled() or not torch.is_inference_mode_enabled():
            seen.append((net.training, x.detach().clone()))
        return forward(net, x)

    monkeypatch.setattr(EfficientNet, "forward", watched)
    grown = {"resolution": 64, "stages": 2, "first_size": 0.5, "epochs": 2}
    model = fit(
        tmp_path / "run",
        distil=str(file),
        mixup=1.0,
        augment="trivialaugment",
        accumulate=2,
        **grown,
    )
    assert [training for training, _ in seen] == [True, False] * (len(seen) // 2)
    assert {x.shape[-1] for training, x in seen if training} == {32, 64}
    for (_, ours), (_, theirs) in zip(seen[::2], seen[1::2], strict=True):
        pixels = raw(ours, model.preprocessing)
        expected = torch.nn.functional.interpolate(pixels, (32, 32), mode="bicubic", antialias=True)
        torch.testing.assert_close(raw(theirs, other), expected, atol=1e-5, rtol=0)


def raw(pictures: Tensor, preprocessing: Preprocessing) -> Tensor:
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std)
    )
    return pictures * std + mean


def test_a_teacher_does_not_learn(tmp_path: Path) -> None:
    file = write_teacher(tmp_path / "teacher.safetensors")
    data = open_data(*tiny.arrays(24), classes=tiny.CLASSES)
    recipe = Recipe(distil=str(file), **tiny.FAST)
    job = declare(tiny.SPEC, data, recipe)
    teacher = Teacher(job, torch.device("cpu"))
    pictures = torch.randn(4, 3, 24, 24, requires_grad=True)
    first, second = teacher.answers(pictures), teacher.answers(pictures)
    assert torch.equal(first, second)
    assert not first.requires_grad
    torch.testing.assert_close(first.sum(1), torch.ones(4))


@pytest.mark.parametrize("writes", [2, 9])
def test_going_on_reaches_the_same_bits(
    taught: Path, tmp_path: Path, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"distil": str(taught), "distil_share": 0.5, "mixup": 1.0, "checkpoint_seconds": 0}
    fit(tmp_path / "whole", **settings)
    write, done = loop.write_checkpoint, []

    def write_and_die(*args: Any) -> None:
        write(*args)
        done.append(1)
        if len(done) == writes:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_checkpoint", write_and_die)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "run", **settings)
    data = open_data(*tiny.arrays(48), classes=tiny.CLASSES)
    Model.resume(tmp_path / "run", data, verbose=False)
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_another_teacher_is_noticed(tmp_path: Path) -> None:
    file = write_teacher(tmp_path / "teacher.safetensors")
    fit(tmp_path / "run", distil=str(file), epochs=1)
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    data = open_data(*tiny.arrays(48), classes=tiny.CLASSES)
    write_teacher(file, figures={"accuracy": 1.0})
    with pytest.raises(UsageError, match="is no longer the file that the run has learned from"):
        Model.resume(tmp_path / "run", data, verbose=False)
    file.unlink()
    with pytest.raises(ModelFileError, match="There is no model file"):
        Model.resume(tmp_path / "run", data, verbose=False)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"classes": ("red", "green", "blue")},
            r"the teacher .* has red, green, blue; the data has blue, green, red.* Their order",
        ),
        ({"classes": ("blue", "green", "pink")}, r"Only in the teacher .*: pink; only in the data"),
        (
            {"task": "multilabel"},
            r"task of the teacher .* is multilabel, that of the data classify",
        ),
        (
            {
                "spec": tiny.SPEC.with_(in_channels=1),
                "preprocessing": Preprocessing(16, 1.0, "bilinear", (0.5,), (0.5,)),
            },
            r"1 channels for the teacher .*, 3 for the student",
        ),
    ],
)
def test_a_teacher_that_does_not_fit(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    file = write_teacher(tmp_path / "teacher.safetensors", **changes)
    with pytest.raises(UsageError, match=match):
        fit(tmp_path / "run", distil=str(file))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_a_file_that_is_no_teacher(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "teacher.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(EffnetError) as caught:
        fit(tmp_path / "run", distil=str(file))
    assert caught.value.exit_code == 6
    assert not (tmp_path / "run").exists()
