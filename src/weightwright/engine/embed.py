"""Hidden states of a language model, pooled into one vector per text, in the same steps as all else."""

from collections import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightwright.engine.call_owner import Call, CallOwner
from weightwright.engine.sequence import Output, Sequence, Share
from weightwright.errors import RequestError
from weightwright.ports import Tokenizer

if TYPE_CHECKING:
    from weightwright.ports import Vectors

POOLINGS = ("mean", "last")
_QUEUED = 50  # texts queued between two steps


@dataclass(eq=False)
class Text:
    """One text: its tokens, and the sum of the hidden states pooled so far."""

    token_ids: list[int]
    first: int  # position from which on they are pooled
    sum: Any = 0.0  # [hidden] f32
    pooled: int = 0  # tokens


def texts_of(tokenizer: Tokenizer, texts: abc.Sequence[str], pooling: str, context_tokens: int) -> list[Text]:
    """The texts as tokens. Raises RequestError for another pooling, an empty text, or one longer than the context."""
    if pooling not in POOLINGS:
        raise RequestError(f"pooling={pooling!r} is not known; use one of {', '.join(POOLINGS)}")
    encoded = _tokens(tokenizer, texts)
    for ids in encoded:
        if not 0 < len(ids) <= context_tokens:
            raise RequestError(f"a text of {len(ids)} tokens cannot be embedded; 1 to {context_tokens} can")
    return [Text(ids, 0 if pooling == "mean" else len(ids) - 1) for ids in encoded]


def _tokens(tokenizer: Tokenizer, texts: abc.Sequence[str]) -> list[list[int]]:
    """The tokens of each text, where possible without Python, which the engine's thread would have to wait for."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and backend.truncation is None and backend.padding is None:
        return [encoded.ids for encoded in backend.encode_batch(list(texts))]
    return [list(tokenizer.encode(text)) for text in texts]


class Embeddings(CallOwner[Text]):
    """Owns the sequences that are embedded by the base model. Prefixes are not shared, and no block is kept."""

    def starting(self, call: Call[Text]) -> abc.Iterator[None]:
        """Queue the texts, some of them at a time: go on between two steps."""
        for number, text in enumerate(call.parts, 1):
            if call.future.done():  # one of them has failed meanwhile
                return
            sequence = Sequence(
                text.token_ids, len(text.token_ids), 0, share_prefix=False, keep=False,
                states_from=text.first, background=True, owner=self,
            )  # fmt: skip
            if not self._queue(call, text, sequence):
                return
            if number % _QUEUED == 0:
                yield

    def take(self, shares: abc.Sequence[Share], output: Output) -> None:
        """See `Owner`: hidden states of the last positions of each work."""
        for work, at in shares:
            known = self._parts.get(work.sequence)
            if known is None:  # its call failed in this step
                continue
            call, text = known
            stop = work.start + len(work.tokens)
            fresh = min(work.states, stop - text.pooled)  # the others were pooled before a preemption
            if fresh > 0:
                assert output.states is not None
                end = at + work.states
                text.sum = text.sum + output.states[end - fresh : end].sum(dim=0).numpy(force=True)
                text.pooled = stop
            self._schedule.commit(work)
            if stop == len(text.token_ids) and self._finish(call, work.sequence):
                call.future.set_result(_vectors(call.parts))


def _vectors(texts: abc.Sequence[Text]) -> "Vectors":
    """Vectors [texts, hidden] f32 of length one: the length takes away what the mean would divide by."""
    import numpy as np

    sums = np.stack([text.sum for text in texts])
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)  # type: ignore[no-any-return]
