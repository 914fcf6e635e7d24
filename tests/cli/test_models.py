"""`effnet models` and `effnet scale`: the published variants, and networks between them."""

import json
from collections.abc import Callable
from typing import Any

import pytest

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


def test_table_says_what_the_json_says(run: Run) -> None:
    rows = json.loads(run("models", "--json").out)
    header, *lines = run("models").out.splitlines()
    assert [word in header for word in ("variant", "params", "MACs", "pixels", "top-1")] == [
        True
    ] * 5
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        name, parameters, macs, pixels, top1, *trained = line.split()
        assert (name, int(pixels), float(top1)) == (row["variant"], row["resolution"], row["top1"])
        assert float(parameters) == pytest.approx(row["parameters"] / 1e6, abs=0.006)
        assert float(macs) == pytest.approx(row["macs"] / 1e9, abs=0.006)
        assert " ".join(trained) == row["trained"]


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
