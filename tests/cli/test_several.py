"""The command that `effnet fit --devices` gives to each process means what the person said."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import tiny
from effnet.cli import several
from effnet.cli.main import main


class Launcher:
    """Stands for the launcher: keeps the words and starts nothing."""

    def __call__(self, words: Sequence[str], devices: int, retries: int, *, again: Any) -> int:
        self.words, self.devices, self.retries, self.again = words, devices, retries, again
        return 75


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Launcher:
    found = Launcher()
    monkeypatch.setattr(several, "launch", found)
    return found


def dry(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    assert main([words[0], "--dry-run", "--json", *words[1:]]) == 0
    return json.loads(capsys.readouterr().out)


def test_words_say_the_same_job(
    launcher: Launcher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tiny.folder(tmp_path / "data"))
    recipe = str(tiny.recipe_file(tmp_path / "recipe.yaml"))
    given = ["--no-sync-norm", "--channels-last", "--lr", "1e-3", "--batch", "4", "--epochs=7"]
    words = ["fit", data, "--recipe", recipe, *given]
    assert main([*words, "--devices", "2", "--retries", "3", "--out", str(tmp_path / "r")]) == 75
    assert (launcher.devices, launcher.retries) == (2, 3)
    assert f"--out={tmp_path / 'r'}" in launcher.words
    assert dry(launcher.words, capsys) == dry(words, capsys)


def test_new_start_goes_on_where_there_is_a_checkpoint(launcher: Launcher, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["fit", "digits", "--devices", "2", "--out", str(run)]) == 75
    assert launcher.again() == launcher.words
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.ckpt").touch()
    assert launcher.again() == ["fit", f"--resume={run}"]
    assert main(["fit", "--resume", str(run), "--devices", "2"]) == 75
    assert launcher.words == launcher.again() == ["fit", f"--resume={run}"]


def test_run_folder_is_chosen_once_for_all(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.folder(tmp_path / "some.data")
    assert main(["fit", "some.data", "--variant", "lite0", "--devices", "2"]) == 75
    (chosen,) = [word for word in launcher.words if word.startswith("--out=")]
    assert Path(chosen.removeprefix("--out=")) == Path("runs/some-data-lite0")


def test_measuring_the_batch_is_refused(
    launcher: Launcher, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "digits", "--devices", "2", "--batch", "auto"]) == 2
    assert "--batch auto" in capsys.readouterr().err


def test_a_process_of_a_group_launches_nothing(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["fit", "--resume", str(tmp_path), "--devices", "2"]) == 2  # nothing to resume
    assert not hasattr(launcher, "words")
