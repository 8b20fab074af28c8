"""Asking a model: what is asked, what comes back piece by piece, and the Chat protocol."""

import builtins
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol

from weightwright.errors import RequestError
from weightwright.ports.documents import Citation
from weightwright.ports.sampling import SamplingParams

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function that an assistant asks for; `arguments` is a JSON object as text, as OpenAI sends it."""

    name: str
    arguments: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    `reasoning` is the thought before an assistant's content; `tool_call_id` says which call a tool answers;
    `name` tells speakers of one role apart.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    reasoning: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Grounding:
    """What a prompt was built from, for a Chat that reads passages and not the prompt (`extract`)."""

    question: str
    passages: tuple[str, ...]
    headings: tuple[str, ...] = field(
        default=(), compare=False
    )  # that the passages begin with; "" where none


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question to a Chat: exactly one of `messages`, `prompt`, `prompt_token_ids`.

    The fields from `template_options` on are for the chat template: `tools` are the functions that it shows, each as
    OpenAI describes it; without `add_generation_prompt` no answer is begun; `continue_final_message` goes on with the
    last message instead.
    """

    messages: tuple[Message, ...] | None = None
    prompt: str | None = None
    prompt_token_ids: tuple[int, ...] | None = None
    adapter: str | None = None
    params: SamplingParams = field(default_factory=SamplingParams)
    grounding: Grounding | None = None
    priority: int = 0  # lower goes first
    template_options: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[Mapping[str, Any], ...] = ()
    add_generation_prompt: bool = True
    continue_final_message: bool = False

    def __post_init__(self) -> None:
        given = [x for x in (self.messages, self.prompt, self.prompt_token_ids) if x is not None]
        if len(given) != 1:
            raise RequestError(
                f"a request needs exactly one of messages, prompt, prompt_token_ids; got {len(given)}"
            )
        if self.continue_final_message and self.add_generation_prompt:
            raise RequestError(
                "continue_final_message goes on with the last message; set add_generation_prompt to False"
            )


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The log-probability of a chosen token and of the likeliest alternatives; `rank` 1 is the likeliest.

    A token may be part of a character: its text is then U+FFFD, and only its `bytes` tell it from others. Joined they
    are the completion's text in UTF-8, so a special token that is left out of it has none. `top_bytes` are those of
    `top`. None: not known.
    """

    token_id: int
    text: str
    logprob: float
    top: tuple[tuple[int, str, float], ...] = ()
    rank: int | None = None
    bytes: "builtins.bytes | None" = None
    top_bytes: "tuple[builtins.bytes | None, ...]" = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A bit of a completion as it comes; the last one of an index carries the finish reason.

    `reasoning` is the part of a thought, `text` of the answer; `stop_reason` is the stop text or stop
    token id that ended it, None for the model's own end. The last piece of an answer from documents has
    its `citations`, and in `trace` the passages that the model was shown and what became of its marks;
    token ids and log-probabilities are those of the marks as the model wrote them.
    """

    index: int
    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    reasoning: str = ""
    stop_reason: str | int | None = None
    citations: tuple[Citation, ...] = ()
    trace: Mapping[str, Any] = field(default_factory=dict)


def joined(pieces: Sequence[Piece]) -> Piece:
    """Consecutive pieces of one completion as one piece."""
    last = pieces[-1]
    return replace(
        last,
        text="".join(piece.text for piece in pieces),
        token_ids=tuple(token for piece in pieces for token in piece.token_ids),
        logprobs=tuple(logprob for piece in pieces for logprob in piece.logprobs),
        reasoning="".join(piece.reasoning for piece in pieces),
        citations=tuple(citation for piece in pieces for citation in piece.citations),
    )


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written; `cached_tokens` of the prompt's were not read again."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completion(Piece):
    """One whole completion: its pieces joined. `cumulative_logprob` sums its tokens' where asked for."""

    cumulative_logprob: float | None = None


@dataclass(frozen=True, slots=True)
class ChatResult:
    """All completions of a request, in order of index; of the prompt's tokens the first has no logprob."""

    completions: tuple[Completion, ...]
    usage: Usage
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
    prompt_token_ids: tuple[int, ...] | None = None

    @property
    def text(self) -> str:
        """The first completion's text."""
        return self.completions[0].text


@dataclass(frozen=True, slots=True)
class Score:
    """The log-likelihood of one completion after a prompt, summed over its tokens."""

    log_likelihood: float
    tokens: int
    is_greedy: bool


class Reply:
    """An answer under way. The Chat calls `push`, `finish`, `fail`; everybody else reads.

    Callbacks run in the thread that pushes, so they must be quick (`loop.call_soon_threadsafe`).
    """

    def __init__(self, n: int = 1, on_cancel: Callable[[], None] | None = None) -> None:
        self._n = n
        self._on_cancel = on_cancel
        self._changed = threading.Condition()
        self._over = threading.Event()  # who waits for the end only is not woken by every piece
        self._pieces: list[Piece] = []
        self._usage = Usage()
        self.prompt_token_ids: tuple[int, ...] | None = None
        """Known before the first piece where the Chat has its tokens; None where it has none."""
        self._prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
        self._ended = False
        self._error: BaseException | None = None
        self._piece_callbacks: list[Callable[[Piece], None]] = []
        self._end_callbacks: list[Callable[[BaseException | None], None]] = []

    # -- for the Chat ----------------------------------------------------------------------------

    def begin(self, prompt_token_ids: tuple[int, ...]) -> None:
        """Say what the prompt is, and that every piece has the ids of its tokens."""
        self.prompt_token_ids = prompt_token_ids

    def push(self, piece: Piece) -> None:
        """Add a piece and tell those who listen; pieces after the end are dropped."""
        with self._changed:
            if self._ended:
                return
            self._pieces.append(piece)
            for callback in self._piece_callbacks:
                callback(piece)
            self._changed.notify_all()

    def finish(
        self,
        usage: Usage,
        prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None,
        prompt_token_ids: tuple[int, ...] | None = None,
    ) -> None:
        """Say that all pieces have come, and what is known of the prompt."""
        self._prompt_logprobs = prompt_logprobs
        if prompt_token_ids is not None:
            self.prompt_token_ids = prompt_token_ids
        self._end(None, usage)

    def fail(self, error: BaseException) -> None:
        """Say that the request failed; `result()` and iteration raise the error."""
        self._end(error, Usage())

    def _end(self, error: BaseException | None, usage: Usage) -> None:
        with self._changed:
            if self._ended:
                return
            self._ended, self._error, self._usage = True, error, usage
            self._over.set()  # before the callbacks: whoever they wake may ask for the result at once
            for callback in self._end_callbacks:
                callback(error)
            self._changed.notify_all()

    # -- for those who asked ---------------------------------------------------------------------

    def on_piece(self, callback: Callable[[Piece], None]) -> None:
        """Call back with every piece, those that have already come first."""
        with self._changed:
            for piece in self._pieces:
                callback(piece)
            self._piece_callbacks.append(callback)

    def on_end(self, callback: Callable[[BaseException | None], None]) -> None:
        """Call back once when the reply has ended, with its error or None."""
        with self._changed:
            if self._ended:
                callback(self._error)
            else:
                self._end_callbacks.append(callback)

    def __iter__(self) -> Iterator[Piece]:
        """Pieces as they come; raises the request's error."""
        position = 0
        while True:
            with self._changed:
                while position == len(self._pieces) and not self._ended:
                    self._changed.wait()
                fresh = self._pieces[position:]
                error, ended = self._error, self._ended
            yield from fresh
            position += len(fresh)
            if ended and not fresh:
                if error is not None:
                    raise error
                return

    def result(self, timeout_s: float | None = None) -> ChatResult:
        """Wait for the end. Raises the request's error, or TimeoutError."""
        if not self._over.wait(timeout_s):
            raise TimeoutError(f"no end of the reply within {timeout_s} s")
        with self._changed:
            if self._error is not None:
                raise self._error
            completions = tuple(self._completion(i) for i in range(self._n))
            return ChatResult(completions, self._usage, self._prompt_logprobs, self.prompt_token_ids)

    def cancel(self) -> None:
        """Stop the work and free what it holds; the completions so far end as `cancelled`."""
        if self._on_cancel is not None:
            self._on_cancel()

    @property
    def usage(self) -> Usage:
        """Tokens read and written; zero until the end."""
        return self._usage

    def _completion(self, index: int) -> Completion:
        whole = joined([piece for piece in self._pieces if piece.index == index] or [Piece(index, "")])
        total = sum(logprob.logprob for logprob in whole.logprobs) if whole.logprobs else None
        values = {each.name: getattr(whole, each.name) for each in fields(Piece)}
        return Completion(**values, cumulative_logprob=total)


class Chat(Protocol):
    """A model that can be asked; hundreds of requests may be under way."""

    def submit(self, request: ChatRequest) -> Reply:
        """Start a request and return at once, from any thread. A request that is wrong fails its Reply."""
        ...

    def score(self, prompt: str, completions: Sequence[str], *, adapter: str | None = None) -> list[Score]:
        """Log-likelihoods of completions after a prompt."""
        ...

    def close(self) -> None:
        """Free the model; requests under way end as cancelled."""
        ...
