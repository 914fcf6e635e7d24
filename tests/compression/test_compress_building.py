"""How candidates are made with the real tools, as far as that takes no time."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tiny
from compression.made_up import CARD, COUNT, NET, MadeUp, data
from effnet.compression import building
from effnet.compression.building import Built, Order
from effnet.compression.candidates import Candidate
from effnet.compression.gate import Whole, open_for
from effnet.compression.judge import Judgement
from effnet.data.sources import DataSet, open_data
from effnet.data.splits import Split
from effnet.errors import Preempted
from effnet.measure.records import Setting
from effnet.training.job import Job

BEFORE = MadeUp().tools.judge_network(Whole(NET, CARD), data(), 0)


def order(folder: Path, runtime: str, precision: str) -> Order:
    return Order(
        candidate=Candidate(
            network="tiny", runtime=runtime, precision=precision, resolution=tiny.SIDE
        ),
        network=Whole(NET, CARD),
        folder=folder,
        data=data(),
        before=BEFORE,
        max_drop=0.02,
        workers=0,
        tell=lambda line: None,
    )


def write_graph(path: Path, batch: int | str) -> Path:
    """Write an ONNX file that averages pictures, for any number of them if `batch` is a name."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["pictures"], ["outputs"])],
        "average",
        [helper.make_tensor_value_info("pictures", kind, [batch, 3, tiny.SIDE, tiny.SIDE])],
        [helper.make_tensor_value_info("outputs", kind, [batch, 3, 1, 1])],
    )
    onnx.save(helper.make_model(graph), str(path))
    return path


@pytest.mark.parametrize(("batch", "wanted", "taken"), [(1, 16, 1), (4, 16, 4), ("N", 16, 16)])
def test_throughput_is_measured_in_the_batch_that_a_file_has(
    batch: int | str, wanted: int, taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: list[Setting] = []
    monkeypatch.setattr(building, "bench", lambda net, setting, **_: settings.append(setting))
    built = Built(file=write_graph(tmp_path / "model.onnx", batch))
    building.measure(order(tmp_path, "onnxruntime", "float32"), built, Setting(batch=wanted))
    assert [setting.batch for setting in settings] == [taken]


def test_quantizing_may_lose_so_much_of_what_came_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def quantize(*_: object, **options: Any) -> Any:
        asked.update(options)
        return SimpleNamespace(rungs=[SimpleNamespace(name="all")], after=BEFORE)

    monkeypatch.setattr(building, "quantize", quantize)
    assert building.build(order(tmp_path, "openvino", "int8")).note == "all"
    found = asked["before"]
    assert isinstance(found, Judgement)
    assert found.count == COUNT
    assert found is BEFORE


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs of trainings, which are stopped before they begin."""
    jobs: list[Job] = []

    def train(net: object, its: DataSet, job: Job, *_: object, **__: object) -> None:
        jobs.append(job)
        raise Preempted("as asked")

    monkeypatch.setattr(building, "train", train)
    return jobs


def distil(teacher: Whole, its: DataSet, folder: Path, **settings: Any) -> None:
    with pytest.raises(Preempted):
        building.distil("lite0", teacher, its, folder, settings)


@pytest.mark.parametrize(
    "recipe", [{}, {"seed": 7, "val_share": 0.25}, {"seed": 3, "val_share": 0.0}]
)
def test_of_a_distilled_network_the_same_pictures_are_held_out(
    recipe: dict[str, Any], declared: list[Job], tmp_path: Path
) -> None:
    folder = tiny.folder(tmp_path / "photos", train=36, val=0)
    teacher = Whole(NET, replace(CARD, training={"recipe": recipe}))
    its = open_for(teacher.card, folder / "train")
    distil(teacher, its, tmp_path / "run", workers=2, threads=1, epochs=4)
    (job,) = declared
    student = replace(CARD, training={"recipe": job.recipe.to_dict()})
    again = open_for(student, folder / "train")
    assert held(again.val) == held(its.val)
    assert (job.recipe.workers, job.recipe.threads, job.recipe.epochs) == (2, 1, 4)
    if recipe.get("val_share"):
        usual = open_data(folder / "train")
        assert held(usual.val) != held(its.val)  # else nothing is shown


def held(split: Split | None) -> list[str]:
    assert split is not None
    return sorted(str(split.name(place)) for place in range(len(split)))
