"""Named texts in the metadata of an .onnx file, without the package onnx.

Such a file is a protocol buffer: fields one after the other, each with its number and its length.
So texts are added behind all that is there, and a graph of any size is never taken apart.
"""

import mmap
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

METADATA_PROPS = 14
"""The field of ModelProto in onnx.proto that holds pairs of strings (StringStringEntryProto)."""
KEY, VALUE = 1, 2
"""The fields of such a pair."""
VARINT, DELIMITED = 0, 2
FIXED = {1: 8, 5: 4}
"""Bytes of the values that are always so long; with the two above all kinds of values that the
encoding of protocol buffers still has."""


class _Record(NamedTuple):
    """A field of a protocol buffer: its number, and where it, its value and its end are."""

    number: int
    start: int
    value: int
    end: int


def read(path: Path, names: Collection[str]) -> dict[str, str]:
    """Return the texts of these names that a file has.

    Raises:
        Exception: the file is damaged; which, is up to what is wrong.
    """
    with _opened(path) as content:
        return {
            key: content[text.value : text.end].decode()
            for record in _records(content, 0, len(content))
            if record.number == METADATA_PROPS
            for key, text in [_property(content, record)]
            if key in names
        }


def write(path: Path, texts: Mapping[str, str], out: Path) -> None:
    """Write a copy of a file that has these texts, instead of those of the same names.

    Raises:
        Exception: the file is damaged; which, is up to what is wrong.
    """
    with out.open("wb") as copy:
        copy.writelines(parts(path, texts))
        for key, text in texts.items():
            entry = _delimited(KEY, key.encode()) + _delimited(VALUE, text.encode())
            copy.write(_delimited(METADATA_PROPS, entry))


def parts(path: Path, without: Collection[str]) -> Iterator[bytes]:
    """Yield all fields of a file but the texts of these names.

    Raises:
        Exception: the file is damaged; which, is up to what is wrong.
    """
    with _opened(path) as content:
        for record in _records(content, 0, len(content)):
            if record.number != METADATA_PROPS or _property(content, record)[0] not in without:
                yield content[record.start : record.end]


@contextmanager
def _opened(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


def _property(content: mmap.mmap, record: _Record) -> tuple[str, _Record]:
    """Return the key of a pair of strings, and where the value is."""
    fields = {field.number: field for field in _records(content, record.value, record.end)}
    key, value = fields[KEY], fields[VALUE]
    return content[key.value : key.end].decode(), value


def _records(content: mmap.mmap, start: int, stop: int) -> Iterator[_Record]:
    """Yield the fields of the protocol buffer between two places."""
    while start < stop:
        tag, value = _varint(content, start)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            _, end = _varint(content, value)
        elif kind == DELIMITED:
            length, value = _varint(content, value)
            end = value + length
        elif kind in FIXED:
            end = value + FIXED[kind]
        else:
            raise ValueError(f"byte {start} begins nothing that is known")
        if end > stop:
            raise ValueError(f"it ends in the middle, {end - stop:,} bytes too early")
        yield _Record(number, start, value, end)
        start = end


def _varint(content: mmap.mmap, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and the place behind it."""
    number, shift = 0, 0
    while True:
        byte = content[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def _delimited(number: int, value: bytes) -> bytes:
    return _as_varint(number << 3 | DELIMITED) + _as_varint(len(value)) + value


def _as_varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _as_varint(rest) if rest else bytes([low])
