"""Predictions of files: equal to a forward pass by hand, in order, streamed, never stopped."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

import effnet
from effnet.data.preprocessing import Preprocessing
from effnet.deployment.engines import torch_run
from effnet.deployment.predict import predictions
from effnet.errors import UsageError
from effnet.tasks.answers import Answers

TEN_THOUSAND, BATCH = 10_000, 64
INTERPOLATIONS = {
    "bicubic": InterpolationMode.BICUBIC,
    "bilinear": InterpolationMode.BILINEAR,
}

Draw = Callable[..., list[Path]]


class Brightness(nn.Module):
    """Two logits: the mean of the red and of the green channel."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.gain * pictures.mean((2, 3))[:, :2]


def by_hand(model: effnet.Model, file: Path) -> Tensor:
    """Probabilities of one picture, from torchvision's own functions."""
    use = model.preprocessing
    picture = F.resize(
        Image.open(file).convert("RGB"),
        [use.resized_side],
        interpolation=INTERPOLATIONS[use.interpolation],
    )
    cropped = F.center_crop(picture, [use.resolution])
    pixels = F.to_dtype(F.to_image(cropped), torch.float32, scale=True)
    inputs = F.normalize(pixels, list(use.mean), list(use.std))
    with torch.inference_mode():
        return model.net(inputs[None]).softmax(1)[0]


def test_equal_to_a_forward_pass_by_hand_and_in_order(model: effnet.Model, draw: Draw) -> None:
    files = draw(7)
    found = list(model.predict_files(files, batch_size=3, top=3))
    assert [p.file for p in found] == [str(file) for file in files]
    for file, p in zip(files, found, strict=True):
        shares = by_hand(model, file)
        assert [label for label, _ in p.top] == [
            model.classes[place] for place in shares.argsort(descending=True)
        ]
        torch.testing.assert_close(
            torch.tensor([share for _, share in p.top]),
            shares.sort(descending=True).values,
            rtol=1e-4,
            atol=1e-5,
        )


def test_more_classes_asked_for_than_there_are(model: effnet.Model, draw: Draw) -> None:
    (found,) = model.predict_files(draw(1), top=99)
    assert len(found.top) == 3
    assert sum(share for _, share in found.top) == pytest.approx(1)


def test_unreadable_files_are_told_in_their_place(
    model: effnet.Model, draw: Draw, tmp_path: Path
) -> None:
    good = draw(2)
    torn = tmp_path / "torn.png"
    torn.write_bytes(good[0].read_bytes()[:200])
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    files = [torn, good[0], text, tmp_path / "missing.png", good[1], tmp_path]
    found = list(model.predict_files(files, batch_size=2))
    assert [bool(p.error) for p in found] == [True, False, True, True, False, True]
    assert all(p.top == () and p.label == "" and p.probability is None for p in found if p.error)
    assert [p.label for p in found if not p.error] == [p.label for p in model.predict_files(good)]
    assert found[3].error == "there is no such file"


def test_folders_and_globs_are_searched(model: effnet.Model, draw: Draw) -> None:
    files = draw(4)
    named = [p.file for p in model.predict(files[0].parent)]
    assert named == [str(file) for file in files]
    found = model.predict([files[3], files[0].parent / "*[12].png"])
    assert [p.file for p in found] == [str(files[n]) for n in (3, 1, 2)]


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"top": 0}])
def test_numbers_that_cannot_be(model: effnet.Model, draw: Draw, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        model.predict(draw(1), **wrong)


def test_no_files(model: effnet.Model) -> None:
    assert list(model.predict_files([])) == []


def test_mode_of_the_network_is_put_back(model: effnet.Model, draw: Draw) -> None:
    model.net.train()
    list(model.predict_files(draw(2)))
    assert model.net.training
    model.net.eval()


@pytest.mark.slow
def test_ten_thousand_files_are_taken_as_they_are_needed(draw: Draw) -> None:
    (file,) = draw(1)
    taken = 0

    def files() -> Iterator[Path]:
        nonlocal taken
        for _ in range(TEN_THOUSAND):
            taken += 1
            yield file

    use = Preprocessing(8, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)
    answers = Answers("classify", ("red", "green"))
    stream = predictions(torch_run(Brightness(), use), answers, use, files(), batch=BATCH)
    assert taken == 0
    furthest = yielded = 0
    for _ in stream:
        yielded += 1
        furthest = max(furthest, taken - yielded)
    assert yielded == TEN_THOUSAND
    assert furthest < 2 * BATCH


def test_a_stream_can_be_left(model: effnet.Model, draw: Draw) -> None:
    (file,) = draw(1)
    stream = model.predict_files([file] * 50, batch_size=4)
    assert len(list(islice(stream, 3))) == 3
    stream.close()  # type: ignore[attr-defined]


def test_values_of_every_label_or_target_in_the_models_order(draw: Draw, tmp_path: Path) -> None:
    files = [*draw(3), tmp_path / "gone.png"]
    use = Preprocessing(8, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)
    run, names = torch_run(Brightness(), use), ("red", "green")
    settings = {"mean": (100.0, 5.0), "std": (10.0, 2.0)}
    for answers, told in (
        (Answers("multilabel", names), torch.sigmoid),
        (
            Answers("regress", names, settings),
            lambda x: x * torch.tensor([10, 2.0]) + torch.tensor([100, 5.0]),
        ),
    ):
        found = list(predictions(run, answers, use, files, batch=2))
        for file, p in zip(files[:3], found, strict=False):
            picture = F.to_dtype(F.to_image(Image.open(file)), torch.float32, scale=True)
            shrunk = F.center_crop(F.resize(picture, [8], antialias=True), [8])
            values = told(((shrunk - 0.5) / 0.5).mean((1, 2))[:2])
            assert [name for name, _ in p.values] == list(names)
            assert [value for _, value in p.values] == pytest.approx(values.tolist(), abs=0.05)
            assert (p.top, p.label, p.probability) == ((), "", None)
        assert found[3].values == ()
        assert found[3].error == "there is no such file"
