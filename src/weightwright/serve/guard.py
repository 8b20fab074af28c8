"""What stands before every route: the key, the size of a request, and how many are under way."""

import hmac
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from weightwright.wire import protocol_of
from weightwright.wire.protocol import Failure

OPEN_PATHS = frozenset({"/health"})
MAX_BODY_BYTES = 32 * 1024 * 1024


class Guard:
    """ASGI middleware. Everything but `/health` needs the key, where there is one."""

    def __init__(self, app: Any, *, api_key: str, max_waiting: int) -> None:
        self._app = app
        self._key = api_key.encode()
        self._max_waiting = max_waiting
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, _limited(receive), send)
        finally:
            self._under_way -= 1

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        """What keeps the request out, in the shape of its path's protocol."""
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        protocol, retry = protocol_of(scope["path"]), None
        if self._key and not hmac.compare_digest(protocol.read_key(headers).encode("latin-1"), self._key):
            message = f"the API key is missing or wrong; send it as {protocol.key_hint}"
            failure = Failure(401, message, "invalid_api_key")
        elif int(headers.get("content-length", 0)) > MAX_BODY_BYTES:
            failure = Failure(413, _too_large())
        elif self._under_way >= self._max_waiting:
            message = f"{self._under_way} requests are under way, as many as max_waiting allows; try again"
            failure, retry = Failure(503, message, "overloaded"), {"Retry-After": "1"}
        else:
            return None
        return JSONResponse(protocol.write_error(failure), failure.status, retry)


def _limited(receive: Receive) -> Receive:
    read_bytes = 0

    async def counted() -> Message:
        nonlocal read_bytes
        message = await receive()
        read_bytes += len(message.get("body", b""))
        if read_bytes > MAX_BODY_BYTES:
            raise HTTPException(413, _too_large())
        return message

    return counted


def _too_large() -> str:
    return f"the request is larger than {MAX_BODY_BYTES // 2**20} MiB"
