"""The server from its settings: listen, load, answer until it is stopped."""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from types import FrameType
from typing import TYPE_CHECKING

from weightwright.errors import SettingsError
from weightwright.ports import Progress
from weightwright.serve.settings import ServeSettings

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from weightwright.serve.offers import Offers

_GRACE_S = 5  # for answers under way once a signal has come
_SENDING_S = 5  # for clients to take the rest of those that were ended then


def serve(settings: ServeSettings, bar: Callable[[str], AbstractContextManager[Progress]]) -> None:
    """Serve what the settings name until a signal comes, which ends it with KeyboardInterrupt.

    `bar` shows how far loading is. Raises SettingsError for a port that cannot be had, and what opening raises.
    """
    from weightwright.serve.offers import open_offers

    listening = _listen(settings.host, settings.port)  # before minutes of loading, so that it fails at once
    with closing(listening):
        with bar("loading") as progress:
            offers = open_offers(settings, progress)
        with closing(offers):
            _run(offers, settings, listening)


def _run(offers: "Offers", settings: ServeSettings, listening: socket.socket) -> None:
    from weightwright.serve.app import create_app

    server = _server(create_app(offers, settings), offers)
    stopped = _stop_by_signal(server)
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    listening.listen()  # who connects from here on is answered once the routes are up
    sys.stderr.write(f"listening on http://{shown}:{port}/v1 (Ctrl-C stops)\n")
    for offer in offers:
        sys.stderr.write(f"  model {offer.name}\n")
    sys.stderr.flush()
    server.run(sockets=[listening])
    if stopped:
        raise KeyboardInterrupt


def _server(app: "FastAPI", offers: "Offers") -> "uvicorn.Server":
    """A server that ends in order: answers under way have _GRACE_S, then those that are left end as cancelled."""
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            ending = asyncio.create_task(_end_late(offers))
            await super().shutdown(sockets)
            ending.cancel()

    return Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_GRACE_S + _SENDING_S))


async def _end_late(offers: "Offers") -> None:
    await asyncio.sleep(_GRACE_S)
    await asyncio.to_thread(offers.close)


def _stop_by_signal(server: "uvicorn.Server") -> list[int]:
    """Let a signal end `server` in order from now on: until its loop runs, a KeyboardInterrupt would fall
    into imports and half-started tasks. The signals that came are in the list.
    """
    stopped: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        stopped.append(signum)
        server.handle_exit(signum, frame)

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)
    return stopped


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
        ) from error
    return listening
