"""Readers in a child process, with a limit of time and memory for each file.

A library that hangs on a file, or asks for more memory than there is, so costs this file and nothing else. One child
reads many files; a new one is started where the last one had to be ended. Small plain text is read in this process:
nothing can go wrong with it.
"""

import atexit
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import cache
from typing import IO, Literal

from weightwright.errors import DataError, MissingExtraError
from weightwright.rag.readers.base import Content, Reader
from weightwright.rag.settings import LoadSettings

_SMALL_BYTES = 1_000_000
_TEXT = "weightwright.rag.readers.text"
_START = "from weightwright.rag.readers.limits import serve; serve()"


@dataclass(frozen=True, slots=True)
class _Reply:
    """What came of a file: what was read, why it was refused, or that memory ran out."""

    kind: Literal["read", "refused", "memory"]
    content: Content | None = None
    reason: str = ""


def read_limited(reader: Reader, data: bytes, settings: LoadSettings) -> Content:
    """What `reader` makes of the bytes. Raises DataError as it does, and where a limit is exceeded."""
    if getattr(reader, "__module__", "") == _TEXT and len(data) <= _SMALL_BYTES:
        return reader(data, settings)
    return _shared().read(reader, data, settings)


class ReaderProcess:
    """A child that reads files one after the other; it is started with the first, and again after it was ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._started_with = ""  # the paths of its modules
        self._one_at_a_time = threading.Lock()

    def read(self, reader: Reader, data: bytes, settings: LoadSettings) -> Content:
        """What `reader` makes of the bytes, within `read_seconds` and `read_memory_mb`."""
        with self._one_at_a_time:
            reply = self._asked(pickle.dumps((reader, settings)), data, settings)
        if reply.content is not None:
            return reply.content
        if reply.kind == "memory":
            raise _too_large(settings)
        raise DataError(None, reply.reason)

    def close(self) -> None:
        """End the child, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _asked(self, question: bytes, data: bytes, settings: LoadSettings) -> _Reply:
        paths = _paths()  # a child that was started with others may not find a reader that a package brings
        if self._process is None or self._process.poll() is not None or paths != self._started_with:
            self.close()
            self._process, self._started_with = _started(paths), paths
        process, late = self._process, threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(settings.read_seconds, end)
        timer.daemon = True
        timer.start()
        try:
            _put(process.stdin, question)
            _put(process.stdin, data)
            reply: _Reply = pickle.loads(_get(process.stdout))
        except (BrokenPipeError, EOFError) as error:
            status = process.wait()
            self.close()
            if late.is_set():
                raise DataError(
                    None,
                    f"took longer than read_seconds={settings.read_seconds}; split it, or raise --read-seconds",
                ) from error
            raise _ended(status, settings) from error
        finally:
            timer.cancel()
        return reply


def serve() -> None:
    """The child's loop: a reader with its settings, then a file, until the parent closes the pipe."""
    questions = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no reply
    while True:
        try:
            reader, settings = pickle.loads(_get(questions))
            data = _get(questions)
        except EOFError:
            return
        _put(replies, pickle.dumps(_reply(reader, data, settings)))


def _reply(reader: Reader, data: bytes, settings: LoadSettings) -> _Reply:
    _limit_memory(settings.read_memory_mb)
    try:
        return _Reply("read", reader(data, settings))
    except (DataError, MissingExtraError) as error:
        return _Reply("refused", reason=str(error))
    except MemoryError:
        return _Reply("memory")
    except RecursionError:
        return _Reply("refused", reason="nested more deeply than is read; save it in a simpler form")


def _limit_memory(more_mb: int) -> None:
    """Let this process take so much more address space than it has; systems without such a limit go on without."""
    if sys.platform != "linux":
        return
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  (no file to look for)
        pages = int(file.read().split()[0])
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + more_mb * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (wanted if most < 0 else min(wanted, most), most))


def _paths() -> str:
    """Where this process finds modules."""
    return os.pathsep.join(path or os.getcwd() for path in sys.path)  # noqa: PTH109


def _started(paths: str) -> "subprocess.Popen[bytes]":
    """A child that finds the modules that we find."""
    quiet = {
        "PYTHONPATH": paths,
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": str(min(4, os.cpu_count() or 1)),
    }
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _START],  # nothing from the current folder, unless we look there, too
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | quiet,
    )


def _put(pipe: IO[bytes] | None, data: bytes) -> None:
    if pipe is None:
        raise EOFError
    pipe.write(len(data).to_bytes(8, "little"))
    pipe.write(data)
    pipe.flush()


def _get(pipe: IO[bytes] | None) -> bytes:
    if pipe is None:
        raise EOFError
    size = pipe.read(8)
    data = pipe.read(int.from_bytes(size, "little")) if len(size) == 8 else b""
    if len(size) < 8 or len(data) < int.from_bytes(size, "little"):
        raise EOFError
    return data


def _too_large(settings: LoadSettings) -> DataError:
    return DataError(
        None,
        f"needs more than read_memory_mb={settings.read_memory_mb} to read; split it, or raise --read-memory-mb",
    )


def _ended(status: int, settings: LoadSettings) -> DataError:
    """Why a child that ended by itself did so: libraries in C end their process where memory runs out."""
    return DataError(
        None,
        f"its reader ended (exit status {status}): the file is damaged, or needs more than "
        f"read_memory_mb={settings.read_memory_mb}; save it again, or raise --read-memory-mb",
    )


@cache
def _shared() -> ReaderProcess:
    """One child for all files of this process, ended with it."""
    process = ReaderProcess()
    atexit.register(process.close)
    return process
