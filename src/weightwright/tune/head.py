"""The loss and the log-probabilities after the output head, over bounded chunks of logits.

The logits [tokens, vocab] are never held whole. `head_loss` computes its gradients in the forward pass;
`head_logprobs` recomputes the logits in the backward pass. A frozen head gets no gradient. On the CPU softmax and its
gradient are one pass, in place, over one buffer that all chunks share.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from weightwright.kernels import train as kernels
from weightwright.kernels.elementwise import padded_rows
from weightwright.plan.measured import LOSS_CHUNK_BYTES as CHUNK_BYTES

_UNKNOWN_VOCABULARY = 128_000  # assumed for a head without `out_features`


def head_loss(hidden: Tensor, head: nn.Module, targets: Tensor) -> Tensor:
    """Summed cross-entropy of head(hidden) [n, vocab] against targets [n] i64: f32 scalar."""
    if _is_linear(head):
        loss: Tensor = _HeadLoss.apply(*_computed(hidden, head, targets))
        return loss
    return _by_parts(hidden, head, targets, "sum").sum()


def head_logprobs(hidden: Tensor, head: nn.Module, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """Log softmax(head(hidden) / temperature) [n, vocab] at targets [n] i64: f32 [n]."""
    if _is_linear(head):
        logprobs: Tensor = _HeadLogprobs.apply(*_computed(hidden, head, targets), temperature)
        return logprobs[: len(targets)]
    return -_by_parts(hidden, head, targets, "none", temperature)


def _is_linear(head: nn.Module) -> bool:
    return type(head) is nn.Linear and isinstance(head.weight, Tensor)


def _computed(hidden: Tensor, head: Any, targets: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """The hidden states in the dtype to compute in, the head's weight and bias, the targets.

    On a CPU the rows are padded to one of few counts (see `batch.pack`); the target of a padding row is -1.
    """
    weight, bias = head.weight, head.bias
    if torch.is_autocast_enabled(hidden.device.type):
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    if not torch.is_grad_enabled():
        weight, bias = weight.detach(), None if bias is None else bias.detach()
    behind = padded_rows(len(targets)) - len(targets) if hidden.device.type == "cpu" else 0
    return F.pad(hidden, (0, 0, 0, behind)), weight, bias, F.pad(targets, (0, behind), value=-1)


def _by_parts(
    hidden: Tensor, head: nn.Module, targets: Tensor, reduction: str, temperature: float = 1.0
) -> Tensor:
    """Cross-entropies through a head of any kind, in chunks; the backward pass recomputes the logits."""
    vocabulary = int(getattr(head, "out_features", 0)) or _UNKNOWN_VOCABULARY
    rows = chunk_rows(vocabulary, 2 * hidden.element_size() + 4)

    def run(part: Tensor, wanted: Tensor) -> Tensor:
        return F.cross_entropy(head(part).float() / temperature, wanted, reduction=reduction).reshape(-1)

    parts = zip(hidden.split(rows), targets.split(rows), strict=True)
    losses = [checkpoint(run, part, wanted, use_reentrant=False) for part, wanted in parts]
    return torch.cat(losses) if losses else hidden.new_zeros(0, dtype=torch.float32)


def chunk_rows(vocabulary: int, number_bytes: int) -> int:
    """Rows of logits held at once: those that fit CHUNK_BYTES, a multiple of 16 (faster products) from 16 on."""
    rows = max(1, CHUNK_BYTES // (vocabulary * number_bytes))
    return rows if rows < 16 else rows // 16 * 16


class _Chunks:
    """Computes the logits chunk by chunk in one buffer, and their softmax in place there."""

    def __init__(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float = 1.0,
    ) -> None:
        self._hidden, self._targets, self._temperature = hidden, targets, temperature
        self.weight = weight.to(hidden.dtype)
        self._bias = None if bias is None else bias.to(hidden.dtype)
        self._in_place = kernels.runs_on(hidden)
        size = hidden.element_size()
        rows = chunk_rows(weight.shape[0], size if self._in_place else 2 * size + 4)
        self._logits = hidden.new_empty(min(rows, len(hidden)), weight.shape[0])

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """The rows, targets and logits [rows, vocab] of each chunk; the next one overwrites the logits."""
        for start in range(0, len(self._hidden), max(1, len(self._logits))):
            where = slice(start, start + len(self._logits))
            part = self._hidden[where]
            logits = torch.mm(part, self.weight.t(), out=self._logits[: len(part)])
            if self._bias is not None:
                logits += self._bias
            if self._temperature != 1.0:
                logits /= self._temperature
            yield where, self._targets[where], logits

    def softmax(self, logits: Tensor, targets: Tensor, *, gradient: bool) -> tuple[Tensor, Tensor]:
        """Log-probabilities f32 [rows] of the targets; with `gradient`, `logits` become softmax - one-hot."""
        behind, targets = targets < 0, targets.clamp(min=0)
        if self._in_place:
            logprobs = logits.gather(1, targets[:, None])[:, 0].float()
            logprobs -= kernels.softmax_gradient(logits, targets, wanted=gradient)
        else:
            shares = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
            logprobs = shares.gather(1, targets[:, None])[:, 0]
            shares.exp_().scatter_add_(1, targets[:, None], shares.new_full((len(targets), 1), -1.0))
            logits.copy_(shares)
        if behind.any():
            logprobs[behind], logits[behind] = 0.0, 0.0
        return logprobs, logits


class _HeadLoss(torch.autograd.Function):  # type: ignore[misc]
    """Summed cross-entropy after a linear head; the forward pass computes the gradients too."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        needed = ctx.needs_input_grad[:3]
        gradients = _Gradients(hidden, weight, bias, needed)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        chunks = _Chunks(hidden, weight, bias, targets)
        for where, wanted, logits in chunks:
            logprobs, grad = chunks.softmax(logits, wanted, gradient=any(needed))
            total -= logprobs.sum()
            gradients.add(where, grad, hidden, chunks.weight)
        ctx.gradients = gradients.tensors
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if g is None else g.mul_(outer[0].to(g.dtype)) for g in ctx.gradients]
        ctx.gradients = None
        return (*scaled, None)


class _HeadLogprobs(torch.autograd.Function):  # type: ignore[misc]
    """Log-probabilities of targets after a linear head; the backward pass recomputes the logits."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias, targets)
        ctx.temperature = temperature
        logprobs = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        chunks = _Chunks(hidden, weight, bias, targets, temperature)
        for where, wanted, logits in chunks:
            logprobs[where] = chunks.softmax(logits, wanted, gradient=False)[0]
        return logprobs

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets = ctx.saved_tensors
        gradients = _Gradients(hidden, weight, bias, ctx.needs_input_grad[:3])
        chunks = _Chunks(hidden, weight, bias, targets, ctx.temperature)
        for where, wanted, logits in chunks:
            grad = chunks.softmax(logits, wanted, gradient=True)[1]
            grad *= (-outer[0][where, None] / ctx.temperature).to(grad.dtype)
            gradients.add(where, grad, hidden, chunks.weight)
        return (*gradients.tensors, None, None)


class _Gradients:
    """Gradients of a linear head's input, weight and bias, from those of its logits, where they are needed."""

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, needed: tuple[bool, ...]) -> None:
        of_hidden, of_weight, of_bias = needed
        self._hidden = torch.empty_like(hidden) if of_hidden else None
        self._weight = torch.zeros_like(weight) if of_weight else None
        self._bias = torch.zeros_like(bias) if of_bias and bias is not None else None

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """The gradients of the input, the weight and the bias; None where not needed."""
        return self._hidden, self._weight, self._bias

    def add(self, where: slice, grad: Tensor, hidden: Tensor, weight: Tensor) -> None:
        """Accumulate from the gradients [rows, vocab] of one chunk of logits, the rows `where`."""
        if self._hidden is not None:
            torch.mm(grad, weight, out=self._hidden[where])
        if self._weight is not None:
            if grad.dtype == self._weight.dtype:
                self._weight.addmm_(grad.t(), hidden[where])
            else:
                self._weight += grad.t() @ hidden[where]
        if self._bias is not None:
            self._bias += grad.sum(0, dtype=torch.float32).to(self._bias.dtype)
