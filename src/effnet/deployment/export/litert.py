"""A model as a .tflite file for LiteRT (TensorFlow Lite), on phones and small boards."""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from torch import Tensor, nn

from effnet.card import Card
from effnet.data.preprocessing import Preprocessing
from effnet.deployment import carried
from effnet.deployment.export.graph import INPUT, OUTPUT, converting, example, graph_of
from effnet.deployment.form import Form
from effnet.errors import EffnetError, ResourceError, UsageError, out_of_memory
from effnet.extras import require
from effnet.files import atomic_path
from effnet.measure.sessions import first_words
from effnet.nets.network import EfficientNet

SUFFIX = ".tflite"
BATCH = 1
"""Pictures at a time: what phones and boards have, and their accelerators insist on a fixed number.
On a CPU several at a time are no quicker."""

PURPOSE = "write .tflite files"


def write(net: EfficientNet, card: Card, path: str | Path, *, pixels: bool = False) -> None:
    """Write a network as a `.tflite` file in float32 for one picture of the card's resolution.

    The input "pictures" is (1, H, W, C), channels last as LiteRT has them, the output "outputs"
    (1, K): the network's, which the card's task reads. The file carries the card.

    Args:
        net: the network; it is left as it was.
        card: what the model file says of it.
        path: the file, ending in `.tflite`; whole or not at all.
        pixels: the graph takes uint8 and normalises it itself.

    Raises:
        ResourceError: litert-torch is not installed, or the file could not be written.
        UsageError: the converter does not know what the network is made of.
    """
    save(converted(net, card, pixels=pixels), card, Form(pixels=pixels, batch=BATCH), path)


def converted(net: EfficientNet, card: Card, *, pixels: bool = False) -> bytes:
    """Return what `write` writes, without what the file carries.

    Raises:
        ResourceError: litert-torch is not installed, or memory did not suffice.
        UsageError: the converter does not know what the network is made of.
    """
    before = Normalise(card.preprocessing) if pixels else nn.Identity()
    graph = ChannelsLast(cast(EfficientNet, graph_of(net, card)), before).eval()
    pictures = example(card, pixels=True, batch=BATCH)
    try:
        with converting():
            library = require("litert_torch", PURPOSE)
            library.config.show_progress = False
            taken = {INPUT: pictures if pixels else pictures.float()}
            content: bytes = library.convert(graph, sample_kwargs=taken).model_content()
    except EffnetError:
        raise
    except Exception as error:  # each step of the converter has its own words
        if out_of_memory(error):
            raise ResourceError(f"Out of memory, as {card.spec.name} was converted.") from error
        raise UsageError(
            f"{card.spec.name} cannot be written for LiteRT: {first_words(error)}"
        ) from error
    # From now on JAX, by which the converter computes constants, warns of each process that is
    # forked from this one; those that load pictures use nothing of it.
    warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
    return content


def save(content: bytes, card: Card, form: Form, path: str | Path) -> None:
    """Write a graph with its documents as a file, whole or not at all.

    Raises:
        ResourceError: the file could not be written.
    """
    with TemporaryDirectory(prefix="effnet-") as folder:
        file = Path(folder) / f"model{SUFFIX}"
        file.write_bytes(content)
        carried.write(file, card, form)
        with atomic_path(path) as temporary:
            temporary.write_bytes(file.read_bytes())


class ChannelsLast(nn.Module):
    """A network that takes pictures (N, H, W, C), in steps that convert without transpositions.

    The converter moves transpositions towards each other until they cancel, but not through means
    that drop dimensions, nor through constants of fewer dimensions than a batch.

    Args:
        net: the network.
        before: what is done with pictures first.
    """

    def __init__(self, net: EfficientNet, before: nn.Module) -> None:
        super().__init__()
        self.net, self.before = net, before

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Map pictures (N, H, W, C) to outputs (N, K)."""
        net = self.net
        x = self.before(pictures).permute(0, 3, 1, 2)
        maps = net.head(net.stages(net.stem(x))).permute(0, 2, 3, 1)
        return {OUTPUT: net.classifier(maps.mean((1, 2)))}


class Normalise(nn.Module):
    """Makes of levels, uint8 (N, H, W, C), what a network takes."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        mean, std = (torch.tensor(values) for values in (preprocessing.mean, preprocessing.std))
        self.scale = nn.Buffer(1 / (255 * std))
        self.shift = nn.Buffer(-mean / std)

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.to(self.scale.dtype) * self.scale + self.shift
