"""A disk that is full (a small tmpfs): one clear line, nothing half-written, and the rerun completes."""

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
HANDBOOK = Path(__file__).resolve().parents[2] / "examples" / "handbook"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 400 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def run(preloaded: Path) -> Run:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(preloaded), "-m", "weightwright", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def check_full(shown: subprocess.CompletedProcess[str]) -> None:
    assert shown.returncode == 1, shown.stderr
    last = shown.stderr.strip().splitlines()[-1]
    assert last.startswith("error: "), shown.stderr
    assert "free some space" in last
    assert "Traceback" not in shown.stderr


def fill(folder: Path, free_bytes: int) -> Path:
    """Leave only so many bytes free; returns the file to delete."""
    ballast = folder / "ballast"
    ballast.write_bytes(b"x" * (shutil.disk_usage(folder).free - free_bytes))
    return ballast


def rows(folder: Path) -> Path:
    file = folder / "rows.jsonl"
    file.write_text(
        "".join(json.dumps({"instruction": f"{i}?", "output": str(i)}) + "\n" for i in range(8)), "utf-8"
    )
    return file


def test_tune(run: Run, small_disk: Path, tiny_model: Path, tmp_path: Path) -> None:
    ballast = fill(small_disk, 100_000)
    command = ["tune", "--model", tiny_model, "--data", rows(tmp_path), "--out", small_disk / "run"]
    command += ["--rank", "1", "--batch", "2", "--save-every", "1"]
    check_full(run(*command))
    ballast.unlink()
    shown = run(*command)
    assert shown.returncode == 0, shown.stderr
    assert (small_disk / "run" / "adapter" / "adapter_model.safetensors").exists()


def test_a_whole_model_that_finds_no_room(small_disk: Path, tiny_model: Path) -> None:
    from weightwright.tune.save import save_model
    from weightwright.weights.load import load

    loaded = load(str(tiny_model), precision="f32", device="cpu")
    fill(small_disk, 100_000)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        save_model(loaded.model, loaded.tokenizer, small_disk / "model")
    assert not (small_disk / "model").exists()


def test_init(run: Run, small_disk: Path) -> None:
    ballast = fill(small_disk, 0)
    check_full(run("init", "compare", "--out", small_disk / "compare.yaml"))
    assert not (small_disk / "compare.yaml").exists()
    ballast.unlink()
    assert run("init", "compare", "--out", small_disk / "compare.yaml").returncode == 0


@pytest.mark.model
def test_kb_add(run: Run, small_disk: Path, tmp_path: Path) -> None:
    ballast = fill(small_disk, 200_000)
    check_full(run("kb", "add", small_disk / "kb.db", HANDBOOK / "en"))
    shown = run("kb", "list", small_disk / "kb.db", "--json")
    held = {item["document"] for item in json.loads(shown.stdout)["items"]}
    assert len(held) < 20
    ballast.unlink()
    for file in small_disk.glob("kb.db*"):
        shutil.move(file, tmp_path)
    again = json.loads(run("kb", "add", tmp_path / "kb.db", HANDBOOK / "en", "--json").stdout)
    assert (again["unchanged"], again["documents"]) == (len(held), 20 - len(held))


@pytest.mark.model
def test_compare(run: Run, small_disk: Path, tmp_path: Path) -> None:
    fill(small_disk, 120_000)
    config = tmp_path / "compare.yaml"
    questions, documents = HANDBOOK / "questions.zh.jsonl", HANDBOOK / "zh"
    config.write_text(
        f"model: extract\nquestions: {questions}\ndocuments: [{documents}]\narms: [rag, gold]\nlimit: 4\n",
        "utf-8",
    )
    check_full(run("compare", "--config", config, "--out", small_disk / "out"))
    assert not (small_disk / "out" / "report.html").exists()
