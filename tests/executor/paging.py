"""A model's greedy continuations by transformers, without a cache, and through our executor, blocks and schedule."""

from collections.abc import Sequence

import torch

from weightwright.engine.assemble import Parts
from weightwright.engine.blocks import BlockPool
from weightwright.engine.runner import Runner
from weightwright.engine.schedule import Schedule
from weightwright.engine.sequence import Sequence as Tokens
from weightwright.executor.execute import Executor
from weightwright.executor.lora import AdapterBank
from weightwright.kernels.cache import BLOCK_TOKENS, PagedCache

NEW = 6


def expected_of(model, prompts: Sequence[list[int]]) -> list[tuple[list[int], torch.Tensor]]:
    """Greedy continuations and the logits behind them, one sequence at a time without any cache."""
    model.set_attn_implementation("eager")
    found = []
    for prompt in prompts:
        ids, logits = list(prompt), []
        with torch.inference_mode():
            for _ in range(NEW):
                logits.append(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1])
                ids.append(int(logits[-1].argmax()))
        found.append((ids, torch.stack(logits)))
    return found


def ours(
    executor: Executor, bank: AdapterBank, prompts: Sequence[list[int]], native: bool, dtype=torch.float32
):
    """The same through blocks, chunks of 24 tokens a step, and too few blocks for all at once."""
    blocks = 8
    cache = PagedCache(executor.shapes, blocks, dtype)
    parts = Parts(executor, bank, cache, native, torch.device("cpu"), 256, 256, None, "")
    schedule = Schedule(BlockPool(blocks, BLOCK_TOKENS), 4, 24, stateful=not executor.shapes)
    runner = Runner(parts)
    sequences = [Tokens(list(prompt), len(prompt), NEW) for prompt in prompts]
    logits: dict[Tokens, list[torch.Tensor]] = {sequence: [] for sequence in sequences}
    for sequence in sequences:
        schedule.add(sequence)
    while (batch := schedule.next()) is not None:
        rows = iter(runner.run(batch).logits)
        for work in batch.works:
            if work.logits:
                logits[work.sequence].append(next(rows))
                work.sequence.token_ids.append(int(logits[work.sequence][-1].argmax()))
            schedule.commit(work)
            if len(logits[work.sequence]) == NEW:
                schedule.finish(work.sequence)
    return [(sequence.token_ids, torch.stack(logits[sequence])) for sequence in sequences]


def compare(expected, got, tolerance: float = 1e-4) -> None:
    for (ids, logits), (our_ids, our_logits) in zip(expected, got, strict=True):
        assert our_ids == ids
        torch.testing.assert_close(our_logits, logits, atol=tolerance, rtol=1e-4)
