"""The first minutes: what a person types before reading anything, and what is answered."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from weightwright.cli import first
from weightwright.cli.app import main
from weightwright.cli.completion import script
from weightwright.hub import store


def suggested(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The commands that the first screen tells to try."""
    assert main([]) == 0
    out = capsys.readouterr()
    assert out.err == ""
    lines = out.out.splitlines()
    return [line.split("  ")[1] for line in lines if line.startswith("  weightwright ")]


def run(*arguments: str, cwd: Path | None = None, **kwargs: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "weightwright", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, **kwargs)


@pytest.mark.model
def test_the_three_commands_of_the_first_screen_work(capsys, tmp_path: Path) -> None:
    commands = suggested(capsys)
    assert len(commands) == 3
    for command in commands:
        verb, *rest = shlex.split(command)[1:]
        shown = run(verb, *rest, cwd=tmp_path, input="Hello, my name is")
        assert shown.returncode == 0, f"{command}\n{shown.stderr}"
        assert shown.stdout.strip(), command


def test_without_a_model_the_first_screen_says_how_to_get_one(capsys, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(first.packages, "files_of", lambda _: None)
    commands = suggested(capsys)
    assert commands == ["weightwright doctor", "weightwright pull smollm2-135m", "weightwright init tune"]
    assert main(["ask", "kb.db", "why?"]) == 2
    assert "get a small one: weightwright pull smollm2-135m" in capsys.readouterr().err


def test_a_model_that_is_missing_is_suggested(capsys, monkeypatch) -> None:
    monkeypatch.setattr(first, "models_here", lambda: ["tiny", "other/one"])
    assert main(["ask", "kb.db", "why?"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(
        "error: model is required (model address; `extract` quotes the best sentences without"
    )
    assert "on this machine: --model tiny (or other/one; weightwright list shows all)" in err
    assert err.endswith("see weightwright ask --help\n")
    assert err.count("\n") == 1


def test_what_was_pulled_is_here_and_embedders_are_no_models(monkeypatch, own_home: Path) -> None:
    monkeypatch.setattr(first.packages, "files_of", lambda _: None)
    embedder = next(iter(first.packages.EMBEDDERS.values())).hub_id
    stored = [store.StoredModel(hub_id, "huggingface", "main", own_home, {}) for hub_id in ("a/b", embedder)]
    monkeypatch.setattr(store, "list_models", lambda: stored)
    assert first.models_here() == ["a/b"]


def test_init_alone_lists_what_it_can_make(capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    shown = capsys.readouterr().out
    lines = [line for line in shown.splitlines() if "NAME" not in line]
    commands = [line.split("   ")[0] for line in lines if not line.startswith(" ")]
    assert commands == [f"weightwright init {name}" for name in ("tune", "compare", "serve")]
    assert not list(tmp_path.iterdir())
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0
    assert main(["init", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["files"]["tune"] == "weightwright init tune"


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version(capsys, flag: str) -> None:
    assert main([flag]) == 0
    assert capsys.readouterr().out.startswith("weightwright ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_verb_in_both_names(shell: str, tmp_path: Path) -> None:
    text = script(shell)
    for word in ("compare", "gradient-checkpointing", "ww"):
        assert word in text
    program = shutil.which(shell)
    if program is not None:
        file = tmp_path / "script"
        file.write_text(text, encoding="utf-8")
        checked = subprocess.run([program, "-n", str(file)], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("line", "offered"),
    [("weightwright comp", "compare"), ("ww kb se", "search"), ("ww tune --objective d", "dpo")],
)
def test_bash_completes(line: str, offered: str, tmp_path: Path) -> None:
    file = tmp_path / "completion.sh"
    file.write_text(script("bash"), encoding="utf-8")
    words = line.split(" ")
    code = f"source {file}; complete -p weightwright ww > /dev/null || exit 9; COMP_WORDS=({line}); " \
        f"COMP_CWORD={len(words) - 1}; _weightwright; printf '%s\\n' \"${{COMPREPLY[@]}}\""  # fmt: skip
    shown = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert offered in shown.stdout.split()


def test_completion_is_installed_where_the_shell_looks(capsys, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert main(["completion", "bash", "--install", "--json"]) == 0
    file = Path(json.loads(capsys.readouterr().out)["file"])
    assert file.is_relative_to(tmp_path)
    assert file.read_text(encoding="utf-8") == script("bash")
    assert str(file) in (tmp_path / ".bashrc").read_text(encoding="utf-8")
