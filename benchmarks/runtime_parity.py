"""Whether every runtime answers as torch does, at odd and even sides, by ones and by sevens.

A trained network is given either way of padding and either size, exported, and asked with real
pictures through the file alone. A line says how far its outputs are from torch's in float32, over
the largest output, and which share of the pictures get the same class.

    effnet fit photos --variant b0 --resolution 96 --out run-b0
    python benchmarks/runtime_parity.py photos/test run-b0
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from common import chosen, machine, parser, table, versions, write

from effnet.card import Card
from effnet.deployment.export.check import difference, real_pictures
from effnet.deployment.export.export import export
from effnet.deployment.predictor import predictor
from effnet.nets.network import EfficientNet
from effnet.pretrained import open_weights

PADDINGS = ("symmetric", "same")
BATCHES = (1, 7)


@dataclass(frozen=True)
class File:
    """A kind of exported file.

    Attributes:
        to: what `effnet export` calls it.
        name: of the file or folder.
        precision: that it is run in.
        pixels: whether it takes pictures as uint8.
    """

    to: str
    name: str
    precision: str = "auto"
    pixels: bool = False


FILES = {
    "onnxruntime": File("onnx", "net.onnx"),
    "openvino": File("openvino", "net"),
    "openvino, uint8 pictures": File("openvino", "pixels", pixels=True),
    "openvino, bfloat16": File("openvino", "rounded", precision="bfloat16"),
    "litert": File("litert", "net.tflite"),
    "aotinductor": File("torch-export", "net.pt2"),
}


def padded(net: EfficientNet, card: Card, padding: str, side: int) -> tuple[EfficientNet, Card]:
    """Return the same weights in a network that pads so, for pictures of that side."""
    spec = net.spec.with_(padding=padding, resolution=side)
    other = EfficientNet(spec)
    other.load_state_dict(net.state_dict())
    return other.eval(), replace(card, spec=spec, preprocessing=card.preprocessing.at(side))


def by(run: Any, levels: Any, batch: int) -> Any:
    """Return the outputs of all pictures, asked so many at a time."""
    starts = range(0, len(levels), batch)
    return np.concatenate([run(levels[start : start + batch]) for start in starts])


def compared(
    net: EfficientNet, card: Card, pictures: Path, count: int, names: list[str]
) -> Iterator[dict[str, Any]]:
    """Compare a network's files with torch, one after the other."""
    levels = real_pictures(pictures, card.preprocessing, count)
    with torch.inference_mode():
        inputs = card.preprocessing.normalised(torch.from_numpy(levels))
        expected = torch.cat([net(part) for part in inputs.split(16)]).numpy()
    for name in names:
        kind = FILES[name]
        with TemporaryDirectory() as folder:
            file = Path(folder) / kind.name
            export(net, card, file, to=kind.to, pixels=kind.pixels)
            asked = predictor(file, threads=torch.get_num_threads(), precision=kind.precision)
            for batch in BATCHES:
                found = by(asked.outputs, levels, batch)
                yield {
                    "runtime": name,
                    "batch": batch,
                    "pictures": len(levels),
                    "difference": difference(found, expected),
                    "agreement": float((found.argmax(1) == expected.argmax(1)).mean()),
                }


def main() -> None:
    """Compare, and write the table."""
    options = parser(__doc__, "runtime_parity")
    options.add_argument("pictures", type=Path, help="a folder of them")
    options.add_argument("models", nargs="+", help="model files or run folders")
    options.add_argument("--count", type=int, default=252, help="pictures of each comparison")
    options.add_argument("--threads", type=int, default=2)
    settings = options.parse_args()
    torch.set_num_threads(settings.threads)
    names = chosen(FILES, ["onnxruntime"] if settings.quick else settings.only)
    rows = []
    for model in settings.models:
        opened = open_weights(model)
        own = opened.card.preprocessing.resolution
        for padding, side in product(PADDINGS, (own, own + 1)):
            net, card = padded(opened.net, opened.card, padding, side)
            for row in compared(net, card, settings.pictures, settings.count, names):
                rows.append({"model": card.spec.name, "padding": padding, "side": side, **row})
                print(rows[-1], flush=True)
    packages = ("effnet", "torch", "onnxruntime", "openvino", "ai-edge-litert", "litert-torch")
    record = {"machine": machine(), "versions": versions(*packages), "rows": rows}
    cells = [
        [
            f"{row['model']}, {row['runtime']}",
            row["padding"],
            row["side"],
            row["batch"],
            f"{row['difference']:.1e}",
            f"{row['agreement']:.1%}",
        ]
        for row in rows
    ]
    heads = ["network, runtime", "padding", "side", "batch", "outputs differ by", "same class"]
    lines = [
        f"Exported files beside torch in float32, on {settings.count} photographs.",
        table(heads, cells),
    ]
    write(settings.out, record, "\n\n".join(lines))


if __name__ == "__main__":
    main()
