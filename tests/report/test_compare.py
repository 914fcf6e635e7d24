"""Two runs side by side."""

from pathlib import Path

import numpy as np
import pytest

import tiny
from effnet.data.sources import open_data
from effnet.errors import DataError, UsageError
from effnet.evaluation.metrics import Evaluation
from effnet.model import Model
from effnet.report.compare import compare
from effnet.report.figures import FIGURES
from effnet.report.inquiry import Inquiry
from effnet.tasks.task import build_task
from report.pages import Page, assert_sound, read_page
from report.runs import QUICK, SETTINGS, valued_run


def side_by_side(first: Path, second: Path, out: Path, how: Inquiry = QUICK) -> Page:
    page = read_page(compare(first, second, out, how=how))
    assert_sound(page)
    return page


def saved(model: Model, run: Path) -> Path:
    run.mkdir()
    model.save(run / "model.safetensors")
    return run


def test_a_run_and_itself_do_not_differ(trained: Path, tmp_path: Path) -> None:
    page = side_by_side(trained / "run", trained / "run", tmp_path / "page.html")
    assert page.headings == [
        *("Figures", "Each class", "Where they disagree", "Training", "Cost", "Recipes"),
        "Versions",
    ]
    assert "+0.00 points" in page.words("differences")
    assert "Both are right on the same pictures." in page.words("differences")
    assert "better" not in page.words("differences")
    assert "The recipes are the same." in page.words("settings")
    assert page.words("disagreements").count(": 0 pictures There is none to show.") == 2


def test_counts_are_those_of_the_answers(trained: Path, tmp_path: Path) -> None:
    other = saved(Model(tiny.SPEC, classes=tiny.CLASSES, seed=3), tmp_path / "other")
    page = side_by_side(trained / "run", other, tmp_path / "page.html")
    test = trained / "photos" / "test"
    files = sorted(test.rglob("*.png"))
    truth = np.array([file.parent.name for file in files])
    right = []
    for run in (trained / "run", other):
        found = Model.load(run).predict_files(files)
        right.append(np.array([one.label for one in found]) == truth)
    a, b = right
    table = f"A right {(a & b).sum()} {(a & ~b).sum()} A wrong {(b & ~a).sum()} {(~a & ~b).sum()}"
    assert table in page.words("differences")
    assert f"{100 * (b.mean() - a.mean()):+.2f} points" in page.words("differences")
    assert f"Only A is right: {(a & ~b).sum()} picture" in page.words("disagreements")
    one, two = (Model.load(run).evaluate(trained / "photos") for run in (trained / "run", other))
    assert isinstance(one, Evaluation)
    assert isinstance(two, Evaluation)
    figure = next(f for f in FIGURES["classify"] if f.key == "log_loss")
    assert f"{two.log_loss - one.log_loss:+.4f}" in page.words("differences")
    assert figure.lower
    better = "B" if two.log_loss < one.log_loss else "A"
    assert f"{better} is better" in page.words("differences")


def test_the_order_of_classes_does_not_matter(trained: Path, tmp_path: Path) -> None:
    turned = Model.load(trained / "run")
    turned.task = build_task("classify", turned.classes[::-1])
    last = list(turned.net.parameters())[-2:]
    for part in last:  # the classifier's weights and biases
        part.data = part.data.flip(0)
    other = saved(turned, tmp_path / "turned")
    page = side_by_side(trained / "run", other, tmp_path / "page.html")
    assert "Both are right on the same pictures." in page.words("differences")


def test_what_cannot_be_compared(trained: Path, tmp_path: Path) -> None:
    renamed = saved(Model(tiny.SPEC, classes=("blue", "green", "pink")), tmp_path / "renamed")
    with pytest.raises(UsageError, match="pink"):
        compare(trained / "run", renamed, tmp_path / "page.html", how=QUICK)
    labels = Model(tiny.SPEC, classes=tiny.CLASSES)
    labels.task = build_task("multilabel", tiny.CLASSES)
    other = saved(labels, tmp_path / "labels")
    with pytest.raises(UsageError, match="multilabel"):
        compare(trained / "run", other, tmp_path / "page.html", how=QUICK)
    diverged = Model.load(trained / "run")
    list(diverged.net.parameters())[-1].data[:] = np.nan
    with pytest.raises(DataError, match=r"diverged: .* finite"):
        compare(
            trained / "run",
            saved(diverged, tmp_path / "diverged"),
            tmp_path / "page.html",
            how=QUICK,
        )
    assert not (tmp_path / "page.html").exists()


def test_what_is_gone_is_said_and_the_rest_told(trained: Path, run: Path, tmp_path: Path) -> None:
    (run / "model.safetensors").unlink()
    page = side_by_side(trained / "run", run, tmp_path / "page.html")
    assert page.headings == ["Training", "Recipes", "Versions"]
    assert "B: The run folder has no model.safetensors." in page.words("top")


def test_other_held_out_pictures_are_a_doubt(flat: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    settings = {**SETTINGS, "epochs": 1, "val_share": 0.25, "seed": 1}
    Model(tiny.SPEC).fit(flat / "photos", out=other, **settings)
    page = side_by_side(flat / "run", other, tmp_path / "page.html")
    held, theirs = (
        set(open_data(flat / "photos", val_share=0.25, seed=seed).val.paths)  # type: ignore[union-attr]
        for seed in (0, 1)
    )
    count = len(held - theirs)
    assert 0 < count < 6
    assert f"B has learnt from {count} of the 6 pictures that judge it" in page.words("top")
    assert "A has learnt" not in page.words("top")


def test_a_training_on_a_copy_is_one_on_the_same_data(flat: Path, tmp_path: Path) -> None:
    model = Model.load(flat / "run")
    model.training = {**model.training, "data": str(tmp_path / "copy")}
    pair = flat / "run", saved(model, tmp_path / "other")
    page = side_by_side(*pair, tmp_path / "page.html")
    assert "not trained on the same data" not in page.words("top")
    model.training = {**model.training, "fingerprint": "of others"}
    model.save(pair[1] / "model.safetensors")
    page = side_by_side(*pair, tmp_path / "page.html")
    assert "not trained on the same data" in page.words("top")


def test_models_of_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first = valued_run(tmp_path / "numbers", {"age": rng.uniform(1, 80, 40)})
    other = Model.load(first)
    for part in list(other.net.parameters())[-2:]:
        part.data *= 0.5
    second = saved(other, tmp_path / "other")
    page = side_by_side(first, second, tmp_path / "page.html")
    assert "mean absolute error" in page.words("differences")
    assert "McNemar" not in page.words("differences")
    assert "Furthest apart" in page.words("disagreements")
