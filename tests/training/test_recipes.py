"""Named recipes and recipes in YAML files."""

from pathlib import Path

import pytest
import yaml

from effnet.errors import UsageError
from effnet.training.recipe import Recipe
from effnet.training.recipes import RECIPES, from_mapping, named, read_yaml, write_yaml


@pytest.mark.parametrize("name", RECIPES)
def test_named_recipe_is_a_file_away(tmp_path: Path, name: str) -> None:
    write_yaml(tmp_path / "copy.yaml", RECIPES[name].to_dict(), "A copy.")
    assert named(str(tmp_path / "copy.yaml")) == named(name) == RECIPES[name]


def test_finetune_is_gentler_than_quick() -> None:
    quick, finetune = RECIPES["quick"], RECIPES["finetune"]
    assert finetune.lr < quick.lr
    assert finetune.epochs < quick.epochs


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("epochs: 3", {"epochs": 3}),
        ("lr: 1e-3\nflip: null", {"lr": 1e-3, "flip": None}),  # YAML 1.1 reads 1e-3 as a word
        ("data: photos\nvariant: b0\nweights: w.safetensors\nbatch: 4", {"batch": 4}),
        ("tensorboard: false", {"tensorboard": False}),
    ],
)
def test_file_changes_the_quick_recipe(
    tmp_path: Path, text: str, changes: dict[str, object]
) -> None:
    (tmp_path / "mine.yml").write_text(text)
    assert named(str(tmp_path / "mine.yml")) == RECIPES["quick"].with_(**changes)


def test_file_may_start_from_another_recipe() -> None:
    found = from_mapping({"recipe": "finetune", "epochs": 2}, where="mine.yaml")
    assert found == RECIPES["finetune"].with_(epochs=2)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("epoch: 3", r"mine\.yaml: Unknown setting 'epoch'\. Did you mean 'epochs'"),
        ("optimizer: adamv", r"mine\.yaml: optimizer must be one of .*Did you mean 'adam"),
        ("epochs: many", r"mine\.yaml: epochs must be of type int, not 'many'"),
        ("recipe: finetun", r"mine\.yaml: Unknown recipe 'finetun'\. Did you mean 'finetune'"),
        ("recipe: [quick]", r"mine\.yaml: Unknown recipe"),
        ("3: 4", r"mine\.yaml: Unknown setting '3'"),
        ("- epochs", r"mine\.yaml is not a recipe"),
        ("", r"mine\.yaml is not a recipe"),
        ("epochs: [", r"mine\.yaml is not YAML"),
        ("!!python/object/apply:os.system ['true']", r"mine\.yaml is not YAML"),
        (b"epochs: \xff", r"Cannot read .*mine\.yaml"),
        (None, r"Cannot read .*mine\.yaml"),
    ],
)
def test_file_that_is_no_recipe_is_told(
    tmp_path: Path, text: str | bytes | None, match: str
) -> None:
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=match) as caught:
        named(str(path))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["quik", "Quick", "QUICK?", "quick.json"])
def test_unknown_name_is_told(name: str) -> None:
    with pytest.raises(
        UsageError, match=r"Unknown recipe .*Known: quick, finetune, scratch, paper-v1"
    ):
        named(name)


def test_written_file_says_what_it_is(tmp_path: Path) -> None:
    write_yaml(tmp_path / "new" / "recipe.yaml", Recipe().to_dict(), "A recipe.")
    text = (tmp_path / "new" / "recipe.yaml").read_text()
    assert text.startswith("# A recipe.\n")
    assert yaml.safe_load(text) == read_yaml(tmp_path / "new" / "recipe.yaml")
