"""From logits to tokens, for a whole batch at once.

The order is vLLM's: logit bias; what may not come (allowed ids, end tokens before min_tokens, bad words,
the constraint); penalties; temperature, min-p, top-k, top-p. A row draws one number per token from its
own generator and inverts its own distribution, so its tokens do not depend on the rows beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weightwright.engine.sampling.constrain import Constraint
from weightwright.engine.sampling.draw import NOTHING, at_least, draw, likeliest, log_mass, pick, put, top
from weightwright.engine.sampling.logits import shape
from weightwright.errors import RequestError
from weightwright.ports.sampling import SamplingParams

if TYPE_CHECKING:
    from torch import Tensor


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


@dataclass(frozen=True, slots=True)
class Logprobs:
    """A chosen token's log-probability and rank (1 is the likeliest), and the likeliest `(id, logprob)`."""

    token_id: int
    logprob: float
    rank: int
    top: tuple[tuple[int, float], ...] = ()


def choose(logits: "Tensor", choices: Sequence[Choice]) -> list[int]:
    """One token per row: logits [rows, vocab] f32, left as they are -> [rows]; NOTHING where none may come.

    The caller passes each token to its `Choice.accept`, and fails the request of a row with NOTHING by
    `Choice.failure()`.
    """
    if all(choice.plain for choice in choices):
        return likeliest(logits)
    tokens = likeliest(logits) if any(choice.plain for choice in choices) else [NOTHING] * len(choices)
    shaped = [row for row, choice in enumerate(choices) if choice.shaped]
    drawn = [row for row, choice in enumerate(choices) if not (choice.shaped or choice.plain)]
    if drawn:
        own = [choices[row] for row in drawn]
        put(tokens, drawn, _choose(pick(logits, drawn), own))
    if shaped:
        own = [choices[row] for row in shaped]
        put(tokens, shaped, _choose(shape(logits, shaped, own), own))
    return tokens


def _choose(x: "Tensor", choices: Sequence[Choice]) -> list[int]:
    """A token for each row of x [rows, vocab], logits as they are after masks and penalties."""
    tokens = [NOTHING] * len(choices)
    greedy = [row for row, choice in enumerate(choices) if choice.params.greedy]
    if greedy:
        some = pick(x, greedy)
        best = likeliest(some)
        numbers = (some[range(len(best)), best] > -np.inf).tolist()
        put(tokens, greedy, [token if ok else NOTHING for token, ok in zip(best, numbers, strict=True)])
    warm = [row for row, choice in enumerate(choices) if not choice.params.greedy]
    if warm:
        own = [choices[row] for row in warm]
        put(tokens, warm, draw(pick(x, warm), [c.params for c in own], [c.uniform() for c in own]))
    return tokens


def choose_drafted(
    logits: "Tensor", choices: Sequence[Choice], drafts: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Tokens of rows with drafts: the draft as far as it is what would be chosen anyway, and one token more.

    logits [sum(len(draft) + 1), vocab] f32: each row's positions together, the first before its draft.
    Gives 1 to len(draft) + 1 tokens per row, already passed to `Choice.accept`; a list ends early with a
    token that ends its completion, or with NOTHING (not accepted). Exact: each position is chosen from the
    model's distribution after the accepted tokens, with the same draws as without drafts, and a
    (deterministic) draft is only compared with it (arXiv 2211.17192, §2.3).
    """
    starts = np.cumsum([0, *(len(draft) + 1 for draft in drafts)]).tolist()
    plain = [row for row, choice in enumerate(choices) if choice.plain]
    ready = likeliest(logits) if plain else []
    output: list[list[int]] = [[] for _ in choices]
    for row in plain:
        for depth in range(len(drafts[row]) + 1):
            if not _take(choices[row], ready[starts[row] + depth], drafts[row], output[row]):
                break
    going = [row for row, choice in enumerate(choices) if not choice.plain and row not in set(plain)]
    while going:
        positions = [starts[row] + len(output[row]) for row in going]
        tokens = choose(pick(logits, positions), [choices[row] for row in going])
        going = [
            row
            for row, token in zip(going, tokens, strict=True)
            if _take(choices[row], token, drafts[row], output[row])
        ]
    return output


def _take(choice: Choice, token: int, draft: Sequence[int], output: list[int]) -> bool:
    """Accept a token; whether the next position's logits hold."""
    depth = len(output)
    output.append(token)
    if token == NOTHING:
        return False
    choice.accept(token)
    return depth < len(draft) and draft[depth] == token and token not in choice.ends and not choice.finished


def logprobs_of(
    logits: "Tensor", tokens: Sequence[int], counts: Sequence[int | None]
) -> list[Logprobs | None]:
    """Log-probabilities before temperature and penalties (vLLM's raw_logprobs), None where counts is None.

    logits [rows, vocab] f32, tokens [rows] the chosen (for a prompt: the next) ones, counts [rows] how many
    alternatives. Rank counts the tokens at least as likely as the chosen one, itself included.
    """
    asked = [row for row, count in enumerate(counts) if count is not None and tokens[row] != NOTHING]
    result: list[Logprobs | None] = [None] * len(counts)
    if not asked:
        return result
    x = pick(logits, asked)
    chosen_ids = [tokens[row] for row in asked]
    chosen = x[range(len(asked)), chosen_ids]
    ranks = at_least(x, chosen)
    mass = log_mass(x)
    values, ids = top(x, min(x.shape[1], max(counts[row] or 0 for row in asked)))
    logprobs = (values - mass[:, None]).tolist()
    own = (chosen.cpu().numpy().astype(np.float64) - mass).tolist()
    for at, row in enumerate(asked):
        count = counts[row] or 0
        likely = tuple(zip(ids[at, :count].tolist(), logprobs[at][:count], strict=True))
        result[row] = Logprobs(chosen_ids[at], own[at], ranks[at], likely)
    return result


def bad_word_ids(tokenizer: Any, words: Sequence[str]) -> tuple[tuple[int, ...], ...]:
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
