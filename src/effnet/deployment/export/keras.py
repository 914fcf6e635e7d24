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
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor

from effnet.card import Card
from effnet.data.prepare import Levels
from effnet.data.preprocessing import Preprocessing
from effnet.deployment.export.check import Compared, difference
from effnet.errors import ModelFileError, ResourceError, UsageError
from effnet.extras import installed, require
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

METADATA = "metadata.json"


def write(net: EfficientNet, card: Card, path: Path, *, pixels: bool = True) -> dict[str, str]:
    """Write a network as a `.keras` file for any number of pictures.

    Class names, preprocessing and all else that the model file says are in the archive's
    `metadata.json`, under "effnet"; Keras passes over it, and leaves it out when it saves again.
    Another epsilon than Keras's is taken into the norms' scales, and the units of targets into the
    last layer, both exactly.

    Args:
        net: a network of one of `NETWORKS`, with TensorFlow's padding.
        card: what the model file says of it.
        path: the file, ending in `.keras`.
        pixels: the file normalises pictures itself, as all of Keras's do.

    Returns:
        What Keras calls the network, and what its last layer ends with.

    Raises:
        UsageError: Keras has no such network.
        ResourceError: Keras is not installed, or another version than effnet knows.
    """
    del pixels
    variant = _variant_of(net.spec, card.preprocessing)
    keras = _import_keras()
    saved = path.with_name(f"{path.stem}.plain{SUFFIX}")
    with _plain_settings(keras):
        network = _build(keras, variant, card)
        _fill(keras, network, net.spec, _as_keras_computes(net, card))
        network.save(saved)
    _copy_with_card(saved, path, card)
    saved.unlink()
    return {
        "network": f"keras.applications.{NETWORKS[variant]}",
        "activation": ACTIVATIONS[card.task],
    }


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
    except MemoryError:
        raise
    except Exception as error:  # an edited file fails in as many ways as there are
        raise ModelFileError(f"{path} is damaged or is no file of Keras: {error}.") from error
    plain = {"mean": [0.0], "std": [1.0]} if "std" in card.task_settings else {}
    return replace(
        card,
        spec=card.spec.with_(norm_eps=NORM_EPS),
        task_settings={name: values * len(card.classes) for name, values in plain.items()},
    )


def compare(file: Path, net: EfficientNet, card: Card, levels: Levels) -> tuple[str, Compared]:
    """Compare what a file answers with the network in torch: pooled vectors, and answers.

    Answers alone could hide a difference, where probabilities are near 0 and 1.

    Args:
        file: the file.
        net: the network.
        card: what the model file says of it.
        levels: pictures (N, C, H, W) of levels from 0 to 255.

    Returns:
        What Keras ran it with, and the figures.
    """
    keras = _import_keras()
    with _plain_settings(keras):
        network = keras.saving.load_model(file, compile=False)
        both = keras.Model(
            network.inputs[0], [network.get_layer("avg_pool").output, network.output]
        )
        outputs = both(levels.transpose(0, 2, 3, 1).astype(np.float32), training=False)
        vectors, answers = map(keras.ops.convert_to_numpy, outputs)
    task = build_task(card.task, card.classes, card.task_settings)
    device = next(net.parameters()).device
    with evaluating(net), torch.no_grad():
        pictures = torch.from_numpy(levels).to(device)
        our_vectors = net.embed(card.preprocessing.normalised(pictures))
        our_answers = task.decode(net.classifier(our_vectors)).cpu().numpy()
    apart = [difference(vectors, our_vectors.cpu().numpy()), difference(answers, our_answers)]
    same = float((answers.argmax(1) == our_answers.argmax(1)).mean())
    figures = Compared(len(levels), float(np.max(apart)), same if task.exclusive else None)
    return f"keras with {keras.backend.backend()}", figures
