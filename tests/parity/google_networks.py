"""Google's networks in plain TensorFlow, with the names that Google's code gives its variables.

Written after `tensorflow/tpu` models/official/efficientnet (V1, Lite, EdgeTPU, CondConv) and
`google/automl` efficientnetv2 (V2), whose notation of blocks this is. Nothing comes from effnet.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class _Late:
    """TensorFlow, imported when it is first used: that takes ten seconds, in each worker."""

    def __getattr__(self, name: str) -> Any:
        import tensorflow

        return getattr(tensorflow, name)


tf: Any = _Late()
Tensor = Any

EPSILON = 1e-3

V1 = (
    "r1_k3_s1_e1_i32_o16_se0.25",
    "r2_k3_s2_e6_i16_o24_se0.25",
    "r2_k5_s2_e6_i24_o40_se0.25",
    "r3_k3_s2_e6_i40_o80_se0.25",
    "r3_k5_s1_e6_i80_o112_se0.25",
    "r4_k5_s2_e6_i112_o192_se0.25",
    "r1_k3_s1_e6_i192_o320_se0.25",
)
LITE = tuple(row.removesuffix("_se0.25") for row in V1)
CONDCONV = (*V1[:4], *(f"{row}_cc" for row in V1[4:]))
EDGETPU = (
    "r1_k3_s1_e4_i24_o24_c1_noskip",
    "r2_k3_s2_e8_i24_o32_c1",
    "r4_k3_s2_e8_i32_o48_c1",
    "r5_k5_s2_e8_i48_o96",
    "r4_k5_s1_e8_i96_o144",
    "r2_k5_s2_e8_i144_o192",
)
V2_BASE = (
    "r1_k3_s1_e1_i32_o16_c1",
    "r2_k3_s2_e4_i16_o32_c1",
    "r2_k3_s2_e4_i32_o48_c1",
    "r3_k3_s2_e4_i48_o96_se0.25",
    "r5_k3_s1_e6_i96_o112_se0.25",
    "r8_k3_s2_e6_i112_o192_se0.25",
)
V2_S = (
    "r2_k3_s1_e1_i24_o24_c1",
    "r4_k3_s2_e4_i24_o48_c1",
    "r4_k3_s2_e4_i48_o64_c1",
    "r6_k3_s2_e4_i64_o128_se0.25",
    "r9_k3_s1_e6_i128_o160_se0.25",
    "r15_k3_s2_e6_i160_o256_se0.25",
)
V2_M = (
    "r3_k3_s1_e1_i24_o24_c1",
    "r5_k3_s2_e4_i24_o48_c1",
    "r5_k3_s2_e4_i48_o80_c1",
    "r7_k3_s2_e4_i80_o160_se0.25",
    "r14_k3_s1_e6_i160_o176_se0.25",
    "r18_k3_s2_e6_i176_o304_se0.25",
    "r5_k3_s1_e6_i304_o512_se0.25",
)
V2_L = (
    "r4_k3_s1_e1_i32_o32_c1",
    "r7_k3_s2_e4_i32_o64_c1",
    "r7_k3_s2_e4_i64_o96_c1",
    "r10_k3_s2_e4_i96_o192_se0.25",
    "r19_k3_s1_e6_i192_o224_se0.25",
    "r25_k3_s2_e6_i224_o384_se0.25",
    "r7_k3_s1_e6_i384_o640_se0.25",
)


@dataclass(frozen=True)
class Model:
    """A published model.

    Attributes:
        name: Google's, with which its variables' names begin.
        rows: its blocks in Google's notation.
        width: of the channels.
        depth: of the repeats.
        stem: channels of the first convolution before scaling.
        classes: outputs.
        activation: of `tf.nn`, everywhere but in gates.
        fixed: whether stem, head and the ends' repeats are not scaled (Lite).
        limit: share of its channels that rounding may leave at the least.
        experts: kernels of a CondConv layer.
        second: whether the code is V2's.
    """

    name: str
    rows: tuple[str, ...]
    width: float = 1.0
    depth: float = 1.0
    stem: int = 32
    classes: int = 1000
    activation: str = "silu"
    fixed: bool = False
    limit: float = 0.9
    experts: int = 0
    second: bool = False


def _v1(name: str, width: float, depth: float) -> Model:
    return Model(f"efficientnet-{name}", V1, width, depth)


def _lite(name: str, width: float, depth: float) -> Model:
    return Model(f"efficientnet-{name}", LITE, width, depth, activation="relu6", fixed=True)


def _edge(size: str, width: float, depth: float) -> Model:
    name = f"efficientnet-edgetpu-{size}"
    return Model(name, EDGETPU, width, depth, classes=1001, activation="relu")


def _condconv(name: str, depth: float, experts: int) -> Model:
    return Model(f"efficientnet-condconv-{name}", CONDCONV, depth=depth, experts=experts)


def _v2(size: str, rows: tuple[str, ...], stem: int, width: float = 1, depth: float = 1) -> Model:
    name = f"efficientnetv2-{size}"
    return Model(name, rows, width, depth, stem, limit=0.0, second=True)


MODELS: dict[str, Model] = {
    "b0": _v1("b0", 1.0, 1.0),
    "b1": _v1("b1", 1.0, 1.1),
    "b2": _v1("b2", 1.1, 1.2),
    "b3": _v1("b3", 1.2, 1.4),
    "b4": _v1("b4", 1.4, 1.8),
    "b5": _v1("b5", 1.6, 2.2),
    "b6": _v1("b6", 1.8, 2.6),
    "b7": _v1("b7", 2.0, 3.1),
    "b8": _v1("b8", 2.2, 3.6),
    "lite0": _lite("lite0", 1.0, 1.0),
    "lite1": _lite("lite1", 1.0, 1.1),
    "lite2": _lite("lite2", 1.1, 1.2),
    "lite3": _lite("lite3", 1.2, 1.4),
    "lite4": _lite("lite4", 1.4, 1.8),
    "edge-s": _edge("S", 1.0, 1.0),
    "edge-m": _edge("M", 1.0, 1.1),
    "edge-l": _edge("L", 1.2, 1.4),
    "cc-b0-4e": _condconv("b0-4e", 1.0, 4),
    "cc-b0-8e": _condconv("b0-8e", 1.0, 8),
    "cc-b1-8e": _condconv("b0-8e-depth", 1.1, 8),
    "v2-b0": _v2("b0", V2_BASE, 32, 1.0, 1.0),
    "v2-b1": _v2("b1", V2_BASE, 32, 1.0, 1.1),
    "v2-b2": _v2("b2", V2_BASE, 32, 1.1, 1.2),
    "v2-b3": _v2("b3", V2_BASE, 32, 1.2, 1.4),
    "v2-s": _v2("s", V2_S, 24),
    "v2-m": _v2("m", V2_M, 24),
    "v2-l": _v2("l", V2_L, 32),
}
"""By effnet's names of them."""


class Block(NamedTuple):
    """A block of the network, its row decoded and scaled."""

    kernel: int
    stride: int
    expand: int
    inputs: int
    outputs: int
    squeeze: float
    convolves: bool
    routed: bool
    skips: bool


def round_filters(model: Model, filters: int) -> int:
    wanted = filters * model.width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < model.limit * wanted else rounded


def decode(model: Model) -> list[Block]:
    blocks = []
    for index, row in enumerate(model.rows):
        options = dict(re.findall(r"(?:^|_)(r|k|s|e|i|o|se|c)([\d.]+)", row))
        at_end = index in (0, len(model.rows) - 1)
        depth = 1.0 if model.fixed and at_end else model.depth
        first = Block(
            kernel=int(options["k"]),
            stride=int(options["s"]),
            expand=int(options["e"]),
            inputs=round_filters(model, int(options["i"])),
            outputs=round_filters(model, int(options["o"])),
            squeeze=float(options.get("se", 0)),
            convolves="c" in options,
            routed=row.endswith("_cc"),
            skips=not row.endswith("_noskip"),
        )
        later = first._replace(inputs=first.outputs, stride=1)
        blocks += [first, *[later] * (math.ceil(int(options["r"]) * depth) - 1)]
    return blocks


@dataclass
class Network:
    """A model with random variables, made when a first batch goes through it.

    Attributes:
        model: what it is of.
        random: makes the variables.
        variables: by Google's name without the model's.
        used: how many layers of a kind a scope has had in this pass.
    """

    model: Model
    random: np.random.Generator
    variables: dict[str, np.ndarray] = field(default_factory=dict)
    used: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Map pictures (N, H, W, 3) to logits (N, classes)."""
        model, act = self.model, self.act
        self.used.clear()
        ends = round_filters if not model.fixed else lambda _, filters: filters
        x = self.conv(tf.constant(pictures), "stem", ends(model, model.stem), 3, 2)
        x = act(self.norm(x, "stem"))
        for index, block in enumerate(decode(model)):
            x = self.block(x, f"blocks_{index}", block)
        x = act(self.norm(self.conv(x, "head", ends(model, 1280), 1, 1), "head"))
        pooled = tf.reduce_mean(x, [1, 2])
        return self.dense(pooled, "head", model.classes).numpy()

    @property
    def act(self) -> Any:
        return getattr(tf.nn, self.model.activation)

    def block(self, inputs: Tensor, scope: str, block: Block) -> Tensor:
        x = (self.convolving if block.convolves else self.inverted)(inputs, scope, block)
        same = block.stride == 1 and inputs.shape[-1] == block.outputs
        return x + inputs if block.skips and same else x

    def inverted(self, x: Tensor, scope: str, block: Block) -> Tensor:
        """MBConv, with experts where `block.routed`."""
        act = self.act
        width = block.inputs * block.expand
        routing = None
        if block.routed:
            routing = tf.sigmoid(self.dense(tf.reduce_mean(x, [1, 2]), scope, self.model.experts))
            self.used["", "cond_conv2d"] += 1  # a fused layer is made and never called
        if block.expand != 1:
            x = act(self.norm(self.conv(x, scope, width, 1, 1, routing=routing), scope))
        x = self.depthwise(x, scope, block.kernel, block.stride, routing)
        x = act(self.norm(x, scope))
        if block.squeeze:
            squeezed = max(1, int(block.inputs * block.squeeze))
            gate = tf.reduce_mean(x, [1, 2], keepdims=True)
            gate = act(self.conv(gate, f"{scope}/se", squeezed, 1, 1, bias=True))
            x = tf.sigmoid(self.conv(gate, f"{scope}/se", width, 1, 1, bias=True)) * x
        return self.norm(self.conv(x, scope, block.outputs, 1, 1, routing=routing), scope)

    def convolving(self, x: Tensor, scope: str, block: Block) -> Tensor:
        """Fused-MBConv. V1's code (EdgeTPU) strides in the projection, V2's in the expansion."""
        act = self.act
        if block.expand == 1:
            x = self.conv(x, scope, block.outputs, block.kernel, block.stride)
            return act(self.norm(x, scope))
        strides = (block.stride, 1) if self.model.second else (1, block.stride)
        x = self.conv(x, scope, block.inputs * block.expand, block.kernel, strides[0])
        x = act(self.norm(x, scope))
        return self.norm(self.conv(x, scope, block.outputs, 1, strides[1]), scope)

    def conv(
        self,
        x: Tensor,
        scope: str,
        filters: int,
        kernel: int,
        stride: int,
        *,
        bias: bool = False,
        routing: Tensor | None = None,
    ) -> Tensor:
        shape = (kernel, kernel, x.shape[-1], filters)
        if routing is not None:
            flat = self.experts(f"{self.named(scope, 'cond_conv2d')}/condconv_kernel", shape)
            return self.each(x, routing @ flat, shape, tf.nn.conv2d, stride)
        name = self.named(scope, "conv2d")
        x = tf.nn.conv2d(x, self.kernel(f"{name}/kernel", shape), stride, "SAME")
        return x + self.shift(f"{name}/bias", filters) if bias else x

    def depthwise(
        self, x: Tensor, scope: str, kernel: int, stride: int, routing: Tensor | None
    ) -> Tensor:
        shape, strides = (kernel, kernel, x.shape[-1], 1), [1, stride, stride, 1]
        if routing is not None:
            name = self.named(scope, "depthwise_cond_conv2d")
            flat = self.experts(f"{name}/depthwise_condconv_kernel", shape)
            return self.each(x, routing @ flat, shape, tf.nn.depthwise_conv2d, strides)
        name = f"{self.named(scope, 'depthwise_conv2d')}/depthwise_kernel"
        return tf.nn.depthwise_conv2d(x, self.kernel(name, shape), strides, "SAME")

    def each(
        self, x: Tensor, kernels: Tensor, shape: tuple[int, ...], convolve: Any, strides: Any
    ) -> Tensor:
        """Convolve each picture with a kernel of its own."""
        pairs = zip(tf.split(x, x.shape[0]), tf.split(kernels, x.shape[0]), strict=True)
        mixed = [convolve(one, tf.reshape(flat, shape), strides, "SAME") for one, flat in pairs]
        return tf.concat(mixed, 0)

    def norm(self, x: Tensor, scope: str) -> Tensor:
        """BatchNorm in inference; in the first pass with the batch's own statistics, disturbed."""
        name, channels = self.named(scope, "tpu_batch_normalization"), x.shape[-1]
        if f"{name}/gamma" not in self.variables:
            mean, variance = (moment.numpy() for moment in tf.nn.moments(x, [0, 1, 2]))
            # Not as small as a channel's own, which another picture may find far larger.
            variance = (variance + variance.mean()) * self.random.uniform(0.5, 2, channels)
            shift = 0.3 * self.random.standard_normal(channels) * np.sqrt(variance)
            self.variables |= {
                f"{name}/gamma": self.random.uniform(0.5, 1.5, channels).astype("f"),
                f"{name}/moving_mean": (mean + shift).astype("f"),
                f"{name}/moving_variance": variance.astype("f"),
            }
        gamma, beta = self.variables[f"{name}/gamma"], self.shift(f"{name}/beta", channels)
        mean, variance = (self.variables[f"{name}/moving_{what}"] for what in ("mean", "variance"))
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON)

    def dense(self, x: Tensor, scope: str, outputs: int) -> Tensor:
        name = self.named(scope, "dense")
        kernel = self.kernel(f"{name}/kernel", (x.shape[-1], outputs))
        return x @ kernel + self.shift(f"{name}/bias", outputs)

    def named(self, scope: str, kind: str) -> str:
        """The next layer of a kind in a scope, as TensorFlow 1 counts.

        Layers with experts are Keras's: these are counted through the network, and theirs is the
        scope of the Keras model, too.
        """
        through = "cond" in kind
        counted = ("", kind) if through else (scope, kind)
        number = self.used[counted]
        self.used[counted] += 1
        layer = f"{kind}_{number}" if number else kind
        return f"{'model/' if through else ''}{scope}/{layer}"

    def kernel(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        fan_in = math.prod(shape[:2] if name.endswith("depthwise_kernel") else shape[:-1])
        return self.normal(name, shape, fan_in**-0.5)

    def experts(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        fan_in = math.prod(shape[:2] if "depthwise" in name else shape[:-1])
        return self.normal(name, (self.model.experts, math.prod(shape)), fan_in**-0.5)

    def shift(self, name: str, size: int) -> np.ndarray:
        return self.normal(name, (size,), 0.2)

    def normal(self, name: str, shape: tuple[int, ...], std: float) -> np.ndarray:
        if name not in self.variables:
            self.variables[name] = self.random.standard_normal(shape, "f") * np.float32(std)
        return self.variables[name]


def save(network: Network, prefix: Path) -> None:
    """Write a checkpoint as Google's training leaves it: what is good is in the moving averages."""
    variables: dict[str, Any] = {"global_step": np.int64(218_949)}
    for name, value in network.variables.items():
        full = f"{network.model.name}/{name}"
        variables[full] = value + 1
        variables[f"{full}/ExponentialMovingAverage"] = value
        if "/moving_" not in name:
            slot = np.zeros(1, "f")  # as large as the variable, in Google's
            variables |= {f"{full}/RMSProp": slot, f"{full}/RMSProp_1": slot}
    write(prefix, variables)


def write(prefix: Path, variables: dict[str, Any]) -> None:
    """Write a checkpoint of variables with any names."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=list(variables.values()),
    )
