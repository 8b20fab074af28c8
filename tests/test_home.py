"""Where things are kept: at home, or elsewhere for one process where nothing can be written there."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from weightwright.home import cache, home

Sealable = tuple[Path, Callable[[], None]]


def test_what_can_be_made_again_is_kept_at_home(own_home: Path) -> None:
    assert cache() == home() == own_home


def test_a_home_that_cannot_be_written_is_said_and_left_for_this_process(
    sealable: Sealable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, seal = sealable
    seal()
    monkeypatch.setenv("WEIGHTWRIGHT_HOME", str(folder / "home"))
    elsewhere = cache()
    (elsewhere / "note").touch()
    assert cache() == elsewhere != home()
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"nothing can be kept in {folder / 'home'}" in said
    assert "set WEIGHTWRIGHT_HOME" in said


def test_a_model_answers_without_a_home_and_leaves_nothing(
    sealable: Sealable, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, seal = sealable
    seal()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("WEIGHTWRIGHT_HOME", str(folder / "home"))
    monkeypatch.setenv("TMPDIR", str(temporary))
    command = [sys.executable, "-m", "weightwright", "chat", str(tiny_model), "--max-tokens", "3"]
    ran = subprocess.run(command, input="Hello", capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()
    assert ran.stderr.count("nothing can be kept in") == 1
    assert list(temporary.iterdir()) == []
