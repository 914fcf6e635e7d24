"""What a data set holds and what is wrong with it, said before training starts."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from effnet.data.content_checks import Told, content_findings, extremes, look_at
from effnet.data.findings import ERROR, Finding
from effnet.data.layout_checks import balance_findings, per_class, read_layout, refusals
from effnet.data.sources import is_named
from effnet.data.splits import Split
from effnet.data.values import ranges


@dataclass(frozen=True)
class Report:
    """What a data set holds, and what is wrong with it.

    Attributes:
        source: what was checked.
        classes: names, also those that only some splits have; or the columns of values.
        splits: the pictures by split; labels are indices in `classes`, or a value of each.
        sizes: (width, height) of the smallest, the median and the largest picture by area, in
            pixels; empty if none could be read.
        kinds: number of pictures of each format and Pillow mode, such as "JPEG RGB".
        findings: errors first.
        task: "classify", "multilabel" or "regress".
    """

    source: str
    classes: tuple[str, ...]
    splits: Mapping[str, Split] = field(repr=False)
    sizes: Mapping[str, tuple[int, int]]
    kinds: Mapping[str, int]
    findings: tuple[Finding, ...]
    task: str = "classify"

    @property
    def pictures(self) -> dict[str, int]:
        """Number of pictures by split."""
        return {name: len(split) for name, split in self.splits.items()}

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Number of pictures by split and class, or with each label; empty for targets."""
        if self.task == "regress":
            return {}
        return {
            name: dict(zip(self.classes, per_class(split, len(self.classes)), strict=True))
            for name, split in self.splits.items()
        }

    @property
    def ranges(self) -> dict[str, dict[str, dict[str, float]]]:
        """Minimum, mean, standard deviation and maximum by split and target; empty for classes."""
        if self.task != "regress":
            return {}
        return {name: ranges(split.labels, self.classes) for name, split in self.splits.items()}

    def members(self, split: Split, label: int) -> list[int]:
        """Return the places of a class's or label's pictures; of a target all, by its value."""
        if split.labels.ndim == 1:
            return np.flatnonzero(split.labels == label).tolist()
        column = split.labels[:, label]
        ordered = self.task == "regress"
        return (np.argsort(column, kind="stable") if ordered else np.flatnonzero(column)).tolist()

    @property
    def unusable(self) -> bool:
        """Whether no training is possible."""
        return any(finding.severity == ERROR for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "source": self.source,
            "task": self.task,
            "classes": list(self.classes),
            "pictures": self.pictures,
            "counts": self.counts,
            "ranges": self.ranges,
            "sizes": {name: list(size) for name, size in self.sizes.items()},
            "kinds": dict(self.kinds),
            "usable": not self.unusable,
            "findings": [
                {
                    "severity": finding.severity,
                    "kind": finding.kind,
                    "message": finding.message,
                    "files": list(finding.files),
                }
                for finding in self.findings
            ],
        }


def check(source: str | Path, told: Told = lambda done, count: None) -> Report:
    """Look at every picture of a data set and report all problems at once.

    Of each picture a few bytes are kept, so memory does not grow with their size.

    Args:
        source: a folder, a CSV file, shards, or the name of a data set.
        told: is told after each picture how many were looked at, and of how many.

    Raises:
        DataError: there is no such data, or it could not be downloaded.
    """
    layout = read_layout(source)
    looks = look_at(layout.splits, told)
    findings = [
        *layout.findings,
        *balance_findings(layout),
        *content_findings(looks, layout.classes),
    ]
    if not is_named(source) and not any(finding.severity == ERROR for finding in findings):
        findings += refusals(source)
    return Report(
        source=str(source),
        classes=layout.classes,
        splits=layout.splits,
        sizes=extremes(looks.values()),
        kinds=dict(sum((look.kinds for look in looks.values()), Counter()).most_common()),
        findings=tuple(sorted(findings, key=lambda finding: finding.severity)),
        task=layout.task,
    )
