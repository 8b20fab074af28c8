"""Files and folders written whole: killed at every step of the file system, old or new content stands there."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from weightwright.files import remove_whole, whole_file, whole_folder, write_whole

Sealable = tuple[Path, Callable[[], None]]

# One child for each step: opening, renaming, removing, making a folder (Python tells of each before it is done).
KILLED = """
import os, signal, sys
from pathlib import Path
from weightwright.files import remove_whole, whole_file, whole_folder

target, act, which = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
steps = 0

def hook(event, arguments):
    global steps
    path = str(arguments[0]) if arguments else ""
    known = event in {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}
    if known and str(target.parent) in path:
        steps += 1
        if steps == which:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
if act == "folder":
    with whole_folder(target) as beside:
        for name in ("a", "b"):
            (beside / "inner").mkdir(exist_ok=True)
            (beside / "inner" / name).write_text("new")
elif act == "file":
    with whole_file(target, shared=False) as beside:
        beside.write_text("new")
else:
    remove_whole(target)
"""
OLD, NEW = {"a": "old", "b": "old"}, {"a": "new", "b": "new"}


def killed_at(target: Path, act: str, step: int) -> bool:
    """Whether a process that was to be killed at this step came so far."""
    command = [sys.executable, "-S", "-c", KILLED, str(target), act, str(step)]
    source = Path(__file__).parents[1] / "src"
    ran = subprocess.run(
        command, check=False, capture_output=True, text=True, env={"PYTHONPATH": str(source)}
    )
    assert ran.returncode in (0, -signal.SIGKILL), ran.stderr
    return ran.returncode != 0


def content(folder: Path) -> dict[str, str] | None:
    if not folder.exists():
        return None
    return {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}


def old_folder(folder: Path) -> None:
    with whole_folder(folder) as beside:
        (beside / "inner").mkdir()
        for name, text in OLD.items():
            (beside / "inner" / name).write_text(text)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("replaces", [False, True])
def test_a_folder_is_never_half_there(tmp_path: Path, replaces: bool) -> None:
    step, target = 0, tmp_path / "model"
    while True:
        remove_whole(target)
        if replaces:
            old_folder(target)
        step += 1
        if not killed_at(target, "folder", step):
            break
        whole = [OLD, NEW] if replaces else [None, NEW]
        stands, former = content(target), content(tmp_path / ".model.former")
        assert stands in whole or (stands is None and former == OLD)
        with suppress(ZeroDivisionError), whole_folder(target):
            raise ZeroDivisionError
        assert content(target) in whole  # also what a kill had left between two names
        with whole_folder(target) as beside:
            for name in NEW:
                (beside / name).write_text("new")
        assert content(target) == NEW
    assert step > 8
    assert content(target) == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_file_is_never_half_there_and_a_removed_folder_neither(tmp_path: Path) -> None:
    file, step = tmp_path / "one.gguf", 1
    write_whole(file, "old")
    while killed_at(file, "file", step):
        assert file.read_text() in ("old", "new")
        step += 1
    assert step > 3
    assert (file.read_text(), [path.name for path in tmp_path.iterdir()]) == ("new", ["one.gguf"])
    folder, step = tmp_path / "step-1", 1
    old_folder(folder)
    while killed_at(folder, "remove", step):
        assert content(folder) in (OLD, None)
        old_folder(folder)
        step += 1
    assert step > 3
    assert [path.name for path in tmp_path.iterdir()] == ["one.gguf"]


def test_of_several_writers_the_first_ones_folder_stays(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "kept", shared=True) as slow:
        (slow / "a").write_text("slow")
        with whole_folder(tmp_path / "kept", shared=False) as quick:
            (quick / "a").write_text("quick")
    assert content(tmp_path / "kept") == {"a": "quick"}
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
def test_weights_can_be_read_by_those_who_can_read_new_files(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "model") as beside:
        (beside / "config.json").write_text("{}")
        (beside / "model.safetensors").touch(mode=0o600)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"config.json", "model.safetensors"}
    assert len({path.stat().st_mode for path in (tmp_path / "model").iterdir()}) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 100 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill_by(library: str, path: Path) -> None:
    if library == "safetensors":
        import torch
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(1 << 20)}, path)
    elif library == "tokenizers":
        from tokenizers import Tokenizer, models

        Tokenizer(models.WordLevel({f"word {n}": n for n in range(20_000)}, "word 0")).save(str(path))
    elif library == "numpy":
        import numpy as np

        np.zeros(1 << 20, np.uint8).tofile(path)
    else:
        path.write_bytes(bytes(1 << 20))


@pytest.mark.parametrize("library", ["safetensors", "tokenizers", "numpy", "python"])
def test_a_full_disk_is_one_error_whoever_meets_it_and_nothing_is_left(
    small_disk: Path, library: str
) -> None:
    with (
        pytest.raises(OSError, match="No space left") as raised,
        whole_folder(small_disk / "model") as beside,
    ):
        fill_by(library, beside / "a")
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="No space left"), whole_file(small_disk / "one.gguf") as beside:
        fill_by(library, beside)
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize(
    "write", [lambda path: write_whole(path, "x"), lambda path: whole_folder(path).__enter__()]
)
def test_an_error_names_what_was_to_be_written(sealable: Sealable, write: Callable[[Path], object]) -> None:
    folder, seal = sealable
    seal()
    with pytest.raises(OSError, match=r"[dD]enied|[rR]ead-only") as caught:
        write(folder / "out")
    assert caught.value.filename == str(folder / "out")
