"""Hidden states of a language model, pooled into one vector per text, in the same steps as all else."""

from collections import abc
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weightwright.engine.owner import Output, Share, closed
from weightwright.engine.schedule import Schedule
from weightwright.engine.sequence import Sequence
from weightwright.errors import RequestError

if TYPE_CHECKING:
    from weightwright.ports import Vectors

POOLINGS = ("mean", "last")
_QUEUED = 50  # texts queued between two steps


@dataclass(eq=False)
class Text:
    """One text: its tokens, and the sum of the hidden states pooled so far."""

    token_ids: list[int]
    sum: Any = 0.0  # [hidden] f32
    pooled: int = 0  # tokens


@dataclass(eq=False)
class Call:
    """The texts of one call; `future` gets their vectors, in order, or the error."""

    texts: list[Text]
    pooling: str
    future: "Future[Vectors]"
    sequences: list[Sequence] = field(default_factory=list)
    left: int = 0  # texts that are not done


def texts_of(tokenizer: Any, texts: abc.Sequence[str], pooling: str, context_tokens: int) -> list[Text]:
    """The texts as tokens. Raises RequestError for another pooling, an empty text, or one longer than the context."""
    if pooling not in POOLINGS:
        raise RequestError(f"pooling={pooling!r} is not known; use one of {', '.join(POOLINGS)}")
    encoded = _tokens(tokenizer, texts)
    for ids in encoded:
        if not 0 < len(ids) <= context_tokens:
            raise RequestError(f"a text of {len(ids)} tokens cannot be embedded; 1 to {context_tokens} can")
    return [Text(ids) for ids in encoded]


def _tokens(tokenizer: Any, texts: abc.Sequence[str]) -> list[list[int]]:
    """The tokens of each text, where possible without Python, which the engine's thread would have to wait for."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and backend.truncation is None and backend.padding is None:
        return [encoded.ids for encoded in backend.encode_batch(list(texts))]
    return [list(tokenizer.encode(text)) for text in texts]


class Embeddings:
    """Owns the sequences that are embedded. Prefixes are not shared, and no block is kept."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._texts: dict[Sequence, tuple[Call, Text]] = {}

    def starting(self, call: Call) -> abc.Iterator[None]:
        """Queue the texts, some of them at a time: go on between two steps."""
        call.left = len(call.texts)
        for number, text in enumerate(call.texts, 1):
            if call.future.done():  # one of them has failed meanwhile
                return
            last = len(text.token_ids) - 1
            sequence = Sequence(
                text.token_ids, len(text.token_ids), 0, share_prefix=False, keep=False,
                states_from=0 if call.pooling == "mean" else last, background=True, owner=self,
            )  # fmt: skip
            try:
                self._schedule.add(sequence)
            except RequestError as error:
                self._end(call, error)
                return
            call.sequences.append(sequence)
            self._texts[sequence] = (call, text)
            if number % _QUEUED == 0:
                yield

    def take(self, shares: abc.Sequence[Share], output: Output) -> None:
        """See `Owner`: hidden states of the last positions of each work."""
        for work, at in shares:
            known = self._texts.get(work.sequence)
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
            if stop == len(text.token_ids):
                self._schedule.finish(work.sequence)
                del self._texts[work.sequence]
                call.left -= 1
                if not call.left:
                    call.future.set_result(_vectors(call.texts))

    def fail(self, sequence: Sequence, error: Exception) -> None:
        """See `Owner`."""
        if sequence in self._texts:
            self._end(self._texts[sequence][0], error)

    def drop_adapter(self, name: str) -> None:
        """See `Owner`: texts are embedded by the base model."""

    def stop(self) -> None:
        """See `Owner`."""
        for call, _ in list(self._texts.values()):
            self._end(call, closed())

    def _end(self, call: Call, error: Exception) -> None:
        for sequence in call.sequences:
            self._texts.pop(sequence, None)
            self._schedule.finish(sequence)
        if not call.future.done():
            call.future.set_exception(error)


def _vectors(texts: abc.Sequence[Text]) -> "Vectors":
    """Vectors [texts, hidden] f32 of length one: the length takes away what the mean would divide by."""
    import numpy as np

    sums = np.stack([text.sum for text in texts])
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)  # type: ignore[no-any-return]
