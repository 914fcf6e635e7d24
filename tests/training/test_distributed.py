"""The processes that train together: what they tell each other, and how they notice a dead one.

Run as a program, `test_distributed.py PART FOLDER` is one of the processes.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import tiny
from effnet.cli.main import main
from effnet.errors import ResourceError, UsageError
from effnet.training import distributed
from effnet.training.checkpoint import read_checkpoint
from effnet.training.distributed import joined, local_device
from effnet.training.launch import launch

CPU = torch.device("cpu")
SIZE = 3
LIMIT = 30.0
"""Seconds in which a group must be gone."""
PATIENCE = 300.0
"""Seconds after which a condition that never holds fails the test."""
BEAT, SILENCE, HASTE = distributed.BEAT, distributed.SILENCE, 5.0
"""The seconds of the watch over each other, and how many times quicker it is here."""


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 64), nn.Tanh(), nn.Linear(64, 5))


def loss_of(net: nn.Module, rank: int, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(100 * rank + step)
    out: Tensor = net(torch.randn(4, 7, generator=generator))
    return out.square().mean()


def gradients(net: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]


def own_gradients(rank: int, step: int, frozen: bool = False) -> list[Tensor]:
    net = network()
    net[0].requires_grad_(not frozen)
    loss_of(net, rank, step).backward()
    return gradients(net)


def tell(folder: Path) -> None:
    """What each method returns, in two groups one after the other."""
    found: list[dict[str, Any]] = []
    for _ in range(2):
        with joined(local_device(CPU)) as group:
            found.append(
                {
                    "place": [group.rank, group.size, int(group.first)],
                    "total": group.total(torch.tensor([1.0, group.rank], dtype=torch.float64)),
                    "any": [group.any(group.rank == one) for one in (0, 2, SIZE)],
                    "gathered": group.gathered({"rank": group.rank}),
                    "counts": group.counts(10 + group.rank),
                }
            )
            group.wait()
    torch.save(found, folder / f"tell{group.rank}.pt")


def learn(folder: Path) -> None:
    """Gradients of some steps; of a frozen network afterwards; of two parts added up."""
    with joined(CPU) as group:
        net = network()
        with torch.no_grad():
            net[0].weight.add_(group.rank)  # is replaced by the first process's
        parallel = group.parallel(net)
        steps = []
        for step in range(3):
            net.zero_grad()
            loss_of(parallel, group.rank, step).backward()
            steps.append(gradients(net))
        net[0].requires_grad_(False)
        net.zero_grad()
        parallel = group.parallel(net)
        loss_of(parallel, group.rank, 3).backward()
        frozen = gradients(net)
        net.zero_grad()
        with group.apart(parallel):
            loss_of(parallel, group.rank, 0).backward()
        loss_of(parallel, group.rank, 1).backward()
        found = {"steps": steps, "frozen": frozen, "parts": gradients(net)}
        torch.save(found, folder / f"learn{group.rank}.pt")


def lose(folder: Path) -> None:
    """The last process is killed while the first waits for it and another does something else."""
    distributed.BEAT, distributed.SILENCE = BEAT / HASTE, SILENCE / HASTE
    with joined(CPU) as group:
        group.wait()
        if group.rank == SIZE - 1:
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if group.rank:
            time.sleep(PATIENCE)
        try:
            group.wait()
        except RuntimeError:  # a caller that holds on to a broken group
            time.sleep(PATIENCE)


def break_off(folder: Path) -> None:
    """The last process ends with an error of its own; the others are waiting for it."""
    try:
        with joined(CPU) as group:
            if group.rank == SIZE - 1:
                raise KeyError
            group.wait()
    except ResourceError as error:
        (folder / f"told{group.rank}").write_text(str(error))
        sys.exit(error.exit_code)


PARTS: dict[str, tuple[Callable[[Path], None], ...]] = {
    "well": (tell, learn, break_off),
    "lose": (lose,),
}


@pytest.fixture(scope="module", autouse=True)
def _tests_importable() -> Iterator[None]:
    """Let the processes find the modules of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(tiny.__file__).parent), prepend=os.pathsep)
        yield


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What three processes leave, of which the last ends with an error in the end."""
    folder = tmp_path_factory.mktemp("left")
    assert launch(["well", str(folder)], SIZE, program=(sys.executable, __file__)) == 1
    return folder


def results(part: str, folder: Path) -> list[Any]:
    return [torch.load(folder / f"{part}{rank}.pt", weights_only=True) for rank in range(SIZE)]


def started_without_launcher(part: str, folder: Path) -> list[subprocess.Popen[bytes]]:
    """The processes of a group as if each were on a machine of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    shared = {"WORLD_SIZE": str(SIZE), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        subprocess.Popen(
            [sys.executable, __file__, part, str(folder)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": "0"},
        )
        for rank in range(SIZE)
    ]


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.005)


def test_alone_every_answer_is_ones_own() -> None:
    with joined(CPU) as group:
        assert (group.rank, group.size, group.first) == (0, 1, True)
        values, net = torch.tensor([1.0, 2.0]), network()
        assert torch.equal(group.total(values), values)
        assert [group.any(True), group.any(False)] == [True, False]
        assert group.gathered("word") == ["word"]
        assert group.counts(5) == [5]
        assert group.parallel(net) is net
        with group.apart(net):
            group.wait()


@pytest.mark.parametrize("missing", ["RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_missing_variable_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)
    with pytest.raises(UsageError, match=missing), joined(CPU):
        pass


def test_senseless_variable_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(UsageError, match="many"), joined(CPU):
        pass


def test_device_of_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    one = torch.device("cuda", 1)
    assert local_device(one) == one  # alone
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert local_device(torch.device("cuda")) == torch.device("cuda", 3)
    assert local_device(CPU) == CPU
    with pytest.raises(UsageError, match="CUDA_VISIBLE_DEVICES"):
        local_device(one)
    with pytest.raises(UsageError, match="mps"):
        local_device(torch.device("mps"))
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(ResourceError, match="--devices 4"):
        local_device(torch.device("cuda"))


@pytest.mark.slow
def test_what_they_tell_each_other(left: Path) -> None:
    found = results("tell", left)
    for rank, (first, second) in enumerate(found):
        assert first["place"] == [rank, SIZE, int(rank == 0)]
        assert first["total"].tolist() == [SIZE, sum(range(SIZE))]
        assert first["any"] == [True, True, False]
        assert first["gathered"] == [{"rank": other} for other in range(SIZE)]
        assert first["counts"] == [10, 11, 12]
        assert {**first, "total": 0} == {**second, "total": 0}
        assert torch.equal(first["total"], second["total"])


@pytest.mark.slow
def test_gradients_are_the_mean_in_every_step(left: Path) -> None:
    for mine in results("learn", left):
        for step in range(3):
            expected = mean([own_gradients(rank, step) for rank in range(SIZE)])
            # To the bit, in the first step and after DDP has laid out its buckets anew.
            assert all(map(torch.equal, mine["steps"][step], expected))
        expected = mean([own_gradients(rank, 3, frozen=True) for rank in range(SIZE)])
        assert all(map(torch.equal, mine["frozen"], expected))
        parts = [
            mean([own_gradients(r, step, frozen=True) for r in range(SIZE)]) for step in (0, 1)
        ]
        torch.testing.assert_close(
            mine["parts"], [one + other for one, other in zip(*parts, strict=True)]
        )


def mean(rows: list[list[Tensor]]) -> list[Tensor]:
    """The mean of the processes' gradients, added up in the order of ranks."""
    means = []
    for first, *others in zip(*rows, strict=True):
        total = first.clone()
        for other in others:
            total += other
        means.append(total / len(rows))
    return means


@pytest.mark.slow
def test_dead_process_is_noticed_by_those_who_wait_for_nothing(tmp_path: Path) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(p) for p in started_without_launcher("lose", tmp_path)]
        wait_until((tmp_path / "killed").exists)
        start = time.monotonic()
        codes = [process.wait(PATIENCE) for process in processes]
    spared = (1 - 1 / HASTE) * (SILENCE + 2 * BEAT)
    assert time.monotonic() - start + spared < LIMIT
    assert codes == [ResourceError.exit_code, ResourceError.exit_code, -signal.SIGKILL]


@pytest.mark.slow
def test_error_of_one_is_told_to_the_others(left: Path) -> None:
    for rank in range(SIZE - 1):
        assert "lost touch" in (left / f"told{rank}").read_text()


STEPS, EPOCHS = 6, 3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a recipe, and the unbroken runs of one process and of two."""
    root = tmp_path_factory.mktemp("fit")
    tiny.folder(root / "data", train=8 * STEPS + 3)
    # Adam divides by the gradient's size: where the loss does not depend on a weight, such as a
    # bias before the next norm, rounding becomes a step of full length.
    still = {"dropout": 0.0, "drop_path": 0.0, "optimizer": "rmsprop"}
    tiny.recipe_file(
        root / "recipe.yaml",
        **still,
        epochs=EPOCHS,
        augment="trivialaugment",
        checkpoint_seconds=0,
    )
    assert main(new_run(root, root / "one")) == 0
    assert effnet(*new_run(root, root / "two"), "--devices", "2").wait(PATIENCE) == 0
    return root


def new_run(place: Path, run: Path) -> list[str]:
    return ["fit", str(place / "data"), "--recipe", str(place / "recipe.yaml"), "--out", str(run)]


def effnet(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "effnet", *words])


def step_of(run: Path) -> int:
    checkpoint = run / "checkpoints" / "last.ckpt"
    return int(read_checkpoint(checkpoint)[1]["step"]) if checkpoint.exists() else -1


def in_middle(run: Path) -> bool:
    step = step_of(run)
    return step > STEPS and step % STEPS != 0


def worker_of(launched: subprocess.Popen[bytes], rank: int) -> int:
    """The process id of one of the launcher's processes."""
    for child in Path(f"/proc/{launched.pid}/task/{launched.pid}/children").read_text().split():
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if f"RANK={rank}".encode() in variables:
            return int(child)
    raise LookupError(rank)


def states(*runs: Path) -> list[dict[str, Any]]:
    """Everything that changes in a training, with the best model's weights."""
    return [
        {
            **read_checkpoint(run / "checkpoints" / "last.ckpt")[1],
            "job": None,
            "best model": load_file(run / "model.safetensors"),
        }
        for run in runs
    ]


def assert_close(ours: Any, theirs: Any, tolerance: float) -> None:
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        ours, theirs = list(ours.values()), list(theirs.values())
    if isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for mine, yours in zip(ours, theirs, strict=True):
            assert_close(mine, yours, tolerance)
    elif isinstance(theirs, float | Tensor):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    else:
        assert ours == theirs


@pytest.mark.slow
def test_two_processes_end_where_one_does(place: Path) -> None:
    one, two = states(place / "one", place / "two")
    assert one["step"] == two["step"] == STEPS * EPOCHS
    for name in ("net", "average", "best model"):
        torch.testing.assert_close(dict(two[name]), dict(one[name]), rtol=0, atol=1e-5)
    assert_close(two["history"], one["history"], 1e-4)


@pytest.mark.slow
def test_killed_process_ends_the_run_which_goes_on_bit_for_bit(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with effnet(*new_run(place, run), "--devices", "2") as process:
        wait_until(lambda: in_middle(run) or process.poll() is not None)
        os.kill(worker_of(process, 1), signal.SIGKILL)
        start = time.monotonic()
        assert process.wait(PATIENCE) == 128 + signal.SIGKILL
        assert time.monotonic() - start < LIMIT
    assert 0 < step_of(run) < STEPS * EPOCHS
    assert effnet("fit", "--resume", str(run), "--devices", "2").wait(PATIENCE) == 0
    assert_close(*states(run, place / "two"), 0.0)
    assert (run / "metrics.csv").read_bytes() == (place / "two" / "metrics.csv").read_bytes()


@pytest.mark.slow
def test_retried_run_ends_as_an_unbroken_one(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with effnet(*new_run(place, run), "--devices", "2", "--retries", "1") as process:
        wait_until(lambda: in_middle(run) or process.poll() is not None)
        os.kill(worker_of(process, 0), signal.SIGKILL)
        assert process.wait(PATIENCE) == 0
    assert_close(*states(run, place / "two"), 0.0)


@pytest.mark.slow
def test_stopped_run_goes_on_in_one_process(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with effnet(*new_run(place, run), "--devices", "2") as process:
        wait_until(lambda: in_middle(run) or process.poll() is not None)
        process.terminate()
        assert process.wait(PATIENCE) == 75
    assert 0 < step_of(run) < STEPS * EPOCHS
    assert main(["fit", "--resume", str(run)]) == 0
    net, expected = (dict(state["net"]) for state in states(run, place / "one"))
    torch.testing.assert_close(net, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_torchrun(place: Path, tmp_path: Path) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    *words, _, _ = new_run(place, tmp_path)  # nobody has chosen a run folder for all of them
    command = [sys.executable, *torchrun, "-m", "effnet", *words]
    assert subprocess.run(command, cwd=tmp_path).returncode == 0
    assert_close(*states(tmp_path / "runs" / "data-tiny", place / "two"), 0.0)


if __name__ == "__main__":
    for part in PARTS[sys.argv[1]]:
        part(Path(sys.argv[2]))
