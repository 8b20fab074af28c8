"""A wire protocol of your own, both directions: here the fields under our own names.

Run its contract with `pytest examples/extend/wire.py`. A file in `serve/routes/` serves it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from weightwright.errors import RequestError
from weightwright.ports import ChatRequest, ChatResult, Piece, Reply
from weightwright.testing import wire
from weightwright.wire.protocol import Protocol

REQUEST, RESULT, PIECE = TypeAdapter(ChatRequest), TypeAdapter(ChatResult), TypeAdapter(Piece)
MINE = Protocol(
    name="mine",
    write_error=lambda failure: {"why": failure.message},
    read_error=lambda answer: answer["why"],
    key_headers=lambda key: {"X-Mine": key},
    read_key=lambda headers: headers.get("x-mine", ""),
    key_hint="'X-Mine: KEY'",
)


def without_logprobs(request: ChatRequest) -> ChatRequest:
    """My protocol has none, so none are asked for."""
    return replace(
        request, params=request.params.model_copy(update={"logprobs": None, "prompt_logprobs": None})
    )


class TestMine(wire.WireContract):
    protocol = MINE
    requests = wire.REQUESTS.map(without_logprobs)

    def write_request(self, request: ChatRequest) -> dict[str, Any]:
        return REQUEST.dump_python(request, mode="json", exclude_defaults=True)

    def read_request(self, body: Any) -> ChatRequest:
        try:
            return REQUEST.validate_python(body)
        except ValidationError as error:
            raise RequestError(str(error)) from error

    def write_whole(self, result: ChatResult, request: ChatRequest) -> dict[str, Any]:
        return {"result": RESULT.dump_python(result, mode="json")}

    def write_chunks(
        self, pieces: Sequence[Piece], result: ChatResult, request: ChatRequest
    ) -> Iterator[dict[str, Any]]:
        yield from ({"piece": PIECE.dump_python(piece, mode="json")} for piece in pieces)
        yield self.write_whole(result, request)

    def read(self, events: Sequence[Any], request: ChatRequest) -> Reply:
        result = RESULT.validate_python(events[-1]["result"])
        pieces = [PIECE.validate_python(event["piece"]) for event in events[:-1]]
        return wire.replied(
            request,
            pieces or result.completions,
            result.usage,
            result.prompt_logprobs,
            result.prompt_token_ids,
        )
