"""Keras Applications' networks on TensorFlow, in a process of their own: Keras has one backend.

Called with a JSON file of jobs; each names a variant, weights to load, pictures, and the files for
its logits and its weights. Beside it `known.json` says which EfficientNets Keras has.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np


def build(name: str, shape: tuple[int, ...]) -> keras.Model:
    """The network with random weights. V1's takes pixels in [0, 255], V2's what is normalised."""
    options = {"include_preprocessing": False} if "V2" in name else {}
    make = getattr(keras.applications, name)
    return make(weights=None, classifier_activation=None, input_shape=shape, **options)


def main(jobs: Path) -> None:
    assert keras.backend.backend() == "tensorflow"
    known = [name for name in dir(keras.applications) if name.startswith("EfficientNet")]
    jobs.with_name("known.json").write_text(json.dumps(known))
    for job in json.loads(jobs.read_text()):
        keras.backend.clear_session()
        pictures = np.load(job["pictures"])
        network = build(job["name"], pictures.shape[1:])
        network.load_weights(job["weights"])
        np.save(job["logits"], keras.ops.convert_to_numpy(network(pictures, training=False)))
        for path in job["saved"]:
            whole = not path.endswith(".weights.h5")
            (network.save if whole else network.save_weights)(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
