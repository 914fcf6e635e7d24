"""A model as what TensorRT builds an engine from, on the machine that has the GPU."""

from pathlib import Path

from effnet.card import Card
from effnet.deployment.export import onnx
from effnet.deployment.export.graph import INPUT, example
from effnet.files import write_text
from effnet.nets.network import EfficientNet

GRAPH, SCRIPT, ENGINE = "model.onnx", "build_engine.py", "model.engine"

BUILD = '''\
"""Build {engine} from {graph} with TensorRT, for the GPU of the machine that this runs on.

    python {script} [--fp16] [--batch N]
"""

import argparse
from pathlib import Path

import tensorrt as trt

HERE = Path(__file__).resolve().parent
INPUT = "{input}"
PICTURE = {picture}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--fp16", action="store_true", help="compute in float16 where quicker")
    options.add_argument("--batch", type=int, default=8, help="pictures to be quickest for")
    options.add_argument("--most", type=int, default=64, help="pictures at a time at most")
    chosen = options.parse_args()

    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(HERE / "{graph}")):
        problems = [str(parser.get_error(n)) for n in range(parser.num_errors)]
        raise SystemExit("TensorRT cannot read {graph}: " + "; ".join(problems))

    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    sizes = 1, min(chosen.batch, chosen.most), chosen.most
    profile.set_shape(INPUT, *((size, *PICTURE) for size in sizes))
    config.add_optimization_profile(profile)
    if chosen.fp16:
        config.set_flag(trt.BuilderFlag.FP16)

    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise SystemExit("TensorRT built no engine; its own words are above.")
    (HERE / "{engine}").write_bytes(engine)
    print(f"wrote {{HERE / '{engine}'}}")


main()
'''
"""The script, for TensorRT 10, whose networks always take batches of any size."""


def write(
    net: EfficientNet,
    card: Card,
    folder: Path,
    *,
    pixels: bool = False,
    precision: str = "float32",
) -> dict[str, int]:
    """Write a folder with `model.onnx` and `build_engine.py`, which builds an engine from it.

    An engine is for one kind of GPU, so it is built where it is used.

    Args:
        net: the network; it is left as it was.
        card: what the model file says of it.
        folder: where the two files go; it is made if it is not there.
        pixels: the graph takes uint8 (N, H, W, C) and normalises it itself.
        precision: of the weights, as in `effnet.deployment.export.onnx.write`.

    Returns:
        What `effnet.deployment.export.onnx.write` returns.

    Raises:
        ResourceError: a package that this needs is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = onnx.write(net, card, folder / GRAPH, pixels=pixels, precision=precision)
    names = {"graph": GRAPH, "script": SCRIPT, "engine": ENGINE, "input": INPUT}
    picture = tuple(example(card, pixels=pixels).shape[1:])
    write_text(folder / SCRIPT, BUILD.format(**names, picture=picture))
    return told
