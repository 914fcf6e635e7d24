"""TensorFlow's checkpoints, which it calls bundles, read without TensorFlow.

`NAME.index` is a table in LevelDB's form (google/leveldb doc/table_format.md): blocks of sorted
keys, each without what it shares with the one before. Its values are protocol buffers of
tensorflow/core/protobuf/tensor_bundle.proto, and say where in `NAME.data-00000-of-00001` and the
like a tensor's bytes are. Checksums are not compared; archives of checkpoints have their own.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

INDEX = ".index"

_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48
_TRAILER = 5  # a block's compression and checksum
_BIG_ENDIAN = 1
_LONGEST_VARINT = 63

# Numbers of the message's fields, in tensor_bundle.proto and tensor_shape.proto.
_SHARDS, _ENDIANNESS = 1, 2
_DTYPE, _SHAPE, _SHARD, _OFFSET, _SIZE, _SLICES = 1, 2, 3, 4, 5, 7
_DIM, _DIM_SIZE = 2, 1

_BFLOAT16 = 14
_DTYPES: dict[int, str] = {1: "<f4", 2: "<f8", 19: "<f2", _BFLOAT16: "<u2"}
"""Those of weights, by their numbers in types.proto; numpy has no bfloat16."""


class Entry(NamedTuple):
    """Where a tensor is: `size` bytes from `offset` in the data file number `shard`."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    sliced: bool


class Bundle:
    """A checkpoint's index.

    Args:
        prefix: the path of the index without its ending.

    Attributes:
        entries: where each tensor is, by name.

    Raises:
        OSError: the index cannot be read.
        ValueError, LookupError, TypeError: it is damaged or of another form.
    """

    def __init__(self, prefix: Path) -> None:
        table = dict(_table(prefix.with_name(prefix.name + INDEX).read_bytes()))
        header = _fields(table.pop(b""))
        if header[_ENDIANNESS] == [_BIG_ENDIAN]:
            raise ValueError("it was written by a big-endian machine")
        self._prefix = prefix
        self._shards = int(_one(header, _SHARDS))
        self.entries = {
            name.decode(errors="replace"): _entry(message) for name, message in table.items()
        }

    def read(self, name: str) -> Tensor:
        """Return a tensor in float32.

        Raises:
            OSError: its data file cannot be read.
            ValueError: it is not there whole, or is not of floating-point numbers.
        """
        entry = self.entries[name]
        if entry.dtype not in _DTYPES or entry.sliced:
            raise ValueError(f"{name} is kept in slices, or not as floating-point numbers")
        file = f"{self._prefix.name}.data-{entry.shard:05d}-of-{self._shards:05d}"
        dtype = np.dtype(_DTYPES[entry.dtype])
        count = entry.size // dtype.itemsize
        path = self._prefix.with_name(file)
        if entry.offset + entry.size > path.stat().st_size:
            raise ValueError(f"{name} ends behind the end of {file}")
        values = np.fromfile(path, dtype, count, offset=entry.offset).reshape(entry.shape)
        native = torch.from_numpy(values.astype(dtype.newbyteorder("="), copy=False))
        return (native.view(torch.bfloat16) if entry.dtype == _BFLOAT16 else native).float()


def _entry(message: bytes) -> Entry:
    fields = _fields(message)
    dims = _fields(_one(fields, _SHAPE, b""))[_DIM]
    return Entry(
        dtype=_one(fields, _DTYPE),
        shape=tuple(_one(_fields(dim), _DIM_SIZE) for dim in dims),
        shard=_one(fields, _SHARD),
        offset=_one(fields, _OFFSET),
        size=_one(fields, _SIZE),
        sliced=bool(fields[_SLICES]),
    )


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a table: an index block leads to the blocks that hold them."""
    if content[-len(_MAGIC) :] != _MAGIC:
        raise ValueError("it is no index of a checkpoint, or is cut off")
    footer = content[-_FOOTER:]
    _, behind_other = _handle(footer, 0)
    index, _ = _handle(footer, behind_other)
    for _, value in _block(content, *index):
        handle, _ = _handle(value, 0)
        yield from _block(content, *handle)


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Return a block's offset and size, and where in `data` what follows them begins."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _block(content: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    end = offset + size
    if end + _TRAILER > len(content) or content[end]:
        raise ValueError("a part of the index is missing or compressed")
    restarts = int.from_bytes(content[end - 4 : end], "little")
    block = content[offset : end - 4 * (restarts + 1)]
    key, at = b"", 0
    while at < len(block):
        shared, at = _varint(block, at)
        added, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + added]
        at += added
        yield key, block[at : at + length]
        at += length


def _fields(message: bytes) -> defaultdict[int, list[Any]]:
    """Return the values of a protocol buffer by the numbers of their fields."""
    fields: defaultdict[int, list[Any]] = defaultdict(list)
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            fields[number].append(value)
            continue
        size, at = _varint(message, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        fields[number].append(message[at : at + size])
        at += size
    return fields


def _one(fields: defaultdict[int, list[Any]], number: int, default: Any = 0) -> Any:
    """Return a field's value, which is left out where it is the default."""
    return fields[number][-1] if fields[number] else default


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, and where what follows it begins."""
    value = shift = 0
    while data[at] & 128:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if shift > _LONGEST_VARINT:
            raise ValueError("a number in the index is too long")
    return value | data[at] << shift, at + 1
