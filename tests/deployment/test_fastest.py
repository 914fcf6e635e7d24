"""The quickest program takes over from torch when that pays, and never answers otherwise."""

import copy
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from effnet.card import Card
from effnet.data.defaults import default_preprocessing
from effnet.data.prepare import Levels
from effnet.data.ranges import attach
from effnet.deployment import fastest as module
from effnet.deployment import programs
from effnet.deployment.converted import Shelf
from effnet.deployment.fastest import Fastest
from effnet.deployment.predict import Run
from effnet.errors import ResourceError, UsageError
from effnet.measure.sessions import Session
from effnet.measure.stand_in import stand_in
from effnet.nets.network import EfficientNet

pytest.importorskip("openvino")

CARD = Card(
    spec=tiny.SPEC,
    task="classify",
    classes=tiny.CLASSES,
    preprocessing=default_preprocessing(tiny.SPEC),
)
LEVELS = tiny.arrays(5)[0].transpose(0, 3, 1, 2)


@pytest.fixture
def net() -> EfficientNet:
    net = stand_in(tiny.SPEC)
    attach(net, CARD.preprocessing)  # as every model has it
    return net


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "runtimes")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing takes any time; OpenVINO in float32 is the only program and thought to be quick."""
    monkeypatch.setattr(programs, "OPENING", 0.0)
    monkeypatch.setattr(module, "OPENING", 0.0)
    monkeypatch.setitem(programs.DTYPES, "auto", ("float32",))
    way = replace(programs.WAYS_BY_RUNTIME["openvino"], seconds=0.0)
    monkeypatch.setattr(programs, "WAYS_BY_RUNTIME", {"openvino": way})
    monkeypatch.setattr(module, "_time_ratio", lambda *_: 0.25)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, at_once: None) -> list[Path]:
    """Files that were converted."""
    files: list[Path] = []
    way = programs.WAYS_BY_RUNTIME["openvino"]

    def write(net: EfficientNet, card: Card, file: Path, **form: Any) -> None:
        files.append(file)
        way.write(net, card, file, **form)

    programs.WAYS_BY_RUNTIME["openvino"] = replace(way, write=write)
    return files


def of_torch(net: EfficientNet, levels: Any = LEVELS) -> Any:
    with torch.inference_mode():
        return net(CARD.preprocessing.normalised(torch.from_numpy(levels))).numpy()


def assert_torchs(outputs: Any, net: EfficientNet, levels: Any = LEVELS) -> None:
    np.testing.assert_allclose(outputs, of_torch(net, levels), rtol=1e-3, atol=1e-4)


def test_a_few_pictures_are_left_to_torch(net: EfficientNet, shelf: Shelf) -> None:
    fast = Fastest(net, CARD, shelf=shelf)
    for _ in range(3):
        np.testing.assert_array_equal(fast(LEVELS), of_torch(net))
    assert fast.runtime == "torch"
    assert not shelf.root.exists()


def test_another_program_takes_over_and_is_remembered(
    net: EfficientNet, shelf: Shelf, written: list[Path]
) -> None:
    fast = Fastest(net, CARD, shelf=shelf)
    assert_torchs(fast(LEVELS), net)
    assert fast.runtime == "openvino"
    for levels in (LEVELS, LEVELS[:1], LEVELS[:4]):
        assert_torchs(fast(levels), net, levels)
    again = Fastest(net, CARD, shelf=shelf)
    again(LEVELS)
    assert again.runtime == "openvino"
    assert len(written) == 1
    assert_torchs(again(LEVELS), net)
    np.testing.assert_array_equal(again(LEVELS + np.float32(0.5)), of_torch(net, LEVELS + 0.5))


def test_copies_begin_anew(net: EfficientNet, shelf: Shelf, at_once: None) -> None:
    fast = Fastest(net, CARD, shelf=shelf)
    fast(LEVELS)
    holder = copy.deepcopy({"net": net, "fast": fast})
    assert holder["fast"].is_for(holder["net"], CARD.preprocessing)
    assert holder["fast"].runtime == "torch"
    assert_torchs(pickle.loads(pickle.dumps(fast))(LEVELS), net)


def test_changed_weights_are_noticed(net: EfficientNet, shelf: Shelf, written: list[Path]) -> None:
    fast = Fastest(net, CARD, shelf=shelf)
    fast(LEVELS)
    before = fast(LEVELS)
    with torch.no_grad():
        net.head.conv.weight.mul_(1.5)
    assert_torchs(fast(LEVELS), net)
    assert_torchs(fast(LEVELS), net)
    assert len(written) == 2
    assert np.abs(fast(LEVELS) - before).max() > 1e-2
    net.classifier.weight.data.mul_(2.0)
    net.classifier.bias.data.add_(1.0)
    assert_torchs(fast(LEVELS), net)
    assert not fast.is_for(net, replace(CARD.preprocessing, crop=0.5))
    assert fast.is_for(net, CARD.preprocessing)
    net.classifier = torch.nn.Linear(net.classifier.in_features, len(tiny.CLASSES))
    assert not fast.is_for(net, CARD.preprocessing)


def test_a_damaged_file_in_the_cache_is_made_anew(
    net: EfficientNet, shelf: Shelf, written: list[Path]
) -> None:
    Fastest(net, CARD, shelf=shelf)(LEVELS)
    [place] = (path for path in shelf.root.iterdir() if path.is_dir())
    weights = place / "model.bin"
    for damage in (b"", bytes(weights.stat().st_size)):
        weights.write_bytes(damage)
        fast = Fastest(net, CARD, shelf=shelf)
        fast(LEVELS)
        assert fast.runtime == "openvino"
        assert_torchs(fast(LEVELS), net)
    assert len(written) == 3


def test_a_program_that_answers_otherwise_is_left_out(
    net: EfficientNet, shelf: Shelf, at_once: None
) -> None:
    way = programs.WAYS_BY_RUNTIME["openvino"]

    def another(net: EfficientNet, card: Card, file: Path, **form: Any) -> None:
        other = stand_in(tiny.SPEC)
        torch.nn.init.normal_(other.classifier.weight)
        way.write(other, card, file, **form)

    programs.WAYS_BY_RUNTIME["openvino"] = replace(way, write=another)
    fast = Fastest(net, CARD, shelf=shelf)
    for _ in range(2):
        np.testing.assert_array_equal(fast(LEVELS), of_torch(net))
    assert fast.runtime == "torch"
    [note] = shelf._notes().values()
    assert note == {"openvino in float32": True}


def test_of_several_programs_the_quickest_stays(
    net: EfficientNet, shelf: Shelf, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = programs.WAYS_BY_RUNTIME["openvino"]
    names = ("openvino", "onnxruntime", "litert")
    monkeypatch.setattr(programs, "WAYS_BY_RUNTIME", dict.fromkeys(names, way))
    monkeypatch.setattr(module, "_time_ratio", ratios(iter((0.5, 0.3, 0.4))))
    opened = programs.open_session
    monkeypatch.setattr(programs, "open_session", lambda _, *a, **b: opened(names[0], *a, **b))
    fast = Fastest(net, CARD, shelf=shelf)
    seen = [fast.runtime for _ in range(5) if len(fast(LEVELS))]
    assert seen == ["openvino", "onnxruntime", "onnxruntime", "onnxruntime", "onnxruntime"]
    again = Fastest(net, CARD, shelf=shelf)
    again(LEVELS)
    assert again.runtime == "onnxruntime"


def ratios(shares: Iterator[float]) -> Callable[..., float]:
    """Return what tells calls' times, as shares of torch's one after another, over another's."""
    known: dict[Run, float] = {}

    def ratio(run: Run, other: Run, levels: Levels) -> float:
        known[run] = next(shares)
        return known[run] / known.get(other, 1.0)

    return ratio


def test_the_first_call_of_a_turn_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def taking(seconds: float) -> Run:
        calls = 0

        def run(levels: Levels) -> Any:
            nonlocal now, calls
            now += seconds if calls % 2 else 1.0
            calls += 1

        return run

    monkeypatch.setattr(module, "CALLS", 1)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now))
    assert module._time_ratio(taking(0.02), taking(0.08), LEVELS) == pytest.approx(0.25)


@dataclass
class Opened:
    """Arithmetics that were asked for, and how far bfloat16 is off, as a share of the outputs."""

    dtypes: list[str]
    lost: float = 2.0**-7
    shares: tuple[float, ...] = (0.2, 0.3)


@pytest.fixture
def opened(at_once: None, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Sessions in bfloat16 that are off by so much, and shares of torch's time in turn."""
    seen, real = Opened([]), programs.open_session

    def rounding(runtime: str, file: Path, *, dtype: str, **given: Any) -> Session:
        seen.dtypes.append(dtype)
        session = real(runtime, file, dtype="float32", **given)
        lost = seen.lost if dtype == "bfloat16" else 0.0
        return replace(session, answer=lambda batch: session(batch) * np.float32(1 + lost))

    def shares() -> Iterator[float]:
        while True:
            first, *rest = seen.shares
            seen.shares = (*rest, first)
            yield first

    monkeypatch.setattr(programs, "open_session", rounding)
    monkeypatch.setattr(module, "_time_ratio", ratios(shares()))
    monkeypatch.setitem(programs.DTYPES, "auto", ("bfloat16", "float32"))
    return seen


@pytest.mark.parametrize(
    ("precision", "shares", "dtype"),
    [
        ("auto", (0.2, 0.3), "bfloat16"),
        ("auto", (0.2, 0.23), "bfloat16"),
        ("auto", (0.2, 0.22), "float32"),  # so little time is not worth exactness
        ("auto", (0.9, 0.95), None),
        ("float32", (0.2, 0.3), "float32"),
    ],
)
def test_bfloat16_is_taken_where_it_pays(
    net: EfficientNet,
    shelf: Shelf,
    opened: Opened,
    precision: str,
    shares: tuple[float, ...],
    dtype: str | None,
) -> None:
    opened.shares = shares
    for _ in range(2):
        fast = Fastest(net, CARD, precision=precision, shelf=shelf)
        assert not fast.settled
        for _ in range(3):
            outputs = fast(LEVELS)
        assert fast.settled
        assert fast.program == (f"openvino in {dtype}" if dtype else "torch")
        lost = opened.lost if dtype == "bfloat16" else 0.0
        assert_torchs(outputs / np.float32(1 + lost), net)


def test_without_bfloat16_it_is_float32(
    net: EfficientNet, shelf: Shelf, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounding = programs.open_session

    def lacking(runtime: str, file: Path, *, dtype: str, **given: Any) -> Session:
        if dtype == "bfloat16":
            raise UsageError("This processor has it not.")
        return rounding(runtime, file, dtype=dtype, **given)

    monkeypatch.setattr(programs, "open_session", lacking)
    fast = Fastest(net, CARD, shelf=shelf)
    fast(LEVELS)
    fast(LEVELS)
    assert (fast.program, opened.dtypes) == ("openvino in float32", ["float32"])


def test_bfloat16_that_is_far_off_is_left_out_for_that_network_alone(
    net: EfficientNet, shelf: Shelf, opened: Opened, written: list[Path]
) -> None:
    first = Fastest(net, CARD, shelf=shelf)
    first(LEVELS)
    first(LEVELS)
    assert first.program == "openvino in bfloat16"
    other = stand_in(tiny.SPEC)
    attach(other, CARD.preprocessing)
    with torch.no_grad():
        other.classifier.weight.mul_(100)
    opened.dtypes.clear()
    opened.lost = -2.0  # the other way round
    for _ in range(2):
        fast = Fastest(other, CARD, shelf=shelf)
        for _ in range(3):
            fast(LEVELS)
        assert fast.program == "openvino in float32"
        assert_torchs(fast(LEVELS), other)
    assert opened.dtypes == ["bfloat16", "float32", "float32"]
    assert len(written) == 2


def test_a_runtime_that_was_asked_for_computes_in_float32(
    net: EfficientNet, shelf: Shelf, opened: Opened
) -> None:
    Fastest(net, CARD, runtime="openvino", shelf=shelf)(LEVELS)
    assert opened.dtypes == ["float32"]
    Fastest(net, CARD, runtime="openvino", precision="bfloat16", shelf=shelf)(LEVELS)
    assert opened.dtypes == ["float32", "bfloat16"]


@pytest.mark.parametrize("share", [0.81, 1.5])
def test_a_program_that_is_hardly_quicker_is_not_taken(
    net: EfficientNet,
    shelf: Shelf,
    at_once: None,
    share: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_time_ratio", lambda *_: share)
    fast = Fastest(net, CARD, shelf=shelf)
    fast(LEVELS)
    assert fast.runtime == "torch"
    assert [path for path in shelf.root.iterdir() if path.is_dir()] == []


def fails(*_: Any, **__: Any) -> Any:
    raise RuntimeError("it broke")


@pytest.mark.parametrize(
    ("place", "name"),
    [(programs, "open_session"), (programs, "session_run"), (module, "_time_ratio")],
)
def test_a_program_that_fails_leaves_it_to_torch(
    net: EfficientNet,
    shelf: Shelf,
    at_once: None,
    place: ModuleType,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(place, name, fails)
    fast = Fastest(net, CARD, shelf=shelf)
    for _ in range(3):
        np.testing.assert_array_equal(fast(LEVELS), of_torch(net))
    assert fast.runtime == "torch"


def test_a_program_that_fails_later(net: EfficientNet, shelf: Shelf, at_once: None) -> None:
    fast = Fastest(net, CARD, shelf=shelf)
    fast(LEVELS)
    fast._run = fails
    np.testing.assert_array_equal(fast(LEVELS), of_torch(net))
    assert fast.runtime == "torch"


def test_a_cache_that_cannot_be_written(net: EfficientNet, tmp_path: Path, at_once: None) -> None:
    (tmp_path / "file").touch()
    fast = Fastest(net, CARD, shelf=Shelf(tmp_path / "file" / "runtimes"))
    for _ in range(2):
        np.testing.assert_array_equal(fast(LEVELS), of_torch(net))


def test_a_hooked_network_stays_in_torch(net: EfficientNet, shelf: Shelf, at_once: None) -> None:
    seen: list[Any] = []
    net.head.register_forward_hook(lambda *_: seen.append(1))
    fast = Fastest(net, CARD, shelf=shelf)
    fast(LEVELS)
    fast(LEVELS)
    assert (len(seen), fast.runtime) == (2, "torch")


def test_a_program_that_was_asked_for(
    net: EfficientNet, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = Fastest(net, CARD, runtime="openvino", shelf=shelf)
    first = fast(LEVELS)
    assert fast.runtime == "openvino"
    assert_torchs(first, net)
    np.testing.assert_array_equal(fast(LEVELS), first)
    stays = Fastest(net, CARD, runtime="torch", shelf=shelf)
    monkeypatch.setattr(programs, "OPENING", 0.0)
    monkeypatch.setattr(module, "OPENING", 0.0)
    np.testing.assert_array_equal(stays(LEVELS), of_torch(net))
    assert stays.runtime == "torch"
    monkeypatch.setattr(programs, "open_session", fails)
    with pytest.raises(RuntimeError, match="it broke"):
        Fastest(net, CARD, runtime="openvino", shelf=shelf)(LEVELS)
    with pytest.raises(UsageError, match="Did you mean 'openvino'"):
        Fastest(net, CARD, runtime="openvno")
    with pytest.raises(UsageError, match="onnxruntime does not compute in bfloat16"):
        Fastest(net, CARD, runtime="onnxruntime", precision="bfloat16", shelf=shelf)
    monkeypatch.setattr("effnet.extras.installed", lambda name: name != "openvino")
    with pytest.raises(ResourceError, match="openvino is needed"):
        Fastest(net, CARD, runtime="openvino")


@pytest.fixture
def make() -> Callable[[Path], None]:
    return lambda folder: (folder / "file").write_bytes(bytes(1000)) and None


def test_the_shelf_drops_what_was_not_used_for_longest(
    shelf: Shelf, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("effnet.deployment.converted.MOST_BYTES", 2500)
    for number, name in enumerate(("a", "b")):
        place = shelf.get(name, make)
        module.time.sleep(0.01 * number)
    shelf.get("a", fails)  # is used again, not made again
    assert place == shelf.place("b")
    shelf.get("c", make)
    assert [shelf.place(name).is_dir() for name in "abc"] == [True, False, True]
    with pytest.raises(RuntimeError):
        shelf.get("d", fails)
    assert sorted(path.name for path in shelf.root.iterdir() if path.is_dir()) == ["a", "c"]


def test_a_shelf_that_is_only_to_be_read(
    shelf: Shelf, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.get("a", make)
    monkeypatch.setattr("os.utime", refuses)
    assert shelf.get("a", fails) == shelf.place("a")


def refuses(*_: Any) -> None:
    raise PermissionError


def test_the_shelf_remembers(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("effnet.deployment.converted.MOST_NOTES", 2)
    assert shelf.remembered("a") == {}
    for name in "abc":
        shelf.remember(name, {"x": 1})
    assert [shelf.remembered(name) for name in "abc"] == [{}, {"x": 1}, {"x": 1}]
    (shelf.root / "measured.json").write_text("[1")
    assert shelf.remembered("b") == {}
    shelf.remember("b", {"x": 2})
    assert shelf.remembered("b") == {"x": 2}
