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
"""Settings that make up for rare classes, and their values that do nothing; labels have none."""


def section(subject: Subject) -> Section | None:
    """Return the section; None of targets, and where there are no training pictures."""
    pictures, model = subject.pictures, subject.run.model
    if pictures is None or model is None or "train" not in pictures.splits:
        return None
    if model.task.name not in COUNTABLE:
        return None
    counts = np.array(per_class(pictures.splits["train"], len(model.classes)))
    order = np.argsort(-counts, kind="stable")
    half = MOST_BARS // 2
    shown = order if len(order) <= MOST_BARS else [*order[:half], *order[-half:]]
    recipe = model.training.get("recipe", {})
    figures = None if subject.judged is None else subject.judged.figures
    told = figures if isinstance(figures, Evaluation) else None
    recalls = None if told is None else _recalls(told)
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
                    "recall": None if recalls is None else recalls[k],
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
            "of_classes": model.task.exclusive,
            "gap": None if told is None else _gap(told),
        },
    )


def _recalls(figures: Evaluation) -> list[str]:
    """Write the recall of each class, where it has pictures."""
    return [f"{one.recall:.1%}" if one.count else "-" for one in figures.per_class]


def _gap(figures: Evaluation) -> tuple[str, str]:
    """Write accuracy and balanced accuracy, which part where rare classes are done worse."""
    return f"{figures.accuracy:.2%}", f"{figures.balanced_accuracy:.2%}"
