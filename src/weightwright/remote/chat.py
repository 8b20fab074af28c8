"""A Chat over HTTP: streamed chat completions and completions in OpenAI's API."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from typing import Any

import httpx

from weightwright.errors import RemoteError, WeightwrightError
from weightwright.ports import ChatRequest, FinishReason, Piece, Reply, Score, Usage
from weightwright.remote.client import Client

_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length"}
_STANDARD = ("max_tokens", "temperature", "top_p", "n", "seed")
_BEYOND_OPENAI = ("top_k", "min_p", "stop_token_ids", "ignore_eos")  # sent only when set; vLLM's names


class RemoteChat:
    """A model behind `url` (…/v1); `name` is the model's name there (None: its only one).

    Adapters are models too: a request's adapter is sent as the model's name.
    """

    def __init__(self, url: str, name: str | None) -> None:
        self._client = Client(url)
        self.name = name if name is not None else self._client.only_model()

    def submit(self, request: ChatRequest) -> Reply:
        """Start a request; what goes wrong fails its Reply."""
        reply = Reply(request.params.n, lambda: _cancel(task))
        task = self._client.start(self._ask(request, reply))
        return reply

    def score(self, prompt: str, completions: Sequence[str], *, adapter: str | None = None) -> list[Score]:
        """Not offered over HTTP: OpenAI's API has no log-likelihoods of given texts."""
        raise RemoteError(f"{self._client.url} cannot score given texts; use a model in this process")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    async def _ask(self, request: ChatRequest, reply: Reply) -> None:
        path, body = _body(request, self.name)
        usage = Usage()
        finished: set[int] = set()
        try:
            async for event in self._events(path, body):
                usage = _usage(event) or usage
                for choice in event.get("choices", ()):
                    reply.push(_piece(choice))
                    if choice.get("finish_reason"):
                        finished.add(choice.get("index", 0))
            if len(finished) < request.params.n:
                raise RemoteError(f"{self._client.url} ended the stream before the answer's end")
            reply.finish(usage)
        except asyncio.CancelledError:
            for index in set(range(request.params.n)) - finished:
                reply.push(Piece(index, "", finish_reason="cancelled"))
            reply.finish(usage)
        except WeightwrightError as error:
            reply.fail(error)
        except httpx.HTTPError as error:
            reply.fail(self._client.unreachable(error))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reply.fail(RemoteError(f"{self._client.url} does not speak OpenAI's API: {error}"))

    async def _events(self, path: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The JSON events of a server-sent stream, up to `[DONE]`."""
        async with self._client.http.stream("POST", self._client.url + path, json=body) as response:
            if not response.is_success:
                await response.aread()
                self._client.check(response)
            async for line in response.aiter_lines():
                data = line.removeprefix("data:").strip()
                if not line.startswith("data:") or not data:
                    continue
                if data == "[DONE]":
                    return
                event = json.loads(data)
                if "error" in event:
                    raise RemoteError(f"{self._client.url} failed: {event['error']}")
                yield event


def _cancel(task: "Future[None]") -> None:
    task.cancel()


def _body(request: ChatRequest, name: str) -> tuple[str, dict[str, Any]]:
    params = request.params
    body: dict[str, Any] = {
        "model": request.adapter or name,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body |= {key: getattr(params, key) for key in _STANDARD if getattr(params, key) is not None}
    defaults = type(params)()
    for key in _BEYOND_OPENAI:
        if getattr(params, key) != getattr(defaults, key):
            body[key] = getattr(params, key)
    if params.stop:
        body["stop"] = list(params.stop)
    if request.messages is not None:
        body["messages"] = [{"role": m.role, "content": m.content} for m in request.messages]
        return "/chat/completions", body
    body["prompt"] = request.prompt if request.prompt is not None else list(request.prompt_token_ids or ())
    return "/completions", body


def _piece(choice: dict[str, Any]) -> Piece:
    text = choice["delta"].get("content") if "delta" in choice else choice.get("text")
    reason = choice.get("finish_reason")
    finish: FinishReason | None = _FINISH.get(reason, "stop") if reason else None
    return Piece(choice.get("index", 0), text or "", finish_reason=finish)


def _usage(event: dict[str, Any]) -> Usage | None:
    usage = event.get("usage")
    return Usage(usage["prompt_tokens"], usage.get("completion_tokens", 0)) if usage else None
