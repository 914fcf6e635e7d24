"""How Google names the variables of its TensorFlow checkpoints, of all families.

The code that trained them: `tensorflow/tpu` models/official/efficientnet (V1, Lite, EdgeTPU,
CondConv) and `google/automl` efficientnetv2. In the files every name begins with the model's
(`efficientnet-b0/`), layers with experts are counted through the whole network, and most variables
are there twice, as trained and as a moving average; `canonical` sees to all three.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from torch import Tensor

from effnet.errors import ModelFileError
from effnet.weights.names import tables

_SQUEEZE = {"squeeze.reduce": "se/conv2d", "squeeze.expand": "se/conv2d_1"}
_NORMS = {
    "expand.norm": "tpu_batch_normalization",
    "depthwise.norm": "tpu_batch_normalization_1",
    "project.norm": "tpu_batch_normalization_2",
}

TABLE = tables.NameTable(
    source="google",
    ends={
        "stem.conv": "stem/conv2d",
        "stem.norm": "stem/tpu_batch_normalization",
        "head.conv": "head/conv2d",
        "head.norm": "head/tpu_batch_normalization",
        "classifier": "head/dense",
    },
    block="blocks_{index}/",
    separable={
        "depthwise.conv": "depthwise_conv2d",
        "depthwise.norm": "tpu_batch_normalization",
        **_SQUEEZE,
        "project.conv": "conv2d",
        "project.norm": "tpu_batch_normalization_1",
    },
    mbconv={
        "expand.conv": "conv2d",
        "depthwise.conv": "depthwise_conv2d",
        "project.conv": "conv2d_1",
        **_SQUEEZE,
        **_NORMS,
    },
    routed={
        "routing": "dense",
        "expand.conv": "cond_conv2d",
        "depthwise.conv": "depthwise_cond_conv2d",
        "project.conv": "cond_conv2d_1",
        **_SQUEEZE,
        **_NORMS,
    },
    fused={
        "expand.conv": "conv2d",
        "expand.norm": "tpu_batch_normalization",
        "project.conv": "conv2d_1",
        "project.norm": "tpu_batch_normalization_1",
    },
    fused_single={"project.conv": "conv2d", "project.norm": "tpu_batch_normalization"},
    leaves=tables.TENSORFLOW,
)

AVERAGE = "/ExponentialMovingAverage"
"""What TensorFlow adds to the name of a variable's moving average."""

# Variables of a layer; what the optimiser keeps beside them ends otherwise.
_LEAVES = sorted({leaf for leaves in TABLE.leaves.names.values() for leaf in leaves.values()})
_VARIABLE = re.compile(rf"(?:.*?/)??((?:stem|head|blocks_\d+)/(?:\w+/)+(?:{'|'.join(_LEAVES)}))")
_NUMBERED = re.compile(r"_\d+$")


def canonical(variables: Iterable[str]) -> dict[str, str]:
    """Choose and name the variables of a checkpoint that are the network's.

    The model's name before a part is dropped, a moving average is taken instead of the variable
    itself, what the optimiser keeps is left out, and layers of a kind are counted anew in each
    block.

    Args:
        variables: all names in the checkpoint.

    Returns:
        For each of the network's tensors, under the table's name, the variable that holds it.

    >>> canonical(["b0/stem/conv2d/kernel", "b0/stem/conv2d/kernel/RMSProp", "global_step"])
    {'stem/conv2d/kernel': 'b0/stem/conv2d/kernel'}
    """
    chosen: dict[str, str] = {}
    for variable in sorted(variables, key=lambda name: name.endswith(AVERAGE)):
        found = _VARIABLE.fullmatch(variable.removesuffix(AVERAGE))
        if found:
            chosen[found[1]] = variable  # averages come last, so they stay
    names = _recounted(chosen)
    return {names[name]: variable for name, variable in chosen.items()}


def _recounted(names: Iterable[str]) -> dict[str, str]:
    """Count the layers of a kind from 0 in each block; the first has no number."""
    counted: dict[str, tuple[str, str, int, str]] = {}
    numbers: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for name in names:
        scope, layer, leaf = name.rsplit("/", 2)
        kind, _, digits = layer.rpartition("_") if _NUMBERED.search(layer) else (layer, "", "0")
        counted[name] = scope, kind, int(digits), leaf
        numbers[scope, kind].add(int(digits))
    recounted = {}
    for name, (scope, kind, number, leaf) in counted.items():
        rank = sorted(numbers[scope, kind]).index(number)
        recounted[name] = f"{scope}/{kind}{f'_{rank}' if rank else ''}/{leaf}"
    return recounted


def without_background(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the first output, a class "background" that Google's EdgeTPU networks have.

    Args:
        state: tensors under Google's names and in Google's layout.

    Raises:
        ModelFileError: there is no classifier.
    """
    try:
        kernel, bias = state["head/dense/kernel"], state["head/dense/bias"]
    except KeyError as error:
        raise ModelFileError(
            f"There is no class to drop: the checkpoint has no {error.args[0]}."
        ) from None
    return {
        **state,
        "head/dense/kernel": kernel[:, 1:].contiguous(),
        "head/dense/bias": bias[1:].contiguous(),
    }
