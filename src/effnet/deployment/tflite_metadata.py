"""Named texts in the metadata of a .tflite file.

Such a file is a flatbuffer: tables that refer to each other by how far away they are, always
forward from the first one, the root. So texts are added by writing a new root before all that is
there, which stays as it is, byte by byte, and as well aligned as it was.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from effnet.errors import ModelFileError
from effnet.extras import require

IDENTIFIER = b"TFL3"
ALIGNMENT = 16
"""Bytes; of weights, by the format's schema."""
OFFSET = 4
"""Bytes of a reference to another table."""
BUFFERS, METADATA = 4, 6
"""Places of these vectors among the fields of the root."""
FIRST_FIELD = 4
"""Where a table's list of its fields begins, in bytes; each takes two."""


def read(path: Path, names: Collection[str]) -> dict[str, str]:
    """Return the texts of these names that a file has.

    Raises:
        ResourceError: ai-edge-litert is not installed.
        Exception: the file is damaged; which, is up to what is wrong.
    """
    model = _model(_schema(), path.read_bytes())
    entries = map(model.Metadata, range(model.MetadataLength()))
    return {
        _name(entry): model.Buffers(entry.Buffer()).DataAsNumpy().tobytes().decode()
        for entry in entries
        if _name(entry) in names
    }


def parts(path: Path, without: Collection[str]) -> Iterator[bytes | bytearray]:
    """Yield a file's bytes, with zeros instead of the texts of these names.

    Raises:
        ResourceError: ai-edge-litert is not installed.
        Exception: the file is damaged; which, is up to what is wrong.
    """
    content = bytearray(path.read_bytes())
    model = _model(_schema(), content)
    for entry in map(model.Metadata, range(model.MetadataLength())):
        if _name(entry) in without:
            model.Buffers(entry.Buffer()).DataAsNumpy()[:] = 0
    yield content


def write(path: Path, texts: Mapping[str, str], out: Path) -> None:
    """Write a copy of a file that has these texts, instead of those of the same names.

    Raises:
        ResourceError: ai-edge-litert is not installed.
        ModelFileError: the file keeps its weights where they cannot be moved.
        Exception: the file is damaged; which, is up to what is wrong.
    """
    schema = _schema()
    content = path.read_bytes()
    content += bytes(-len(content) % ALIGNMENT)
    model = _model(schema, content)
    buffers = [model.Buffers(place) for place in range(model.BuffersLength())]
    if any(buffer.Offset() > 1 for buffer in buffers):
        raise ModelFileError(f"{path} keeps weights outside of its tables; it is too large.")
    entries = [model.Metadata(place) for place in range(model.MetadataLength())]

    builder = schema.flatbuffers.Builder(0)
    builder.Bytes, builder.minalign = bytearray(content), ALIGNMENT  # built from its end to 0
    kept_buffers = [len(content) - buffer._tab.Pos for buffer in buffers]
    kept_entries = [len(content) - entry._tab.Pos for entry in entries if _name(entry) not in texts]
    new_buffers = [_buffer(schema, builder, text) for text in texts.values()]
    new_entries = [
        _entry(schema, builder, name, place)
        for place, name in enumerate(texts, start=len(kept_buffers))
    ]
    vectors = {
        BUFFERS: _vector(builder, [*kept_buffers, *new_buffers]),
        METADATA: _vector(builder, [*kept_entries, *new_entries]),
    }
    builder.Finish(_root(schema, builder, model, len(content), vectors), IDENTIFIER)
    out.write_bytes(builder.Output())


def _schema() -> Any:
    return require("ai_edge_litert.schema_py_generated", "read what a .tflite file carries")


def _model(schema: Any, content: bytes | bytearray) -> Any:
    if not schema.Model.ModelBufferHasIdentifier(content, 0):
        raise ValueError(f"it does not begin as such a file does, with {IDENTIFIER.decode()}")
    return schema.Model.GetRootAs(content)


def _name(entry: Any) -> str:
    return (entry.Name() or b"").decode()


def _buffer(schema: Any, builder: Any, text: str) -> int:
    data = builder.CreateByteVector(text.encode())
    schema.BufferStart(builder)
    schema.BufferAddData(builder, data)
    return schema.BufferEnd(builder)


def _entry(schema: Any, builder: Any, name: str, buffer: int) -> int:
    written = builder.CreateString(name)
    schema.MetadataStart(builder)
    schema.MetadataAddName(builder, written)
    schema.MetadataAddBuffer(builder, buffer)
    return schema.MetadataEnd(builder)


def _vector(builder: Any, tables: Sequence[int]) -> int:
    builder.StartVector(OFFSET, len(tables), OFFSET)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return builder.EndVector()


def _root(schema: Any, builder: Any, model: Any, end: int, vectors: Mapping[int, int]) -> int:
    """Write the root anew: its version, these vectors, and all else where it is already."""
    table = model._tab
    fields = range(1, max(METADATA, *_fields(table)) + 1)
    found = {field: table.Offset(FIRST_FIELD + 2 * field) for field in fields}
    kept = {
        field: end - table.Indirect(table.Pos + place) for field, place in found.items() if place
    }
    builder.StartObject(len(fields) + 1)
    schema.ModelAddVersion(builder, model.Version())
    for field, place in {**kept, **vectors}.items():
        builder.PrependUOffsetTRelativeSlot(field, place, 0)
    return builder.EndObject()


def _fields(table: Any) -> range:
    """Return the places of the fields that a table's list has room for."""
    types = _schema().flatbuffers.number_types
    listed = table.Pos - table.Get(types.SOffsetTFlags, table.Pos)
    size = table.Get(types.VOffsetTFlags, listed)
    return range((size - FIRST_FIELD) // 2)
