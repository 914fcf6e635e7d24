"""What a network costs that nobody need measure: parameters, multiply-adds, its model file."""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch

from effnet.card import KEY, Card
from effnet.data.defaults import default_preprocessing
from effnet.measure.counts import Counts, count
from effnet.nets.spec import Spec
from effnet.weights.names.tables import outline

DTYPES = {torch.float32: "F32", torch.int64: "I64"}
"""Names of safetensors for the types of a network's tensors."""

LENGTH, STEP = 8, 8
"""Bytes that say how long a safetensors file's header is, and of which its length is a multiple."""

CACHED = 1 << 14


@lru_cache(maxsize=CACHED)
def counted(spec: Spec) -> Counts:
    """Return `effnet.measure.counts.count` of a network, which a search asks for again and again.

    >>> from effnet.nets.scaling import variant_spec
    >>> counted(variant_spec("b0")).parameters
    5288548
    """
    return count(spec)


@lru_cache(maxsize=CACHED)
def file_size(spec: Spec) -> int:
    """Return the bytes of an untrained network's model file, as `Model(spec).save` writes it.

    A training adds its record to the header: some kilobytes.
    """
    card = Card(
        spec=spec,
        task="classify",
        classes=tuple(map(str, range(spec.classes))),
        preprocessing=default_preprocessing(spec),
    )
    header: dict[str, Any] = {"__metadata__": {KEY: card.to_json()}}
    end = 0
    # The order that safetensors writes: wide types first, then by name. Offsets depend on it.
    tensors = outline(spec).tensors.items()
    for name, tensor in sorted(tensors, key=lambda item: (-item[1].element_size(), item[0])):
        begin, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":"))
    return LENGTH + -(-len(text) // STEP) * STEP + end


COUNTERS: Mapping[str, Callable[[Spec], int]] = {
    "params": lambda spec: counted(spec).parameters,
    "macs": lambda spec: counted(spec).macs,
    "size": file_size,
}
"""Quantities of `effnet.measure.limits` that follow from a declaration."""
