"""Collective operations between the processes of a run.

Every process reads the same rows and takes its share of each step; only the first one writes, logs and shows. The
operations are the methods of `SingleProcess`, for a run of one process, and of `ProcessGroup`.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from weightwright.tune.batch import Batch, Example

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rank:
    """A process among those of a run: its number (from 0) among all, and among those on its host."""

    index: int
    world_size: int
    local_index: int
    local_world_size: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Rank | None":
        """What torchrun says in the environment; None where this process was not started so."""
        if "RANK" not in environment or "WORLD_SIZE" not in environment:
            return None
        index, world_size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        local_world_size = int(environment.get("LOCAL_WORLD_SIZE", world_size))
        return cls(index, world_size, int(environment.get("LOCAL_RANK", index)), local_world_size)


class SingleProcess:
    """The operations in a run of one process: each returns its own value."""

    is_first = True

    def memories(self, device: str) -> int:
        """The number of separate memories that the processes use: of GPUs, or of hosts."""
        return 1

    def share_of(self, examples: Sequence[Example]) -> Sequence[Example]:
        """The share of a step's examples for this process: about as many tokens as each other process has."""
        return examples

    def in_lockstep(
        self, batches: Sequence[Batch], idle: Callable[[], None], stop: Callable[[], bool] | None
    ) -> Iterator[Batch]:
        """The passes one by one, until `stop` is true in any process.

        All processes make the same number of passes: one that has fewer calls `idle` in their place.
        """
        for batch in batches:
            yield batch
            if stop is not None and stop():
                return

    def any_rank(self, flag: bool) -> bool:
        """Whether `flag` is true in any process."""
        return flag

    def all_sum(self, value: float) -> float:
        """The sum of `value` over all processes."""
        return value

    def all_gather(self, values: Sequence[T]) -> list[T]:
        """The lists of all processes, concatenated in the order of their ranks."""
        return list(values)

    def broadcast(self, make: Callable[[], T]) -> T:
        """The value that `make` gives in the first process, in all processes."""
        return make()

    def barrier(self) -> None:
        """Wait until all processes are here."""

    def reseed(self, seed: int, step: int) -> None:
        """Seed dropout anew per process and step, so that a resumed run repeats it; nothing for one process."""

    @contextmanager
    def local_first(self) -> Iterator[None]:
        """Run the block in the first process of each host, then in the others, which find what it left."""
        yield

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The whole weights and states, assembled in the first process; empty in the others."""
        return {name: tensor.detach() for name, tensor in tensors.items()}

    def distribute(self, read: Callable[[str], Tensor], name: str, like: Tensor | None) -> Tensor:
        """The tensor that the first process reads by `name`, divided over the processes as `like` is."""
        return read(name)

    def scalar(self, value: Tensor) -> float:
        """The number in a scalar tensor, also one divided over processes."""
        return float(value)


class ProcessGroup(SingleProcess):
    """One of several processes, each with a part of the weights on `device`.

    Numbers and small objects go over gloo, whatever the device: what is agreed there waits for no GPU.
    """

    def __init__(self, rank: Rank, device: torch.device, mesh: "DeviceMesh") -> None:
        self.is_first = rank.index == 0
        self.device, self.mesh = device, mesh
        self._rank = rank

    def memories(self, device: str) -> int:
        """See `SingleProcess`."""
        rank = self._rank
        hosts = max(1, rank.world_size // rank.local_world_size)
        return rank.world_size if device.startswith("cuda") else hosts

    def share_of(self, examples: Sequence[Example]) -> Sequence[Example]:
        """See `SingleProcess`: the longest first, each to whoever has fewest tokens."""
        tokens, mine = [0] * self._rank.world_size, []
        for n in sorted(range(len(examples)), key=lambda n: -examples[n].tokens):
            rank = tokens.index(min(tokens))
            tokens[rank] += examples[n].tokens
            if rank == self._rank.index:
                mine.append(n)
        return [examples[n] for n in sorted(mine)]

    def in_lockstep(
        self, batches: Sequence[Batch], idle: Callable[[], None], stop: Callable[[], bool] | None
    ) -> Iterator[Batch]:
        """See `SingleProcess`."""
        for n in range(int(self._reduced(len(batches), dist.ReduceOp.MAX))):
            if n < len(batches):
                yield batches[n]
            else:
                idle()
            if stop is not None and self.any_rank(stop()):
                return

    def any_rank(self, flag: bool) -> bool:
        """See `SingleProcess`."""
        return self._reduced(float(flag), dist.ReduceOp.MAX) > 0

    def all_sum(self, value: float) -> float:
        """See `SingleProcess`."""
        return self._reduced(value, dist.ReduceOp.SUM)

    def all_gather(self, values: Sequence[T]) -> list[T]:
        """See `SingleProcess`."""
        parts: list[Any] = [None] * self._rank.world_size
        dist.all_gather_object(parts, list(values))
        return [value for part in parts for value in part]

    def broadcast(self, make: Callable[[], T]) -> T:
        """See `SingleProcess`."""
        values: list[Any] = [make() if self.is_first else None]
        dist.broadcast_object_list(values, device=torch.device("cpu"))
        result: T = values[0]
        return result

    def barrier(self) -> None:
        """See `SingleProcess`."""
        self._reduced(0.0, dist.ReduceOp.SUM)

    def reseed(self, seed: int, step: int) -> None:
        """See `SingleProcess`."""
        mixed = np.random.SeedSequence([seed, step, self._rank.index]).generate_state(1, np.uint64)[0]
        torch.manual_seed(int(mixed))

    @contextmanager
    def local_first(self) -> Iterator[None]:
        """See `SingleProcess`."""
        if self._rank.local_index:
            self.barrier()
        yield
        if not self._rank.local_index:
            self.barrier()

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `SingleProcess`: one at a time, so that no GPU holds more than one whole."""
        from torch.distributed.tensor import DTensor

        kept: dict[int, Tensor] = {}  # tied weights stay one
        for tensor in tensors.values():
            if id(tensor) in kept:
                continue
            full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            kept[id(tensor)] = full.detach().cpu() if self.is_first else torch.empty(0)
        return {name: kept[id(tensor)] for name, tensor in tensors.items()} if self.is_first else {}

    def distribute(self, read: Callable[[str], Tensor], name: str, like: Tensor | None) -> Tensor:
        """See `SingleProcess`."""
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor):
            return self.broadcast(lambda: read(name))
        full = read(name) if self.is_first else torch.empty(like.shape, dtype=like.dtype)
        made: Tensor = distribute_tensor(full.to(like.device), like.device_mesh, like.placements)
        return made

    def scalar(self, value: Tensor) -> float:
        """See `SingleProcess`."""
        from torch.distributed.tensor import DTensor

        return float(value.full_tensor() if isinstance(value, DTensor) else value)

    def _reduced(self, value: float, how: Any) -> float:
        tensor = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(tensor, how)
        return float(tensor)
