"""ImageNet's folders are known for what they are, and nothing else is."""

from pathlib import Path

import pytest

from effnet.data.imagenet import COUNT, folder_classes

NUMBERS = [f"n{1440764 + 1000 * place:08d}" for place in range(COUNT)]
WORDS = tuple(f"class {place}" for place in range(COUNT))


def make(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
    return folder


@pytest.mark.parametrize("inside", ["", "val"])
def test_the_thousand_folders_stand_for_the_classes_in_their_order(tmp_path, inside):
    make(tmp_path / inside, NUMBERS[::-1])
    assert folder_classes(tmp_path, WORDS) == tuple(NUMBERS)
    assert folder_classes(str(tmp_path), WORDS) == tuple(NUMBERS)


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (NUMBERS[:-1], WORDS),  # which of the thousand these are, the names do not tell
        ([*NUMBERS[:-1], "n123"], WORDS),
        (NUMBERS, WORDS[:-1]),
    ],
)
def test_anything_else_is_left_alone(tmp_path, names, classes):
    assert folder_classes(make(tmp_path, names), classes) == classes


def test_what_is_no_folder_is_left_alone(tmp_path):
    assert folder_classes([[1.0]], WORDS) == WORDS
    assert folder_classes(tmp_path / "list.csv", WORDS) == WORDS
    assert folder_classes("digits", WORDS) == WORDS
