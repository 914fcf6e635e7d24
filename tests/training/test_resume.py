"""A run that was stopped, however, goes on to the very result of one that never was."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import tiny
from effnet.cli.main import main
from effnet.data.sources import open_data
from effnet.errors import EffnetError, UsageError
from effnet.model import Model
from effnet.training import loop
from effnet.training.run import RunFolder
from running import Program, assert_equal, assert_same, step_of, wait_until

STEPS = 6
EPOCHS = 6
SETTINGS: dict[str, Any] = {
    "epochs": EPOCHS,
    "mixup": 0.4,
    "augment": "trivialaugment",
    "checkpoint_seconds": 0,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, recipes for 0 and 2 workers, and the run that nothing interrupts."""
    root = tmp_path_factory.mktemp("resume")
    tiny.folder(root / "data", train=8 * STEPS + 3)
    for workers in (0, 2):
        tiny.recipe_file(root / f"{workers}.yaml", **SETTINGS, workers=workers)
    assert main(arguments(root, root / "whole", 0)) == 0
    return root


def arguments(place: Path, run: Path, workers: int) -> list[str]:
    recipe = place / f"{workers}.yaml"
    return ["fit", str(place / "data"), "--recipe", str(recipe), "--out", str(run)]


def in_middle(run: Path) -> bool:
    step = step_of(run)
    return step > STEPS and step % STEPS != 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGKILL, -signal.SIGKILL),
        (signal.SIGTERM, 75),
        (signal.SIGINT, 130),
    ],
)
def test_stopped_in_the_middle_of_an_epoch(
    place: Path, tmp_path: Path, number: int, code: int, workers: int
) -> None:
    run = tmp_path / "run"
    with Program(arguments(place, run, workers)) as program:
        wait_until(lambda: in_middle(run), lambda: program.alive)
        os.killpg(program.pid, number)  # as a terminal and a batch system do: workers too
    assert program.code == code
    assert 0 < step_of(run) < EPOCHS * STEPS
    assert main(["fit", "--resume", str(run)]) == 0
    assert_same(run, place / "whole")


@pytest.mark.slow
def test_killed_program(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Program(arguments(place, run, 0)) as program:
        wait_until(lambda: in_middle(run), lambda: program.alive)
        program.kill()
    assert program.code == -signal.SIGKILL
    assert main(["fit", "--resume", str(run)]) == 0
    assert_same(run, place / "whole")
    assert (run / "model.safetensors").read_bytes() == (
        place / "whole" / "model.safetensors"
    ).read_bytes()


def test_recipe_of_a_run_repeats_it(place: Path, tmp_path: Path) -> None:
    recipe = place / "whole" / "recipe.yaml"
    assert main(["fit", "--recipe", str(recipe), "--out", str(tmp_path / "again")]) == 0
    assert_same(tmp_path / "again", place / "whole")
    assert (tmp_path / "again" / "recipe.yaml").read_bytes() == recipe.read_bytes()


@pytest.mark.parametrize("writes", [1, 2, STEPS, STEPS + 1, STEPS + 2, 2 * STEPS])
def test_dead_after_any_checkpoint(
    writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, labels = tiny.arrays(8 * STEPS)
    settings = {**tiny.FAST, **SETTINGS, "epochs": 2, "augment": "none", "verbose": False}

    def model() -> Model:
        return Model(tiny.SPEC, classes=tiny.CLASSES)

    model().fit(pictures, labels, out=tmp_path / "whole", **settings)
    write, done = loop.write_checkpoint, []

    def write_and_die(*args: Any) -> None:
        write(*args)
        done.append(1)
        if len(done) == writes:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_checkpoint", write_and_die)
        with pytest.raises(KeyboardInterrupt):
            model().fit(pictures, labels, out=tmp_path / "run", **settings)
    data = open_data(pictures, labels, classes=tiny.CLASSES)
    Model.resume(tmp_path / "run", data, verbose=False)
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_finished_run_is_left_as_it_is(place: Path) -> None:
    whole = place / "whole"
    kept = (whole / "model.safetensors", whole / "recipe.yaml", whole / "metrics.csv")
    before = {path: path.read_bytes() for path in kept}
    model, history = Model.resume(whole, verbose=False)
    assert len(history.rows) == EPOCHS
    assert {path: path.read_bytes() for path in before} == before
    assert_equal(model.net.state_dict(), load_file(whole / "model.safetensors"))


def test_data_may_be_named_relatively(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    model = Model(tiny.SPEC, classes=tiny.CLASSES)
    model.fit("data", out=tmp_path / "run", verbose=False, **{**tiny.FAST, "epochs": 1})
    monkeypatch.chdir(tmp_path)
    _, history = Model.resume("run", verbose=False)
    assert len(history.rows) == 1


def test_other_pictures_are_refused(place: Path, tmp_path: Path) -> None:
    pictures, labels = tiny.arrays(24)
    model = Model(tiny.SPEC, classes=tiny.CLASSES)
    model.fit(pictures, labels, out=tmp_path / "run", verbose=False, **{**tiny.FAST, "epochs": 1})
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    others = open_data(*tiny.arrays(24, seed=1), classes=tiny.CLASSES)
    with pytest.raises(EffnetError, match=r"fingerprint is '.*', was '.*'") as caught:
        Model.resume(tmp_path / "run", others, verbose=False)
    assert caught.value.exit_code == 2
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_added_picture_is_noticed(place: Path, tmp_path: Path) -> None:
    data = tiny.folder(tmp_path / "data")
    model = Model(tiny.SPEC, classes=tiny.CLASSES)
    model.fit(data, out=tmp_path / "run", verbose=False, **{**tiny.FAST, "epochs": 1})
    (data / "train" / "red" / "999.png").write_bytes((data / "train/red/002.png").read_bytes())
    assert main(["fit", "--resume", str(tmp_path / "run")]) == 2


def test_a_run_in_progress_is_left_alone(tmp_path: Path) -> None:
    pictures, labels = tiny.arrays(24)
    model = Model(tiny.SPEC, classes=tiny.CLASSES)
    model.fit(pictures, labels, out=tmp_path / "run", verbose=False, **{**tiny.FAST, "epochs": 1})
    log = (tmp_path / "run" / "log.txt").read_bytes()
    with RunFolder(tmp_path / "run").held(), pytest.raises(UsageError, match="Another process"):
        Model.resume(tmp_path / "run", open_data(pictures, labels), verbose=False)
    assert (tmp_path / "run" / "log.txt").read_bytes() == log
