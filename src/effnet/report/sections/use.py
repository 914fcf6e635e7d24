"""How to use the model: commands to copy."""

import shlex
from typing import NamedTuple

from effnet.report.subject import Section, Subject


class Way(NamedTuple):
    """A way to use a model, as a command or as Python."""

    purpose: str
    code: str


def section(subject: Subject) -> Section | None:
    """Return the section; None without a model."""
    if subject.run.model is None:
        return None
    run = str(subject.run.path)
    data = subject.pictures.source if subject.pictures else "DATA"
    return Section(
        "use",
        "Use it",
        {
            "ways": [
                Way("Answer pictures, files or folders", _command("predict", run, "PICTURES")),
                Way("Judge it on other data", _command("evaluate", run, "DATA")),
                Way(
                    "Make it smaller and quicker, within an accuracy you choose",
                    _command("compress", run, data),
                ),
                Way(
                    "Hand it to another program",
                    _command("export", run, "model.onnx", "--to", "onnx"),
                ),
                Way(
                    "In Python",
                    f"import effnet\n\nmodel = effnet.load({run!r})\n"
                    "for found in model.predict_files(['picture.jpg']):\n"
                    f"    print({_ANSWER[subject.run.model.task.exclusive]})",
                ),
            ]
        },
    )


_ANSWER = {True: "found.label, found.probability", False: "found.values"}
"""What to print of a prediction, by whether a picture has one class."""


def _command(*words: str) -> str:
    return shlex.join(["effnet", *words])
