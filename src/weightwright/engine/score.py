"""Log-likelihoods of given completions after a prompt."""

from collections.abc import Sequence
from typing import Any

from weightwright.engine.adapters import Adapters
from weightwright.errors import RequestError
from weightwright.ports import Score


def score(
    adapters: Adapters,
    tokenizer: Any,
    prompt: str,
    completions: Sequence[str],
    adapter: str | None,
    context_tokens: int,
) -> list[Score]:
    """Sum of log p(token | prompt, earlier tokens) of each completion, teacher-forced in one batch.

    Raises RequestError when a completion has no tokens of its own or does not fit.
    """
    import torch

    adapters.check(adapter)
    start = len(tokenizer.encode(prompt))
    rows = [tokenizer.encode(prompt + completion) for completion in completions]
    for completion, row in zip(completions, rows, strict=True):
        if not 0 < start < len(row):
            raise RequestError(f"nothing to score: prompt {prompt!r}, completion {completion!r}")
        if len(row) > context_tokens:
            raise RequestError(f"{len(row)} tokens do not fit into the context of {context_tokens}")
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows], device=adapters.device)
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=adapters.device)
    output = adapters.forward(
        [adapter] * len(rows), input_ids=ids, attention_mask=mask, logits_to_keep=length - start + 1
    )
    logprobs = output.logits[:, :-1].float().log_softmax(dim=-1)  # of positions start .. length - 1
    targets = ids[:, start:]
    chosen = logprobs.gather(-1, targets[..., None]).squeeze(-1)
    greedy = logprobs.argmax(dim=-1) == targets
    counts = [len(row) - start for row in rows]
    return [Score(float(chosen[i, :n].sum()), n, bool(greedy[i, :n].all())) for i, n in enumerate(counts)]
