"""The vocabulary loss at labelled positions only, in chunks, with its gradient made in the forward pass.

Logits of all positions would be the largest tensor of a run and most of them carry no loss. Here the
backbone runs over all tokens, only the hidden states that predict a labelled token meet the output
head, a bounded number at a time, and no weight gradient is made for a frozen head.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from weightwright.tune.batch import Batch

# Logits held at once, in numbers: 8 M of them in f32 are 32 MiB.
_CHUNK_LOGITS = 8_000_000


class VocabularyLoss:
    """What a causal model makes of the tokens of a batch: their cross-entropy, or their log-probabilities."""

    def __init__(self, model: Any) -> None:
        """Choose the path: the head alone where it is all that stands after the backbone, else the model."""
        self._model = model
        self._head: Any = model.get_output_embeddings()
        self._head_alone = self._head is not None and _head_is_all(model, self._head)

    def __call__(self, batch: Batch) -> Tensor:
        """Cross-entropy summed over labelled tokens, a scalar f32 whose gradient reaches every trainable weight."""
        where = batch.labelled
        chosen = batch.token_ids[:, 1:][where]
        if not self._head_alone:
            logits = self._model(**_inputs(batch)).logits[:, :-1][where]
            return F.cross_entropy(logits.float(), chosen, reduction="sum")
        hidden = self._model.base_model(**_inputs(batch)).last_hidden_state
        return head_loss(hidden[:, :-1][where], self._head, chosen)

    def logprobs(self, batch: Batch, where: Tensor) -> Tensor:
        """Log-probabilities f32 [chosen] of the tokens after the positions `where` [lines, width - 1] bool.

        Their logits are made a bounded number at a time, and again in the backward pass.
        """
        chosen = batch.token_ids[:, 1:][where]
        if not self._head_alone:
            logits = self._model(**_inputs(batch)).logits[:, :-1][where]
            return -F.cross_entropy(logits.float(), chosen, reduction="none")
        hidden = self._model.base_model(**_inputs(batch)).last_hidden_state
        return head_logprobs(hidden[:, :-1][where], self._head, chosen)


def _inputs(batch: Batch) -> dict[str, Any]:
    inputs: dict[str, Any] = {"input_ids": batch.token_ids, "use_cache": False}
    if batch.bounds:
        inputs |= {"position_ids": batch.positions, "packed_bounds": batch.bounds}
    return inputs


def head_logprobs(hidden: Tensor, head: nn.Module, targets: Tensor) -> Tensor:
    """Log softmax(head(hidden)) [n, vocab] at targets [n], never built whole: f32 [n]."""
    vocabulary = int(getattr(head, "out_features", 0)) or 32_000
    chunks = max(1, _CHUNK_LOGITS // vocabulary)

    def run(part: Tensor, wanted: Tensor) -> Tensor:
        return -F.cross_entropy(head(part).float(), wanted, reduction="none")

    pieces = zip(hidden.split(chunks), targets.split(chunks), strict=True)
    found = [checkpoint(run, part, wanted, use_reentrant=False) for part, wanted in pieces]
    return torch.cat(found) if found else hidden.new_zeros(0, dtype=torch.float32)


def head_loss(hidden: Tensor, head: nn.Module, targets: Tensor) -> Tensor:
    """Summed cross-entropy of head(hidden) [n, vocab] against targets [n], never built whole: f32 scalar."""
    weight = getattr(head, "weight", None)
    if type(head) is nn.Linear and isinstance(weight, Tensor):
        if not torch.is_grad_enabled():
            weight = weight.detach()
        loss: Tensor = _HeadLoss.apply(hidden, weight, head.bias, targets)
        return loss
    vocabulary = int(getattr(head, "out_features", 0)) or 32_000
    chunks = max(1, _CHUNK_LOGITS // vocabulary)
    total = hidden.new_zeros((), dtype=torch.float32)
    run: Callable[[Tensor, Tensor], Tensor] = lambda h, t: F.cross_entropy(  # noqa: E731
        head(h).float(), t, reduction="sum"
    )
    for part, wanted in zip(hidden.split(chunks), targets.split(chunks), strict=True):
        total = total + checkpoint(run, part, wanted, use_reentrant=False)
    return total


class _HeadLoss(torch.autograd.Function):  # type: ignore[misc]
    """Summed cross-entropy after a linear head; gradients of hidden, weight and bias made on the way."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        need_hidden, need_weight, need_bias, _ = ctx.needs_input_grad
        compute = weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_weight = torch.zeros_like(weight) if need_weight else None
        grad_bias = torch.zeros_like(bias) if need_bias and bias is not None else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        rows = max(1, _CHUNK_LOGITS // weight.shape[0])
        for start in range(0, hidden.shape[0], rows):
            part, wanted = hidden[start : start + rows], targets[start : start + rows]
            logits = F.linear(part, compute, None if bias is None else bias.to(part.dtype))
            log_share = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
            total -= log_share.gather(1, wanted[:, None]).sum()
            if not (need_hidden or need_weight or need_bias):
                continue
            # d(loss)/d(logits) = softmax - one-hot, in the place of the logarithms
            grad = log_share.exp_()
            grad.scatter_add_(1, wanted[:, None], grad.new_full((len(wanted), 1), -1.0))
            if grad_bias is not None:
                grad_bias += grad.sum(0).to(grad_bias.dtype)
            low = grad.to(hidden.dtype)
            if grad_hidden is not None:
                torch.mm(low, compute, out=grad_hidden[start : start + rows])
            if grad_weight is not None:
                grad_weight += (low.t() @ part).to(grad_weight.dtype)
        ctx.gradients = (grad_hidden, grad_weight, grad_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if g is None else g.mul_(outer[0].to(g.dtype)) for g in ctx.gradients]
        ctx.gradients = None
        return (*scaled, None)


def _head_is_all(model: Any, head: nn.Module) -> bool:
    """Whether logits are head(last hidden state): no soft cap, no scale; seen by trying, not by a list."""
    probe = torch.arange(8, device=model.device).remainder(model.config.get_text_config().vocab_size)[None]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            whole = model(input_ids=probe, use_cache=False).logits
            alone = head(model.base_model(input_ids=probe, use_cache=False).last_hidden_state)
    except (AttributeError, TypeError):
        return False  # a backbone of another shape: the plain path is right for every model
    finally:
        model.train(training)
    # a soft cap moves small logits little, so the sizes it would act on are looked at as well
    capped = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return not capped and whole.shape == alone.shape and torch.allclose(whole, alone, rtol=1e-2, atol=1e-3)
