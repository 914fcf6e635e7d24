"""The networks of `scaling_study.py`: one base scaled in four ways, and two peers, of equal cost.

A small network of B0's family is scaled to about four times its multiply-adds by depth, width or
resolution alone and by all three (compound scaling, arXiv:1905.11946). The four are solved to meet
within 3 percent, and torchvision's ResNet-50 and DenseNet-121 are made so narrow that they cost the
same. A spec's name says how `effnet.scale` gives it; a peer's form is what torchvision is given.

    python benchmarks/scaling_networks.py --full
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from common import parser, table, write
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import DenseNet, ResNet
from torchvision.models.resnet import Bottleneck

from effnet.errors import UsageError
from effnet.measure.counts import count
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import ALPHA, BETA, GAMMA, scale
from effnet.nets.spec import Spec

BASE, REFERENCE = "base", "compound"
NEAR, TOLERANCE = 0.05, 0.03
LAYERS = [3, 4, 6, 3]


@dataclass(frozen=True)
class Size:
    """How large the networks are.

    Attributes:
        depth: of the base, times B0's.
        width: of the base, times B0's.
        pixels: side of the pictures of the base, ResNet and DenseNet.
        times: multiply-adds of the scaled networks over the base's, nearly.
        expansion: outer channels of ResNet's blocks over 64, 128, 256, 512; torchvision's is 4.
        growth: DenseNet's channels of a layer; torchvision's are 32.
    """

    depth: float
    width: float
    pixels: int
    times: float
    expansion: int
    growth: int


SIZES = {
    "small": Size(depth=0.5, width=0.5, pixels=48, times=3.2, expansion=1, growth=10),
    "full": Size(depth=0.5, width=0.75, pixels=64, times=4.0, expansion=2, growth=15),
}
"""Small for two cores, full for a large GPU."""


@dataclass(frozen=True)
class Network:
    """A network of the study.

    Attributes:
        name: for people.
        form: what it is built with.
        pixels: side of its pictures.
        macs: multiply-adds for one of them.
        parameters: trainable numbers.
        build: gives it with new random weights.
    """

    name: str
    form: str
    pixels: int
    macs: int
    parameters: int
    build: Callable[[], nn.Module]

    def described(self) -> dict[str, Any]:
        """Return all of it but the function."""
        return {what: value for what, value in vars(self).items() if what != "build"}


def _compound(times: float) -> tuple[float, float, float]:
    phi = math.log(times) / math.log(ALPHA * BETA**2 * GAMMA**2)
    return ALPHA**phi, BETA**phi, GAMMA**phi


WAYS: dict[str, Callable[[float], tuple[float, float, float]]] = {
    "depth": lambda times: (times, 1.0, 1.0),
    "width": lambda times: (1.0, times**0.5, 1.0),
    "resolution": lambda times: (1.0, 1.0, times**0.5),
    REFERENCE: _compound,
}
"""Factors of depth, width and resolution for so many times the multiply-adds, before rounding."""


def grown(size: Size, classes: int, depth: float, width: float, pixels: float) -> Spec:
    """Return the base, so many times as deep, as wide and as large, without dropout."""
    spec = scale(
        "b0",
        depth=round(size.depth * depth, 3),
        width=round(size.width * width, 3),
        resolution=round(size.pixels * pixels),
        classes=classes,
    )
    return spec.with_(dropout=0.0, drop_path=0.0)


def ours(size: Size, classes: int) -> dict[str, Spec]:
    """Return the base and its scaled forms, whose multiply-adds meet as nearly as they can.

    Depth comes in whole blocks, channels in eights and resolution in pixels, so each way reaches
    some numbers only: the target is the number that all come nearest to.
    """
    base = grown(size, classes, 1.0, 1.0, 1.0)
    goal = size.times * count(base).macs
    tried = size.times * np.linspace(0.6, 1.5, 181)
    reach: dict[str, dict[int, Spec]] = {}
    for way, factors in WAYS.items():
        specs = (grown(size, classes, *factors(float(times))) for times in tried)
        reach[way] = {count(spec).macs: spec for spec in specs}

    def farthest(target: int) -> float:
        return max(min(abs(macs / target - 1) for macs in found) for found in reach.values())

    near = {macs for found in reach.values() for macs in found if abs(macs / goal - 1) < NEAR}
    target = min(sorted(near), key=farthest)
    nearest = {
        way: found[min(found, key=lambda macs: abs(macs - target))] for way, found in reach.items()
    }
    return {BASE: base, **nearest}


def resnet(size: Size, classes: int, width: int) -> nn.Module:
    """Return ResNet-50, its blocks' channels cut by the size's expansion and by `width`."""
    block = type("Narrow", (Bottleneck,), {"expansion": size.expansion})
    return ResNet(block, LAYERS, num_classes=classes, width_per_group=width)


def densenet(size: Size, classes: int, layers: int) -> nn.Module:
    """Return DenseNet-121 with fewer channels and another number of layers in its third block."""
    return DenseNet(size.growth, (6, 12, layers, 16), 2 * size.growth, num_classes=classes)


PEERS: dict[str, tuple[Callable[[Size, int, int], nn.Module], range, str]] = {
    "ResNet": (
        resnet,
        range(2, 257),
        f"layers={LAYERS} expansion={{size.expansion}} width_per_group={{choice}}",
    ),
    "DenseNet": (
        densenet,
        range(1, 97),
        "growth_rate={size.growth} block_config=(6, 12, {choice}, 16)",
    ),
}
"""How each is built from a number, the numbers to choose from, and what it is then built with."""


def counted(build: Callable[[], nn.Module], pixels: int) -> tuple[int, int]:
    """Return multiply-adds as torch counts them, and parameters, without computing."""
    with torch.device("meta"):
        net = build().eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, pixels, pixels))
    return counter.get_total_flops() // 2, sum(weight.numel() for weight in net.parameters())


def peer(name: str, size: Size, classes: int, target: int) -> Network:
    """Return the form of a peer whose multiply-adds are nearest to the target."""
    build, choices, form = PEERS[name]

    @cache
    def costs(choice: int) -> tuple[int, int]:
        return counted(partial(build, size, classes, choice), size.pixels)

    above = bisect_left(choices, target, key=lambda choice: costs(choice)[0])
    around = choices[max(0, above - 1) : above + 1]
    choice = min(around, key=lambda choice: abs(costs(choice)[0] - target))
    built_with, made = form.format(size=size, choice=choice), partial(build, size, classes, choice)
    return Network(name, built_with, size.pixels, *costs(choice), made)


def networks_of(size: Size, classes: int) -> dict[str, Network]:
    """Return all networks of the study by name.

    Raises:
        UsageError: one cannot be made to cost what compound scaling does.
    """
    found = {}
    for name, spec in ours(size, classes).items():
        costs, made = count(spec), partial(EfficientNet, spec)
        found[name] = Network(name, spec.name, spec.resolution, costs.macs, costs.parameters, made)
    target = found[REFERENCE].macs
    found |= {name: peer(name, size, classes, target) for name in PEERS}
    for network in found.values():
        if network.name != BASE and abs(network.macs / target - 1) > TOLERANCE:
            raise UsageError(
                f"{network.name} has at nearest {network.macs:,} multiply-adds ({network.form}), "
                f"{REFERENCE} scaling {target:,}: choose another size."
            )
    return found


def main() -> None:
    """Write the table of the networks, which nothing is trained for."""
    parsed = parser(__doc__, "scaling_networks")
    parsed.add_argument("--full", action="store_true", help="those for one large GPU")
    parsed.add_argument("--classes", type=int, default=10)
    settings = parsed.parse_args()
    size = SIZES["full" if settings.full else "small"]
    rows = [network.described() for network in networks_of(size, settings.classes).values()]
    heads = ["network", "px", "M parameters", "M multiply-adds", "built with"]
    cells = [
        [
            row["name"],
            row["pixels"],
            row["parameters"] / 1e6,
            row["macs"] / 1e6,
            f"`{row['form']}`",
        ]
        for row in rows
    ]
    write(settings.out, {"rows": rows}, table(heads, cells))


if __name__ == "__main__":
    main()
