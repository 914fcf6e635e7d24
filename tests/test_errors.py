"""What an exception says of the machine."""

import errno
from collections.abc import Callable

import pytest

from effnet.errors import ResourceError, disk_is_full


def because(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def meanwhile() -> BaseException:
    try:
        try:
            raise OSError(errno.EDQUOT, "Quota exceeded")
        finally:
            raise KeyError("key")
    except KeyError as error:
        return error


@pytest.mark.parametrize(
    "made",
    [
        lambda: OSError(errno.ENOSPC, "No room"),
        lambda: because(ResourceError("Cannot write."), OSError(errno.EIO, "Broken")),
        lambda: RuntimeError("Exception from core.cpp:9:\nNo space left on device"),
        meanwhile,
    ],
)
def test_a_full_disk_is_known_by_its_number_its_words_and_what_led_to_it(
    made: Callable[[], BaseException],
) -> None:
    assert disk_is_full(made())


def test_other_errors_are_not_of_the_disk() -> None:
    assert not disk_is_full(OSError(errno.ENOENT, "No such file"))
    assert not disk_is_full(because(ValueError("full"), FileNotFoundError("disk")))
