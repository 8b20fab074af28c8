"""A Python that has imported what takes longest: `preloaded -m weightwright plan …` is a process forked from it.

Importing torch, transformers and peft takes most of the time of a short command. Where not the start is tested, a
test puts `preloaded` in the place of `python`: the program has a process, files, variables and signals of its own
as always, only its modules are there already. This file is the one that forks, and what is started in its place.
"""

import atexit
import contextlib
import gc
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

LIBRARIES = (
    "torch.distributed", "torch._dynamo", "transformers.models.auto", "transformers.models.llama.modeling_llama",
    "transformers.generation", "peft", "numba", "llguidance", "matplotlib.pyplot", "fastapi", "uvicorn", "openai",
    "gguf", "rich.markup", "rich.table", "rich.progress", "cyclopts", "scipy.stats",
)  # fmt: skip
PASSED_ON = (signal.SIGINT, signal.SIGTERM)


def main(place: str, *arguments: str) -> None:
    """With arguments, be a Python that is given them; without, fork such ones for all who ask at `place`."""
    if arguments:
        sys.exit(ask(place, arguments))
    serve(place)


def ask(place: str, arguments: tuple[str, ...]) -> int:
    """Have a program forked with our arguments, variables, folder and files; its exit status."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(place)
        told = json.dumps([arguments, dict(os.environ), os.getcwd()]).encode()  # noqa: PTH109 - a short start
        socket.send_fds(asked, [b"x"], [0, 1, 2])
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        asked.sendall(len(told).to_bytes(4, "big") + told)
        answers = asked.makefile("r")
        process = int(answers.readline())
        for each in PASSED_ON:
            signal.signal(each, lambda number, _: pass_on(process, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        status = int(answers.readline())
    if status < 0:  # end by the signal that ended it
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        os.kill(os.getpid(), -status)
    return status


def pass_on(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def serve(place: str) -> None:
    """Import, then answer until ended; returns, in the forked process, when its program has run."""
    from importlib import import_module
    from pkgutil import walk_packages

    import weightwright  # before torch

    ours = [each.name for each in walk_packages(weightwright.__path__, "weightwright.")]
    for name in (*LIBRARIES, *ours):
        if not name.endswith(("_numba", "__main__")):  # kernels, compiled when imported; the program
            import_module(name)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(place)
    listening.listen(64)
    signal.signal(signal.SIGCHLD, reap)
    gc.collect()
    gc.freeze()  # else each forked process would copy what it only looks through
    print("ready", flush=True)
    while True:
        asked, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            return attend(asked)
        asked.close()


def reap(*_: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def attend(asked: socket.socket) -> None:
    """Fork the program; say its number, and its exit status when it has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, files, *_ = socket.recv_fds(asked, 1, 3)
    with asked.makefile("rb") as said:
        told = json.loads(said.read(int.from_bytes(said.read(4), "big")))
    process = os.fork()
    if process == 0:
        asked.close()
        end(ended(lambda: run(files, *told)))
    for file in files:
        os.close(file)
    with contextlib.suppress(BrokenPipeError):  # who asked is gone
        asked.sendall(f"{process}\n".encode())
        asked.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])}\n".encode())
    os._exit(0)


def ended(program: Callable[[], None]) -> int:
    """The exit status of a program, as Python has it."""
    try:
        program()
    except SystemExit as said:
        if isinstance(said.code, int):
            return said.code
        if said.code is not None:
            print(said.code, file=sys.stderr)
        return said.code is not None
    except BaseException:  # noqa: BLE001 - what Python does with it
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def end(status: int) -> NoReturn:
    """End without the work of taking apart, object by object, what was imported."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)


def run(files: list[int], arguments: list[str], variables: dict[str, str], folder: str) -> None:
    """Be the program: as `python -m`, `python -c` or `python FILE`."""
    import runpy
    from pathlib import Path

    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    if "-u" in arguments[:1]:
        arguments = arguments[1:]
        sys.stdout.reconfigure(write_through=True)
    first, *rest = arguments
    if first == "-m":
        sys.argv, sys.path[0] = rest, folder
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv, sys.path[0] = arguments, str(Path(first).resolve().parent)
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
