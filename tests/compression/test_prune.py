"""Pruning: against torch-pruning's own module, torch's counters, and what was promised."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import timm
import torch
import torch_pruning
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import effnet
import tiny
from effnet import artifact, extras
from effnet.card import Card
from effnet.compression.channels import channels_of, rebuilt
from effnet.compression.prune import Pruned, prune
from effnet.compression.prune_run import FILE, Report, prune_and_train
from effnet.compression.targets import parse_targets
from effnet.compression.widths import additions, given_by, of_widths, widths_of
from effnet.data.defaults import default_preprocessing
from effnet.data.sources import DataSet, open_data
from effnet.data.splits import ArraySplit
from effnet.deployment.export import onnx
from effnet.errors import (
    DataError,
    EffnetError,
    ModelFileError,
    Preempted,
    ResourceError,
    UsageError,
)
from effnet.measure.counts import Counts, count
from effnet.nets.network import EfficientNet, fresh
from effnet.nets.scaling import variant_spec
from effnet.nets.spec import Spec, Stage
from effnet.training.progress import ConsoleReporter
from effnet.training.recipe import Recipe
from effnet.training.recipes import read_yaml
from effnet.training.run import RunFolder
from effnet.weights.conversion import to_effnet
from effnet.weights.libraries import LIBRARIES
from nets.small import KINDS, SIDE, calm_net, pictures

PHOTOS = ArraySplit(*tiny.arrays(12))
ROUGHLY: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
FOLLOWED = [kind for kind in KINDS if not kind.startswith("condconv")]

rows = st.builds(
    Stage,
    block=st.just("mbconv"),
    repeats=st.integers(1, 3),
    kernel=st.sampled_from([3, 5]),
    stride=st.sampled_from([1, 2]),
    expansion=st.sampled_from([1, 2, 6]),
    channels=st.sampled_from([8, 16, 20, 24]),
    squeeze=st.sampled_from([0.0, 0.25, 1.0]),
    residual=st.booleans(),
) | st.builds(
    Stage,
    block=st.just("fused"),
    repeats=st.integers(1, 3),
    kernel=st.just(3),
    stride=st.sampled_from([1, 2]),
    expansion=st.sampled_from([1, 4]),
    channels=st.sampled_from([8, 16, 24]),
    residual=st.booleans(),
)
specs = st.builds(
    partial(Spec.with_, tiny.SPEC),
    stem=st.sampled_from([8, 16, 32]),
    stages=st.lists(rows, min_size=1, max_size=3).map(tuple),
    head=st.sampled_from([16, 33, 64]),
    padding=st.sampled_from(["same", "symmetric"]),
    activation=st.sampled_from(["silu", "relu6"]),
    resolution=st.just(SIDE),
)


def card_of(spec: Spec) -> Card:
    names = tuple(f"class {number}" for number in range(spec.classes))
    prepared = default_preprocessing(spec, spec.resolution)
    return Card(spec=spec, task="classify", classes=names, preprocessing=prepared)


def pruned_to(spec: Spec, to: str, **options: Any) -> Pruned:
    spec = spec.with_(classes=3)
    return prune(calm_net(spec), card_of(spec), PHOTOS, to=to, **options)


def held(net: EfficientNet) -> Counts:
    """Parameters and multiply-adds by torch's own counts."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        net(torch.zeros(1, net.spec.in_channels, net.spec.resolution, net.spec.resolution))
    return Counts(sum(p.numel() for p in net.parameters()), counter.get_total_flops() // 2)


@settings(max_examples=20, deadline=None)
@given(specs, st.sampled_from(["macs", "params"]), st.integers(55, 99))
def test_any_network_is_a_spec_again(spec: Spec, quantity: str, percent: int) -> None:
    try:
        found = pruned_to(spec, f"{quantity}={percent}%")
    except UsageError as error:
        assert "cannot be pruned to" in str(error)  # noqa: PT017 - narrow networks have no eights
        return
    narrow, before, after = found.net.spec, found.before, found.after
    assert EfficientNet(narrow).spec == narrow == Spec.from_json(narrow.to_json())
    ours = {"macs": (after.macs, before.macs), "params": (after.parameters, before.parameters)}
    part, whole = ours[quantity]
    assert part <= whole * percent / 100
    torchs = held(found.net)
    assert (after.macs, after.parameters) == (torchs.macs, torchs.parameters)
    assert tuple(additions(narrow)) == tuple(additions(spec))
    then, now = widths_of(EfficientNet(spec)), widths_of(found.net)
    assert all(now[name] == then[name] or now[name] % 8 == 0 for name in then)


@pytest.mark.parametrize("kind", FOLLOWED)
def test_rebuilt_network_answers_as_torch_prunings_own_module(kind: str) -> None:
    spec = KINDS[kind]
    theirs = calm_net(spec)
    pruner = torch_pruning.pruner.BasePruner(
        theirs,
        torch.zeros(1, 3, SIDE, SIDE),
        torch_pruning.importance.GroupMagnitudeImportance(),
        pruning_ratio=0.3,
        ignored_layers=[theirs.classifier, *early(theirs)],
    )
    pruner.step()
    ours = rebuilt(theirs, partial(of_widths, spec))
    assert held(ours).parameters < 0.8 * held(calm_net(spec)).parameters
    x = pictures(3, 3, 33, 31)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


def early(net: EfficientNet) -> list[torch.nn.Module]:
    """Layers whose outputs would become as many as those before them, so that they add up."""
    return [net.stem, net.stages[0]]


def test_timms_pruned_b1_is_a_spec() -> None:
    theirs = timm.create_model("efficientnet_b1_pruned", num_classes=7).eval()
    state = theirs.state_dict()
    whole = variant_spec("b1", convention="tensorflow", classes=7)
    widths = {
        width: len(state[name.theirs])
        for name in LIBRARIES["timm"].table.names(whole)
        if name.theirs and (width := given_by(name.ours.removesuffix(".weight")))
    }
    spec = of_widths(whole, widths)
    ours = EfficientNet(spec).eval()
    ours.load_state_dict(to_effnet(spec, state, "timm"))
    x = pictures(2, 3, 65, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), **ROUGHLY)


@pytest.mark.parametrize("kind", FOLLOWED)
def test_channels_that_do_nothing_go_first(kind: str) -> None:
    """Half of the last block's inner channels are read by nothing but their gate's means."""
    spec = KINDS[kind].with_(classes=3)
    net = calm_net(spec)
    block = net.stages[-1][-1]
    width = block.project.conv.in_channels
    dead = torch.randperm(width, generator=torch.Generator().manual_seed(0))[: width // 2]
    with torch.no_grad():
        block.project.conv.weight[:, dead] = 0
        if spec.stages[-1].squeeze:
            block.squeeze.reduce.weight[:, dead] = 0
    x = pictures(2, 3, SIDE, SIDE)
    with torch.no_grad():
        whole = net(x)
    (inner,) = [
        one
        for one in channels_of(net, [lambda: net(x).square().sum()])
        if f"stages.2.{spec.stages[-1].repeats - 1}.inner" in one.names
    ]
    assert inner.width == width
    inner.remove(width // 2)
    narrow = rebuilt(net, partial(of_widths, spec))
    assert narrow.spec.stages[-1].inner is not None
    assert narrow.spec.stages[-1].inner[-1] == width - width // 2
    with torch.no_grad():
        torch.testing.assert_close(narrow(x), whole, **ROUGHLY)


@pytest.mark.parametrize(
    ("spec", "rounds"), [(variant_spec("b0").with_(resolution=SIDE), 1), (KINDS["mbconv"], 3)]
)
def test_no_more_goes_than_must(spec: Spec, rounds: int) -> None:
    spec = spec.with_(classes=3)
    found = pruned_to(spec, "macs=75%", rounds=rounds)
    limit = 0.75 * found.before.macs
    assert found.after.macs <= limit
    # Eight more channels of some width would be too many.
    widths, then = widths_of(found.net), widths_of(EfficientNet(spec))
    assert any(
        count(of_widths(found.net.spec, {**widths, name: min(width + 8, then[name])})).macs > limit
        for name, width in widths.items()
    )
    assert all(4 * widths[name] >= then[name] for name in widths)
    assert found.card.spec == found.net.spec
    assert found.net.spec.name == f"{spec.name}-pruned"


def test_several_limits_are_all_kept() -> None:
    found = pruned_to(KINDS["mbconv"], "macs=80%,params=60%")
    assert found.after.macs <= 0.8 * found.before.macs
    assert found.after.parameters <= 0.6 * found.before.parameters


def test_the_network_that_came_in_stays() -> None:
    spec = KINDS["mbconv"].with_(classes=3)
    net = calm_net(spec)
    before = copy.deepcopy(net.state_dict())
    prune(net, card_of(spec), PHOTOS, to="macs=70%")
    assert net.spec == spec
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.slow
def test_a_pruned_network_is_saved_exported_and_pruned_again(tmp_path: Path) -> None:
    found = pruned_to(KINDS["mbconv-same"], "macs=70%")
    artifact.write(tmp_path / "pruned.safetensors", found.net.state_dict(), found.card)
    model = effnet.load(tmp_path / "pruned.safetensors")
    assert model.spec == found.net.spec
    x = pictures(2, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = found.net(x)
        torch.testing.assert_close(model.net(x), expected)
    onnx.write(model.net, model.card, tmp_path / "pruned.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "pruned.onnx")
    (answers,) = session.run(None, {"pictures": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(answers), expected, **ROUGHLY)
    again = prune(found.net, found.card, PHOTOS, to="params=80%")
    assert again.after.parameters <= 0.8 * found.after.parameters


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("macs=50%", {"macs": 500.0}),
        ("MACs = 12.5 %", {"macs": 125.0}),
        ("params=60%,macs=400", {"params": 1200.0, "macs": 400.0}),
        (["size=1kB", "params=1k"], {"size": 1000.0, "params": 1000.0}),
        ("params=3k,macs=999", {"params": 3000.0, "macs": 999.0}),  # the first is kept already
    ],
)
def test_targets(words: str | list[str], expected: dict[str, float]) -> None:
    now = Counts(parameters=2000, macs=1000, size=8000)
    limits = parse_targets(words, now)
    assert {limit.quantity: limit.most for limit in limits} == expected


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ("", "What shall be pruned to"),
        ("macs", "no amount"),
        ("macs=0%", "no share between"),
        ("macs=100%", "no share between"),
        ("macs=1.2.3%", "no share between"),
        ("macs=1k", "that small already: macs 0.001 M"),
        ("mac=50%", "no quantity .*Did you mean 'macs'"),
        ("latency=5ms", "latency follows no rule .*prune to params, macs, size"),
        ("latency=50%", "no amount of latency"),
        ("macs=50%,macs=100", "limited twice"),
    ],
)
def test_targets_that_cannot_be_meant(words: str, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        parse_targets(words, Counts(parameters=2000, macs=1000, size=8000))


def test_what_cannot_be_pruned_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="mixes its kernels"):
        pruned_to(KINDS["condconv"], "macs=80%")
    with pytest.raises(UsageError, match=r"cannot be pruned to macs .*has still macs"):
        pruned_to(KINDS["mbconv"], "macs=3%")
    unread = ArraySplit(*tiny.arrays(3))
    monkeypatch.setattr(ArraySplit, "read", _unreadable)
    with pytest.raises(DataError, match="None of 3 training pictures could be read"):
        prune(calm_net(tiny.SPEC), card_of(tiny.SPEC), unread, to="macs=70%")
    monkeypatch.setattr(extras, "installed", lambda module: False)
    with pytest.raises(ResourceError, match=r"effnet\[compress\]"):
        channels_of(fresh(tiny.SPEC, 0), [])


def _unreadable(split: ArraySplit, index: int, *_: Any, **__: Any) -> None:
    from effnet.data.decode import UnreadablePicture

    raise UnreadablePicture(split.name(index), "it is torn")


@pytest.fixture(scope="module")
def data() -> DataSet:
    return open_data(*tiny.arrays(60), classes=tiny.CLASSES)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, data: DataSet) -> effnet.Model:
    """A model that is right about the pictures."""
    learned = effnet.Model(tiny.SPEC, classes=tiny.CLASSES)
    settings = {**tiny.FAST, "epochs": 10, "lr": 0.02, "flip": 0.0, "verbose": False}
    learned.fit(data, out=tmp_path_factory.mktemp("whole") / "run", **settings)
    return learned


def run_to(
    model: effnet.Model, data: DataSet, run: Path, *, recipe: Recipe | None, to: str = "macs=60%"
) -> Report:
    reporter = ConsoleReporter(1, 8, quiet=True)
    return prune_and_train(
        model.net, model.card, data, RunFolder(run), reporter, to=to, recipe=recipe, device="cpu"
    )


def test_training_again_mends_what_pruning_broke(
    model: effnet.Model, data: DataSet, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    recipe = Recipe(**{**tiny.FAST, "epochs": 8, "lr": 0.01, "flip": 0.0})
    report = run_to(model, data, run, recipe=recipe)
    assert report.trained is not None
    assert report.whole.value == report.trained.value == 1
    assert report.bare.outputs.shape == report.whole.outputs.shape
    mended = effnet.load(run)
    assert count(mended.spec).macs <= 0.6 * count(model.spec).macs
    assert (mended.classes, mended.preprocessing) == (model.classes, model.preprocessing)
    assert mended.evaluate(*tiny.arrays(60, seed=7)).accuracy == 1
    told = report.to_dict()
    assert told["trained"]["drop"] == 0
    assert told["after"]["macs"] == report.pruned.after.macs
    start = effnet.load(run / FILE)
    with pytest.raises(UsageError, match="not an empty folder"):
        run_to(model, data, run, recipe=recipe)
    torch.testing.assert_close(start.net.state_dict(), report.pruned.net.state_dict())


def test_without_training_there_is_a_model_file(
    model: effnet.Model, data: DataSet, tmp_path: Path
) -> None:
    report = run_to(model, data, tmp_path / "run", recipe=None)
    assert report.trained is None
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["model.safetensors"]
    judged = effnet.load(tmp_path / "run").evaluate(data.val)  # type: ignore[arg-type]
    assert judged.accuracy == report.bare.value
    assert "trained" not in report.to_dict()


@pytest.mark.parametrize(
    ("settings", "kind", "match"),
    [
        ({"batch": 2, "accumulate": 2}, UsageError, "batch 2 cannot be parted"),
        ({"distil": "gone.safetensors"}, ModelFileError, "gone.safetensors"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_told_before_anything_is_pruned(
    model: effnet.Model,
    data: DataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    kind: type[EffnetError],
    match: str,
) -> None:
    monkeypatch.setattr("effnet.compression.prune_run.prune", lambda *_, **__: pytest.fail("began"))
    with pytest.raises(kind, match=match):
        run_to(model, data, tmp_path / "run", recipe=Recipe(**{**tiny.FAST, **settings}))
    assert not (tmp_path / "run").exists()


def test_the_network_that_a_run_starts_from_is_there_when_training_begins(
    model: effnet.Model, data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "run")

    def stopped(_: object) -> None:
        named = read_yaml(str(run.recipe))["weights"]
        assert count(artifact.read(named)[0].spec).macs <= 0.6 * count(model.spec).macs
        raise Preempted("as asked")

    monkeypatch.setattr("effnet.training.loop.Training.go", stopped)
    with pytest.raises(Preempted, match="as asked"):
        run_to(model, data, run.path, recipe=Recipe(**tiny.FAST))
    assert run.checkpoint.exists()  # so it can go on


def test_a_training_that_did_not_begin_leaves_the_folder_free(
    model: effnet.Model, data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise ResourceError("no room")

    monkeypatch.setattr("effnet.compression.prune_run.train", refused)
    with pytest.raises(ResourceError, match="no room"):
        run_to(model, data, tmp_path / "run", recipe=Recipe(**tiny.FAST))
    RunFolder(tmp_path / "run").require_new()


def test_data_that_do_not_fit_the_model(model: effnet.Model, data: DataSet, tmp_path: Path) -> None:
    pictures, labels = tiny.arrays(12)
    cases: list[tuple[DataSet, type[EffnetError], str]] = [
        (open_data(pictures, labels), UsageError, "the model has blue, green, red; the data has 0"),
        (open_data(pictures, labels.astype(float) + 0.5), UsageError, "the data's regress"),
        (
            *(open_data(pictures, labels, val_share=0, classes=tiny.CLASSES), DataError),
            "no validation split",
        ),
    ]
    for other, kind, match in cases:
        with pytest.raises(kind, match=match):
            run_to(model, other, tmp_path / "run", recipe=None)
    assert not (tmp_path / "run").exists()
