"""Published sets and other people's files, from where they are to an answer."""

import hashlib
import math
import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save

import effnet
import tiny
from effnet.data.ranges import InputRangeWarning
from effnet.data.transforms import evaluation_transform
from effnet.errors import ModelFileError, UsageError
from effnet.model import Model
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import scale, variant_spec
from effnet.pretrained import class_names, preprocessing_of, spec_of
from effnet.tasks.task import build_task
from effnet.weights import catalog
from effnet.weights.catalog import CATALOG, find
from effnet.weights.conversion import from_effnet
from effnet.weights.libraries import LIBRARIES
from effnet.weights.names.tables import outline
from effnet.weights.transfer import TransferWarning
from weights.hub import point_to
from weights.server import Server

BUILT = [entry for entry in CATALOG if not entry.unbuilt]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """The hub and, by mirrors, Google's and torch's stores, on this machine."""
    with Server() as found:
        point_to(found, tmp_path / "hub", monkeypatch)
        monkeypatch.setenv("EFFNET_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv(
            "EFFNET_MIRROR",
            f"https://storage.googleapis.com={found.address}/google,"
            f"https://download.pytorch.org={found.address}/torch",
        )
        yield found


@pytest.fixture(scope="module")
def timms() -> torch.nn.Module:
    """timm's network for Google's weights, with random ones."""
    torch.manual_seed(0)
    net = timm.create_model("tf_efficientnet_b0").eval()
    for name, buffer in net.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return net


@pytest.mark.parametrize("source", [name for name in LIBRARIES if name != "effnet"])
def test_every_set_fits_its_network(source: str) -> None:
    entries = [entry for entry in BUILT if entry.source == source]
    assert entries
    for entry in entries:
        spec, pictures = spec_of(entry), preprocessing_of(entry)
        assert spec.padding == entry.padding
        assert spec.norm_eps == pytest.approx(entry.norm_eps)
        assert spec.classes == entry.classes - entry.background
        assert pictures.resolution == spec.resolution == entry.resolution
        if source == "timm":
            assert pictures.resized_side == math.floor(entry.resolution / entry.crop)
        assert len(class_names(spec.classes)) == len(set(class_names(spec.classes)))
        names = [name.ours for name in LIBRARIES[source].table.names(spec)]
        assert sorted(names) == sorted(outline(spec).tensors)


@torch.no_grad()
def test_from_the_hub_to_a_prediction(
    server: Server, timms: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = "timm/tf_efficientnet_b0.ns_jft_in1k"
    server.serve_as_hub(repository, "model.safetensors", save(timms.state_dict()))
    model = effnet.load("b0", weights="noisy-student")
    x = torch.randn(2, 3, 97, 75)
    torch.testing.assert_close(model.net(x), timms(x), rtol=0, atol=1e-4)
    assert model.classes[1] == "goldfish"
    assert model.training["weights"] == f"timm/{repository.partition('/')[2]}"
    answers = model.predict(np.full((1, 60, 80, 3), 127, np.uint8))
    assert answers.shape == (1, 1000)

    monkeypatch.setenv("EFFNET_OFFLINE", "1")
    again = Model("b0", weights="noisy-student", classes=["cat", "dog"])
    assert again.spec == model.spec.with_(classes=2)
    assert again.transferred is not None
    assert again.transferred.notes == ("classifier: new, 2 classes instead of 1000",)
    torch.testing.assert_close(again.net.embed(x), model.net.embed(x), rtol=0, atol=0)

    smaller = scale("b0", phi=-1, convention="tensorflow")
    with pytest.raises(ModelFileError, match="partial=True"):
        Model(smaller, weights=repository)
    partly = Model(smaller, weights=repository, partial=True)
    assert partly.transferred is not None
    assert not partly.transferred.whole
    with pytest.raises(ModelFileError, match=r"padding 'same' .* convention='tensorflow'"):
        Model("b0", weights="noisy-student", convention="torch")


def test_a_set_is_what_a_run_starts_from(
    server: Server, timms: torch.nn.Module, tmp_path: Path
) -> None:
    server.serve_as_hub(
        "timm/tf_efficientnet_b0.ns_jft_in1k", "model.safetensors", save(timms.state_dict())
    )
    model = Model("b0", weights="noisy-student")
    pictures = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    labels = np.arange(12) % 2
    model.fit(pictures, labels, epochs=1, batch_size=6, resolution=32, out=tmp_path / "run")
    assert "weights: timm/tf_efficientnet_b0.ns_jft_in1k" in (
        tmp_path / "run" / "recipe.yaml"
    ).read_text(encoding="utf-8")
    assert effnet.load(tmp_path / "run").spec.padding == "same"


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "classes"), [("v2-b0", 1000), ("edge-s", 1001)])
@torch.no_grad()
def test_from_googles_store(server: Server, tmp_path: Path, variant: str, classes: int) -> None:
    from parity.google_networks import MODELS, Network
    from parity.google_networks import save as save_checkpoint
    from parity.peers import difference

    entry = find(variant, "google/imagenet")
    random = np.random.default_rng(0)
    network = Network(MODELS[variant], random)
    network(random.standard_normal((4, 64, 64, 3)).astype("f"))  # sets its statistics
    x = random.standard_normal((1, 64, 64, 3)).astype("f")
    logits = torch.from_numpy(network(x))
    assert logits.shape[1] == classes
    save_checkpoint(network, tmp_path / entry.member / "model.ckpt")
    archive = tmp_path / "archive.tgz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(tmp_path / entry.member, entry.member)
    path = entry.url.removeprefix("https://storage.googleapis.com")
    server.serve(f"/google{path}", archive.read_bytes())

    named = tmp_path / entry.url.rpartition("/")[2]
    named.write_bytes(archive.read_bytes())
    assert effnet.load(named).training["weights"] == entry.key

    model = effnet.load(variant, weights="google/imagenet")
    ours = model.net(torch.from_numpy(x).permute(0, 3, 1, 2))
    assert difference(ours, logits[:, classes - 1000 :]) < 1e-4
    assert model.preprocessing.resize in ("tensorflow1", "tensorflow2")
    assert model.preprocessing == preprocessing_of(entry)


def test_a_damaged_file_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    entry = find("b0", "torchvision")
    path = entry.url.removeprefix("https://download.pytorch.org")
    server.serve(f"/torch{path}", b"not these weights")
    with pytest.raises(ModelFileError, match=r"its sha256 is .*, expected"):
        effnet.load("b0", weights="torchvision")
    left = [path.suffix for path in (tmp_path / "cache").iterdir()]
    assert set(left) <= {".lock"}


@torch.no_grad()
def test_other_peoples_files(timms: torch.nn.Module, tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    torch.save({"state_dict": timms.state_dict()}, file)
    with pytest.raises(ModelFileError, match=r"convention 'torch'.*convention 'tensorflow'"):
        effnet.load(file)
    model = effnet.load(file, convention="tensorflow")
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(model.net(x), timms(x), rtol=0, atol=1e-4)
    model.save(tmp_path / "mine.safetensors")
    assert effnet.load(tmp_path / "mine.safetensors").spec == model.spec


def test_a_published_file_is_known_by_its_name_and_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = find("b0", "lukemelas/advprop")
    net = EfficientNet(variant_spec("b0", convention="tensorflow"))
    file = tmp_path / entry.url.rpartition("/")[2]
    torch.save(from_effnet(net.spec, net.state_dict(), "lukemelas"), file)
    with pytest.warns(UserWarning, match="does not say how its pictures are prepared"):
        tuned = effnet.load(file)  # somebody's own weights under a published name
    assert tuned.training["weights"] == f"a file of lukemelas: {file.name}"
    assert tuned.preprocessing.resize == "tensorflow1"
    digest = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}"
    monkeypatch.setattr(catalog, "of_file", lambda name: replace(entry, digest=digest))
    model = effnet.load(file)
    assert model.preprocessing.mean == (0.5, 0.5, 0.5)
    assert model.training["weights"] == entry.key


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(
    timms: torch.nn.Module, tmp_path: Path, dtype: torch.dtype
) -> None:
    file = tmp_path / "half.pth"
    torch.save({n: t.to(dtype) for n, t in timms.state_dict().items()}, file)
    model = effnet.load(file, convention="tensorflow")
    assert {p.dtype for p in model.net.parameters()} == {torch.float32}
    torch.save(model.net.state_dict(), file)  # over the very file that was loaded
    assert model.predict(np.zeros((1, 40, 40, 3), np.uint8)).shape == (1, 1000)


@pytest.mark.parametrize("task", ["classify", "regress"])
def test_our_keras_files_bring_their_card(tmp_path: Path, task: str) -> None:
    spec = variant_spec("b0", convention="tensorflow", classes=2).with_(
        norm_eps=1e-4, resolution=32
    )
    model = Model(spec, classes=["left", "right"])
    if task == "regress":
        settings = {"mean": [3.0, 9.0], "std": [2.0, 5.0]}
        model.task = build_task("regress", ("left", "right"), settings)
    model.preprocessing = replace(model.preprocessing, mean=(0.4, 0.5, 0.6))
    model.export(tmp_path / "model.keras", to="keras")
    back = effnet.load(tmp_path / "model.keras")
    assert (back.task.name, back.classes) == (task, ("left", "right"))
    assert back.preprocessing == model.preprocessing
    pictures = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), np.uint8)
    np.testing.assert_allclose(back.predict(pictures), model.predict(pictures), rtol=1e-4)


def test_words_for_a_variant(
    server: Server, timms: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve_as_hub(
        "timm/tf_efficientnet_b0.ns_jft_in1k", "model.safetensors", save(timms.state_dict())
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noisy-student").mkdir()  # a folder that is no model
    model = effnet.load("b0:noisy-student")
    assert effnet.load("b0", weights="ns").training == model.training
    start = Model("b0", weights="noisy-student")
    assert start.classes == model.classes
    assert start.transferred is not None
    assert start.transferred.whole
    with pytest.warns(TransferWarning, match="classifier: new, 2 classes"):
        Model("b0", weights="noisy-student", classes=2)
    with pytest.warns(InputRangeWarning):
        start.net(torch.full((1, 3, 64, 64), 200.0))
    with pytest.raises(UsageError, match="is of b0, not of b3"):
        effnet.load("b3", weights=str(model.save(tmp_path / "b0.safetensors")))


def test_a_convention_beside_a_file_is_of_its_own_variant(tmp_path: Path) -> None:
    net = timm.create_model("tf_efficientnet_es", num_classes=3)
    torch.save(net.state_dict(), tmp_path / "es.pth")
    for variant in (None, "edge-s"):
        model = Model(variant, weights=tmp_path / "es.pth", convention="tensorflow")
        assert model.spec.name == "edge-s"
        assert set(model.spec.paddings) == {"same"}  # as timm's, unlike Google's


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: effnet.load("b0", weights="noisy-studnet"), UsageError, "noisy-student"),
        (lambda: effnet.load("b00", weights="noisy-student"), UsageError, "b0"),
        (lambda: effnet.load("b0"), ModelFileError, "b0:noisy-student"),
        (lambda: effnet.load("runs/none"), ModelFileError, "no model file runs/none"),
        (lambda: effnet.load("none.safetensors"), ModelFileError, "no model file"),
        (lambda: effnet.load("efficientnet_b1_pruned.in1k"), UsageError, "pruned"),
        (lambda: Model("b0", weights="none.pth"), ModelFileError, "no model file"),
    ],
)
def test_what_there_is_not(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()


def test_classes_of_imagenet() -> None:
    names = class_names(1000)
    assert names[0] == "tench"
    assert names[134] != names[517]  # the bird and the machine
    assert len(set(names)) == 1000
    assert class_names(3) == ("0", "1", "2")


def test_evaluation_uses_the_sets_own_picture(tmp_path: Path) -> None:
    model = Model(tiny.SPEC.with_(padding="same"), classes=tiny.CLASSES)
    data = tiny.folder(tmp_path / "data", train=6, val=3)
    files = sorted((data / "val").rglob("*.png"))
    own = model.preprocessing
    answers = []
    for resize in ("antialiased", "tensorflow1"):
        model.preprocessing = replace(own, resolution=12, crop=0.6, resize=resize)
        transform = evaluation_transform(model.preprocessing)
        pictures = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
        with torch.no_grad():
            shares = model.net(model.preprocessing.normalised(pictures)).softmax(1)
        labels = torch.tensor([tiny.CLASSES.index(file.parent.name) for file in files])
        loss = torch.nn.functional.nll_loss(shares.log(), labels).item()
        found = model.evaluate(data, split="val")
        assert found.log_loss == pytest.approx(loss, rel=1e-4)
        answers.append(loss)
    assert answers[0] != pytest.approx(answers[1], rel=1e-3)
