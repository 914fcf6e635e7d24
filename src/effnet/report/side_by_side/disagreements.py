"""Pictures that the two answer differently."""

from typing import Any

import numpy as np

from effnet.report.answers import Answered
from effnet.report.shown import TRUE, Shown, said_of, scale_of, truth_of
from effnet.report.side_by_side.pair import LETTERS, Pair
from effnet.report.subject import Section
from effnet.report.thumbnail import read_thumbnail

MOST_SHOWN = 8
"""Pictures of each kind."""


def section(pair: Pair) -> Section | None:
    """Return the section; None where not both are judged."""
    if pair.answered is None:
        return None
    one, other = pair.answered
    groups = _by_class(one, other) if one.exclusive else [_by_distance(one, other)]
    return Section("disagreements", "Where they disagree", {"groups": groups})


def _by_class(one: Answered, other: Answered) -> list[dict[str, Any]]:
    """Return the pictures that only one of them answers right, the most convinced errors first."""
    groups = []
    for letter, right, wrong in ((LETTERS[0], one, other), (LETTERS[1], other, one)):
        chosen = np.flatnonzero(right.right & ~wrong.right)
        sure = wrong.answers.max(1)[chosen]
        best = chosen[np.argsort(-sure, kind="stable")][:MOST_SHOWN].tolist()
        shown = [
            _shown(one, other, place, (int(one.called[place]), int(other.called[place])))
            for place in best
        ]
        groups.append({"title": f"Only {letter} is right", "count": len(chosen), "shown": shown})
    return groups


def _by_distance(one: Answered, other: Answered) -> dict[str, Any]:
    """Return the pictures whose answers are furthest apart; of numbers in standard deviations."""
    apart = np.abs(one.answers - other.answers) / scale_of(one)
    outputs = apart.argmax(1)
    furthest = np.argsort(-apart.max(1), kind="stable")[:MOST_SHOWN].tolist()
    shown = [
        _shown(one, other, place, (int(outputs[place]), int(outputs[place])))
        for place in furthest
        if apart[place].max() > 0
    ]
    return {"title": "Furthest apart", "count": len(one), "shown": shown}


def _shown(one: Answered, other: Answered, place: int, outputs: tuple[int, int]) -> Shown:
    return Shown(
        one.split.name(place),
        read_thumbnail(one.split, place),
        None,
        (
            (TRUE, truth_of(one, place, outputs[0])),
            (LETTERS[0], said_of(one, place, outputs[0])),
            (LETTERS[1], said_of(other, place, outputs[1])),
        ),
    )
