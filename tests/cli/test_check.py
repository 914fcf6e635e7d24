"""What `effnet check` shows while it looks at the pictures."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from effnet.cli import check

Run = Callable[..., Any]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "150")):
        monkeypatch.setenv(name, value)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every picture be worth a report."""
    monkeypatch.setattr(check, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(check, "SECONDS_BETWEEN_UPDATES", 0.0)


def test_a_line_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(check.time, "monotonic", lambda: now[0])
    with check._progress(quiet=False) as tell:
        for done in range(1, 26):
            now[0] += 1
            tell(done, 25)
    lines = ["checked 10 of 25 pictures", "checked 20 of 25 pictures"]
    assert capsys.readouterr() == ("", "\n".join(lines) + "\n")


@pytest.mark.usefixtures("hasty")
def test_lines_where_there_is_no_terminal(run: Run, photos: Path) -> None:
    lines = [f"checked {done} of 24 pictures" for done in range(1, 25)]
    result = run("check", photos)
    assert result.err.splitlines() == lines
    assert "checked" not in result.out


@pytest.mark.usefixtures("hasty", "terminal")
def test_a_bar_on_a_terminal(run: Run, photos: Path) -> None:
    result = run("check", photos)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", result.err)
    assert re.search(r"checking \S* +24/24", plain)
    assert result.out.startswith(f"{photos}: 3 classes, 24 pictures\n")
    assert "checking" not in result.out


@pytest.mark.usefixtures("terminal")
def test_a_quick_check_has_no_bar(run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "SECONDS_BETWEEN_UPDATES", 600.0)
    assert run("check", photos).err == ""


@pytest.mark.usefixtures("hasty", "terminal")
def test_nothing_with_json(run: Run, photos: Path) -> None:
    assert run("check", photos, "--json").err == ""


def test_shards(run: Run, photos: Path, tmp_path: Path) -> None:
    assert run("pack", photos, tmp_path / "shards").code == 0
    plain, packed = run("check", photos), run("check", tmp_path / "shards")
    assert (packed.code, packed.err) == (0, "")
    assert packed.out.splitlines()[1:] == plain.out.splitlines()[1:]
