"""How one completion chooses: its parameters, its chance, and what it has chosen so far."""

from collections.abc import Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray

from weightwright.engine.sampling.constrain import Constraint
from weightwright.errors import RequestError
from weightwright.ports import Tokenizer
from weightwright.ports.sampling import SamplingParams


class Choice:
    """How one completion chooses its tokens, and what it has chosen so far.

    `index` is the completion's number within its request (its seed is `seed + index`), `end_ids` are the
    model's end tokens, `bad_words` come from `bad_word_ids`.
    """

    def __init__(
        self,
        params: SamplingParams,
        index: int,
        prompt_ids: Sequence[int],
        end_ids: Sequence[int],
        constraint: Constraint | None = None,
        bad_words: Sequence[Sequence[int]] = (),
    ) -> None:
        self.params = params
        self.constraint = constraint
        self.output_ids: list[int] = []
        own_end = () if params.ignore_eos else end_ids
        self.ends = frozenset((*own_end, *params.stop_token_ids))
        """Tokens that end this completion."""
        # vLLM keeps the model's end tokens away before min_tokens even where they would not end anything
        self._late = tuple({*end_ids, *params.stop_token_ids})
        self._bad_words = tuple(tuple(word) for word in bad_words if word)
        seed = None if params.seed is None else (params.seed + index) % 2**64
        self._chance = Random(seed)
        penalised = params.repetition_penalty != 1 or params.frequency_penalty or params.presence_penalty
        seen = prompt_ids if params.repetition_penalty != 1 else ()
        self.occurred = Occurrences(seen) if penalised else None
        self._always_shaped = bool(
            penalised or constraint or self._bad_words or params.logit_bias or params.allowed_token_ids
        )
        self._look()

    def accept(self, token: int) -> None:
        """Go on by a token that was chosen (or forced); to be called once for each token, in order."""
        self.output_ids.append(token)
        if self.occurred is not None:
            self.occurred.add(token)
        if self.constraint is not None:
            self.constraint.accept(token)
        if len(self.output_ids) == self.params.min_tokens:
            self._look()

    def _look(self) -> None:
        self.shaped = self._always_shaped or len(self.output_ids) < self.params.min_tokens
        """The next token's logits are changed before temperature."""
        self.plain = self.params.greedy and not self.shaped
        """Plain greedy: argmax of the raw logits."""

    def uniform(self) -> float:
        """The next number of this completion's own chance, in [0, 1)."""
        return self._chance.random()

    @property
    def finished(self) -> bool:
        """The constraint allows nothing but the end: the completion is whole without an end token."""
        return self.constraint is not None and self.constraint.finished

    def forbidden(self) -> list[int]:
        """Tokens that may not come next: ends before min_tokens, and the last token of a bad word."""
        output = self.output_ids
        ids = list(self._late) if len(output) < self.params.min_tokens and not self.finished else []
        for word in self._bad_words:
            before = len(word) - 1
            if before <= len(output) and (not before or tuple(output[-before:]) == word[:-1]):
                ids.append(word[-1])
        return ids

    def failure(self) -> RequestError:
        """The error of a request whose row gave NOTHING."""
        if self.constraint is not None and self.constraint.error:
            return RequestError(f"structured_outputs cannot go on: {self.constraint.error}")
        return RequestError(
            f"after {len(self.output_ids)} tokens no token is allowed; loosen allowed_token_ids, bad_words, "
            "min_tokens or structured_outputs (without these, the model's logits are not numbers)"
        )


class Occurrences:
    """Which tokens occurred, and how often in the output; ids [n] i64, counts [n] f32, growing."""

    def __init__(self, prompt_ids: Sequence[int]) -> None:
        first = list(dict.fromkeys(prompt_ids))
        self._slots = {token: slot for slot, token in enumerate(first)}
        self._ids = np.zeros(len(first) + 64, dtype=np.int64)
        self._ids[: len(first)] = first
        self._counts = np.zeros(len(first) + 64, dtype=np.float32)

    def add(self, token: int) -> None:
        """Count a token of the output."""
        slot = self._slots.setdefault(token, len(self._slots))
        if slot == len(self._ids):
            self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
        self._ids[slot] = token
        self._counts[slot] += 1

    @property
    def ids(self) -> NDArray[np.int64]:
        """The tokens, each once."""
        return self._ids[: len(self._slots)]

    @property
    def counts(self) -> NDArray[np.float32]:
        """How often each occurred in the output; 0 for those of the prompt alone."""
        return self._counts[: len(self._slots)]


def bad_word_ids(tokenizer: Tokenizer, words: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Bad words as tokens, at the start of a text and after a space (vLLM's rule)."""
    sequences: list[tuple[int, ...]] = []
    for word in words:
        bare = tuple(tokenizer.encode(word.lstrip(), add_special_tokens=False))
        spaced = tuple(tokenizer.encode(" " + word.lstrip(), add_special_tokens=False))
        sequences.append(bare)
        if spaced and spaced[0] != bare[0] and len(spaced) == len(bare):
            sequences.append(spaced)
    return tuple(sequences)


def check_ids(params: SamplingParams, vocab_tokens: int) -> None:
    """Raise RequestError for a token id that the model does not have."""
    named = {
        "logit_bias": params.logit_bias or (),
        "allowed_token_ids": params.allowed_token_ids or (),
        "stop_token_ids": params.stop_token_ids,
    }
    for name, ids in named.items():
        for token in ids:
            if not 0 <= token < vocab_tokens:
                raise RequestError(
                    f"{name} holds token {token}, which is outside the vocabulary of {vocab_tokens} tokens"
                )
