"""Pictures per second and core, from JPEGs of 500 pixels to training batches of 224 pixels.

Every loader does the same work: it reads the files in random order, crops 8 to 100 % of the area,
resizes to 224 pixels, mirrors half of the pictures, and ends with a normalised float32 batch in
the layout that the training step wants, channels innermost. Ours is what `effnet fit` uses; beside
it stand timm's loader, with its prefetcher (its default) and without, and torchvision's reference
way with the first and the second version of its transforms, on Pillow pictures and on tensors.

All take turns; a loader in one process has one thread, and with worker processes the rate is
divided by their number.

    python benchmarks/input_pipeline.py
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import chosen, in_turns, machine, parser, summary, table, versions, write
from PIL import Image
from sklearn.datasets import load_sample_images
from timm.data import create_loader
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms as v1
from torchvision.datasets import ImageFolder
from torchvision.transforms import InterpolationMode, v2

from effnet.data.batches import training_batches
from effnet.data.preprocessing import Preprocessing
from effnet.data.splits import FileSplit
from effnet.data.transforms import training_transform

RESOLUTION, BATCH = 224, 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALE, FLIP = (0.08, 1.0), 0.5
FILES, CLASSES, LONG, SHORT, QUALITY = 200, 10, 500, 375, 90

Loader = Callable[[ImageFolder, str, int], Iterator[Tensor]]
"""Gives normalised batches of a folder, by an interpolation, with so many workers."""


def write_pictures(root: Path, count: int) -> None:
    """Write crops of scikit-learn's two photographs, a fourth of them upright."""
    rng = np.random.default_rng(0)
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    for index in range(count):
        photograph = photographs[index % 2]
        left = int(rng.integers(0, photograph.width - LONG + 1))
        top = int(rng.integers(0, photograph.height - SHORT + 1))
        picture = photograph.crop((left, top, left + LONG, top + SHORT))
        if index % 4 == 3:
            picture = picture.transpose(Image.Transpose.ROTATE_90)
        path = root / f"{index % CLASSES}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, "JPEG", quality=QUALITY)


def effnet(folder: ImageFolder, interpolation: str, workers: int) -> Iterator[Tensor]:
    """Load as `effnet fit` does."""
    preprocessing = Preprocessing(RESOLUTION, 0.875, interpolation, MEAN, STD)
    transform = training_transform(preprocessing, crop_scale=SCALE, flip=FLIP)
    paths = tuple(Path(path) for path, _ in folder.samples)
    split = FileSplit(paths, np.array(folder.targets))
    batches = training_batches(
        split, lambda epoch: transform, batch=BATCH, seed=0, epochs=1, workers=workers
    )
    for batch in batches:
        yield preprocessing.normalised(batch.pictures)


def timm(prefetcher: bool) -> Loader:
    """Return timm's loader, its augmentation turned down to cropping and mirroring."""

    def load(folder: ImageFolder, interpolation: str, workers: int) -> Iterator[Tensor]:
        loader = create_loader(
            folder,
            (3, RESOLUTION, RESOLUTION),
            BATCH,
            is_training=True,
            use_prefetcher=prefetcher,
            scale=SCALE,
            hflip=FLIP,
            color_jitter=None,
            interpolation=interpolation,
            mean=MEAN,
            std=STD,
            num_workers=workers,
            persistent_workers=False,
            pin_memory=False,
            device=torch.device("cpu"),
        )
        for pictures, _ in loader:
            yield pictures

    return load


def torchvision(kind: str) -> Loader:
    """Return the loader of torchvision's reference training: an ImageFolder and a DataLoader."""

    def load(folder: ImageFolder, interpolation: str, workers: int) -> Iterator[Tensor]:
        mode = InterpolationMode(interpolation)
        cropped = {"scale": SCALE, "interpolation": mode, "antialias": True}
        ways = {
            "v1": [
                v1.RandomResizedCrop(RESOLUTION, **cropped),
                v1.RandomHorizontalFlip(FLIP),
                v1.PILToTensor(),
                v1.ConvertImageDtype(torch.float32),
                v1.Normalize(MEAN, STD),
            ],
            "v2": [
                v2.RandomResizedCrop(RESOLUTION, **cropped),
                v2.RandomHorizontalFlip(FLIP),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ],
            "v2 on tensors": [
                v2.PILToTensor(),
                v2.RandomResizedCrop(RESOLUTION, **cropped),
                v2.RandomHorizontalFlip(FLIP),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ],
        }
        folder.transform = v2.Compose(ways[kind])
        loader = DataLoader(folder, BATCH, shuffle=True, drop_last=True, num_workers=workers)
        for pictures, _ in loader:
            yield pictures

    return load


LOADERS: dict[str, Loader] = {
    "effnet": effnet,
    "timm": timm(True),
    "timm without prefetcher": timm(False),
    "torchvision v1": torchvision("v1"),
    "torchvision v2": torchvision("v2"),
    "torchvision v2 on tensors": torchvision("v2 on tensors"),
}


def rate(loader: Loader, folder: ImageFolder, interpolation: str, workers: int) -> float:
    """Return pictures per second and core, from the first batch's arrival to the last's."""
    seen, start = 0, 0.0
    with torch.inference_mode():
        for pictures in loader(folder, interpolation, workers):
            ready = pictures.contiguous(memory_format=torch.channels_last)
            if ready.shape != (BATCH, 3, RESOLUTION, RESOLUTION) or ready.dtype != torch.float32:
                raise RuntimeError(f"{ready.shape} of {ready.dtype} is no batch to train on")
            if not start:
                start = time.perf_counter()
            else:
                seen += len(ready)
    return seen / (time.perf_counter() - start) / max(1, workers)


def main() -> None:
    """Measure every loader with every interpolation and number of workers."""
    options = parser(__doc__, "input_pipeline")
    options.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    options.add_argument(
        "--interpolation", nargs="+", default=["bicubic", "bilinear"], metavar="NAME"
    )
    settings = options.parse_args()
    rounds, files = (1, 96) if settings.quick else (settings.rounds, FILES)
    torch.set_num_threads(1)
    names = chosen(LOADERS, settings.only)
    record = {
        "machine": machine(),
        "versions": versions("effnet", "torch", "torchvision", "timm", "pillow"),
        "work": f"{files} JPEGs of {LONG} x {SHORT}, quality {QUALITY}, to {RESOLUTION} px",
        "unit": "pictures per second and core",
        "batch": BATCH,
        "results": [],
    }
    text = [f"Pictures per second and core on {record['machine']}: {record['work']}."]
    with tempfile.TemporaryDirectory() as place:
        write_pictures(Path(place), files)
        folder = ImageFolder(place)
        for workers in settings.workers:
            # Enough batches that starting the workers is forgotten.
            folder.samples = folder.imgs = ImageFolder(place).samples * (1 + 2 * workers)
            folder.targets = [label for _, label in folder.samples]
            for interpolation in settings.interpolation:
                measures = {
                    name: partial(rate, LOADERS[name], folder, interpolation, workers)
                    for name in names
                }
                runs = in_turns(measures, rounds)
                rows = summary(runs, "effnet")
                record["results"].append(
                    {"workers": workers, "interpolation": interpolation, "rows": rows}
                )
                heads = ["loader", "median", "lowest", "highest", "effnet over it"]
                text.append(
                    f"{interpolation}, "
                    + (f"{workers} worker processes" if workers else "one process")
                    + f", {rounds} rounds:"
                )
                cells = ("name", "median", "low", "high", "ours_over_it")
                text.append(table(heads, [[row.get(c, "") for c in cells] for row in rows]))
    write(settings.out, record, "\n\n".join(text))


if __name__ == "__main__":
    main()
