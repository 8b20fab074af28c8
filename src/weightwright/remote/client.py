"""One HTTP client for a server that speaks OpenAI's API, with errors that say what to do."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from weightwright.errors import RemoteError
from weightwright.wire.events import read_events
from weightwright.wire.openai.protocol import OPENAI
from weightwright.wire.protocol import Protocol

T = TypeVar("T")
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")  # a proxy of the environment does not reach it
KEY_VARIABLES = ("WEIGHTWRIGHT_API_KEY", "OPENAI_API_KEY")


class Client:
    """An async client on a loop of its own, so that hundreds of requests need no thread each."""

    def __init__(
        self, url: str, *, protocol: Protocol = OPENAI, key: str | None = None, timeout_s: float = 600.0
    ) -> None:
        self.url = url.rstrip("/")
        self._protocol = protocol
        key = key or next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), None)
        self._loop = asyncio.new_event_loop()
        self.http = httpx.AsyncClient(
            headers=protocol.key_headers(key) if key else {},
            timeout=httpx.Timeout(timeout_s, connect=10.0),
            limits=httpx.Limits(max_connections=None),
            trust_env=urlsplit(self.url).hostname not in _THIS_MACHINE,
        )
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="weightwright-remote", daemon=True
        )
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run a coroutine on the client's loop; returns a concurrent future."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def only_model(self) -> dict[str, Any]:
        """The server's one model, as it lists it. Raises RemoteError naming them when there are more."""
        models = self.start(self._request("GET", "/models")).result()["data"]
        if len(models) != 1:
            self.close()
            names = ", ".join(str(model["id"]) for model in models)
            raise RemoteError(f"{self.url} offers {names or 'no model'}; add '#NAME' to the address")
        return dict(models[0])

    async def get(self, path: str) -> Any:
        """GET JSON. Raises RemoteError."""
        return await self._request("GET", path)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST JSON, return JSON. Raises RemoteError."""
        return await self._request("POST", path, body)

    async def events(
        self, path: str, body: dict[str, Any], beyond_openai: Sequence[str] = ()
    ) -> AsyncIterator[dict[str, Any]]:
        """POST JSON; the JSON events of the answer, or its one JSON where the body asks for no stream.

        Raises RemoteError also for an error among the events, ValueError for what is no JSON.
        """
        async with self.http.stream("POST", self.url + path, json=body) as response:
            whole = response.headers.get("content-type", "").startswith("application/json")
            if whole or not (response.is_success and body.get("stream")):
                await response.aread()
                self.check(response, beyond_openai)
                yield response.json()
                return
            async for event in read_events(response.aiter_bytes()):
                if event.get("error"):
                    raise RemoteError(f"{self.url} failed: {self._protocol.read_error(event)}", 500)
                yield event

    async def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            response = await self.http.request(method, self.url + path, json=body)
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        self.check(response)
        return response.json()

    def check(self, response: httpx.Response, beyond_openai: Sequence[str] = ()) -> None:
        """Raise RemoteError for an error status (the body must have been read).

        `beyond_openai` names what was sent that not every such server takes.
        """
        if response.is_success:
            return
        sent = ", ".join(beyond_openai)
        optional = (
            f"; sent beyond OpenAI's API: {sent}; leave out what this server does not take" if sent else ""
        )
        remedy = {
            400: optional,
            401: f"; set {KEY_VARIABLES[0]} to the server's key",
            404: "; write the server's model name after '#' in the address",
            422: optional,
        }.get(response.status_code, "")
        message = f"{self.url} answered {response.status_code}: {self._message(response)}{remedy}"
        raise RemoteError(message, response.status_code)

    def unreachable(self, error: httpx.HTTPError) -> RemoteError:
        """The RemoteError for a server that did not answer."""
        return RemoteError(
            f"no answer from {self.url} ({error or type(error).__name__}); is the server running?"
        )

    def close(self) -> None:
        """Close connections and stop the loop; work under way is cancelled."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _shut(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.http.aclose()

    def _message(self, response: httpx.Response) -> str:
        try:
            return self._protocol.read_error(response.json())
        except ValueError:
            return response.text[:300].strip() or response.reason_phrase
