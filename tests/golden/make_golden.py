"""Writes the golden model file of the present format; run once per format version.

    python tests/golden/make_golden.py

The files that it wrote are kept for ever: every later effnet must read them to the same answers.
They are never written anew; a new format version gets new ones beside them.
"""

import json
from pathlib import Path

import torch

from effnet.artifact import read
from effnet.card import FORMAT_VERSION
from effnet.model import Model
from effnet.nets.spec import Spec, Stage

SEED, SHAPE = 20240229, (2, 3, 33, 47)
HERE = Path(__file__).parent

SPEC = Spec(
    name="golden",
    family="v1",
    stem=8,
    stages=(
        Stage("mbconv", 1, 3, 1, 1, 8, squeeze=0.25),
        Stage("fused", 2, 3, 2, 2, 16),
        Stage("mbconv", 2, 5, 2, 3, 24, squeeze=0.25),
    ),
    head=40,
    activation="silu",
    padding="same",
    norm_eps=1e-3,
    norm_momentum=0.01,
    resolution=48,
    train_resolution=32,
    dropout=0.2,
    drop_path=0.2,
)


def main() -> None:
    """Write model_v<N>.safetensors and model_v<N>.json."""
    model = Model(SPEC, classes=("cat", "dog", "Käse $1"), seed=1)
    torch.manual_seed(2)
    for module in model.net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
    model.training = {"data": "digits", "recipe": {"epochs": 3, "lr": 1e-3, "flip": None}}
    model.figures = {"epoch": 2, "val_loss": 0.25, "val_accuracy": 0.9375}
    path = HERE / f"model_v{FORMAT_VERSION}.safetensors"
    if path.exists():
        raise SystemExit(f"{path} is there and stays as it is.")
    model.save(path)
    net, card = read(path)
    pictures = torch.rand(SHAPE, generator=torch.Generator().manual_seed(SEED))
    with torch.inference_mode():
        logits = net(pictures).tolist()
    expected = {
        "seed": SEED,
        "shape": list(SHAPE),
        "logits": logits,
        "card": json.loads(card.to_json()),
    }
    path.with_suffix(".json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
