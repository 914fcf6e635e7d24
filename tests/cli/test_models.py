"""`effnet models` and `effnet scale`: the published variants, and networks between them."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from effnet.cli.models import COLUMNS
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import scale
from effnet.nets.spec import Spec
from effnet.nets.variants import VARIANTS

Run = Callable[..., Any]

# Of the published networks at 1000 classes, from the repositories that published them.
PARAMETERS = {"b0": 5288548, "l2": 480309308, "v2-s": 21458488, "cc-b1-8e": 39715968}


def test_json_lists_every_variant(run: Run) -> None:
    result = run("models", "--json")
    rows = {row["variant"]: row for row in json.loads(result.out)}
    assert result.code == 0
    assert list(rows) == list(VARIANTS)
    assert len(rows) == 29
    assert {name: rows[name]["parameters"] for name in PARAMETERS} == PARAMETERS
    assert {name: row["top1"] for name, row in rows.items()} == {
        name: variant.top1 for name, variant in VARIANTS.items()
    }


def test_json_has_the_papers_figures_and_the_difference(run: Run) -> None:
    rows = {row["variant"]: row for row in json.loads(run("models", "--json").out)}
    b4, lite0, l2 = rows["b4"], rows["lite0"], rows["l2"]
    # Tan and Le 2019, table 2.
    assert (b4["paper_parameters_m"], b4["paper_gmacs"]) == (19, 4.2)
    assert b4["macs_over_paper_percent"] == pytest.approx(100 * (b4["macs"] / 4.2e9 - 1), abs=0.01)
    assert b4["macs_over_paper_percent"] > 0 > lite0["macs_over_paper_percent"]
    assert [l2[name] for name in l2 if "paper" in name] == [None] * 3
    # timm's results of the same networks, in millions, at 224 px.
    assert round(rows["b0"]["activations"] / 1e6, 2) == 6.75
    assert round(lite0["activations"] / 1e6, 2) == 6.74
    assert b4["size"] > 4 * b4["parameters"]


def test_table_says_what_the_json_says(run: Run) -> None:
    rows = json.loads(run("models", "--json").out)
    header, *lines = run("models").out.splitlines()
    assert re.split(r" {2,}", header) == list(COLUMNS)
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        name, parameters, paper_m, macs, paper_g, over, pixels, top1, *trained = line.split()
        assert (name, int(pixels), float(top1)) == (row["variant"], row["resolution"], row["top1"])
        assert float(parameters) == pytest.approx(row["parameters"] / 1e6, abs=0.006)
        assert float(macs) == pytest.approx(row["macs"] / 1e9, abs=0.006)
        assert " ".join(trained) == row["trained"]
        published = [row["paper_parameters_m"], row["paper_gmacs"], row["macs_over_paper_percent"]]
        shown = [None if cell == "-" else float(cell) for cell in (paper_m, paper_g, over)]
        assert shown == (published if None in shown else pytest.approx(published, abs=0.06))


def test_columns_of_numbers_end_together(run: Run) -> None:
    header, *lines = run("models").out.splitlines()
    end = header.index("diff %") + len("diff %")
    assert all(line[end - 1] != " " and line[end] == " " for line in lines)


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (["--phi", "0.7"], {"phi": 0.7}),
        (["--factor", "0.5"], {"factor": 0.5}),
        (
            ["--depth", "0.4", "--width", "0.3", "--resolution", "65"],
            {"depth": 0.4, "width": 0.3, "resolution": 65},
        ),
    ],
)
def test_scales_json_builds_the_same_network(
    run: Run, words: list[str], settings: dict[str, Any]
) -> None:
    result = run("scale", "b0", *words, "--json")
    printed = json.loads(result.out)
    spec = Spec.from_dict(printed["spec"])
    assert spec == scale("b0", **settings)
    net = EfficientNet(spec)
    assert printed["parameters"] == sum(p.numel() for p in net.parameters())


def test_scales_table_shows_each_stage(run: Run) -> None:
    spec = scale("b0", phi=1)
    _, header, *lines = run("scale", "b0", "--phi", 1).out.splitlines()
    assert header.split() == ["block", "repeats", "kernel", "stride", "expansion", "channels"]
    shown = [line.split() for line in lines]
    assert [int(row[5]) for row in shown] == [stage.channels for stage in spec.stages]
    assert [int(row[1]) for row in shown] == [stage.repeats for stage in spec.stages]
