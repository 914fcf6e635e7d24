"""The model card says what the card says, and nothing can break out of its place in it."""

from dataclasses import replace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from effnet.data.defaults import default_preprocessing
from effnet.measure.counts import count
from effnet.nets.scaling import scale, variant_spec
from effnet.sharing.model_card import model_card
from effnet.sharing.timm_layout import network_of
from sharing.models import card

SPEC = variant_spec("b0", classes=3)
TRAINED: dict[str, Any] = {
    "training": {"data": "photos", "recipe": {"epochs": 3, "lr": 0.001}},
    "figures": {"epoch": 2, "loss": 0.5, "accuracy": 0.8, "val_loss": 0.25, "val_accuracy": 0.9375},
}


def written(name: str | None = None, **changes: Any) -> ModelCard:
    made = card(changes.pop("spec", SPEC), **changes)
    text = model_card(made, network_of(made.spec), name)
    parsed = ModelCard(text)
    # Parsing is forgiving; what it understood must be all there was.
    assert yaml.safe_load(text.split("---")[1]) == parsed.data.to_dict()
    return parsed


def cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_facts_for_the_hub() -> None:
    found = written(training={"licence": "Apache-2.0"}).data
    assert found.license == "apache-2.0"
    assert found.library_name == "timm"
    assert found.pipeline_tag == "image-classification"
    assert {"effnet", "timm", "image-classification"} <= set(found.tags)


def test_the_facts_of_a_network_that_timm_lacks() -> None:
    found = written(spec=scale("b0", width=0.5, classes=3))
    assert found.data.library_name == "effnet"
    assert "timm" not in found.data.tags
    assert "create_model" not in found.text


@pytest.mark.parametrize(
    ("licence", "facts", "text"),
    [
        ("MIT", {"license": "mit"}, "MIT."),
        (
            "Our Own Terms: 2",
            {"license": "other", "license_name": "our-own-terms-2"},
            "Our Own Terms: 2.",
        ),
        (None, {}, "Not stated."),
    ],
)
def test_licence(licence: str | None, facts: dict[str, str], text: str) -> None:
    found = written(training={"licence": licence} if licence else {})
    told = found.data.to_dict()
    assert {name: value for name, value in told.items() if name.startswith("license")} == facts
    assert found.text.rstrip().endswith(text)
    assert "Training" not in found.text


def test_figures_and_what_they_were_measured_on() -> None:
    rows = cells(written(**TRAINED).text)
    assert ["val\\_accuracy", "0.9375", "validation pictures of photos, 64 x 64 pixels"] in rows
    assert ["accuracy", "0.8", "training pictures of photos, while it learned"] in rows
    assert ["epoch", "2", "the epoch whose weights these are"] in rows


def test_published_figures_keep_their_source() -> None:
    figures = {"published": {"top1": 77.1, "source": "a paper"}, "own": 0.5}
    rows = cells(written(figures=figures).text)
    assert ["published top1", "77.1", "a paper"] in rows
    assert ["own", "0.5", ""] in rows  # nobody said what it was measured on


def test_nothing_is_claimed_that_was_not_measured() -> None:
    text = written().text
    for word in ("Figures", "accuracy", "Training", "recipe"):
        assert word not in text


def test_what_it_is() -> None:
    text = written(**TRAINED).text
    assert f"{count(SPEC).parameters:,} parameters" in text
    assert "3 classes: class 0, class 1, class 2." in text
    assert yaml.safe_load(text.partition("```yaml")[2].partition("```")[0]) == TRAINED["training"]
    many = variant_spec("b0", classes=1000)
    assert "class 19 and 980 more." in written(spec=many).text


def test_how_it_is_used() -> None:
    text = written(name="user/name").text
    assert 'effnet.load("hf://user/name")' in text
    assert 'timm.create_model("hf-hub:user/name", pretrained=True)' in text
    folder = written().text
    assert 'timm.create_model("local-dir:path/of/this/folder", pretrained=True)' in folder


def test_what_timm_does_not_do_is_said() -> None:
    assert "a sigmoid" in written(task="multilabel").text
    spread = {"mean": [1.5, 2.0, 0.0], "std": [1.0, 3.0, 0.5]}
    numbers = written(task="regress", task_settings=spread)
    assert "multiply by [1.0, 3.0, 0.5] and add [1.5, 2.0, 0.0]" in numbers.text
    assert numbers.data.pipeline_tag is None
    plain = default_preprocessing(SPEC)
    assert "no such way to resize" not in written(preprocessing=plain).text
    google = replace(plain, resize="tensorflow1")
    assert "no such way to resize as tensorflow1" in written(preprocessing=google).text


NASTY = (
    "a|b",
    "*x* <script>alert(1)</script>",
    "# h\n\n---\nlicense: mit\n---",
    "```\n[x](y) &lt;",
)


def test_names_are_text_and_nothing_else() -> None:
    training = {"data": "``` \n````\n# heading", "recipe": {"teacher": NASTY[2]}}
    found = written(
        spec=variant_spec("b0", classes=4),
        classes=NASTY,
        training=training,
        figures={"val_| x |": 0.5, "*": {"source": "|", "<b>": "<i>"}},
    )
    assert found.data.license is None
    assert "<script>" not in found.text
    assert r"a\|b, \*x\* \<script\>" in found.text
    headings = [line for line in found.text.splitlines() if line.startswith("#")]
    assert headings == [
        "# b0",
        "## Figures",
        "## Pictures",
        "## Use",
        "## Training",
        "## Licence",
    ]
    # The longest row of backticks in the block does not end it.
    block = found.text.partition("`````yaml\n")[2].partition("\n`````\n")[0]
    assert yaml.safe_load(block) == training
