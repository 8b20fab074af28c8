"""From logits to tokens, for a whole batch at once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from weightwright.ports import SamplingParams

if TYPE_CHECKING:
    from torch import Generator, Tensor


def generator(params: SamplingParams, index: int) -> "Generator":
    """The source of chance of one completion: its own, so that nothing beside it in a batch matters."""
    import torch

    source = torch.Generator(device="cpu")
    if params.seed is None:
        source.seed()
    else:
        source.manual_seed((params.seed + index) % 2**63)
    return source


def sample(logits: "Tensor", params: Sequence[SamplingParams], generators: Sequence["Generator"]) -> "Tensor":
    """One token per row: logits [rows, vocab] f32 -> [rows] i64; temperature 0 is greedy.

    A row draws one uniform number from its own generator and inverts its own distribution, so its
    tokens do not depend on the other rows.
    """
    import torch

    greedy = logits.argmax(dim=-1)
    warm = [row for row, p in enumerate(params) if p.temperature > 0]
    if not warm:
        return greedy
    probabilities = _probabilities(logits[warm], [params[row] for row in warm])
    uniform = torch.tensor([float(torch.rand((), generator=generators[row])) for row in warm])
    cumulative = probabilities.cumsum(dim=-1)
    target = uniform.to(cumulative) * cumulative[:, -1]
    drawn = torch.searchsorted(cumulative, target[:, None], right=True).squeeze(-1)
    greedy[warm] = drawn.clamp(max=logits.shape[-1] - 1)
    return greedy


def _probabilities(logits: "Tensor", params: Sequence[SamplingParams]) -> "Tensor":
    """Probabilities [rows, vocab] after temperature, top-k, min-p and top-p, in that order."""
    import torch

    def column(values: Sequence[float]) -> "Tensor":
        return torch.tensor(values, dtype=logits.dtype, device=logits.device)[:, None]

    logits = logits / column([p.temperature for p in params])
    if any(p.top_k > 0 or p.top_p < 1 for p in params):
        ordered, order = logits.sort(dim=-1, descending=True)
        ranks = torch.arange(logits.shape[-1], device=logits.device)[None]
        top_k = column([p.top_k if p.top_k > 0 else logits.shape[-1] for p in params])
        ordered = ordered.masked_fill(ranks >= top_k, -torch.inf)
        mass = ordered.softmax(dim=-1)
        # a token stays while the mass before it is below top_p; the first one always stays
        before = mass.cumsum(dim=-1) - mass
        ordered = ordered.masked_fill(before >= column([p.top_p for p in params]), -torch.inf)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, order, ordered)
    probabilities = logits.softmax(dim=-1)
    floor = column([p.min_p for p in params]) * probabilities.amax(dim=-1, keepdim=True)
    return probabilities.masked_fill(probabilities < floor, 0)
