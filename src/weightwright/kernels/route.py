"""Which of several matrices each row goes through: what a mixture's router said, sorted by expert."""

import functools
from typing import TYPE_CHECKING, NamedTuple

from weightwright.kernels import pool
from weightwright.kernels.elementwise import Rows
from weightwright.kernels.pool import Kernel, kept, threads

if TYPE_CHECKING:
    from torch import Tensor

_FEW = 32  # products with a router's weight that one thread makes


class Route(NamedTuple):
    """Rows sorted by the one of `weights` matrices that they go through.

    order i32 [rows]; starts i32 [weights + 1], where the rows of each begin in it; active i32 [weights]: those that
    have rows, then -1.
    """

    order: "Tensor"
    starts: "Tensor"
    active: "Tensor"

    @classmethod
    def of(cls, ids: "Tensor", weights: int) -> "Route":
        """Of ids [rows] i64, each below `weights`."""
        import torch

        if ids.device.type != "cpu" or not pool.available():
            counts = torch.bincount(ids, minlength=weights)
            starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0)).to(torch.int32)
            some = counts.nonzero()[:, 0].to(torch.int32)
            active = torch.nn.functional.pad(some, (0, weights - len(some)), value=-1)
            return cls(ids.argsort(stable=True).to(torch.int32), starts, active)
        ids = ids.contiguous()
        made = cls(*(torch.empty(size, dtype=torch.int32) for size in (len(ids), weights + 1, weights)))
        _kernel("route")(1, len(ids), weights, ids.data_ptr(), made.starts.data_ptr(), made.order.data_ptr(),
                  made.active.data_ptr())  # fmt: skip
        return made

    def parts(self) -> "list[tuple[int, int, int]]":
        """(matrix, first row, end) of those that have rows."""
        starts = self.starts.tolist()
        return [(one, starts[one], starts[one + 1]) for one in self.active.tolist() if one >= 0]


class Router(NamedTuple):
    """The router of most mixtures: softmax over products with `weight` [experts, width] f32, the `k` largest of it.

    With `normalised` their weights add up to one.
    """

    weight: "Tensor"
    k: int
    normalised: bool

    def __call__(self, x: "Tensor") -> "tuple[Route, Tensor]":
        """Where rows x [rows, width] f32 go, row i's choices at i k and behind, and their weights [rows, k] f32."""
        import torch

        rows, (experts, width) = len(x), self.weight.shape
        scores, weights = torch.empty(rows, experts), torch.empty(rows, self.k)
        ids = torch.empty(rows * self.k, dtype=torch.int64)
        made = Route(*(torch.empty(size, dtype=torch.int32) for size in (len(ids), experts + 1, experts)))
        many = threads() if rows * experts > _FEW else 1
        _kernel("scores")(many, rows, experts, width, x.data_ptr(), self.weight.data_ptr(), scores.data_ptr())
        _kernel("choose")(1, rows, experts, self.k, int(self.normalised), scores.data_ptr(), ids.data_ptr(),
                          weights.data_ptr(), made.starts.data_ptr(), made.order.data_ptr(),
                          made.active.data_ptr())  # fmt: skip
        return made, weights


def gather(x: Rows, route: Route, k: int) -> Rows:
    """Of rows x [rows, width] u8, each as often as it is in a route, in its order: row i k + j there is row i."""
    import torch

    assert x.scales is not None
    n, width = len(route.order), x.data.shape[1]
    codes, scales = torch.empty(n, width, dtype=torch.uint8), torch.empty(n)
    _kernel("gather")(threads() if n > _FEW else 1, n, k, width, x.data.data_ptr(), x.scales.data_ptr(),
                      route.order.data_ptr(), codes.data_ptr(), scales.data_ptr())  # fmt: skip
    return Rows(codes, scales)


def combine(y: Rows, weights: "Tensor", width: int, order: "Tensor | None" = None) -> "Tensor":
    """Sums [rows, width] f32 of y [rows k, at least width] f32, row i k + j times weights [rows, k] f32 at [i, j].

    With `order` [rows k] i32 they stand in that order.
    """
    import torch

    rows, k = weights.shape
    out = torch.empty(rows, width)
    _kernel("combine")(
        threads() if rows > 1 else 1, rows, k, width, y.data.shape[1], y.data.data_ptr(),
        0 if y.scales is None else y.scales.data_ptr(), 0 if order is None else order.data_ptr(), weights.data_ptr(),
        out.data_ptr(),
    )  # fmt: skip
    return out


@functools.cache
def _kernel(name: str) -> Kernel:
    with kept():
        from weightwright.kernels import route_numba

    return Kernel(getattr(route_numba, name))
