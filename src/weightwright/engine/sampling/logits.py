"""What changes a row's logits before temperature: bias, masks and penalties, on a copy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from weightwright.engine.sampling.choice import Choice
from weightwright.engine.sampling.constrain import allowed
from weightwright.engine.sampling.draw import pick

if TYPE_CHECKING:
    from torch import Tensor


def shape(logits: "Tensor", rows: Sequence[int], choices: Sequence[Choice]) -> "Tensor":
    """A copy of these rows [len(rows), vocab] with bias, masks and penalties of their choices."""
    x = pick(logits, rows)
    x = x.clone() if x is logits else x
    biased = [(r, c.params.logit_bias) for r, c in enumerate(choices) if c.params.logit_bias]
    if biased:
        at = _places(x, [(r, list(bias)) for r, bias in biased])
        x[at] += _column(x, [value for _, bias in biased for value in bias.values()])
    for row, choice in enumerate(choices):
        if choice.params.allowed_token_ids is not None:
            _keep_only(x, row, choice.params.allowed_token_ids)
    forbidden = [(row, ids) for row, choice in enumerate(choices) if (ids := choice.forbidden())]
    if forbidden:
        x[_places(x, forbidden)] = -np.inf
    _constrain(x, choices)
    _penalise(x, choices)
    return x


def _constrain(x: "Tensor", choices: Sequence[Choice]) -> None:
    constrained = [
        (row, c.constraint) for row, c in enumerate(choices) if c.constraint and c.constraint.begun
    ]
    if not constrained:
        return
    masks = allowed([constraint for _, constraint in constrained])[:, : x.shape[1]]
    for (row, _), mask in zip(constrained, masks, strict=True):
        x[row, len(mask) :] = -np.inf  # padding of the model's vocabulary
        # a grammar mostly allows few tokens or forbids few, so touching those beats a mask over all
        if 2 * np.count_nonzero(mask) < len(mask):
            _keep_only(x, row, np.flatnonzero(mask))
        else:
            x[_places(x, [(row, np.flatnonzero(~mask))])] = -np.inf


def _keep_only(x: "Tensor", row: int, ids: Any) -> None:
    at = _places(x, [(row, ids)])
    kept = x[at]
    x[row] = -np.inf
    x[at] = kept


def _penalise(x: "Tensor", choices: Sequence[Choice]) -> None:
    """Repetition (arXiv 1909.05858, §4.1), then frequency and presence, on tokens that occurred."""
    import torch

    penalised = [(row, c.occurred, c.params) for row, c in enumerate(choices) if c.occurred is not None]
    penalised = [entry for entry in penalised if len(entry[1].ids)]
    if not penalised:
        return
    sizes = [len(occurred.ids) for _, occurred, _ in penalised]

    def spread(values: Sequence[float]) -> "Tensor":
        return _column(x, np.repeat(np.asarray(values, dtype=np.float32), sizes))

    at = _places(x, [(row, occurred.ids) for row, occurred, _ in penalised])
    counts = _column(x, np.concatenate([occurred.counts for _, occurred, _ in penalised]))
    repetition = spread([p.repetition_penalty for _, _, p in penalised])
    values = x[at]
    values = torch.where(values > 0, values / repetition, values * repetition)
    values -= spread([p.frequency_penalty for _, _, p in penalised]) * counts
    values -= spread([p.presence_penalty for _, _, p in penalised]) * (counts > 0)
    x[at] = values


def _places(x: "Tensor", row_ids: Sequence[tuple[int, Any]]) -> tuple["Tensor", "Tensor"]:
    """Rows and columns of (row, ids) as indices of `x`; ids that `x` does not have are left out."""
    import torch

    rows = np.repeat([row for row, _ in row_ids], [len(ids) for _, ids in row_ids])
    columns = np.concatenate([np.asarray(ids, dtype=np.int64) for _, ids in row_ids])
    inside = columns < x.shape[1]
    if not inside.all():
        rows, columns = rows[inside], columns[inside]
    return torch.from_numpy(rows).to(x.device), torch.from_numpy(columns).to(x.device)


def _column(x: "Tensor", values: Any) -> "Tensor":
    import torch

    return torch.as_tensor(np.asarray(values, dtype=np.float32)).to(x)
