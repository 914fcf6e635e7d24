"""The program as a whole: help, exit codes, errors on stderr, completion, closed pipes."""

import errno
import json
import os
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from effnet import errors
from effnet.cli.main import app, main
from effnet.errors import EffnetError

Run = Callable[..., Any]

COMMANDS = (
    *("fit", "find-lr", "evaluate", "predict", "check", "models", "scale", "pack"),
    *("weights", "convert", "export", "bench", "choose", "distil", "prune", "quantize"),
    *("compress", "explain", "report", "tune"),
)
HEAVY = ("torch", "torchvision", "sklearn", "matplotlib", "keras", "tensorflow")
COLOUR = "\x1b["


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `effnet models` fail in this way."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("effnet.measure.counts.count", fail)


def test_all_commands_are_tested() -> None:
    assert {command.name for command in app.registered_commands} == set(COMMANDS)


def test_help_needs_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys\nfrom effnet.cli.main import main\n"
        f"for command in {('', *COMMANDS)}:\n"
        "    assert main([*command.split(), '--help']) == 0\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert all(f"Usage: effnet {command}" in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_offers_json(run: Run, command: str) -> None:
    assert "--json" in run(command, "--help").out


def test_help_documents_every_exit_code(run: Run) -> None:
    epilog = run("--help").out.partition("Exit codes:")[2]
    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, EffnetError)
    }
    assert set(map(int, re.findall(r"\d+", epilog))) == {0, *codes}


def test_without_a_command_the_help_is_shown(run: Run) -> None:
    result = run()
    assert result.code == 2
    assert all(command in result.err for command in COMMANDS)


def test_version_as_a_module(program: Run) -> None:
    from importlib.metadata import version

    result = program("--version")
    assert (result.code, result.out, result.err) == (0, f"effnet {version('effnet')}\n", "")


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["evalute"], "'evaluate'"),
        (["fitt", "x"], "'fit'"),
        (["--versoin"], "--version"),
        (["fit", "x", "--epoch", "3"], "--epochs"),
        (["fit", "x", "--label-smoothnig", "0.1"], "--label-smoothing"),
        (["models", "--jsno"], "--json"),
        (["predict", "m", "x", "--fromat", "csv"], "--format"),
        (["scale", "b00", "--phi", "1"], "'b0'"),
        (["fit", "digits", "--variant", "lite9"], "'lite"),
        (["fit", "x", "--recipe", "finetun"], "'finetune'"),
        (["fit", "x", "--optimizer", "sdg"], "'sgd'"),
        (["fit", "x", "--augment", "randaugmnt"], "'randaugment'"),
    ],
)
def test_a_typo_names_the_nearest(run: Run, words: list[str], nearest: str) -> None:
    result = run(*words)
    assert (result.code, result.out) == (2, "")
    assert nearest in result.err


def test_a_typo_in_a_recipe_file_names_the_nearest(run: Run, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("epoch: 3\n")
    result = run("fit", "x", "--recipe", recipe)
    assert (result.code, result.out) == (2, "")
    assert f"{recipe}: Unknown setting 'epoch'. Did you mean 'epochs'?" in result.err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["fit", "x", "--epochs", "many"], "--epochs"),
        (["fit", "x", "--lr", "fast"], "--lr"),
        (["fit", "x", "--epochs", "0"], "epochs must be in"),
        (["fit", "x", "--dropout", "2"], "dropout must be in"),
        (["scale", "b0", "--phi", "one"], "--phi"),
        (["scale", "b0", "--depth", "-1"], "depth"),
        (["scale", "b0"], "exactly one of"),
        (["scale", "b0", "--phi", "1", "--factor", "2"], "exactly one of"),
        (["predict", "m"], "files"),
        (["evaluate", "m", "x", "--batch", "0"], "--batch"),
        (["fit"], "effnet fit digits"),
        (["fit", "x", "--recipe", "gone.yaml"], "gone.yaml"),
        (["fit", "--resume", "run", "--epochs", "3"], "--epochs"),
        (["fit", "--resume", "run", "--dry-run"], "--dry-run"),
    ],
)
def test_a_value_that_cannot_be(run: Run, words: list[str], named: str) -> None:
    result = run(*words)
    assert (result.code, result.out) == (2, "")
    assert named in result.err


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["fit", "nowhere/at/all"], 3, "nowhere/at/all"),
        (["fit", "digit"], 3, "'digits'"),
        (["check", "nowhere"], 3, "nowhere"),
        (["predict", "gone.safetensors", "x.png"], 6, "gone.safetensors"),
        (["evaluate", "gone.safetensors", "digits"], 6, "gone.safetensors"),
    ],
)
def test_what_is_missing_is_named(run: Run, words: list[str], code: int, named: str) -> None:
    result = run(*words)
    assert (result.code, result.out) == (code, "")
    assert named in result.err
    assert "Traceback" not in result.err


def test_a_foreign_model_file(run: Run, tmp_path: Path) -> None:
    foreign = tmp_path / "model.safetensors"
    foreign.write_bytes(b"\0" * 99)
    result = run("predict", foreign, "x.png")
    assert (result.code, result.out) == (6, "")
    assert str(foreign) in result.err


def allocate_too_much() -> None:
    torch.empty(2**50, dtype=torch.uint8)


def torch_refusal() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        allocate_too_much()
    return caught.value


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (MemoryError(), 5, "Out of memory"),
        (torch_refusal(), 5, "Out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), 5, "--batch"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), 5, "Out of memory"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 5, "No space left"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (errors.DivergedError("NaN"), 4, "NaN"),
        (errors.Preempted("a checkpoint was written"), 75, "checkpoint"),
        (ZeroDivisionError("a defect"), 1, "ZeroDivisionError: a defect"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_failure_has_its_exit_code_and_no_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, told: str
) -> None:
    fail_with(monkeypatch, error)
    result = run("models")
    assert (result.code, result.out) == (code, "")
    assert told in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("words", [["--debug", "models"], ["models", "--debug"]])
@pytest.mark.parametrize("error", [ZeroDivisionError("a defect"), errors.DataError("bad")])
def test_debug_shows_the_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: list[str], error: Exception
) -> None:
    fail_with(monkeypatch, error)
    result = run(*words)
    assert result.code == getattr(error, "exit_code", 1)
    assert "Traceback" in result.err
    assert str(error) in result.err
    assert result.out == ""


def test_a_reader_that_has_had_enough() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "effnet", "models"], stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_on_a_full_disk(tmp_path: Path, unbuffered: str) -> None:
    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "effnet", "models"],
            stdout=out,
            stderr=subprocess.PIPE,
            preexec_fn=no_room,
            env=environment,
        )
    assert done.returncode == 5
    assert done.stderr.startswith(b"Error: Cannot write: ")
    assert done.stderr.count(b"\n") == 1


def test_closed_standard_output() -> None:
    command = f"exec {shlex.quote(sys.executable)} -m effnet models >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


def test_warnings_are_one_line(program: Run) -> None:
    result = program("scale", "b0", "--phi", "1", "--alpha", "2", "--json")
    assert result.code == 0
    assert json.loads(result.out)
    assert result.err.startswith("Warning: alpha * beta^2 * gamma^2 is ")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("words", [["--help"], ["fit", "--help"], ["models"], ["evalute"]])
def test_no_colours_in_a_pipe(run: Run, words: list[str]) -> None:
    result = run(*words)
    assert COLOUR not in result.out + result.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    monkeypatch.setenv("_EFFNET_COMPLETE", f"source_{shell}")
    assert main([]) == 0
    assert "_EFFNET_COMPLETE=complete_" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "word", "completed"),
    [
        ("effnet fi", 1, {"fit", "find-lr"}),
        ("effnet ", 1, set(COMMANDS)),
        ("effnet fit --epo", 2, {"--epochs"}),
        ("effnet models --", 2, {"--json", "--help"}),
    ],
)
def test_completion(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    word: int,
    completed: set[str],
) -> None:
    monkeypatch.setenv("_EFFNET_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(word))
    assert main([]) == 0
    assert set(capsys.readouterr().out.split()) == completed
