"""A model as a file that Keras loads as its own `keras.applications` EfficientNet.

The file takes pictures as they are, (N, height, width, channels) from 0 to 255, and answers what
the model answers: probabilities, or targets in their units. Mean and standard deviation are inside;
what resizes a picture to the network's side is not. SavedModel, TensorFlow Serving and the rest are
Keras's own from there. For further training dropout, stochastic depth and the norms' momentum are
those that Keras gives the variant.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from effnet.card import Card
from effnet.data.preprocessing import Preprocessing
from effnet.errors import ModelFileError, ResourceError, UsageError
from effnet.extras import installed, require
from effnet.files import atomic_path
from effnet.nets.network import EfficientNet
from effnet.nets.spec import Spec
from effnet.nets.variants import FAMILIES, VARIANTS
from effnet.tasks.inference import evaluating
from effnet.tasks.task import build_task
from effnet.weights.conversion import from_effnet
from effnet.weights.identify import variant_of

SUFFIX = ".keras"

NETWORKS: dict[str, str] = {
    **{f"b{size}": f"EfficientNetB{size}" for size in range(8)},
    **{f"v2-b{size}": f"EfficientNetV2B{size}" for size in range(4)},
    **{f"v2-{size}": f"EfficientNetV2{size.upper()}" for size in "sml"},
}
"""Our variants, and what `keras.applications` calls them."""

ACTIVATIONS: dict[str, str] = {
    "classify": "softmax",
    "multilabel": "sigmoid",
    "regress": "linear",
}
"""What Keras's last layer does for each task, after which its outputs are our answers."""

NORM_EPS = 1e-3
"""BatchNorm's epsilon in all of Keras's EfficientNets."""

SMALLEST_SIDE = 32
"""Side in pixels of the smallest pictures that Keras's EfficientNets take."""

TOLERANCE = 1e-3
"""Largest difference of an answer, over the largest answer, with which a file is still written."""

PICTURES = 4
METADATA = "metadata.json"


@dataclass(frozen=True)
class ExportCheck:
    """How an exported file, loaded again, compares with the model on pictures made for it.

    Attributes:
        file: the file.
        network: what Keras calls its network.
        input_shape: (height, width, channels) of the pictures it takes.
        activation: what its last layer ends with.
        pictures: how many pictures were compared.
        difference: the largest of an answer, or of a pooled vector's value, over the largest.
        agreement: share of the pictures that get the same class; None for labels and targets.
    """

    file: Path
    network: str
    input_shape: tuple[int, int, int]
    activation: str
    pictures: int
    difference: float
    agreement: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "file": str(self.file), "input_shape": list(self.input_shape)}


def export_keras(net: EfficientNet, card: Card, path: str | Path) -> ExportCheck:
    """Write a network as a `.keras` file, load it again, and compare its answers.

    Class names, preprocessing and all else that the model file says are in the archive's
    `metadata.json`, under "effnet"; Keras passes over it, and leaves it out when it saves again.
    Another epsilon than Keras's is taken into the norms' scales, and the units of targets into the
    last layer, both exactly.

    Args:
        net: a network of one of `NETWORKS`, with TensorFlow's padding.
        card: what the model file says of it.
        path: the file to write, ending in `.keras`.

    Returns:
        The comparison, which has the file's path.

    Raises:
        UsageError: Keras has no such network, or the path does not end in `.keras`.
        ModelFileError: the answers differ; nothing is written.
        ResourceError: Keras is not installed, or the file could not be written.
    """
    target = Path(path)
    if target.suffix != SUFFIX:
        raise UsageError(f"Keras's files end in {SUFFIX}; {target.name!r} does not.")
    variant = _variant_of(net.spec, card.preprocessing)
    keras = _import_keras()
    with (
        atomic_path(target) as temporary,
        TemporaryDirectory(prefix=f".{target.stem[:40]}.", dir=temporary.parent) as folder,
        _plain_settings(keras),
    ):
        # Keras goes by a file's ending, which the temporary name does not have.
        saved, file = Path(folder, f"saved{SUFFIX}"), Path(folder, f"model{SUFFIX}")
        network = _build(keras, variant, card)
        _fill(keras, network, net.spec, _as_keras_computes(net, card))
        network.save(saved)
        _copy_with_card(saved, file, card)
        difference, agreement = _compare(keras, file, net, card)
        if not difference <= TOLERANCE:
            raise ModelFileError(
                f"The exported network answers otherwise: the largest difference is "
                f"{difference:.2g} of the largest answer, more than {TOLERANCE:g}. {target} was "
                "not written."
            )
        file.replace(temporary)
    return ExportCheck(
        file=target,
        network=f"keras.applications.{NETWORKS[variant]}",
        input_shape=_input_shape(card),
        activation=ACTIVATIONS[card.task],
        pictures=PICTURES,
        difference=difference,
        agreement=agreement,
    )


def _variant_of(spec: Spec, preprocessing: Preprocessing) -> str:
    """Return the variant that a network is. Raises UsageError if Keras cannot build it."""
    variant = variant_of(spec)
    if variant not in NETWORKS:
        raise UsageError(
            f"keras.applications has no network like {spec.name}; it has {', '.join(NETWORKS)}."
        )
    if spec.padding != "same":
        raise UsageError(
            "Keras's networks pad as TensorFlow does and this one symmetrically, so the same "
            "weights would give other answers. Train it in TensorFlow's convention: start from "
            f"weights that have it, or from effnet.Model({variant!r}, convention='tensorflow')."
        )
    if preprocessing.resolution < SMALLEST_SIDE:
        raise UsageError(
            f"Keras's networks take pictures of {SMALLEST_SIDE} px and more; this model's have "
            f"{preprocessing.resolution}."
        )
    return variant


def _import_keras() -> Any:
    # Keras takes TensorFlow by default, whether it is there or not; torch is.
    if not installed("tensorflow"):
        os.environ.setdefault("KERAS_BACKEND", "torch")
    return require("keras", "write Keras's files")


@contextmanager
def _plain_settings(keras: Any) -> Iterator[None]:
    """Have Keras work in float32, with channels last, on the CPU, whatever its user has set."""
    policy, layout = keras.config.dtype_policy(), keras.config.image_data_format()
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")
    try:
        with keras.device("cpu"), torch.no_grad():
            yield
    finally:
        keras.config.set_dtype_policy(policy)
        keras.config.set_image_data_format(layout)


def _input_shape(card: Card) -> tuple[int, int, int]:
    side = card.preprocessing.resolution
    return side, side, card.preprocessing.channels


def _build(keras: Any, variant: str, card: Card) -> Any:
    """Return Keras's network, which normalises pixels as we do, with random weights."""
    shape, wanted = _input_shape(card), card.preprocessing
    options: dict[str, Any] = {
        "weights": None,
        "input_shape": shape,
        "classes": card.spec.classes,
        "classifier_activation": ACTIVATIONS[card.task],
    }
    constructor = getattr(keras.applications, NETWORKS[variant])
    if VARIANTS[variant].family == "v1":
        network = constructor(**options)
        _set_normalisation(keras, network, wanted)
        return network
    publisher = FAMILIES[VARIANTS[variant].family]
    if (wanted.mean, wanted.std) == (publisher.mean, publisher.std):
        return constructor(**options)
    pixels = keras.Input(shape)
    normalised = keras.layers.Rescaling(
        scale=[1 / (255 * std) for std in wanted.std],
        offset=[-mean / std for mean, std in zip(wanted.mean, wanted.std, strict=True)],
    )(pixels)
    network = constructor(input_tensor=normalised, include_preprocessing=False, **options)
    # Its inputs are a list, which Keras would then want wherever it is used.
    return keras.Model(pixels, network.output, name=network.name)


def _set_normalisation(keras: Any, network: Any, wanted: Preprocessing) -> None:
    """Set mean and variance of V1's own layer, which follows a division by 255.

    Without ImageNet's weights Keras leaves them at 0 and 1. They count from the next loading on.
    """
    layer = next(x for x in network.layers if isinstance(x, keras.layers.Normalization))
    mean, std, pictures_seen = (np.asarray(x) for x in (wanted.mean, wanted.std, 0))
    layer.set_weights([mean, std**2, pictures_seen])


def _as_keras_computes(net: EfficientNet, card: Card) -> dict[str, Tensor]:
    """Return our tensors, changed so that Keras's epsilon and last layer give our answers."""
    state = {name: tensor.detach().cpu() for name, tensor in net.state_dict().items()}
    if net.spec.norm_eps != NORM_EPS:
        for name in [name for name in state if name.endswith(".running_var")]:
            scale = f"{name.removesuffix('running_var')}weight"
            variance = state[name].double()
            share = ((variance + NORM_EPS) / (variance + net.spec.norm_eps)).sqrt()
            state[scale] = (state[scale] * share).float()
    if "std" in card.task_settings:
        mean, std = (torch.tensor(card.task_settings[name]).double() for name in ("mean", "std"))
        state["classifier.weight"] = (state["classifier.weight"] * std[:, None]).float()
        state["classifier.bias"] = (state["classifier.bias"] * std + mean).float()
    return state


def _fill(keras: Any, network: Any, spec: Spec, state: Mapping[str, Tensor]) -> None:
    tensors = from_effnet(spec.with_(norm_eps=NORM_EPS), state, "keras")
    variables = {
        f"{layer.name}/{variable.name}": variable
        for layer in network.layers
        for variable in layer.weights
    }
    missing = sorted(tensors.keys() - variables.keys())
    if missing:
        raise ResourceError(
            f"The network of Keras {keras.__version__} has no {missing[0]}; effnet knows the names "
            "of Keras 3.15."
        )
    for name, tensor in tensors.items():
        variables[name].assign(tensor.numpy())


def _copy_with_card(source: Path, target: Path, card: Card) -> None:
    """Copy Keras's archive with the card in its metadata.

    A member of its own would have Keras unpack the whole archive to disk at every loading.
    """
    with ZipFile(source) as read, ZipFile(target, "w") as write:
        for member in read.infolist():
            data = read.read(member)
            if member.filename == METADATA:
                told = {**json.loads(data), "effnet": json.loads(card.to_json())}
                data = json.dumps(told).encode()
            write.writestr(member.filename, data)


def card_in(path: Path) -> Card | None:
    """Return what the model's card says of the tensors in a file that effnet wrote for Keras.

    None if the file is not effnet's, or Keras has written it anew. Epsilon and the units of targets
    went into the tensors.

    Raises:
        ModelFileError: the card is damaged.
    """
    try:
        with ZipFile(path) as archive:
            told = json.loads(archive.read(METADATA)).get("effnet")
        if told is None:
            return None
        card = Card.from_json(json.dumps(told))
    except (OSError, BadZipFile, KeyError, ValueError, TypeError) as error:
        raise ModelFileError(f"{path} is damaged or is no file of Keras: {error}.") from error
    plain = {"mean": [0.0], "std": [1.0]} if "std" in card.task_settings else {}
    return replace(
        card,
        spec=card.spec.with_(norm_eps=NORM_EPS),
        task_settings={name: values * len(card.classes) for name, values in plain.items()},
    )


def _compare(keras: Any, file: Path, net: EfficientNet, card: Card) -> tuple[float, float | None]:
    """Return `difference` and `agreement` of a file and the network."""
    network = keras.saving.load_model(file, compile=False)
    pooled = network.get_layer("avg_pool").output
    both = keras.Model(network.inputs[0], [pooled, network.output])
    pictures = _made_pictures(*_input_shape(card))
    outputs = both(pictures.permute(0, 2, 3, 1).float().numpy(), training=False)
    vectors, answers = (torch.from_numpy(keras.ops.convert_to_numpy(found)) for found in outputs)
    task = build_task(card.task, card.classes, card.task_settings)
    device = next(net.parameters()).device
    with evaluating(net):
        our_vectors = net.embed(card.preprocessing.normalised(pictures.to(device)))
        our_answers = task.decode(net.classifier(our_vectors)).cpu()
    apart = [_difference(vectors, our_vectors.cpu()), _difference(answers, our_answers)]
    same = (answers.argmax(1) == our_answers.argmax(1)).float().mean().item()
    return torch.stack(apart).max().item(), same if task.exclusive else None


def _difference(found: Tensor, expected: Tensor) -> Tensor:
    """Return the largest difference over the largest value; NaN if anything is no number."""
    largest = expected.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return (found - expected).abs().max() / largest


def _made_pictures(height: int, width: int, channels: int) -> Tensor:
    """Return pictures of colours that run into each other, uint8 (N, C, H, W)."""
    generator = torch.Generator().manual_seed(0)
    patches = torch.rand(PICTURES, channels, 6, 6, generator=generator)
    return (F.interpolate(patches, (height, width), mode="bilinear") * 255).byte()
