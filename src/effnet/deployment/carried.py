"""What an exported file carries beside its graph: the model's card, and the form of its graph.

Two JSON documents, in the place that each format has for such things: ONNX's metadata_props,
OpenVINO's rt_info, LiteRT's metadata, and an extra member of the archive of torch's AOTInductor.
Beside them a hash of all the rest, by which a file is noticed that was changed later.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree
from zipfile import ZipFile

from effnet import card as cards
from effnet.card import Card
from effnet.deployment import form as forms
from effnet.deployment import onnx_metadata, tflite_metadata
from effnet.deployment.form import Form
from effnet.errors import EffnetError, ModelFileError, UsageError
from effnet.files import atomic_path

DIGEST = "effnet_digest"
"""Of the document that holds the hash of everything else in the file, SHA-256 in hexadecimal."""
NO_DIGEST = "0" * 64
"""Stands there while the file is hashed."""
KEYS = (cards.KEY, forms.KEY, DIGEST)

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
        parts: yields all that a file holds, but not what the document `DIGEST` says.
        weights: how the file with the weights ends that lies beside it; empty if there is none.
    """

    read: Callable[[Path], Documents]
    write: Callable[[Path, Documents, Path], None]
    parts: Callable[[Path], Iterable[bytes | bytearray]]
    weights: str = ""


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
    with atomic_path(file) as temporary:
        _told(file, lambda: _write(file, card, form, temporary))


def read(path: str | Path) -> tuple[Card, Form]:
    """Return what an exported file says of its model and of its graph.

    Args:
        path: an .onnx, .xml, .tflite or .pt2 file, or the folder of an OpenVINO model.

    Raises:
        ModelFileError: there is no such file, it cannot be read, it is damaged, it was not written
            by effnet, or it was changed since.
        ResourceError: the package that reads it is not installed.
    """
    file = graph_file(path)
    try:
        documents = _told(file, lambda: CARRIERS[file.suffix].read(file))
        card, form = _understood(file, documents)
        digest = _told(file, lambda: _digest(file, file))
    except OSError as error:
        raise ModelFileError(f"Cannot read {file}: {error.strerror or error}.") from error
    if digest != documents[DIGEST]:
        weights = CARRIERS[file.suffix].weights
        beside = f", or {file.with_suffix(weights).name} beside it," if weights else ""
        raise ModelFileError(
            f"{file}{beside} was changed after it was exported: its content is not what it was "
            "written with. Export the model again."
        )
    return card, form


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


def _understood(file: Path, documents: Documents) -> tuple[Card, Form]:
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


def _write(file: Path, card: Card, form: Form, out: Path) -> None:
    carrier = CARRIERS[file.suffix]
    documents = {cards.KEY: card.to_json(), forms.KEY: form.to_json()}
    carrier.write(file, {**documents, DIGEST: NO_DIGEST}, out)
    carrier.write(file, {**documents, DIGEST: _digest(out, file)}, out)


def _digest(graph: Path, file: Path) -> str:
    """Return the hash of a graph's file, which is or is to be `file`, and of the weights beside.

    Raises:
        ModelFileError: there are no weights beside.
    """
    carrier, found = CARRIERS[file.suffix], hashlib.sha256()
    for part in carrier.parts(graph):
        found.update(part)
    if carrier.weights:
        weights = file.with_suffix(carrier.weights)
        if not weights.is_file():
            raise ModelFileError(f"{file} lacks its weights: there is no file {weights}.")
        with weights.open("rb") as content:
            found.update(hashlib.file_digest(content, "sha256").digest())
    return found.hexdigest()


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


def _parts_of_openvino(path: Path) -> Iterator[bytes]:
    for entry in ElementTree.parse(path).iter():
        if entry.tag != DIGEST:
            yield json.dumps([entry.tag, entry.attrib, (entry.text or "").strip()]).encode()


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


def _parts_of_pt2(path: Path) -> Iterator[bytes]:
    with ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename != _member(archive, DIGEST):
                yield json.dumps([member.filename, member.file_size]).encode()
                yield archive.read(member)


def _member(archive: ZipFile, key: str) -> str:
    """Return the name of a document, where torch keeps extra files: in the one folder of all."""
    return f"{archive.namelist()[0].partition('/')[0]}/extra/{key}"


CARRIERS: dict[str, Carrier] = {
    ".onnx": Carrier(
        read=partial(onnx_metadata.read, names=KEYS),
        write=onnx_metadata.write,
        parts=partial(onnx_metadata.parts, without=(DIGEST,)),
    ),
    ".xml": Carrier(_read_openvino, _write_openvino, _parts_of_openvino, weights=".bin"),
    ".tflite": Carrier(
        read=partial(tflite_metadata.read, names=KEYS),
        write=tflite_metadata.write,
        parts=partial(tflite_metadata.parts, without=(DIGEST,)),
    ),
    ".pt2": Carrier(_read_pt2, _write_pt2, _parts_of_pt2),
}
"""Each format by the ending of its files."""
