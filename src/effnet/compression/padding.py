"""From TensorFlow's 'SAME' padding to symmetric padding, which every runtime does by itself.

Only convolutions of stride 2 tell the two apart. Of an odd side both take the pixels 0, 2, 4 and so
on. Of an even side symmetric padding takes the same, but 'SAME', which pads less at the top and on
the left, takes the pixels 1, 3, 5 and so on. So a network with 'SAME'

* is the symmetric one, weights and all, on pictures of such a side that every one of its layers of
  stride 2 sees an odd one: with five of them 32k + 1, such as 225;
* is on pictures of any side the symmetric one with mirrored kernels, on pictures that are turned
  upside down: from the other end 1, 3, 5 and so on are 0, 2, 4 and so on (`turned`).

On other sides the symmetric network with the same weights sees the picture moved by a pixel of each
layer's input, and other borders, to which it can be mended.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from effnet.compression.gate import Way, Whole, rebuilt
from effnet.errors import ModelFileError, UsageError, closest
from effnet.nets.blocks import CondConv2d
from effnet.nets.network import EfficientNet
from effnet.nets.spec import PADDINGS, TURNED, Spec, uniform

TARGET = "symmetric"
TOLERANCE = 1e-3
"""By which outputs may differ, as a share of the largest, where networks are the same."""


def strided(spec: Spec, side: int) -> Iterator[tuple[str, int]]:
    """Yield padding and input side in pixels of each convolution of stride 2, from the stem on."""
    strides = (2, *(stage.stride for stage in spec.stages))
    for padding, stride in zip(spec.paddings, strides, strict=True):
        if stride == 2:
            yield padding, side
            side = -(-side // 2)


def moved(spec: Spec, side: int) -> tuple[int, ...]:
    """Return the even sides that 'SAME' layers of stride 2 see of pictures of a side in pixels.

    >>> from effnet.nets.scaling import variant_spec
    >>> b0 = variant_spec("b0", convention="tensorflow")
    >>> moved(b0, 224), moved(b0, 260), moved(b0, 225)
    ((224, 112, 56, 28, 14), (260, 130), ())
    """
    return tuple(
        seen for padding, seen in strided(spec, side) if padding == "same" and not seen % 2
    )


def nearest_exact(spec: Spec, side: int) -> int:
    """Return the side in pixels nearest to one at which symmetric padding changes nothing.

    Every layer of stride 2 sees more than a pixel of it.

    >>> from effnet.nets.scaling import variant_spec
    >>> [nearest_exact(variant_spec("b0", convention="tensorflow"), side) for side in (224, 300)]
    [225, 289]
    """
    period = 2 ** len(list(strided(spec, side)))  # one more than a multiple of it will do
    around = range(max(period + 1, side - period), max(period, side) + period + 1)
    return min((s for s in around if not moved(spec, s)), key=lambda s: (abs(s - side), -s))


def require_convertible(spec: Spec, padding: str) -> None:
    """Raise UsageError unless a network can be given this padding, and has another."""
    if padding != TARGET:
        meant = "" if padding in PADDINGS else closest(padding, [TARGET])
        raise UsageError(f"--padding {padding}: networks are converted to {TARGET} only.{meant}")
    if all(used != "same" for used, _ in strided(spec, spec.resolution)):
        raise UsageError(f"{spec.name} pads symmetrically already, so there is nothing to convert.")


def symmetric(whole: Whole, side: int) -> Whole:
    """Return the network with symmetric padding and the same weights, for a side in pixels."""
    net, card = whole
    spec = uniform(net.spec).with_(padding=TARGET)
    if side != card.preprocessing.resolution:
        spec = spec.with_(resolution=side)
    pictures = card.preprocessing.at(side)
    return Whole(rebuilt(spec, net), replace(card, spec=spec, preprocessing=pictures))


def turnable(spec: Spec) -> bool:
    """Whether all of a network's layers of stride 2 have 'SAME' padding."""
    return {padding for padding, _ in strided(spec, spec.resolution)} == {"same"}


def turned(net: EfficientNet) -> EfficientNet:
    """Return the network that turns pictures upside down and answers as `net`, at any resolution.

    All its padding is symmetric, and all its kernels are mirrored, across and down.

    Raises:
        UsageError: a layer of stride 2 has other than 'SAME' padding.
    """
    if not turnable(net.spec):
        raise UsageError(f"{net.spec.name} has layers of stride 2 without 'SAME' padding.")
    other = rebuilt(uniform(net.spec).with_(padding=TURNED), net)
    with torch.no_grad():
        for module in other.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.copy_(module.weight.flip((2, 3)))
            elif isinstance(module, CondConv2d):  # whose kernels lie flat, one after the other
                kernels = module.weight.unflatten(1, (-1, module.kernel**2))
                module.weight.copy_(kernels.flip(2).flatten(1))
    return other


def exact(whole: Whole, *, turn: bool) -> Way | None:
    """Return the way that changes no answer at the card's resolution, or None.

    To make it raises ModelFileError if it does change them.

    Args:
        whole: the network.
        turn: whether it may turn pictures upside down.
    """
    side = whole.card.preprocessing.resolution
    if not moved(whole.net.spec, side):
        name = f"exact: at {side} px both paddings are the same"
        return Way(name, partial(_same, partial(symmetric, side=side)))
    if turn and turnable(whole.net.spec):
        name = "exact: symmetric padding and mirrored kernels, of pictures turned upside down"
        return Way(name, partial(_same, _turned))
    return None


def _turned(whole: Whole) -> Whole:
    net = turned(whole.net)
    return Whole(net, replace(whole.card, spec=net.spec))


def _same(make: Callable[[Whole], Whole], whole: Whole) -> Whole:
    converted = make(whole)
    far = difference(whole.net, converted.net, whole.card.preprocessing.resolution)
    if not far <= TOLERANCE:
        raise ModelFileError(
            "The network that should be the same answers otherwise: on noise outputs differ by "
            f"{far:.2g} of the largest, more than {TOLERANCE:g}. Nothing was written. Its weights "
            "may hold numbers that are not finite, or too large."
        )
    return converted


def ways(whole: Whole) -> tuple[Way, ...]:
    """Return the ways to symmetric padding that only data can judge, the surest first."""
    side = whole.card.preprocessing.resolution
    exact = nearest_exact(whole.net.spec, side)
    found = [Way("the same network", partial(symmetric, side=exact))]
    if exact != side:
        found.append(Way("the same weights", partial(symmetric, side=side)))
    return tuple(found)


@torch.inference_mode()
def difference(net: EfficientNet, other: EfficientNet, side: int) -> float:
    """Return how far two networks' outputs differ on noise of a side in pixels, over their size."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, net.spec.in_channels, side, side, generator=generator)
    ours, theirs = net.eval()(noise), other.eval()(noise)
    return ((ours - theirs).abs().max() / ours.abs().max()).item()
