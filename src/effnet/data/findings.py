"""What is said of a data set that has something wrong with it."""

from dataclasses import dataclass

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a data set.

    Attributes:
        severity: "error" if no training is possible, "warning" if it is but may disappoint.
        kind: a short name for programs, such as "unreadable" or "leak".
        message: what is wrong, for people.
        files: the pictures or lines in question, each with what there is to say of it.
    """

    severity: str
    kind: str
    message: str
    files: tuple[str, ...] = ()


def amount(count: int, one: str, many: str) -> str:
    """Write a number with the words that fit it, such as "1 file is" or "3 files are"."""
    return f"{count} {one if count == 1 else many}"
