"""The picture of the confusion matrix."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effnet.errors import ResourceError
from effnet.evaluation.figures import confusion_picture
from effnet.evaluation.metrics import Evaluation, evaluate_probabilities


def evaluation(classes: int, name: str = "a rather long name of class {}") -> Evaluation:
    rng = np.random.default_rng(0)
    labels = np.arange(20 * classes) % classes
    called = np.where(rng.random(len(labels)) < 0.7, labels, rng.integers(0, classes, len(labels)))
    names = [name.format(index) for index in range(classes)]
    return evaluate_probabilities(np.eye(classes)[called], labels, names)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_picture_is_of_a_sensible_size(tmp_path: Path, classes: int) -> None:
    with Image.open(confusion_picture(evaluation(classes), tmp_path / "confusion.png")) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) >= 300
        assert max(picture.size) <= 2500


def test_diagonal_is_darker_than_the_rest(tmp_path: Path) -> None:
    right = evaluate_probabilities(np.eye(40), np.arange(40), [f"{i}" for i in range(40)])
    wrong = evaluate_probabilities(np.eye(40)[::-1], np.arange(40), [f"{i}" for i in range(40)])
    pictures = []
    for number, found in enumerate((right, wrong)):
        path = confusion_picture(found, tmp_path / f"{number}.png")
        pictures.append(np.asarray(Image.open(path).convert("L")).astype(int))
    dark = [np.argwhere(picture < 100).astype(float) for picture in pictures]
    slopes = [np.corrcoef(place[:, 0], place[:, 1])[0, 1] for place in dark]
    assert slopes[0] > 0.3 > -0.3 > slopes[1]


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize(
    "name", [r"$\frac$ {}", "$a$ {}", "a_b^ {}", "x" * 400 + "{}", "{} \u732b"]
)
def test_any_name_can_be_drawn(tmp_path: Path, name: str) -> None:
    found = evaluation(3, name)
    with Image.open(confusion_picture(found, tmp_path / "confusion.png")) as picture:
        assert max(picture.size) <= 2500


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"confusion\.png"):
        confusion_picture(evaluation(2), tmp_path / "file" / "confusion.png")
