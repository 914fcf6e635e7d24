"""What an exported file carries beside its graph: the model's card, and the form of its graph.

Two JSON documents, in the place that each format has for such things: ONNX's metadata_props,
OpenVINO's rt_info, LiteRT's metadata, and an extra member of the archive of torch's AOTInductor.
"""

import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar
from xml.etree import ElementTree
from zipfile import ZipFile

from effnet import card as cards
from effnet.card import Card
from effnet.deployment import form as forms
from effnet.deployment import tflite_metadata
from effnet.deployment.form import Form
from effnet.errors import EffnetError, ModelFileError, UsageError
from effnet.files import atomic_path

KEYS = (cards.KEY, forms.KEY)

GRAPH = "model.xml"
"""The graph in a folder that OpenVINO reads; its weights lie beside it in model.bin."""

Result = TypeVar("Result")

Documents = Mapping[str, str]
"""Texts by their names."""


@dataclass(frozen=True)
class Carrier:
    """How files of one format carry documents.

    Attributes:
        read: returns a file's documents, of `KEYS` those that it has.
        write: writes a copy of a file, with documents instead of those of the same names.
    """

    read: Callable[[Path], Documents]
    write: Callable[[Path, Documents, Path], None]


def write(path: str | Path, card: Card, form: Form) -> None:
    """Put both documents into an exported file, instead of older ones; whole or not at all.

    Args:
        path: an .onnx, .xml, .tflite or .pt2 file, or the folder of an OpenVINO model.
        card: what the file says of its model.
        form: what it says of its graph.

    Raises:
        ModelFileError: there is no such file, or it is damaged.
        ResourceError: it could not be written; it is as it was.
    """
    file = graph_file(path)
    documents = {cards.KEY: card.to_json(), forms.KEY: form.to_json()}
    with atomic_path(file) as temporary:
        _told(file, lambda: CARRIERS[file.suffix].write(file, documents, temporary))


def read(path: str | Path) -> tuple[Card, Form]:
    """Return what an exported file says of its model and of its graph.

    Args:
        path: an .onnx, .xml, .tflite or .pt2 file, or the folder of an OpenVINO model.

    Raises:
        ModelFileError: there is no such file, it is damaged, or it was not written by effnet.
        ResourceError: the package that reads it is not installed.
    """
    file = graph_file(path)
    documents = _told(file, lambda: CARRIERS[file.suffix].read(file))
    missing = [key for key in KEYS if key not in documents]
    if missing:
        raise ModelFileError(
            f"{file} does not say what its outputs mean and how it takes pictures: it lacks the "
            f"document {missing[0]!r}, which every file has that effnet exports."
        )
    try:
        return Card.from_json(documents[cards.KEY]), Form.from_json(documents[forms.KEY])
    except (UsageError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ModelFileError(f"{file} cannot be used: {str(error).rstrip('.')}.") from error


def graph_file(path: str | Path) -> Path:
    """Return the file that holds an exported model's graph; in a folder that is `GRAPH`.

    Raises:
        ModelFileError: there is none, or of no format that is known.
    """
    file = Path(path) / GRAPH if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise ModelFileError(f"There is no exported model {file}.")
    if file.suffix not in CARRIERS:
        raise ModelFileError(
            f"{file} is no exported model: its name ends in none of {', '.join(CARRIERS)}."
        )
    return file


def _told(file: Path, work: Callable[[], Result]) -> Result:
    """Do some work on a file, and tell as ModelFileError of what is wrong with the file."""
    try:
        return work()
    except (EffnetError, OSError, MemoryError):
        raise
    except Exception as error:  # each library says in its own way that a file is none of its own
        raise ModelFileError(f"{file} is damaged, or no {file.suffix} file: {error}.") from error


class _Record(NamedTuple):
    """A field of a protocol buffer: its number, and where it, its value and its end are."""

    number: int
    start: int
    value: int
    end: int


def _read_onnx(path: Path) -> Documents:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return {
            key: content[text.value : text.end].decode()
            for record in _records(content, 0, len(content))
            if record.number == METADATA_PROPS
            for key, text in [_property(content, record)]
            if key in KEYS
        }


def _write_onnx(path: Path, documents: Documents, out: Path) -> None:
    """Copy all but older documents, and append: a repeated field may stand anywhere."""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        out.open("wb") as copy,
    ):
        for record in _records(content, 0, len(content)):
            if record.number == METADATA_PROPS and _property(content, record)[0] in documents:
                continue
            copy.write(content[record.start : record.end])
        for key, text in documents.items():
            entry = _delimited(KEY, key.encode()) + _delimited(VALUE, text.encode())
            copy.write(_delimited(METADATA_PROPS, entry))


METADATA_PROPS = 14
"""The field of ModelProto in onnx.proto that holds pairs of strings (StringStringEntryProto)."""
KEY, VALUE = 1, 2
"""The fields of such a pair."""
VARINT, DELIMITED = 0, 2
FIXED = {1: 8, 5: 4}
"""Bytes of the values that are always so long; with the two above all kinds of values that the
encoding of protocol buffers still has."""


def _property(content: mmap.mmap, record: _Record) -> tuple[str, _Record]:
    """Return the key of a pair of strings, and where the value is."""
    parts = {part.number: part for part in _records(content, record.value, record.end)}
    key, value = parts[KEY], parts[VALUE]
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


def _read_openvino(path: Path) -> Documents:
    said = ElementTree.parse(path).getroot().find(RT_INFO)
    entries = () if said is None else said
    return {entry.tag: entry.get("value", "") for entry in entries if entry.tag in KEYS}


def _write_openvino(path: Path, documents: Documents, out: Path) -> None:
    tree = ElementTree.parse(path)
    root = tree.getroot()
    if root.tag != "net":
        raise ValueError(f"its root is {root.tag!r}, not 'net'")
    said = root.find(RT_INFO)
    said = ElementTree.SubElement(root, RT_INFO) if said is None else said
    for entry in [entry for entry in said if entry.tag in documents]:
        said.remove(entry)
    for key, text in documents.items():
        ElementTree.SubElement(said, key, value=text)
    tree.write(out, encoding="utf-8", xml_declaration=True)


RT_INFO = "rt_info"
"""The element of a graph's root that holds what is known of it all."""


def _read_pt2(path: Path) -> Documents:
    with ZipFile(path) as archive:
        names = {_member(archive, key): key for key in KEYS}
        return {
            names[name]: archive.read(name).decode() for name in archive.namelist() if name in names
        }


def _write_pt2(path: Path, documents: Documents, out: Path) -> None:
    with ZipFile(path) as archive, ZipFile(out, "w") as copy:
        replaced = {_member(archive, key): text for key, text in documents.items()}
        for member in archive.infolist():
            if member.filename not in replaced:
                copy.writestr(member, archive.read(member))
        for name, text in replaced.items():
            copy.writestr(name, text)


def _member(archive: ZipFile, key: str) -> str:
    """Return the name of a document, where torch keeps extra files: in the one folder of all."""
    return f"{archive.namelist()[0].partition('/')[0]}/extra/{key}"


CARRIERS: dict[str, Carrier] = {
    ".onnx": Carrier(_read_onnx, _write_onnx),
    ".xml": Carrier(_read_openvino, _write_openvino),
    ".tflite": Carrier(lambda path: tflite_metadata.read(path, KEYS), tflite_metadata.write),
    ".pt2": Carrier(_read_pt2, _write_pt2),
}
"""Each format by the ending of its files."""
