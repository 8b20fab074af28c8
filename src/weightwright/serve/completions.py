"""`/v1/completions`: several prompts at once, whole or streamed, with or without their prompts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request

from weightwright.errors import RequestError, WeightwrightError
from weightwright.ports import Chat, ChatResult, Completion, Piece, Reply, Usage
from weightwright.serve.events import pieces, submit, whole
from weightwright.wire.openai import replies as shapes
from weightwright.wire.openai.replies import Shown
from weightwright.wire.openai.requests import CompletionRequest


class Completions:
    """The replies to one request: `body.n` choices for each of its prompts, in their order."""

    def __init__(self, body: CompletionRequest, head: dict[str, Any], chat: Chat) -> None:
        self._body, self._head = body, head
        self._tokenizer = getattr(chat, "tokenizer", None)  # a Chat over HTTP has none
        self._heads = [self._echoed(prompt) for prompt in body.prompt]
        self._replies: list[Reply] = []

    @classmethod
    async def start(
        cls, body: CompletionRequest, head: dict[str, Any], chat: Chat, requests: Sequence[Any]
    ) -> "Completions":
        """Start every prompt. Raises RequestError when a prompt cannot be echoed."""
        self = cls(body, head, chat)
        self._replies = [await submit(chat, one) for one in requests]
        return self

    async def whole(self, request: Request) -> dict[str, Any] | None:
        """The response; None when the client went away. Raises the first error of a prompt."""
        results = await whole(self._replies, request)
        if results is None:
            return None
        return self._head | {"choices": self._choices(results), "usage": self._usage()}

    async def events(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        """The chunks, those of different prompts interleaved as they come."""
        head = self._head | ({"usage": None} if self._body.include_usage else {})
        if self._body.echo and (self._body.logprobs is not None or self._body.prompt_only):
            # what is known of the prompt's tokens comes at the end, and must stand before the text
            for choice in self._choices(await whole(self._replies, request) or []):
                yield head | {"choices": [choice]}
        else:
            async for choice in self._chunks():
                yield head | {"choices": [choice]}
        if self._body.include_usage:
            yield head | {"choices": [], "usage": self._usage()}

    # -- whole -------------------------------------------------------------------------------------

    def _choices(self, results: Sequence[ChatResult]) -> list[dict[str, Any]]:
        return [
            self._choice(number, completion, result)
            for number, result in enumerate(results)
            for completion in result.completions
        ]

    def _choice(self, number: int, completion: Completion, result: ChatResult) -> dict[str, Any]:
        body = self._body
        text, tokens = self._heads[number], self._prompt_tokens(result)
        end = {"finish_reason": "length", "stop_reason": None}
        if not body.prompt_only:
            text += completion.text
            tokens += [shapes.shown(one, body.logprobs or 0) for one in completion.logprobs]
            end = shapes.ended(completion)
        return {
            "index": number * body.n + completion.index,
            "text": text,
            "logprobs": shapes.text_logprobs(tokens),
            **end,
            **shapes.prompt_logprobs(result.prompt_logprobs, body.prompt_logprobs),
        }

    def _prompt_tokens(self, result: ChatResult) -> list[Shown]:
        """The prompt's tokens where they are to be shown; no probability is known of the first."""
        if not self._body.echo or self._body.logprobs is None:
            return []
        known = result.prompt_logprobs or ()
        first = Shown(self._decode((result.prompt_token_ids or ())[:1]))
        return [first, *(shapes.shown(one, self._body.logprobs) for one in known if one is not None)]

    def _usage(self) -> dict[str, Any]:
        usages = [reply.usage for reply in self._replies]
        if self._body.prompt_only:  # the token that had to be asked for is not shown
            usages = [Usage(usage.prompt_tokens, 0, usage.cached_tokens) for usage in usages]
        return shapes.usage_of(usages)

    # -- the prompt in front -----------------------------------------------------------------------

    def _echoed(self, prompt: str | list[int]) -> str:
        if not self._body.echo:
            return ""
        if self._tokenizer is None and (self._body.logprobs is not None or not isinstance(prompt, str)):
            raise RequestError(
                "echo of token ids or with logprobs needs a model in the server's own process; "
                "leave out echo, or give a text and leave out logprobs"
            )
        return prompt if isinstance(prompt, str) else self._decode(prompt)

    def _decode(self, ids: Sequence[int]) -> str:
        assert self._tokenizer is not None  # else _echoed refused
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    # -- streamed ----------------------------------------------------------------------------------

    async def _chunks(self) -> AsyncIterator[dict[str, Any]]:
        begun: dict[int, int] = {}  # by choice, at which character its next token stands
        async for number, piece in _interleaved(self._replies):
            index = number * self._body.n + piece.index
            text = piece.text if index in begun else self._heads[number] + piece.text
            tokens = [shapes.shown(one, self._body.logprobs or 0) for one in piece.logprobs]
            logprobs = shapes.text_logprobs(tokens, begun.setdefault(index, 0))
            begun[index] += sum(len(token.text) for token in tokens)
            yield {"index": index, "text": text, "logprobs": logprobs, **shapes.ended(piece)}


async def _interleaved(replies: Sequence[Reply]) -> AsyncIterator[tuple[int, Piece]]:
    """The pieces of all replies with their reply's number; the first error ends all of them."""
    queue: asyncio.Queue[tuple[int, Piece] | BaseException | None] = asyncio.Queue()

    async def drain(number: int, reply: Reply) -> None:
        try:
            async for piece in pieces(reply):
                queue.put_nowait((number, piece))
            queue.put_nowait(None)
        except WeightwrightError as error:
            queue.put_nowait(error)

    readers = [asyncio.create_task(drain(number, reply)) for number, reply in enumerate(replies)]
    try:
        open_readers = len(readers)
        while open_readers:
            item = await queue.get()
            if item is None:
                open_readers -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
    finally:
        for reader in readers:
            reader.cancel()
