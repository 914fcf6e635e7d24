"""Every source of weights and every variant it has, against the source's own network.

Random weights and statistics go from the source's network into ours and back; then both networks
are given the same prepared picture. A line says how far their logits differ, over the largest
logit, in float32, and whether every tensor came back bit for bit. The networks are those of
`tests/parity`, where the same is tested with more sizes, maps and training steps.

    python benchmarks/weight_parity.py
"""

import gc
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from common import chosen, machine, parser, table, versions, write

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from effnet.nets.variants import VARIANTS
from effnet.weights import conversion, files
from effnet.weights.catalog import CATALOG, SOURCES
from parity import test_google as google
from parity import test_keras as keras
from parity.peers import HEAVY, PEERS, Peer, difference, ours_like, randomise

Row = dict[str, Any]

TOO_LARGE = "its checkpoint would take gigabytes; its names are those of the smaller ones"
LEFT_OUT: dict[tuple[str, str], str] = {("google", name): TOO_LARGE for name in google.TOO_LARGE}
"""Sources and variants that are published and not compared, with the reason."""


def row(source: str, name: str, variant: str, far: float, same: bool) -> Row:
    return {
        "source": source,
        "name": name,
        "variant": variant,
        "difference": far,
        "bit_for_bit": same,
    }


def same_tensors(back: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> bool:
    return back.keys() == state.keys() and all(torch.equal(back[n], t) for n, t in state.items())


@torch.no_grad()
def of_peer(peer: Peer) -> Row:
    """Compare a PyTorch library's network."""
    heavy = peer.variant in HEAVY
    torch.manual_seed(0)
    theirs = randomise(peer.build(), side=64 if heavy else 96)
    ours = ours_like(peer, theirs)
    # How 'SAME' pads at every stride up to 32 depends on the side modulo 32 alone.
    side = (64 if heavy else 192) + peer.spec.resolution % 32
    x = torch.randn(1, 3, side, side)
    far = difference(ours(x), peer.logits(theirs, x))
    state = theirs.state_dict()
    back = conversion.from_effnet(
        peer.spec, conversion.to_effnet(peer.spec, state, peer.library), peer.library
    )
    return row(peer.library, peer.name, peer.variant, far, same_tensors(back, state))


def of_keras(variants: list[str]) -> Iterator[Row]:
    """Compare Keras's networks on TensorFlow, through the files that both write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trials = [keras.prepare(variant, folder / variant) for variant in variants]
        keras.run(trials, folder)
        for trial in trials:
            back = trial.back("theirs.weights.h5")
            state = {
                name: tensor
                for name, tensor in trial.net.state_dict().items()
                if not name.endswith("num_batches_tracked")
            }
            same = same_tensors({name: back[name] for name in state}, state)
            title = keras.keras_name(trial.variant)
            yield row("keras", title, trial.variant, trial.difference, same)


@torch.no_grad()
def of_google(variant: str) -> Row:
    """Compare Google's network in plain TensorFlow, through a checkpoint with Google's names."""
    with tempfile.TemporaryDirectory() as folder:
        x, logits, checkpoint = google.theirs(variant, Path(folder), 96, 96)
        state = files.read(checkpoint)
        if variant.startswith("edge"):
            state, logits = google.without_background(state), logits[:, 1:]
        net = google.ours(variant, state)
        far = difference(net(x), logits)
        back = conversion.from_effnet(net.spec, net.state_dict(), "google")
    return row("google", google.MODELS[variant].name, variant, far, same_tensors(back, state))


def compared(sources: list[str], variants: set[str]) -> Iterator[Row]:
    """Compare all that are asked for, one after the other."""
    for peer in PEERS:
        if peer.library in sources and peer.variant in variants:
            yield of_peer(peer)
            gc.collect()
    if "keras" in sources:
        for group in keras.GROUPS.values():
            wanted = [variant for variant in group if variant in variants]
            if wanted:
                yield from of_keras(wanted)
    if "google" in sources:
        for variant in google.MODELS:
            if variant in variants:
                yield of_google(variant)


def main() -> None:
    """Compare, and write the table."""
    options = parser(__doc__, "weight_parity")
    options.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    options.add_argument("--threads", type=int, default=2)
    settings = options.parse_args()
    torch.set_num_threads(settings.threads)
    sources = chosen(SOURCES, settings.only)
    variants = {"b0"} if settings.quick else set(settings.variants)
    rows = []
    for found in compared(sources, variants):
        rows.append(found)
        print(found, flush=True)
    sets = Counter(entry.source for entry in CATALOG)
    left_out = {
        f"{source} {variant}": reason
        for (source, variant), reason in LEFT_OUT.items()
        if source in sources and variant in variants
    }
    unbuilt = {entry.key: entry.unbuilt for entry in CATALOG if entry.unbuilt}
    record = {
        "machine": machine(),
        "versions": versions(
            "effnet",
            "torch",
            "timm",
            "torchvision",
            "transformers",
            "efficientnet-pytorch",
            "keras",
            "tensorflow-cpu",
        ),
        "rows": rows,
        "left_out": left_out,
        "sets": dict(sets),
        "unbuilt": unbuilt,
    }
    cells = [
        [
            f"{found['source']}: {found['name']}",
            found["variant"],
            f"{found['difference']:.1e}",
            "yes" if found["bit_for_bit"] else "NO",
        ]
        for found in rows
    ]
    lines = [
        f"Random weights from each source's network into ours and back: {len(rows)} networks.",
        table(["network", "variant", "logits differ by", "back bit for bit"], cells),
        *(f"- Not compared: {name}: {reason}." for name, reason in left_out.items()),
        "Published sets in the catalog: "
        + ", ".join(f"{source} {count}" for source, count in sets.items())
        + f"; {len(CATALOG)} in all.",
        *(f"- Not built: {name}: {reason}." for name, reason in unbuilt.items()),
    ]
    write(settings.out, record, "\n\n".join(lines))


if __name__ == "__main__":
    main()
