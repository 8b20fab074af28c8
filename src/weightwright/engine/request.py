"""A request on its way through the engine: its prompt as tokens, and one row per completion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from weightwright.data.template import render
from weightwright.engine.sampling.constrain import Grammars
from weightwright.engine.sampling.sample import Choice, bad_word_ids, check_ids
from weightwright.engine.sequence import Sequence as Tokens
from weightwright.engine.speculate import Lookup
from weightwright.engine.text import TextStream
from weightwright.engine.think import ThoughtStream, opens_thought
from weightwright.errors import Place, RequestError
from weightwright.ports import ChatRequest, FinishReason, Piece, Reply, SamplingParams, TokenLogprob, Usage


@dataclass(frozen=True)
class Model:
    """What requests need to know of the model."""

    tokenizer: Any
    vocab_tokens: int
    context_tokens: int
    end_ids: tuple[int, ...]
    grammars: Grammars


@dataclass(eq=False)
class Row:
    """One completion under way."""

    running: "Running"
    index: int
    choice: Choice
    text: TextStream
    thought: ThoughtStream | None
    tokens: Tokens | None = None  # in the schedule; None until it branches off the first row
    lookup: Lookup | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    given: int = 0  # tokens handed out; a choice may have accepted guesses beyond a stop string
    log_likelihood: float = 0.0
    held: list[Piece] = field(default_factory=list)  # of best_of: handed out when the best are known

    @property
    def params(self) -> SamplingParams:
        """How this row chooses its tokens."""
        return self.running.request.params

    @property
    def wanted_logprobs(self) -> int | None:
        """Alternatives per token to be worked out, None for no logprobs at all."""
        ranked = 0 if self.running.ranked else None
        return self.params.logprobs if self.params.logprobs is not None else ranked


class Running:
    """A request with its tokens, its rows and its Reply."""

    def __init__(
        self, request: ChatRequest, adapter: str | None, on_cancel: Callable[["Running"], None]
    ) -> None:
        self.request = request
        self.adapter = adapter
        self.cancelled = False
        self.reply = Reply(request.params.n, lambda: on_cancel(self))
        self.prompt_ids: list[int] = []
        self.prompt_logprobs: list[TokenLogprob | None] = [None]
        self.max_tokens = 0
        self.cached_tokens = 0
        self.rows: list[Row] = []

    @property
    def ranked(self) -> bool:
        """More completions are made than asked for, and the likeliest stay."""
        params = self.request.params
        return params.width > params.n and not params.use_beam_search

    def prepare(self, model: Model) -> None:
        """Make the prompt's tokens and the rows; check that everything fits. Raises RequestError."""
        params = self.request.params
        text, self.prompt_ids = self._prompt(model.tokenizer)
        self.max_tokens = self._fit(model)
        check_ids(params, model.vocab_tokens)
        bad_words = bad_word_ids(model.tokenizer, params.bad_words)
        is_open = opens_thought(text)
        thinks = self.request.messages is not None and (is_open or _has_thoughts(model.tokenizer))
        for index in range(params.width):
            self.rows.append(
                Row(
                    running=self,
                    index=index,
                    choice=Choice(
                        params,
                        index,
                        self.prompt_ids,
                        model.end_ids,
                        self._constraint(model, is_open),
                        bad_words,
                    ),
                    text=TextStream(
                        model.tokenizer,
                        params.stop,
                        include_stop=params.include_stop_str_in_output,
                        skip_special_tokens=params.skip_special_tokens,
                        min_tokens=params.min_tokens,
                    ),
                    thought=ThoughtStream(is_open=is_open) if thinks else None,
                )
            )

    def _prompt(self, tokenizer: Any) -> tuple[str, list[int]]:
        request = self.request
        given = request.prompt if request.messages is None else "".join(m.content for m in request.messages)
        if given is not None:
            try:
                given.encode()
            except UnicodeEncodeError as error:
                half = given[error.start : error.end]
                raise RequestError(
                    f"the text holds {half!r}, half of a surrogate pair; give the whole character"
                ) from error
        if request.messages is not None:
            text = render(
                request.messages,
                tokenizer,
                Place(part="messages"),
                generation_prompt=True,
                options=request.template_options,
            )
            ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        elif request.prompt is not None:
            text, ids = request.prompt, list(tokenizer.encode(request.prompt))
        else:
            text, ids = "", list(request.prompt_token_ids or ())
        if not ids:
            raise RequestError("the prompt is empty; it must hold at least one token")
        return text, ids

    def _fit(self, model: Model) -> int:
        """How many tokens may come."""
        length = len(self.prompt_ids)
        bad = next((t for t in self.prompt_ids if not 0 <= t < model.vocab_tokens), None)
        if bad is not None:
            raise RequestError(f"token id {bad} is outside the vocabulary of {model.vocab_tokens} tokens")
        room = model.context_tokens - length
        wanted = self.request.params.max_tokens
        max_tokens = wanted if wanted is not None else room
        if room < 1 or max_tokens > room:
            said = f"{length} prompt + {max_tokens} new" if room > 0 else f"{length} prompt"
            raise RequestError(
                f"{said} tokens do not fit into the context of {model.context_tokens} tokens; "
                "shorten the prompt or lower max_tokens"
            )
        return max_tokens

    def _constraint(self, model: Model, in_thought: bool) -> Any:
        wanted = self.request.params.structured_outputs
        if wanted is None:
            return None
        after: Sequence[int] = ()
        if in_thought:
            after = model.tokenizer.encode("</think>", add_special_tokens=False)
        return model.grammars.constraint(wanted, after)

    @property
    def done(self) -> bool:
        """Every row has ended."""
        return all(row.finish_reason is not None for row in self.rows)

    def usage(self) -> Usage:
        """Tokens read, written, and found in the cache."""
        new_tokens = sum(row.given for row in self.rows)
        return Usage(len(self.prompt_ids), new_tokens, self.cached_tokens)

    def finish(self) -> None:
        """Hand out what was held back and end the Reply."""
        if self.ranked:
            best = sorted(self.rows, key=lambda row: -row.log_likelihood)[: self.request.params.n]
            for index, row in enumerate(best):
                for piece in row.held:
                    self.reply.push(_numbered(piece, index))
        wanted = self.request.params.prompt_logprobs is not None
        logprobs = tuple(self.prompt_logprobs) if wanted else None
        self.reply.finish(self.usage(), logprobs, tuple(self.prompt_ids))


def take(row: Row, token: int, logprob: TokenLogprob | None, *, last: bool = True) -> None:
    """Hand out a token that the row's choice has accepted: decide whether it ends the row.

    `last` is False where the choice has accepted further tokens already.
    """
    row.given += 1
    choice, params = row.choice, row.params
    ends = token in choice.ends
    text = "" if ends and not _shown(row, token) else row.text.push(token)
    if ends:
        row.finish_reason = "stop"
        row.stop_reason = token if token in params.stop_token_ids else None
    elif row.text.stopped:
        row.finish_reason, row.stop_reason = "stop", row.text.stop_reason
    elif last and choice.finished:
        row.finish_reason = "stop"
    elif row.given >= row.running.max_tokens:
        row.finish_reason = "length"
    if row.finish_reason is not None:
        text += row.text.flush()
        if row.text.stopped and not ends:
            row.finish_reason, row.stop_reason = "stop", row.text.stop_reason
    if logprob is not None:
        row.log_likelihood += logprob.logprob
    shown = () if logprob is None or params.logprobs is None else (logprob,)
    push(row, text, (token,), shown)


def cancel(row: Row) -> None:
    """End a row that still runs as cancelled."""
    if row.finish_reason is None:
        row.finish_reason = "cancelled"
        push(row, row.text.flush(), (), ())


def _shown(row: Row, token: int) -> bool:
    """A stop token that is left in the text, as vLLM does for `include_stop_str_in_output`."""
    return row.params.include_stop_str_in_output and token in row.params.stop_token_ids


def push(row: Row, text: str, ids: tuple[int, ...], logprobs: tuple[TokenLogprob, ...]) -> None:
    """Give out what a row has written, its thoughts apart."""
    reasoning = ""
    if row.thought is not None:
        reasoning, text = row.thought.push(text)
        if row.finish_reason is not None:
            more = row.thought.flush()
            reasoning, text = reasoning + more[0], text + more[1]
    piece = Piece(row.index, text, ids, logprobs, row.finish_reason, reasoning, row.stop_reason)
    if row.running.ranked:
        row.held.append(piece)
    else:
        row.running.reply.push(piece)


def _numbered(piece: Piece, index: int) -> Piece:
    return Piece(
        index,
        piece.text,
        piece.token_ids,
        piece.logprobs,
        piece.finish_reason,
        piece.reasoning,
        piece.stop_reason,
    )


def _has_thoughts(tokenizer: Any) -> bool:
    """The chat template knows thoughts, so an answer may begin with one."""
    template = getattr(tokenizer, "chat_template", None)
    return "</think>" in (template if isinstance(template, str) else str(template or ""))
