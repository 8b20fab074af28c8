"""From logits to tokens, for a whole batch at once.

The order is vLLM's: logit bias; what may not come (allowed ids, end tokens before min_tokens, bad words,
the constraint); penalties; temperature, min-p, top-k, top-p. A row draws one number per token from its
own generator and inverts its own distribution, so its tokens do not depend on the rows beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weightwright.engine.sampling.choice import Choice
from weightwright.engine.sampling.draw import NOTHING, at_least, draw, likeliest, log_mass, pick, put, top
from weightwright.engine.sampling.logits import shape

if TYPE_CHECKING:
    from torch import Tensor


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
