"""Answers held to a JSON schema, a regex, a choice or a grammar: masks over the vocabulary (llguidance)."""

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weightwright.errors import RequestError
from weightwright.ports import Tokenizer
from weightwright.ports.sampling import StructuredOutputs

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from llguidance._lib import JsonCompileOptions

# between two parts of a JSON text: a space, or a line break and an indentation. Where any number of blanks may
# stand, a model that has begun to write them seldom stops.
_WHITESPACE = r"[ \t]|[ \t]?\r?\n[ \t]{0,40}"
_SHOWN_CHARACTERS = 600  # of a compiler's message


class Grammars:
    """Compiles grammars for one tokenizer and keeps the `keep` last used; any thread may call.

    `end_ids` are the tokens that may stand where an answer is whole.
    """

    def __init__(self, tokenizer: Tokenizer, end_ids: Sequence[int], keep: int = 64) -> None:
        self._hf_tokenizer = tokenizer
        self._end_ids = list(end_ids)
        self._keep = keep
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None  # takes up to a second, so made when first needed
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()

    def constraint(self, wanted: StructuredOutputs, after: Sequence[int] = ()) -> "Constraint":
        """A fresh constraint; with `after` it begins once these tokens have come (the end of a thought).

        Raises RequestError saying what is wrong with the schema, regex or grammar. A new grammar takes
        milliseconds to a second, so call it where the request is made and not in the engine's loop.
        """
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = _tokenizer(self._hf_tokenizer, self._end_ids)
            grammar = _grammar(wanted)
            matcher = self._compiled.get(grammar)
            if matcher is None:
                matcher = self._compiled[grammar] = _compile(self._tokenizer, grammar, wanted)
            self._compiled.move_to_end(grammar)
            while len(self._compiled) > self._keep:
                self._compiled.popitem(last=False)
            return Constraint(matcher.deep_copy(), self._tokenizer.vocab_size, after)

    def __len__(self) -> int:
        """How many grammars are kept."""
        return len(self._compiled)


class Constraint:
    """Where one completion stands in its grammar."""

    def __init__(self, matcher: "LLMatcher", vocab_tokens: int, after: Sequence[int] = ()) -> None:
        self.matcher = matcher
        self.vocab_tokens = vocab_tokens  # of the tokenizer; a model may have more, as padding
        self._after = tuple(after)
        self._tail: tuple[int, ...] = ()
        self.begun = not after
        """The grammar rules the next token; before that, any token may come."""

    def accept(self, token: int) -> None:
        """Go on by a token. One that the grammar forbids makes `error` say so, and nothing fits any more."""
        if self.begun:
            self.matcher.consume_token(token)
        else:
            self._tail = (*self._tail, token)[-len(self._after) :]
            self.begun = self._tail == self._after

    @property
    def finished(self) -> bool:
        """The answer is whole and only an end token may follow."""
        return self.begun and self.matcher.is_stopped() and not self.matcher.is_error()

    @property
    def accepting(self) -> bool:
        """The answer is whole as it stands, though more may follow."""
        return self.begun and self.matcher.is_accepting()

    @property
    def error(self) -> str:
        """Why the grammar cannot go on; "" while it can."""
        return _first_lines(self.matcher.get_error()) if self.matcher.is_error() else ""


def allowed(constraints: Sequence[Constraint]) -> NDArray[np.bool_]:
    """Which tokens may come next, [constraints, tokenizer vocab] bool; all `begun`, of one Grammars."""
    width = constraints[0].vocab_tokens
    words = np.zeros((len(constraints), -(-width // 32)), dtype=np.int32)
    for row, constraint in enumerate(constraints):
        if not constraint.matcher.is_error():
            constraint.matcher.unsafe_compute_mask_ptr(words[row].ctypes.data, words.shape[1] * 4)
    return np.unpackbits(words.view(np.uint8), axis=1, count=width, bitorder="little").view(np.bool_)


# --- compiling ------------------------------------------------------------------------------------


def _tokenizer(tokenizer: Tokenizer, end_ids: list[int]) -> "LLTokenizer":
    from llguidance.hf import from_tokenizer

    try:
        return from_tokenizer(tokenizer, eos_token=end_ids or None)
    except (ValueError, AttributeError) as error:
        raise RequestError(
            f"structured_outputs need a fast tokenizer; {type(tokenizer).__name__} is none: {error}"
        ) from error


def _grammar(wanted: StructuredOutputs) -> str:
    """The grammar in llguidance's own form."""
    from llguidance import LLMatcher

    if wanted.regex is not None:
        return LLMatcher.grammar_from_regex(wanted.regex)
    if wanted.grammar is not None:
        return LLMatcher.grammar_from_lark(wanted.grammar)
    if wanted.choice is not None:
        texts = (json.dumps(text, ensure_ascii=False) for text in wanted.choice)
        return LLMatcher.grammar_from_lark("start: " + " | ".join(texts))
    schema: Any = {"type": "object"} if wanted.json is None else wanted.json
    try:
        text = schema if isinstance(schema, str) else json.dumps(schema)
        spaces: JsonCompileOptions = (
            {"whitespace_flexible": False}
            if wanted.disable_any_whitespace
            else {"whitespace_pattern": _WHITESPACE}
        )
        return LLMatcher.grammar_from_json_schema(text, defaults=spaces)
    except (TypeError, ValueError) as error:
        raise RequestError(f"structured_outputs.json cannot be used: {error}") from error


def _compile(tokenizer: "LLTokenizer", grammar: str, wanted: StructuredOutputs) -> "LLMatcher":
    from llguidance import LLMatcher, LLParserLimits

    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LLParserLimits(verbose_errors=False))
    if matcher.is_error():
        message = f"structured_outputs.{wanted.given[0]} cannot be used: {_first_lines(matcher.get_error())}"
        if wanted.grammar is not None and "::=" in wanted.grammar:
            message += "; it looks like GBNF, write it in llguidance's dialect of Lark"
        raise RequestError(message)
    return matcher


def _first_lines(message: str) -> str:
    return " ".join(message.split())[:_SHOWN_CHARACTERS]
