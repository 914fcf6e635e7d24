"""What the words of an option mean."""

from effnet.errors import UsageError


def share(text: str) -> float:
    """Read a share, such as "1%", "1 %" or "0.01". Raises UsageError if it is none.

    >>> share("1%"), share("0.01")
    (0.01, 0.01)
    """
    number = text.strip().removesuffix("%")
    try:
        value = float(number) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise UsageError(
            f"--max-drop must be a share from 0% to less than 100%, such as 1% or 0.01; it is "
            f"{text!r}."
        )
    return value


def words(text: str | None) -> list[str]:
    """Return the words of a list with commas between."""
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def numbers(text: str | None) -> list[int]:
    """Return the whole numbers of a list. Raises UsageError if one is none."""
    try:
        return [int(word) for word in words(text)]
    except ValueError as error:
        raise UsageError(f"--resolutions takes numbers such as 96,80; not {text!r}.") from error
