"""A request on its way through the engine: its prompt as tokens, and a candidate per completion."""

from collections import abc
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from weightwright.data.render import render_request
from weightwright.data.turn_end import turn_ends
from weightwright.engine.sampling.choice import Choice, bad_word_ids, check_ids
from weightwright.engine.sampling.constrain import Grammars
from weightwright.engine.sequence import Owner, Sequence
from weightwright.engine.speculate import Lookup
from weightwright.engine.text import TextStream, TokenBytes
from weightwright.engine.think import ThoughtStream, opens_thought
from weightwright.errors import RequestError
from weightwright.ports import (
    ChatRequest,
    FinishReason,
    Piece,
    Reply,
    SamplingParams,
    Tokenizer,
    TokenLogprob,
    Usage,
)


@dataclass(frozen=True)
class ChatFormat:
    """How conversations are written: a tokenizer with its chat template, and the tokens and texts that end a turn."""

    tokenizer: Tokenizer
    end_ids: tuple[int, ...]
    end_texts: tuple[str, ...]
    grammars: Grammars


def chat_format(tokenizer: Tokenizer, end_ids: abc.Iterable[int]) -> ChatFormat:
    """The format of a tokenizer's chat template; `end_ids` end a text, whatever the template says."""
    ends = turn_ends(tokenizer)
    own = () if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)
    ids = tuple(sorted({*end_ids, *own, *ends.token_ids}))
    return ChatFormat(tokenizer, ids, ends.texts, Grammars(tokenizer, ids))


@dataclass(frozen=True)
class Model:
    """What requests need to know of the model; `formats` are those of adapters with a chat template of their own."""

    vocab_tokens: int
    context_tokens: int
    format: ChatFormat
    formats: dict[str, ChatFormat] = field(default_factory=dict)

    @property
    def tokenizer(self) -> Tokenizer:
        """The base model's tokenizer."""
        return self.format.tokenizer

    def format_of(self, adapter: str | None) -> ChatFormat:
        """How conversations through an adapter are written; the base model's for None."""
        return self.formats.get(adapter or "", self.format)

    @cached_property
    def spelling(self) -> TokenBytes:
        """The bytes of tokens, and which of them a text leaves out."""
        return TokenBytes(self.tokenizer)


@dataclass(eq=False)
class Candidate:
    """One completion under way."""

    request: "Request"
    index: int
    choice: Choice
    text: TextStream
    thought: ThoughtStream | None
    sequence: Sequence | None = None  # in the schedule; None until it branches off the first candidate's
    lookup: Lookup | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    given: int = 0  # tokens handed out; a choice may have accepted guesses beyond a stop string
    log_likelihood: float = 0.0
    held: list[Piece] = field(default_factory=list)  # of best_of: handed out when the best are known

    @property
    def params(self) -> SamplingParams:
        """How its tokens are chosen."""
        return self.request.params

    @property
    def wanted_logprobs(self) -> int | None:
        """Alternatives per token to be worked out, None for no logprobs at all."""
        ranked = 0 if self.request.ranked else None
        return self.params.logprobs if self.params.logprobs is not None else ranked


class Request:
    """What was asked, with its tokens, its candidates and its Reply."""

    def __init__(
        self, asked: ChatRequest, adapter: str | None, on_cancel: abc.Callable[["Request"], None]
    ) -> None:
        self.asked = asked
        self.params = asked.params
        self.adapter = adapter
        self.cancelled = False
        self.reply = Reply(asked.params.n, lambda: on_cancel(self))
        self.prompt_ids: list[int] = []
        self.prompt_logprobs: list[TokenLogprob | None] = [None]
        self.max_tokens = 0
        self.cached_tokens = 0
        self.candidates: list[Candidate] = []

    @property
    def ranked(self) -> bool:
        """More completions are made than asked for, and the likeliest stay."""
        return self.params.width > self.params.n and not self.params.use_beam_search

    def prepare(self, model: Model) -> None:
        """Make the prompt's tokens and the candidates; check that everything fits. Raises RequestError."""
        params, chat = self.params, model.format_of(self.adapter)
        text, self.prompt_ids = self._prompt(chat.tokenizer)
        self.max_tokens = self._fit(model)
        self.spelling = model.spelling
        self.reply.begin(tuple(self.prompt_ids))
        check_ids(params, model.vocab_tokens)
        bad_words = bad_word_ids(model.tokenizer, params.bad_words)
        is_open = opens_thought(text)
        thinks = self.asked.messages is not None and (is_open or _has_thoughts(chat.tokenizer))
        stops = (*params.stop, *chat.end_texts) if self.asked.messages is not None else params.stop
        for index in range(params.width):
            self.candidates.append(
                Candidate(
                    request=self,
                    index=index,
                    choice=Choice(
                        params,
                        index,
                        self.prompt_ids,
                        chat.end_ids,
                        self._constraint(chat, is_open),
                        bad_words,
                    ),
                    text=TextStream(
                        model.tokenizer,
                        stops,
                        include_stop=params.include_stop_str_in_output,
                        skip_special_tokens=params.skip_special_tokens,
                        min_tokens=params.min_tokens,
                    ),
                    thought=ThoughtStream(is_open=is_open) if thinks else None,
                )
            )

    def _prompt(self, tokenizer: Tokenizer) -> tuple[str, list[int]]:
        asked = self.asked
        given = asked.prompt if asked.messages is None else "".join(m.content for m in asked.messages)
        if given is not None:
            try:
                given.encode()
            except UnicodeEncodeError as error:
                half = given[error.start : error.end]
                raise RequestError(
                    f"the text holds {half!r}, half of a surrogate pair; give the whole character"
                ) from error
        if asked.messages is not None:
            text = render_request(asked, tokenizer)
            ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        elif asked.prompt is not None:
            text, ids = asked.prompt, list(tokenizer.encode(asked.prompt))
        else:
            text, ids = "", list(asked.prompt_token_ids or ())
        if not ids:
            raise RequestError("the prompt is empty; it must hold at least one token")
        return text, ids

    def _fit(self, model: Model) -> int:
        """The limit of new tokens. Raises RequestError for an unknown token id, or beyond the context."""
        length = len(self.prompt_ids)
        bad = next((t for t in self.prompt_ids if not 0 <= t < model.vocab_tokens), None)
        if bad is not None:
            raise RequestError(f"token id {bad} is outside the vocabulary of {model.vocab_tokens} tokens")
        remaining = model.context_tokens - length
        wanted = self.params.max_tokens
        max_tokens = wanted if wanted is not None else remaining
        if remaining < 1 or max_tokens > remaining:
            said = f"{length} prompt + {max_tokens} new" if remaining > 0 else f"{length} prompt"
            raise RequestError(
                f"{said} tokens do not fit into the context of {model.context_tokens} tokens; "
                "shorten the prompt or lower max_tokens"
            )
        return max_tokens

    def _constraint(self, chat: ChatFormat, in_thought: bool) -> Any:
        wanted = self.params.structured_outputs
        if wanted is None:
            return None
        after: abc.Sequence[int] = ()
        if in_thought:
            after = chat.tokenizer.encode("</think>", add_special_tokens=False)
        return chat.grammars.constraint(wanted, after)

    def sequence(self, salt: bytes, owner: Owner, *, share_prefix: bool) -> Sequence:
        """The prompt, as the schedule takes it."""
        return Sequence(
            list(self.prompt_ids), len(self.prompt_ids), self.max_tokens, self.asked.priority, salt, share_prefix,
            logits_from=None if self.params.prompt_logprobs is None else 0, adapter=self.adapter, owner=owner,
        )  # fmt: skip

    @property
    def done(self) -> bool:
        """Every candidate has ended."""
        return all(candidate.finish_reason is not None for candidate in self.candidates)

    def usage(self) -> Usage:
        """Tokens read, written, and found in the cache."""
        new_tokens = sum(candidate.given for candidate in self.candidates)
        return Usage(len(self.prompt_ids), new_tokens, self.cached_tokens)

    def finish(self) -> None:
        """Hand out what was held back and end the Reply."""
        if self.ranked:
            best = sorted(self.candidates, key=lambda candidate: -candidate.log_likelihood)[: self.params.n]
            for index, candidate in enumerate(best):
                for piece in candidate.held:
                    self.reply.push(replace(piece, index=index))
        wanted = self.params.prompt_logprobs is not None
        logprobs = tuple(self.prompt_logprobs) if wanted else None
        self.reply.finish(self.usage(), logprobs)


def take(candidate: Candidate, token: int, logprob: TokenLogprob | None, *, last: bool = True) -> None:
    """Hand out a token that the candidate's choice has accepted: decide whether it ends the completion.

    `last` is False where the choice has accepted further tokens already.
    """
    candidate.given += 1
    choice, params, text = candidate.choice, candidate.params, candidate.text
    ends = token in choice.ends
    hidden = ends and not _shown(candidate, token)
    fresh = "" if hidden else text.push(token)
    if ends:
        candidate.finish_reason = "stop"
        candidate.stop_reason = token if token in params.stop_token_ids else None
    elif text.stopped:
        candidate.finish_reason, candidate.stop_reason = "stop", _asked_stop(candidate)
    elif last and choice.finished:
        candidate.finish_reason = "stop"
    elif candidate.given >= candidate.request.max_tokens:
        candidate.finish_reason = "length"
    if candidate.finish_reason is not None:
        fresh += text.flush()
        if text.stopped and not ends:
            candidate.finish_reason, candidate.stop_reason = "stop", _asked_stop(candidate)
    if logprob is not None:
        candidate.log_likelihood += logprob.logprob
        logprob = _as_written(candidate, logprob, hidden=hidden)
    shown = () if logprob is None or params.logprobs is None else (logprob,)
    push(candidate, fresh, (token,), shown)


def _asked_stop(candidate: Candidate) -> str | None:
    """The stop string that was met, where the request named it; the template's own end of turn is none."""
    reason = candidate.text.stop_reason
    return reason if reason in candidate.params.stop else None


def cancel(candidate: Candidate) -> None:
    """End a completion that still runs as cancelled."""
    if candidate.finish_reason is None:
        candidate.finish_reason = "cancelled"
        push(candidate, candidate.text.flush(), (), ())


def _as_written(candidate: Candidate, one: TokenLogprob, *, hidden: bool) -> TokenLogprob:
    """The token with its bytes in the text: none where it is left out, no leading space for the first."""
    spelling, spelt = candidate.request.spelling, one.bytes or b""
    if hidden or (candidate.params.skip_special_tokens and one.token_id in spelling.special):
        spelt = b""
    elif candidate.given == 1 and spelling.strips:
        spelt = spelt.removeprefix(b" ")
    return one if spelt == one.bytes else replace(one, bytes=spelt)


def _shown(candidate: Candidate, token: int) -> bool:
    """Whether a stop token stays in the text (vLLM's `include_stop_str_in_output`)."""
    return candidate.params.include_stop_str_in_output and token in candidate.params.stop_token_ids


def push(candidate: Candidate, text: str, ids: tuple[int, ...], logprobs: tuple[TokenLogprob, ...]) -> None:
    """Emit a piece of a candidate's text, reasoning and answer apart."""
    reasoning = ""
    if candidate.thought is not None:
        reasoning, text = candidate.thought.push(text)
        if candidate.finish_reason is not None:
            more = candidate.thought.flush()
            reasoning, text = reasoning + more[0], text + more[1]
    piece = Piece(
        candidate.index, text, ids, logprobs, candidate.finish_reason, reasoning, candidate.stop_reason
    )
    if candidate.request.ranked:
        candidate.held.append(piece)
    else:
        candidate.request.reply.push(piece)


def _has_thoughts(tokenizer: Tokenizer) -> bool:
    """The chat template knows thoughts, so an answer may begin with one."""
    template = getattr(tokenizer, "chat_template", None)
    return "</think>" in (template if isinstance(template, str) else str(template or ""))
