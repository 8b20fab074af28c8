"""Another engine's server on this machine: started, awaited, watched, and stopped with all of its processes."""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from weightwright.errors import ModelError, RemoteError, SettingsError
from weightwright.ports import Progress
from weightwright.remote import guard
from weightwright.remote.chat import RemoteChat

GRACE_S = 20.0  # to end by itself
_ASK_EVERY_S = 0.2
_ENDING_S = 5.0  # from its last connection to its end
_TAIL_LINES, _TAIL_BYTES = 12, 20_000


class StartedChat(RemoteChat):
    """A model that another engine answers for, in a process of ours that ends with it."""

    def __init__(self, process: "EngineProcess", name: str) -> None:
        super().__init__(process.url, name, key=process.key)
        self._process = process

    def close(self) -> None:
        """Close the connections and stop the other engine."""
        super().close()
        self._process.close()

    def _unreachable(self, error: httpx.HTTPError) -> RemoteError:
        ended = self._process.ended(_ENDING_S)
        return RemoteError(ended) if ended else super()._unreachable(error)


class EngineProcess:
    """A server of OpenAI's API under `url`, which takes `key` alone; only this machine reaches it.

    `command` is given `--host` and `--port`, and the key as `VLLM_API_KEY`. What it writes is kept, and its end is
    quoted where it ends. Raises SettingsError for a command that cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        if os.name != "posix":
            raise SettingsError(
                "another engine is not started on Windows; start it in WSL and use its http:// address"
            )
        self.key = secrets.token_urlsafe(24)
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}/v1"
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as the process is
        whole = [*command, "--host", "127.0.0.1", "--port", str(port)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, str(GRACE_S), *whole],
                stdin=subprocess.PIPE,
                stdout=self._said,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {}), "VLLM_API_KEY": self.key},
                start_new_session=True,  # a Ctrl-C for us stops an answer, not the engine
            )
        except OSError as error:
            self._said.close()
            raise SettingsError(f"{Path(command[0])} cannot be started: {error}") from error

    def wait(self, progress: Progress) -> None:
        """Wait until it answers. Raises ModelError with the last lines that it wrote where it ends before."""
        began_s = time.monotonic()
        while True:
            if ended := self.ended():
                raise ModelError(ended)
            try:
                headers = {"Authorization": f"Bearer {self.key}"}
                if httpx.get(f"{self.url}/models", headers=headers, timeout=10, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                pass
            progress(int(time.monotonic() - began_s), None, "seconds: the other engine loads the model")
            time.sleep(_ASK_EVERY_S)

    def ended(self, within_s: float = 0.0) -> str:
        """What to say where the engine has ended, or ends within so many seconds; "" while it runs."""
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return ""
        said = self._tail()
        status = said[-1] if said and said[-1].startswith(guard.ENDED) else "engine ended"
        lines = "\n".join(f"  {line}" for line in said if line is not status)
        return f"the other {status}; it wrote last:\n{lines}"

    def close(self) -> None:
        """Ask it to end, wait, and end by force what is left after 20 seconds."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        self._said.close()

    def _tail(self) -> list[str]:
        size = os.fstat(self._said.fileno()).st_size
        text = os.pread(self._said.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-_TAIL_LINES:]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
