"""An answer of OpenAI's API as it comes, event by event, and whether it is whole."""

from collections.abc import Mapping
from typing import Any

from weightwright.errors import RemoteError
from weightwright.ports import ChatRequest, Piece, TokenLogprob, Usage
from weightwright.wire.openai import logprobs, replies


class Answer:
    """What has come of the answer to a request; `open` are the completions that have not ended."""

    def __init__(self, request: ChatRequest) -> None:
        self._params = request.params
        self.usage = Usage()
        self.prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
        self.prompt_token_ids: tuple[int, ...] | None = None
        self.open = set(range(request.params.n))
        self._begun: set[int] = set()
        self._unexplained = False  # text came without the logprobs that were asked for

    def take(self, event: Mapping[str, Any]) -> list[Piece]:
        """The pieces of an event, streamed or whole, of either route."""
        self.usage = replies.read_usage(event) or self.usage
        self.prompt_token_ids = replies.read_prompt_ids(event) or self.prompt_token_ids
        pieces = [replies.read_piece(choice) for choice in event.get("choices") or ()]
        for piece in pieces:
            self._begun.add(piece.index)
            self._unexplained |= bool(piece.text and self._params.logprobs is not None and not piece.logprobs)
            if piece.finish_reason is not None:
                self.open.discard(piece.index)
        if self._params.prompt_logprobs is not None:
            self.prompt_logprobs = logprobs.read_prompt(event, self._params.prompt_logprobs)
        return pieces

    def check(self, url: str) -> None:
        """Raise RemoteError when the answer is not whole, or not what was asked for."""
        if self.open & self._begun or not self._begun:
            raise RemoteError(f"{url} ended the stream before the answer's end")
        if self.open:
            n = self._params.n
            raise RemoteError(
                f"{url} gave {len(self._begun)} of n={n} completions; it takes no n, ask for one at a time"
            )
        missing = ["logprobs"] if self._unexplained else []
        if self._params.prompt_logprobs is not None and self.prompt_logprobs is None:
            missing.append("prompt_logprobs")
        if missing:
            names = " and ".join(missing)
            raise RemoteError(f"{url} gave no {names}; leave out {names}, or use a model in this process")
