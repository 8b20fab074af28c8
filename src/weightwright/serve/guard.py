"""What stands before every route: the key, the size of a request, and how many are under way."""

import hmac
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from weightwright.wire.openai.replies import error_body

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
        headers = {name.lower(): value for name, value in scope["headers"]}
        if self._key:
            sent = headers.get(b"authorization", b"")
            if not hmac.compare_digest(sent, b"Bearer " + self._key):
                message = "the API key is missing or wrong; send it as 'Authorization: Bearer KEY'"
                return JSONResponse(error_body(message, "invalid_request_error", "invalid_api_key"), 401)
        if int(headers.get(b"content-length", b"0")) > MAX_BODY_BYTES:
            return JSONResponse(error_body(_too_large(), "invalid_request_error"), 413)
        if self._under_way >= self._max_waiting:
            message = f"{self._under_way} requests are under way, as many as max_waiting allows; try again"
            return JSONResponse(error_body(message, "server_error", "overloaded"), 503, {"Retry-After": "1"})
        return None


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
