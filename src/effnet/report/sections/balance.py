"""How evenly the training pictures are spread over the classes, and what that does."""

import numpy as np

from effnet.data.layout_checks import IMBALANCE, per_class
from effnet.evaluation.metrics import Evaluation
from effnet.report.subject import Section, Subject

MOST_BARS = 30
"""Classes; of more the most and the least frequent are shown."""
COUNTABLE = ("classify", "multilabel")
"""The tasks whose pictures can be counted by class or label."""
REMEDIES = {"sampling": "all", "class_weights": "none", "logit_adjust": 0.0}
"""Settings that make up for rare classes, and their values that do nothing."""


def section(subject: Subject) -> Section | None:
    """Return the section; None of targets, and where there are no training pictures."""
    pictures, model = subject.pictures, subject.run.model
    if pictures is None or model is None or "train" not in pictures.splits:
        return None
    if model.task.name not in COUNTABLE:
        return None
    counts = np.array(per_class(pictures.splits["train"], len(model.classes)))
    order = np.argsort(-counts, kind="stable")
    shown = (
        order if len(order) <= MOST_BARS else [*order[: MOST_BARS // 2], *order[-MOST_BARS // 2 :]]
    )
    recipe = model.training.get("recipe", {})
    recalls = _recalls(subject)
    least, most = int(counts.min()), int(counts.max())
    return Section(
        "balance",
        "Balance",
        {
            "bars": [
                {
                    "name": model.classes[k],
                    "count": int(counts[k]),
                    "share": round(float(counts[k]) / max(1, most), 3),
                    "recall": None if recalls is None else f"{recalls[k]:.1%}",
                }
                for k in shown
            ],
            "classes": len(counts),
            "least": (model.classes[order[-1]], least),
            "most": (model.classes[order[0]], most),
            "ratio": most / least if least else None,
            "uneven": most >= IMBALANCE * max(1, least),
            "remedies": [
                f"{name}: {recipe[name]}"
                for name, nothing in REMEDIES.items()
                if recipe.get(name, nothing) != nothing
            ],
            "gap": _gap(subject),
        },
    )


def _recalls(subject: Subject) -> list[float] | None:
    figures = None if subject.judged is None else subject.judged.figures
    return [one.recall for one in figures.per_class] if isinstance(figures, Evaluation) else None


def _gap(subject: Subject) -> tuple[str, str] | None:
    """Return accuracy and balanced accuracy, which part where rare classes are done worse."""
    figures = None if subject.judged is None else subject.judged.figures
    if not isinstance(figures, Evaluation):
        return None
    return f"{figures.accuracy:.2%}", f"{figures.balanced_accuracy:.2%}"
