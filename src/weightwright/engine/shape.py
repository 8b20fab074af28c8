"""What changes a row's logits before temperature: bias, masks and penalties, on a copy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from weightwright.engine.constrain import allowed
from weightwright.engine.draw import pick

if TYPE_CHECKING:
    from torch import Tensor

    from weightwright.engine.sample import Choice


def shape(logits: "Tensor", rows: Sequence[int], choices: Sequence["Choice"]) -> "Tensor":
    """A copy of these rows [len(rows), vocab] with bias, masks and penalties of their choices."""
    x = pick(logits, rows)
    x = x.clone() if x is logits else x
    biased = [(r, c.params.logit_bias) for r, c in enumerate(choices) if c.params.logit_bias]
    if biased:
        at = _places(x, [(r, list(bias)) for r, bias in biased])
        x[at] += _column(x, [value for _, bias in biased for value in bias.values()])
    for row, choice in enumerate(choices):
        if choice.params.allowed_token_ids is not None:
            ids = list(choice.params.allowed_token_ids)
            kept = x[row, ids]
            x[row] = -np.inf
            x[row, ids] = kept
    forbidden = [(row, ids) for row, choice in enumerate(choices) if (ids := choice.forbidden())]
    if forbidden:
        x[_places(x, forbidden)] = -np.inf
    _constrain(x, choices)
    _penalise(x, choices)
    return x


def _constrain(x: "Tensor", choices: Sequence["Choice"]) -> None:
    import torch

    found = [(row, c.constraint) for row, c in enumerate(choices) if c.constraint and c.constraint.begun]
    if not found:
        return
    blocked = torch.from_numpy(~allowed([constraint for _, constraint in found])).to(x.device)
    width = min(x.shape[1], blocked.shape[1])
    for at, (row, _) in enumerate(found):
        x[row, :width].masked_fill_(blocked[at, :width], -np.inf)
        x[row, width:] = -np.inf  # padding of the model's vocabulary


def _penalise(x: "Tensor", choices: Sequence["Choice"]) -> None:
    """Repetition (arXiv 1909.05858, §4.1), then frequency and presence, on tokens that occurred."""
    import torch

    found = [(row, c.occurred, c.params) for row, c in enumerate(choices) if c.occurred is not None]
    found = [entry for entry in found if len(entry[1].ids)]
    if not found:
        return
    sizes = [len(occurred.ids) for _, occurred, _ in found]

    def spread(values: Sequence[float]) -> "Tensor":
        return _column(x, np.repeat(np.asarray(values, dtype=np.float32), sizes))

    at = _places(x, [(row, occurred.ids) for row, occurred, _ in found])
    counts = _column(x, np.concatenate([occurred.counts for _, occurred, _ in found]))
    repetition = spread([p.repetition_penalty for _, _, p in found])
    values = x[at]
    values = torch.where(values > 0, values / repetition, values * repetition)
    values -= spread([p.frequency_penalty for _, _, p in found]) * counts
    values -= spread([p.presence_penalty for _, _, p in found]) * (counts > 0)
    x[at] = values


def _places(x: "Tensor", found: Sequence[tuple[int, Any]]) -> tuple["Tensor", "Tensor"]:
    """Rows and columns of (row, ids) as indices of `x`; ids that `x` does not have are left out."""
    import torch

    rows = np.repeat([row for row, _ in found], [len(ids) for _, ids in found])
    columns = np.concatenate([np.asarray(ids, dtype=np.int64) for _, ids in found])
    inside = columns < x.shape[1]
    if not inside.all():
        rows, columns = rows[inside], columns[inside]
    return torch.from_numpy(rows).to(x.device), torch.from_numpy(columns).to(x.device)


def _column(x: "Tensor", values: Any) -> "Tensor":
    import torch

    return torch.as_tensor(np.asarray(values, dtype=np.float32)).to(x)
