"""Drawing tokens without sorting the vocabulary: exact, and each row by itself."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weightwright.ports.sampling import SamplingParams

if TYPE_CHECKING:
    from torch import Tensor

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

NOTHING = -1
"""In the place of a token: no token is allowed, or the logits are not numbers."""

_CANDIDATES = (64, 1024, 8192)  # likeliest tokens looked at first, then more, then all
_TOP_BLOCK = 32  # `top` looks at the maxima of blocks of so many tokens
_SUM_BLOCK = 128  # weights are summed in f32 over so many tokens, the sums in f64


def pick(x: "Tensor", rows: Sequence[int]) -> "Tensor":
    """These rows of x [all, vocab]: a copy, or `x` itself where they are all of it in order."""
    import torch

    if len(rows) == len(x) and list(rows) == list(range(len(x))):
        return x
    return x.index_select(0, torch.tensor(rows, device=x.device))


def likeliest(x: "Tensor") -> list[int]:
    """Argmax of each row of x [rows, vocab]."""
    # On a CPU torch's argmax over the last axis is not vectorised: 4.1 ms for 32 x 151,936, numpy's 0.35 ms.
    if x.device.type == "cpu" and x.dtype.itemsize >= 4:
        tokens: list[int] = x.detach().numpy().argmax(axis=-1).tolist()
        return tokens
    return [int(token) for token in x.argmax(dim=-1).tolist()]


def top(x: "Tensor", k: int) -> tuple[F64, I64]:
    """The k largest of each row of x [rows, vocab] and their ids, both [rows, k], largest first; exact.

    They lie in the k blocks with the largest maxima, so only those are searched.
    """
    import torch

    rows, vocab = x.shape
    blocks = vocab // _TOP_BLOCK
    if k == 0 or blocks < 4 * k:
        values, ids = x.topk(k, dim=-1)
        return _f64(values), _i64(ids)
    whole = x[:, : blocks * _TOP_BLOCK].unflatten(1, (blocks, _TOP_BLOCK))
    chosen = whole.amax(dim=-1).topk(k, dim=-1, sorted=False).indices[:, :, None]
    candidates = whole.gather(1, chosen.expand(-1, -1, _TOP_BLOCK)).flatten(1)
    ids = (chosen * _TOP_BLOCK + torch.arange(_TOP_BLOCK, device=x.device)).flatten(1)
    rest = torch.arange(blocks * _TOP_BLOCK, vocab, device=x.device).expand(rows, -1)
    values, order = torch.cat([candidates, x[:, blocks * _TOP_BLOCK :]], dim=1).topk(k, dim=-1)
    return _f64(values), _i64(torch.cat([ids, rest], dim=1).gather(1, order))


def draw(x: "Tensor", params: Sequence[SamplingParams], uniforms: Sequence[float]) -> list[int]:
    """One token per row by temperature (above 0), min-p, top-k and top-p; NOTHING where none has a number.

    x [rows, vocab] f32, uniforms [rows] in [0, 1).
    """
    tokens = [NOTHING] * len(params)
    vocab = x.shape[1]
    wide = [row for row, p in enumerate(params) if not _narrow(p, vocab)]
    if wide:
        temperatures = np.array([params[row].temperature for row in wide])
        drawn = _from_all(pick(x, wide), temperatures, np.array([uniforms[row] for row in wide]))
        put(tokens, wide, drawn)
    waiting = [row for row, p in enumerate(params) if _narrow(p, vocab)]
    for size in (*(size for size in _CANDIDATES if size < vocab), vocab):
        rows = [row for row in waiting if params[row].top_k <= size or size == vocab]
        if rows:
            some = pick(x, rows)
            kept = _Kept(some, top(some, size), [params[row] for row in rows])
            done = [at for at in range(len(rows)) if kept.covered[at]]
            drawn = kept.draw(np.array([uniforms[row] for row in rows]))
            put(tokens, [rows[at] for at in done], [drawn[at] for at in done])
            finished = {rows[at] for at in done}
            waiting = [row for row in waiting if row not in finished]
    return tokens


class _Kept:
    """The tokens that min-p, top-k and top-p keep among each row's top candidates; order and ties as in vLLM.

    `covered` [rows]: whether the candidates hold all tokens that are kept.
    """

    def __init__(self, x: "Tensor", likely: tuple[F64, I64], params: Sequence[SamplingParams]) -> None:
        values, self.ids = likely
        rows, size = values.shape
        temperature, min_p, top_p = (
            np.array([getattr(p, name) for p in params])[:, None]
            for name in ("temperature", "min_p", "top_p")
        )
        self.alive = values[:, 0] > -np.inf
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            # relative to the likeliest token's, which min-p is a share of
            weights = np.nan_to_num(np.exp((values - values[:, :1]) / temperature), nan=0.0)
        keep = (weights >= min_p) & (weights > 0)
        at = np.array([min(p.top_k, size) - 1 if p.top_k > 0 else size - 1 for p in params])
        keep &= values >= values[np.arange(rows), at][:, None]  # all that tie with the k-th
        weights = np.where(keep, weights, 0)
        mass = weights.cumsum(axis=1)
        self.covered = ~keep[:, -1] | (size == x.shape[1])
        total = mass[:, -1].copy()
        # top-p alone may end among these tokens though others are left: then its share is of all mass
        alone = np.array([p.top_p < 1 and p.min_p == 0 and p.top_k <= 0 for p in params])
        open_rows = [int(row) for row in np.flatnonzero(~self.covered & alone)]
        if open_rows:
            total[open_rows] = relative_mass(pick(x, open_rows), temperature[open_rows, 0])
        # a token stays while the mass of those before it is below top_p; the first one always stays
        within = (mass - weights < top_p * total[:, None]) | (top_p >= 1)
        self.covered[open_rows] = ~within[open_rows, -1]
        self.mass = np.where(within, weights, 0).cumsum(axis=1)

    def draw(self, uniforms: F64) -> list[int]:
        """A token for each row, [rows]; meaningless where not covered."""
        drawn = self.ids[np.arange(len(self.ids)), _invert(self.mass, uniforms)]
        return [int(token) for token in np.where(self.alive, drawn, NOTHING)]


def relative_mass(x: "Tensor", temperatures: F64) -> F64:
    """The sum of exp((x - max) / temperature) over each row of x [rows, vocab] -> [rows]."""
    weights = _weights(x, temperatures)
    total: F64 = _f64(weights.sum(dim=-1)).sum(axis=1) / _f64(weights.amax(dim=(1, 2)))
    return total


def log_mass(x: "Tensor") -> F64:
    """log(sum(exp(x))) over each row of x [rows, vocab] -> [rows]."""
    return _f64(x.amax(dim=-1)) + np.log(relative_mass(x, np.ones(len(x))))


def at_least(x: "Tensor", values: "Tensor") -> list[int]:
    """How many logits of each row of x [rows, vocab] are at least its value; values [rows]."""
    if x.device.type == "cpu":  # five times as fast as torch's comparison and sum
        pairs = zip(x.detach().numpy(), values.detach().numpy(), strict=True)
        return [int(np.count_nonzero(row >= value)) for row, value in pairs]
    return [int(count) for count in (x >= values[:, None]).sum(dim=-1).tolist()]


def put(tokens: list[int], rows: Sequence[int], values: Sequence[int]) -> None:
    """Write values to these rows."""
    for row, value in zip(rows, values, strict=True):
        tokens[row] = value


def _narrow(params: SamplingParams, vocab: int) -> bool:
    return params.top_p < 1 or params.min_p > 0 or 0 < params.top_k < vocab


def _from_all(x: "Tensor", temperatures: F64, uniforms: F64) -> list[int]:
    """A token for each row from its whole distribution: first the block, then the token in it."""
    import torch

    weights = _weights(x, temperatures)
    mass = _f64(weights.sum(dim=-1)).cumsum(axis=1)
    blocks = _invert(mass, uniforms)
    rows = np.arange(len(x))
    inside = _f64(weights[torch.from_numpy(rows), torch.from_numpy(blocks)])
    before = np.where(blocks > 0, mass[rows, blocks - 1], 0.0)
    inside_mass = inside.cumsum(axis=1)
    # what is left of the target within the block, as a share of it
    share = (uniforms * mass[:, -1] - before) / np.maximum(inside_mass[:, -1], np.finfo(np.float64).tiny)
    tokens = blocks * _SUM_BLOCK + _invert(inside_mass, share.clip(0, 1))
    return [int(token) for token in np.where(mass[:, -1] > 0, tokens, NOTHING)]


def _invert(mass: F64, uniforms: F64) -> I64:
    """The first place where cumulative mass [rows, n] exceeds its share `uniforms` [rows] of the total."""
    below: I64 = (mass <= (uniforms * mass[:, -1])[:, None]).sum(axis=1)
    last: I64 = (mass < mass[:, -1:]).sum(axis=1)  # the last place that adds anything
    return np.minimum(below, last)


def _weights(x: "Tensor", temperatures: F64) -> "Tensor":
    """Probabilities before any cut, in blocks padded with 0: [rows, blocks, _SUM_BLOCK] f32.

    Their f32 sum is not quite 1; whoever adds them up in f64 divides by that sum.
    """
    import torch

    if (temperatures != 1).any():
        x = x / torch.tensor(temperatures, dtype=torch.float32, device=x.device)[:, None]
    weights = x.softmax(dim=-1)
    missing = -x.shape[1] % _SUM_BLOCK
    if missing:
        weights = torch.nn.functional.pad(weights, (0, missing))
    return weights.unflatten(1, (-1, _SUM_BLOCK))


def _f64(x: "Tensor") -> F64:
    return np.asarray(x.detach().cpu().numpy(), dtype=np.float64)


def _i64(x: Any) -> I64:
    return np.asarray(x.cpu().numpy(), dtype=np.int64)
