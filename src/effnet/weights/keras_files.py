"""Weight files of Keras: HDF5 in the form of Keras 2 or 3, and `.keras`, a zip around the latter.

They are read by h5py alone: the networks that they describe are never built. In the older form a
variable's path has its names (`stem_conv/stem_conv/kernel:0`). In the newer one layers are counted
by class (`layers/conv2d_3/vars/0`), and their names are in attributes, or in a `.keras` file's
configuration; early versions wrote neither into a `.weights.h5`, and only the order is left.
"""

import io
import json
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from effnet.errors import ModelFileError
from effnet.extras import require
from effnet.files import atomic_path
from effnet.weights.names.keras import (
    VARIABLES,
    VARIANTS,
    class_of,
    in_order,
    layers_of,
    normalises,
    normalization,
)

WEIGHTS, CONFIGURATION = "model.weights.h5", "config.json"
"""Members of a `.keras` file."""

MOST_EXPANSION = 100
"""A member or a tensor that is this many times as large as its bytes in the file is a trap."""

_LAYER = re.compile(r"(?:.*/)?(?:layers|_layer_checkpoint_dependencies)/([^/]+)/vars/(\d+)")
_NUMBER = re.compile(r"_(\d+)$")
_DEPTHWISE = "depthwise_kernel"
_OPTIMISER = "optimizer_weights"
_RENAMED = {_DEPTHWISE: "kernel", "probs": "predictions"}  # Keras 2's names, and Keras 3's
_COUNTED = ("conv2d", "depthwise_conv2d", "batch_normalization")


def read(path: Path) -> dict[str, Tensor]:
    """Read the network's tensors, as `layer/leaf`; the preprocessing layer's are left out.

    Raises:
        ModelFileError: the file is of no such form, or takes or claims more than it holds.
        Exception: whatever h5py, zipfile and json raise for a damaged file.
    """
    h5py = require("h5py", "read Keras's weight files")
    where, configured = _unzipped(path) if path.suffix.lower() == ".keras" else (path, {})
    with h5py.File(where, "r") as file:
        datasets: dict[str, Any] = {}

        def collect(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                datasets[name] = item

        file.visititems(collect)  # follows no links to elsewhere, and no circle of links
        newer = any(_LAYER.fullmatch(name) for name in datasets)
        found = _newer(datasets, configured) if newer else _older(datasets)
        state: dict[str, Tensor] = {}
        for name, dataset in found:
            if name in state:
                raise ModelFileError(f"{path} holds two tensors {name!r}: it is of two networks.")
            state[name] = _tensor(dataset)
    return state


def write(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a `.weights.h5` in the newer form, any other `.h5` in the older one.

    Args:
        path: the file, replaced when the new one is whole.
        state: tensors on the CPU as `read` returns them; and those of `normalization`.

    Raises:
        ModelFileError: a tensor belongs to no layer of Keras's networks.
        ResourceError: the file could not be written; an older one is untouched.
    """
    h5py = require("h5py", "write Keras's weight files")
    layers = _layers(_with_preprocessing(state))
    put = _put_newer if path.name.lower().endswith(".weights.h5") else _put_older
    with atomic_path(path) as temporary:
        try:
            with h5py.File(temporary, "w") as file:
                put(file, layers)
        except RuntimeError as error:  # a full disk, in HDF5's words
            raise OSError(str(error)) from error


def _unzipped(path: Path) -> tuple[io.BytesIO, dict[str, str]]:
    """Return the weights of a `.keras` file, and the names of its layers by their paths."""
    with zipfile.ZipFile(path) as archive:
        for member in (WEIGHTS, CONFIGURATION):
            size = archive.getinfo(member).file_size
            if size > MOST_EXPANSION * path.stat().st_size:
                raise ModelFileError(f"{path} was not read: {member} would unpack to {size} bytes.")
        configuration = json.loads(archive.read(CONFIGURATION))
        return io.BytesIO(archive.read(WEIGHTS)), _configured(configuration)


def _configured(configuration: Any) -> dict[str, str]:
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for layer in configuration["config"].get("layers", []):
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", layer["class_name"]).lower()
        names[f"layers/{_numbered(kind, counts[kind])}"] = layer["config"]["name"]
        counts[kind] += 1
    return names


def _newer(datasets: Mapping[str, Any], configured: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    variables: defaultdict[str, dict[int, Any]] = defaultdict(dict)
    for where, dataset in datasets.items():
        found = _LAYER.fullmatch(where)
        if found:
            variables[where.rpartition("/vars/")[0]][int(found[2])] = dataset
    names = {
        group: held[min(held)].parent.attrs.get("name") or configured.get(group)
        for group, held in variables.items()
    }
    if None in names.values():
        names = _by_order(variables)
    for group, held in variables.items():
        kind = _kind(group)
        if kind != "normalization":
            leaves = dict(enumerate(VARIABLES.get(kind, ())))
            for number, dataset in held.items():
                yield f"{names[group]}/{leaves.get(number, number)}", dataset


def _by_order(groups: Mapping[str, Any]) -> dict[str, str | None]:
    """Name nameless layers: those of a class are counted as a picture goes through them."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for group in sorted(groups, key=_number):
        found[_kind(group)].append(group)
    for variant in VARIANTS:
        known: defaultdict[str, list[str]] = defaultdict(list)
        for layer in layers_of(variant):
            known[str(class_of(layer))].append(layer)
        if all(len(found[kind]) == len(known[kind]) for kind in _COUNTED):
            named = {
                group: layer
                for kind, layers in known.items()
                for group, layer in zip(found[kind], layers, strict=False)
            }
            return {group: named.get(group, group) for group in groups}
    raise ModelFileError(
        "The file does not name its layers, and has not as many as any EfficientNet of Keras "
        "Applications. Load it in Keras and save the network as .keras."
    )


def _older(datasets: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for where, dataset in datasets.items():
        parts = ["", *where.split("/")]
        layer, leaf = parts[-2], parts[-1].partition(":")[0]
        if _OPTIMISER not in parts and leaf not in VARIABLES["normalization"]:
            yield f"{_RENAMED.get(layer, layer)}/{_RENAMED.get(leaf, leaf)}", dataset


def _tensor(dataset: Any) -> Tensor:
    if dataset.external or dataset.is_virtual:
        raise ModelFileError(f"The file was not read: {dataset.name} is kept in another file.")
    if dataset.nbytes > MOST_EXPANSION * max(dataset.id.get_storage_size(), 1024):
        raise ModelFileError(
            f"The file was not read: {dataset.name} claims {dataset.nbytes} bytes and has "
            f"{dataset.id.get_storage_size()}."
        )
    if dataset.dtype.kind not in "fiu":
        raise ModelFileError(f"{dataset.name} holds {dataset.dtype}, not plain numbers.")
    return torch.from_numpy(np.array(dataset[()], dtype=dataset.dtype.newbyteorder("=")))


def _with_preprocessing(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if not normalises(state) or "normalization/mean" in state:
        return state
    channels = state["stem_conv/kernel"].shape[2] if "stem_conv/kernel" in state else 3
    if channels == 3:
        return {**normalization(), **state}
    return {**normalization((0.0,) * channels, (1.0,) * channels), **state}


def _layers(state: Mapping[str, Tensor]) -> dict[str, list[tuple[str, Any]]]:
    """Return each layer's variables in Keras's order, the layers in order too."""
    held: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for name, tensor in state.items():
        layer, _, leaf = name.rpartition("/")
        whole = tensor.float() if tensor.dtype == torch.bfloat16 else tensor  # numpy has no such
        held[layer][leaf] = whole.numpy()
    for layer, variables in held.items():
        known = VARIABLES.get(class_of(layer) or "", ())
        if set(variables) != set(known[: len(variables)]):
            raise ModelFileError(
                f"Keras's networks have no layer {layer!r} with {', '.join(variables)}."
            )
    return {
        layer: [
            (leaf, held[layer][leaf])
            for leaf in VARIABLES[str(class_of(layer))]
            if leaf in held[layer]
        ]
        for layer in in_order(held)
    }


def _put_newer(file: Any, layers: Mapping[str, list[tuple[str, Any]]]) -> None:
    counts: Counter[str] = Counter()
    for layer, variables in layers.items():
        kind = str(class_of(layer))
        group = file.create_group(f"layers/{_numbered(kind, counts[kind])}/vars")
        counts[kind] += 1
        group.attrs["name"] = layer
        for number, (_, value) in enumerate(variables):
            group[str(number)] = value


def _put_older(file: Any, layers: Mapping[str, list[tuple[str, Any]]]) -> None:
    file.attrs.update({"backend": b"tensorflow", "keras_version": b"2.0.0"})
    file.attrs["layer_names"] = [layer.encode() for layer in layers]
    for layer, variables in layers.items():
        group = file.create_group(layer)
        depthwise = class_of(layer) == "depthwise_conv2d"
        paths = {
            f"{layer}/{_DEPTHWISE if depthwise and leaf == 'kernel' else leaf}:0": value
            for leaf, value in variables
        }
        group.attrs["weight_names"] = [where.encode() for where in paths]
        for where, value in paths.items():
            group[where] = value


def _numbered(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def _kind(group: str) -> str:
    return _NUMBER.sub("", group.rpartition("/")[2])


def _number(group: str) -> int:
    found = _NUMBER.search(group)
    return int(found[1]) if found else 0
