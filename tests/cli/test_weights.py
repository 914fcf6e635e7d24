"""`effnet weights`: the list of published sets."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from effnet.weights.catalog import CATALOG

Run = Callable[..., Any]


def test_json_is_the_whole_catalog(run: Run) -> None:
    result = run("weights", "--json")
    rows = json.loads(result.out)
    assert result.code == 0
    assert [row["key"] for row in rows] == [entry.key for entry in CATALOG]
    for row, entry in zip(rows, CATALOG, strict=True):
        assert (row["url"], row["digest"]) == (entry.url, entry.digest)
        assert (row["top1"], tuple(row["mean"])) == (entry.top1, entry.mean)


def test_table_says_what_the_json_says(run: Run) -> None:
    rows = json.loads(run("weights", "--variant", "v2-s", "--json").out)
    header, *lines = run("weights", "--variant", "v2-s").out.splitlines()
    assert header.split()[:2] == ["set", "variant"]
    assert {row["variant"] for row in rows} == {"v2-s"}
    for line, row in zip(lines, rows, strict=False):
        key, variant, training, pixels, top1, classes, licence = line.split()
        assert (key, variant, training) == (row["key"], "v2-s", row["training"])
        assert (int(pixels), int(classes)) == (row["resolution"], row["classes"])
        assert top1 == ("-" if row["top1"] is None else str(row["top1"]))
        assert licence == row["licence"]
    rest = "\n".join(lines[len(rows) :])
    counts = Counter(row["source"] for row in rows)
    assert f"{len(rows)} sets: " in rest
    assert all(f"{count} of {source}" in rest for source, count in counts.items())
    assert "cannot build the network of timm/efficientnetv2_rw_s.ra2_in1k" in rest


def test_one_source(run: Run) -> None:
    rows = json.loads(run("weights", "--source", "keras", "--json").out)
    assert {row["source"] for row in rows} == {"keras"}
    assert len(rows) == 15


def test_background_is_no_class(run: Run) -> None:
    line = run("weights", "--variant", "edge-s", "--source", "google").out.splitlines()[1]
    assert line.split()[5] == "1000"


def test_nothing_fits(run: Run) -> None:
    result = run("weights", "--variant", "v2-xl", "--source", "torchvision")
    assert result.code == 0
    assert "0 sets" in result.out


def test_unknown_words(run: Run) -> None:
    wrong = run("weights", "--variant", "b00")
    assert wrong.code == 2
    assert "Did you mean 'b0'" in wrong.err
    assert run("weights", "--source", "googel").code == 2
