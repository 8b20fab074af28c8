"""Hidden states of a language model, pooled into one vector per text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from weightwright.engine.blocks import BlockPool
from weightwright.engine.runner import Runner
from weightwright.engine.schedule import Schedule
from weightwright.engine.sequence import Sequence as Tokens
from weightwright.errors import RequestError
from weightwright.kernels.cache import BLOCK_TOKENS, PagedCache

if TYPE_CHECKING:
    from weightwright.engine.assemble import Parts
    from weightwright.ports import Vectors

POOLINGS = ("mean", "last")


def embed(parts: "Parts", tokenizer: Any, texts: Sequence[str], pooling: str, step_tokens: int) -> "Vectors":
    """Vectors [texts, hidden] f32 of length one: the mean of all tokens' last hidden states, or the last token's.

    Works through a cache of its own, so requests under way keep theirs. Raises RequestError for another pooling, an
    empty text, or one longer than the context.
    """
    import numpy as np

    if pooling not in POOLINGS:
        raise RequestError(f"pooling={pooling!r} is not known; use one of {', '.join(POOLINGS)}")
    all_ids = [list(tokenizer.encode(text)) for text in texts]
    for ids in all_ids:
        if not 0 < len(ids) <= parts.context_tokens:
            raise RequestError(
                f"a text of {len(ids)} tokens cannot be embedded; 1 to {parts.context_tokens} can"
            )
    if not texts:
        return np.zeros((0, 0), np.float32)
    longest = max(map(len, all_ids))
    blocks = -(-max(longest, step_tokens) // BLOCK_TOKENS) + len(texts[:step_tokens])
    cache = PagedCache(parts.executor.shapes, blocks, parts.cache.dtype, parts.device)
    sequences = [Tokens(ids, len(ids), 1) for ids in all_ids]
    for sequence in sequences:
        sequence.share_prefix = False
    sums = _pooled(parts, cache, sequences, pooling, step_tokens)
    vectors = np.stack([sums[sequence] for sequence in sequences])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # type: ignore[no-any-return]


def _pooled(
    parts: "Parts", cache: PagedCache, sequences: Sequence[Tokens], pooling: str, step_tokens: int
) -> dict[Tokens, Any]:
    schedule = Schedule(BlockPool(cache.blocks, BLOCK_TOKENS), min(len(sequences), step_tokens), step_tokens)
    runner = Runner(parts, cache)
    for sequence in sequences:
        schedule.add(sequence)
    sums: dict[Tokens, Any] = {}
    while (batch := schedule.next()) is not None:
        states = runner.hidden(batch)
        at = 0
        for work in batch.works:
            own = states[at : at + len(work.tokens)]
            at += len(work.tokens)
            if pooling == "mean":
                sums[work.sequence] = sums.get(work.sequence, 0.0) + own.sum(dim=0).numpy()
            else:
                sums[work.sequence] = own[-1].numpy()
            schedule.commit(work)
            if work.sequence.computed == len(work.sequence.token_ids):
                schedule.finish(work.sequence)
    return sums
