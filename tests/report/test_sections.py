"""Sections of answers that are made up: many classes, and what is worst."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax

import tiny
from effnet.data.splits import ArraySplit
from effnet.model import Model
from effnet.report.answers import Answered
from effnet.report.figures import judged
from effnet.report.page import write_page
from effnet.report.run_files import RunFiles
from effnet.report.sections import calibration, classes, confusion, figures
from effnet.report.sections.confusion import most_confused
from effnet.report.shown import said_of, truth_of, worst
from effnet.report.side_by_side import differences
from effnet.report.side_by_side.pair import Pair
from effnet.report.subject import Judged, Subject
from effnet.tasks.task import build_task
from report.pages import assert_sound, read_page


def made_up(task: str, outputs: np.ndarray, labels: np.ndarray, **settings: list[float]) -> Judged:
    names = tuple(f"class {k}" for k in range(outputs.shape[1]))
    meant = build_task(task, names, settings)
    logits = outputs.astype(np.float32)
    split = ArraySplit(np.zeros((len(labels), 8, 8, 3), np.uint8), labels)
    answered = Answered(
        task=task,
        classes=names,
        where="test",
        split=split,
        places=np.arange(len(labels)),
        outputs=logits,
        answers=meant.decode(torch.from_numpy(logits)).numpy(),
    )
    return judged(answered, meant)


def subject(found: Judged, path: Path) -> Subject:
    return Subject(RunFiles(path, None, {}, (), (), None, ()), judged=found)


def judged_run(outputs: np.ndarray, labels: np.ndarray, path: Path) -> Subject:
    found = made_up("classify", outputs, labels)
    model = Model(tiny.SPEC.with_(classes=2), classes=found.answered.classes)
    return Subject(RunFiles(path, model, {}, (), (), None, ()), judged=found)


@pytest.mark.slow
def test_a_thousand_classes_stay_readable(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 1000, 3000)
    labels[:20] = 7
    outputs = rng.normal(0, 1, (3000, 1000))
    outputs[np.arange(3000), labels] += 3
    outputs[labels == 7, 8] += 20  # which are confused more than any others
    known = subject(made_up("classify", outputs, labels), tmp_path)
    sections = [module.section(known) for module in (figures, confusion, classes)]
    found = [section for section in sections if section is not None]
    assert len(found) == 3
    head = {
        "template": "head_run.html",
        **{"variant": "x", "run": "x", "data": "x", "trained": "", "epochs": 0, "task": ""},
        "figure": None,
    }
    path = write_page(tmp_path / "page.html", title="x", head=head, sections=found, notes=())
    page = read_page(path)
    assert_sound(page)
    assert path.stat().st_size < 1_000_000
    assert "25 classes, of 1,000," in page.words("confusion")
    assert "class 7 class 8" in page.words("confusion")
    assert "All 1,000 classes" in page.words("classes")
    assert page.all("details")


def test_the_most_confused_classes_are_chosen() -> None:
    counts = np.diag(np.full(60, 100))
    counts[40, 3] = counts[50, 20] = 9
    assert {3, 20, 40, 50} <= set(most_confused(counts, 4)) == {3, 20, 40, 50}
    assert most_confused(counts, 60) == list(range(60))


def test_a_class_without_pictures_is_not_the_worst(tmp_path: Path) -> None:
    labels = np.arange(300) % 29  # class 29 has none
    outputs = np.eye(30)[np.where(labels == 3, 4, labels)]
    section = classes.section(subject(made_up("classify", outputs, labels), tmp_path))
    assert section is not None
    assert section.values["rows"][29] == ["class 29", "0", "-", "-", "0.00%", "-"]
    worst_first = [row[0] for row in section.values["worst"]]
    assert worst_first[:2] == ["class 3", "class 4"]
    assert "class 29" not in worst_first


def test_the_verdict_on_accuracy_is_the_tests(tmp_path: Path) -> None:
    labels = np.zeros(10, int)
    right, wrong = np.array([1, 0]), np.array([0, 1])
    one, other = np.tile(right, (10, 1)), np.tile(right, (10, 1))
    one[:5] = wrong  # 5 to 0: p = 0.0625, though a normal approximation is surer
    pair = Pair(*(judged_run(outputs, labels, tmp_path) for outputs in (one, other)), notes=())
    section = differences.section(pair)
    assert section is not None
    assert section.values["test"].p == 2 / 2**5
    verdicts = {row["name"]: row["verdict"] for row in section.values["rows"]}
    assert verdicts["accuracy"] == "may be chance"
    assert verdicts["log loss"] == "B is better"
    assert "chance alone may do" in section.values["sentence"]


def test_worst_mistakes_are_the_surest() -> None:
    labels = np.array([0, 1, 2, 0])
    outputs = np.array([[0, 1, 0], [9, 0, 0], [0, 0, 5], [0, 0, 4]])
    answered = made_up("classify", outputs, labels).answered
    assert worst(answered, 9) == [(1, 0), (3, 2), (0, 1)]
    assert worst(answered, 1) == [(1, 0)]
    share = softmax(outputs, axis=1)[1, 0]
    assert truth_of(answered, 1, 0) == "class 1"
    assert said_of(answered, 1, 0) == f"class 0, {share:.1%}"


def test_worst_labels_are_the_furthest() -> None:
    labels = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    outputs = np.array([[5, 0.1], [-5, -7], [4, 4]])
    answered = made_up("multilabel", outputs, labels).answered
    assert worst(answered, 9) == [(1, 1), (0, 1)]
    assert truth_of(answered, 1, 1) == "class 1: yes"


def test_largest_errors_count_in_deviations() -> None:
    labels = np.array([[0, 1000], [1, 3000], [2, 2000]], np.float32)
    outputs = np.array([[1.5, 1000], [1, 3100], [2, 2000]])
    answered = made_up("regress", outputs, labels, mean=[0, 0], std=[1, 1]).answered
    assert worst(answered, 9) == [(0, 0), (1, 1)]
    assert (truth_of(answered, 1, 1), said_of(answered, 1, 1)) == ("class 1 3000", "class 1 3100")


def test_a_model_that_is_too_sure_gets_a_temperature_above_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 4))
    labels = (rng.random((4000, 1)) > softmax(logits, axis=1).cumsum(1)).sum(1).clip(max=3)
    section = calibration.section(subject(made_up("classify", 3 * logits, labels), tmp_path))
    assert section is not None
    assert section.values["halved"]
    assert section.values["temperature"] == pytest.approx(3, rel=0.1)
    before, after = (float(way["error"]) for way in section.values["ways"])
    assert before > 0.1 > 0.04 > after


def test_intervals_hold_their_figures() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    outputs = rng.normal(0, 1, (200, 3)) + 1.5 * np.eye(3)[labels]
    kinds = [
        made_up("classify", outputs, labels),
        made_up("multilabel", outputs, (rng.random((200, 3)) < 0.5).astype(np.float32)),
        made_up(
            "regress", outputs, outputs.astype(np.float32) + 0.1, mean=[0, 0, 0], std=[1, 1, 1]
        ),
    ]
    for found in kinds:
        assert found.intervals
        for name, (low, high) in found.intervals.items():
            assert low <= getattr(found.figures, name) <= high, name
