"""A Chat over HTTP: streamed chat completions and completions in OpenAI's API."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future

import httpx

from weightwright.errors import RemoteError, WeightwrightError
from weightwright.ports import ChatRequest, Piece, Reply, Score
from weightwright.remote.client import Client
from weightwright.wire.openai import client
from weightwright.wire.openai.answer import Answer


class RemoteChat:
    """A model behind `url` (…/v1); `name` is the model's name there (None: its only one), `key` goes before the
    environment's.

    Adapters are models too: a request's adapter is sent as the model's name.
    """

    def __init__(self, url: str, name: str | None, *, key: str | None = None) -> None:
        self._client = Client(url, key=key)
        self._owned_by: str | None = None
        if name is None:
            model = self._client.only_model()
            name, self._owned_by = str(model["id"]), str(model.get("owned_by", ""))
        self.name = name

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
        answer = Answer(request)
        try:
            path, fields = client.write_request(request, self.name)
            if self._owned_by is not None or client.depends_on_owner(fields):
                fields = client.fields_for(fields, await self._owner(), self._client.url)
            async for event in self._client.events(path, fields, client.beyond_openai(fields)):
                pieces = answer.take(event)
                if answer.prompt_token_ids is not None and reply.prompt_token_ids is None:
                    reply.begin(answer.prompt_token_ids)
                for piece in pieces:
                    reply.push(piece)
            answer.check(self._client.url)
            reply.finish(answer.usage, answer.prompt_logprobs, answer.prompt_token_ids)
        except asyncio.CancelledError:
            for index in answer.open:
                reply.push(Piece(index, "", finish_reason="cancelled"))
            reply.finish(answer.usage)
        except WeightwrightError as error:
            reply.fail(error)
        except httpx.HTTPError as error:
            reply.fail(self._unreachable(error))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            reply.fail(RemoteError(f"{self._client.url} does not speak OpenAI's API: {error}"))

    def _unreachable(self, error: httpx.HTTPError) -> RemoteError:
        return self._client.unreachable(error)

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


def _cancel(task: "Future[None]") -> None:
    task.cancel()
