"""A request on its way through the engine: its prompt as tokens, and one sequence per completion."""

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weightwright.data.template import render
from weightwright.engine.sample import generator
from weightwright.engine.text import TextStream
from weightwright.errors import RequestError
from weightwright.ports import ChatRequest, FinishReason, Piece, Reply, SamplingParams, TokenLogprob, Usage

if TYPE_CHECKING:
    from torch import Generator


@dataclass
class Sequence:
    """One completion under way: everything that belongs to a row of the batch."""

    running: "Running"
    index: int
    text: TextStream
    chance: "Generator"
    token_ids: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    @property
    def params(self) -> SamplingParams:
        """How this sequence chooses its tokens."""
        return self.running.request.params


class Running:
    """A request with its tokens, its sequences and its Reply."""

    def __init__(self, request: ChatRequest, adapter: str | None, end_ids: SequenceOf[int]) -> None:
        self.request = request
        self.adapter = adapter
        self.end_ids = frozenset(end_ids)
        self.cancelled = False
        self.reply = Reply(request.params.n, self._cancel)
        self.prompt_ids: list[int] = []
        self.max_tokens = 0
        self.sequences: list[Sequence] = []

    def prepare(self, tokenizer: Any, context_tokens: int) -> None:
        """Make the prompt's tokens and check that everything fits; raises RequestError."""
        request, params = self.request, self.request.params
        if request.messages is not None:
            text = render(request.messages, tokenizer, "messages", generation_prompt=True)
            self.prompt_ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        elif request.prompt is not None:
            self.prompt_ids = list(tokenizer.encode(request.prompt))
        else:
            self.prompt_ids = list(request.prompt_token_ids or ())
        length = len(self.prompt_ids)
        if length == 0:
            raise RequestError("the prompt is empty; it must hold at least one token")
        bad = [t for t in self.prompt_ids if not 0 <= t < len(tokenizer)]
        if bad:
            raise RequestError(f"token id {bad[0]} is outside the vocabulary of {len(tokenizer)} tokens")
        room = context_tokens - length
        self.max_tokens = params.max_tokens if params.max_tokens is not None else room
        if room < 1 or self.max_tokens > room:
            wanted = f"{length} prompt + {self.max_tokens} new" if room > 0 else f"{length} prompt"
            raise RequestError(
                f"{wanted} tokens do not fit into the context of {context_tokens} tokens; "
                "shorten the prompt or lower max_tokens"
            )
        self.sequences = [
            Sequence(self, index, TextStream(tokenizer, params.stop), generator(params, index))
            for index in range(params.n)
        ]

    def _cancel(self) -> None:
        self.cancelled = True


def take(sequence: Sequence, token_id: int, logprob: TokenLogprob | None) -> None:
    """Add a token to a sequence: decide whether it ends it, and hand the text out."""
    running, params = sequence.running, sequence.params
    sequence.token_ids.append(token_id)
    ends = token_id in params.stop_token_ids or (token_id in running.end_ids and not params.ignore_eos)
    text = "" if ends else sequence.text.push(token_id)
    if ends or sequence.text.stopped:
        sequence.finish_reason = "stop"
    elif len(sequence.token_ids) >= running.max_tokens:
        sequence.finish_reason = "length"
    if sequence.finish_reason is not None:
        text += sequence.text.flush()
        if sequence.text.stopped:
            sequence.finish_reason = "stop"
    shown = () if logprob is None else (logprob,)
    running.reply.push(Piece(sequence.index, text, (token_id,), shown, sequence.finish_reason))
    _finish_if_done(running)


def cancel(running: Running) -> None:
    """End the sequences that still run as cancelled."""
    for sequence in running.sequences:
        if sequence.finish_reason is None:
            sequence.finish_reason = "cancelled"
            running.reply.push(Piece(sequence.index, sequence.text.flush(), finish_reason="cancelled"))
    _finish_if_done(running)


def _finish_if_done(running: Running) -> None:
    if all(sequence.finish_reason is not None for sequence in running.sequences):
        new_tokens = sum(len(sequence.token_ids) for sequence in running.sequences)
        running.reply.finish(Usage(len(running.prompt_ids), new_tokens))
