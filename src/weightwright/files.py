"""Files and folders are replaced whole: written beside, synced, renamed.

Whoever is killed at any moment leaves the old content or the new one, and beside it at most a hidden rest that the
next writer of the same name removes.
"""

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# how Rust's libraries (safetensors, tokenizers), C's and numpy (`9 requested and 4 written`) word a full disk
_FULL_DISK = ("os error 28", "No space left", " written")


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace a file: either the old content stands there or the new, never a part. Raises OSError."""
    with whole_file(path) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path, *, shared: bool = True) -> Iterator[Path]:
    """Yield a name beside `path` to write to; the file replaces `path` when the block ends well, else it is removed.

    `shared`: several writers may be at this file at once. Raises OSError, also for what libraries say of a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(path, shared)
    try:
        with full_disk(path), _named_for(path, beside):
            yield beside
            sync_file(beside)
            beside.replace(path)
    except BaseException:
        with suppress(OSError):  # a disk that only reads says so of a file that is not there, too
            beside.unlink()
        raise
    sync_folder(path.parent)


@contextmanager
def whole_folder(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yield a folder beside `path` to write into; it replaces `path` when the block ends well, else it is removed.

    `shared`: several writers may be at this folder at once, all with the same content; the first one's stays.
    Raises OSError, also for what libraries say of a full disk.
    """
    beside, former = _beside(path, shared), path.with_name(f".{path.name}.former")
    if former.is_dir() and not path.exists():
        former.rename(path)  # whoever was replacing it was killed in between
    shutil.rmtree(beside, ignore_errors=True)
    with _named_for(path, beside):
        beside.mkdir(parents=True)
    try:
        with full_disk(path), _named_for(path, beside):
            yield beside
            _give_usual_rights(beside)
            sync_tree(beside)
        if shared:
            _keep_first(beside, path)
        else:
            _replace(beside, path, former)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    sync_folder(path.parent)


def remove_whole(folder: Path) -> None:
    """Remove a folder if it is there: under its name it is whole until it is gone."""
    doomed = folder.with_name(f".{folder.name}.doomed")
    shutil.rmtree(doomed, ignore_errors=True)
    if folder.is_dir():
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _beside(path: Path, shared: bool) -> Path:
    own = f"{os.getpid()}-{threading.get_ident()}.part" if shared else "unfinished"
    return path.with_name(f".{path.name}.{own}")


def _replace(beside: Path, path: Path, former: Path) -> None:
    """Put a folder in another one's place; no system that Python knows does it in one step."""
    remove_whole(former)
    if path.is_dir():
        path.rename(former)
    beside.rename(path)
    remove_whole(former)


def _keep_first(beside: Path, path: Path) -> None:
    try:
        beside.rename(path)
    except OSError:
        if not path.is_dir():
            raise


def _give_usual_rights(folder: Path) -> None:
    """Let those read weights who may read new files: safetensors lets nobody but the owner."""
    usual = folder / ".usual"
    usual.touch()
    mode = usual.stat().st_mode
    usual.unlink()
    for file in folder.rglob("*.safetensors"):
        file.chmod(mode)


@contextmanager
def full_disk(out: Path) -> Iterator[None]:
    """Turn what safetensors, tokenizers and numpy say of a full disk into the OSError that it is."""
    try:
        yield
    except Exception as error:
        is_known = isinstance(error, OSError) and error.errno is not None
        if is_known or not any(words in str(error) for words in _FULL_DISK):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out)) from error


@contextmanager
def _named_for(path: Path, beside: Path) -> Iterator[None]:
    """Let an OSError name what is to be written, not what stands beside it for a while."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and str(error.filename).startswith(str(beside)):
            error.filename, error.filename2 = str(path), None
        raise


def sync_file(path: Path) -> None:
    """Wait until a file is on disk."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def sync_tree(folder: Path) -> None:
    """Wait until every file of a folder is on disk, and every name in it."""
    for path in folder.rglob("*"):
        if path.is_file():
            sync_file(path)
        elif path.is_dir():
            sync_folder(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk; only POSIX systems can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def as_path(path: Path) -> str:
    """The path as an address has it: one that is relative begins with a dot."""
    text = path.as_posix()
    return text if text.startswith(("/", "./", "../", "~")) or path.is_absolute() else f"./{text}"
