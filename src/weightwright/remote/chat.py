"""A Chat over HTTP: streamed chat completions and completions in OpenAI's API."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from typing import Any

import httpx

from weightwright.errors import RemoteError, WeightwrightError
from weightwright.ports import ChatRequest, Piece, Reply, Score, TokenLogprob, Usage
from weightwright.remote.client import Client
from weightwright.wire.openai import client as wire


class RemoteChat:
    """A model behind `url` (…/v1); `name` is the model's name there (None: its only one).

    Adapters are models too: a request's adapter is sent as the model's name.
    """

    def __init__(self, url: str, name: str | None) -> None:
        self._client = Client(url)
        self.name = name if name is not None else self._client.only_model()
        self._owned_by: str | None = None

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
        answer = _Answer(request.params.n)
        try:
            path, fields = wire.body(request, self.name)
            if wire.may_be_ignored(fields):
                wire.check_taken(fields, await self._owner(), self._client.url)
            async for event in self._events(path, fields, wire.beyond_openai(request, fields)):
                for piece in answer.take(event, request):
                    reply.push(piece)
            answer.check(request, self._client.url)
            reply.finish(answer.usage, answer.prompt_logprobs)
        except asyncio.CancelledError:
            for index in answer.open:
                reply.push(Piece(index, "", finish_reason="cancelled"))
            reply.finish(answer.usage)
        except WeightwrightError as error:
            reply.fail(error)
        except httpx.HTTPError as error:
            reply.fail(self._client.unreachable(error))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            reply.fail(RemoteError(f"{self._client.url} does not speak OpenAI's API: {error}"))

    async def _owner(self) -> str:
        """What the server says owns its models, which tells servers apart; "" where it does not say."""
        if self._owned_by is None:
            try:
                models = (await self._client.get("/models"))["data"]
            except RemoteError:
                return ""
            named = [model for model in models if model["id"] == self.name] or models
            self._owned_by = str(named[0].get("owned_by", "")) if named else ""
        return self._owned_by

    async def _events(
        self, path: str, fields: dict[str, Any], beyond_openai: Sequence[str]
    ) -> AsyncIterator[dict[str, Any]]:
        """The JSON events of a server-sent stream up to `[DONE]`, or the one answer of a request without."""
        async with self._client.http.stream("POST", self._client.url + path, json=fields) as response:
            if not (response.is_success and fields.get("stream")):
                await response.aread()
                self._client.check(response, beyond_openai)
                yield response.json()
                return
            async for line in response.aiter_lines():
                data = line.removeprefix("data:").strip()
                if not line.startswith("data:") or not data:
                    continue
                if data == "[DONE]":
                    return
                event = json.loads(data)
                if "error" in event:
                    raise RemoteError(f"{self._client.url} failed: {event['error']}", 500)
                yield event


class _Answer:
    """What has come of an answer with `n` completions."""

    def __init__(self, n: int) -> None:
        self.usage = Usage()
        self.prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
        self.open = set(range(n))
        self._begun: set[int] = set()
        self._unexplained = False  # text came without the logprobs that were asked for

    def take(self, event: dict[str, Any], request: ChatRequest) -> list[Piece]:
        """The pieces of an event."""
        self.usage = wire.usage(event) or self.usage
        pieces = [wire.piece(choice) for choice in event.get("choices", ())]
        for piece in pieces:
            self._begun.add(piece.index)
            self._unexplained |= (
                bool(piece.text) and request.params.logprobs is not None and not piece.logprobs
            )
            if piece.finish_reason is not None:
                self.open.discard(piece.index)
        if request.params.prompt_logprobs is not None:
            self.prompt_logprobs = wire.prompt_logprobs(event, request.params.prompt_logprobs)
        return pieces

    def check(self, request: ChatRequest, url: str) -> None:
        """Raise RemoteError when the answer is not whole, or not what was asked for."""
        if self.open & self._begun or not self._begun:
            raise RemoteError(f"{url} ended the stream before the answer's end")
        params = request.params
        if self.open:
            raise RemoteError(
                f"{url} gave {len(self._begun)} of n={params.n} completions; it takes no n, ask for one at a time"
            )
        missing = ["logprobs"] if self._unexplained else []
        if params.prompt_logprobs is not None and self.prompt_logprobs is None:
            missing.append("prompt_logprobs")
        if missing:
            names = " and ".join(missing)
            raise RemoteError(f"{url} gave no {names}; leave out {names}, or use a model in this process")


def _cancel(task: "Future[None]") -> None:
    task.cancel()
