"""Which of several matrices each row goes through: what a mixture's router said, sorted by expert."""

import functools
from typing import TYPE_CHECKING, NamedTuple

from weightwright.kernels import pool
from weightwright.kernels.pool import Kernel, kept

if TYPE_CHECKING:
    from torch import Tensor


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
        _kernel()(1, len(ids), weights, ids.data_ptr(), made.starts.data_ptr(), made.order.data_ptr(),
                  made.active.data_ptr())  # fmt: skip
        return made

    def parts(self) -> "list[tuple[int, int, int]]":
        """(matrix, first row, end) of those that have rows."""
        starts = self.starts.tolist()
        return [(one, starts[one], starts[one + 1]) for one in self.active.tolist() if one >= 0]


@functools.cache
def _kernel() -> Kernel:
    with kept():
        from weightwright.kernels import route_numba

    return Kernel(route_numba.route)
