"""Log-probabilities of tokens with their bytes and texts: of those that are chosen, and of a prompt's."""

from collections import abc
from typing import TYPE_CHECKING

from weightwright.engine.request import Request
from weightwright.engine.sampling.sample import Logprobs, logprobs_of
from weightwright.engine.sequence import Output, Work
from weightwright.engine.text import TokenBytes
from weightwright.ports import Tokenizer, TokenLogprob

if TYPE_CHECKING:
    from torch import Tensor


class TokenLogprobs:
    """Spells out tokens for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._bytes = TokenBytes(tokenizer)

    def of(
        self, logits: "Tensor", tokens: abc.Sequence[int], counts: abc.Sequence[int | None]
    ) -> list[TokenLogprob | None]:
        """Of the token of each row of logits [rows, vocab] with `counts` alternatives; None where that is None."""
        if all(count is None for count in counts):
            return [None] * len(tokens)
        return [self._spelt(one) for one in logprobs_of(logits, tokens, counts)]

    def of_prompt(self, request: Request, work: Work, at: int, output: Output) -> int | None:
        """Note what is asked for of the prompt; the row from which a token is chosen, None before its end.

        `at` is the row where the work's own logits begin.
        """
        if not work.logits:
            return None
        stop = work.start + len(work.tokens)
        first = stop - work.logits  # the position of the first logits
        last = len(work.sequence.token_ids) - 1  # the position after which a token is chosen
        asked = request.params.prompt_logprobs
        before = max(0, min(last, stop) - first)
        if asked is not None and before:
            ids = work.sequence.token_ids[first + 1 : first + 1 + before]
            computed = self.of(output.logits[at : at + before], ids, [asked] * before)
            known = request.prompt_logprobs
            known += computed[len(known) - first - 1 :]
        return at + before if stop > last else None

    def _spelt(self, logprobs: Logprobs | None) -> TokenLogprob | None:
        if logprobs is None:
            return None
        own, alternatives = self._bytes(logprobs.token_id), [self._bytes(token) for token, _ in logprobs.top]
        top = tuple(
            (token, _text(spelt), logprob)
            for (token, logprob), spelt in zip(logprobs.top, alternatives, strict=True)
        )
        return TokenLogprob(
            logprobs.token_id, _text(own), logprobs.logprob, top, logprobs.rank, own, tuple(alternatives)
        )


def _text(spelt: bytes) -> str:
    return spelt.decode(errors="replace")
