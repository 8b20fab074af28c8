"""Measure this machine for about two seconds: the products of one model in its own shapes, attention, memory.

Each time is the least of several, as other work can only add to it; `Rates.share` says how much of the cores the
probe got. All runs on the CPU.
"""

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from weightwright.machine import cpu
from weightwright.machine.rates import Rates

if TYPE_CHECKING:
    import torch

PROBE_S = 2.0
_ROUNDS = 3  # that the budget is to be enough for
_TURN_S = 0.015  # of one job in a round: what is short is repeated, as other work disturbs it more
_WIDEST = 4096  # of a matrix: beyond it the rate is flat
_HEAD_ROWS, _FEWEST_ROWS = 128, 64
_STREAM_BYTES = 128_000_000  # read to measure memory: more than caches hold
_CALLS = 64  # of a tiny operation, timed together

Matrix = tuple[int, int, int]  # how many there are, inputs, outputs


@dataclass(frozen=True, slots=True)
class Shapes:
    """What a model multiplies in one pass of `rows` tokens.

    `attention` is (key heads, query heads, width of a head, tokens of a row); `inner` the MLP's width.
    """

    precision: Literal["f32", "bf16"]
    rows: int
    matrices: tuple[Matrix, ...]
    hidden: int
    inner: int
    vocabulary: int
    attention: tuple[int, int, int, int]
    rank: int = 8
    trains: bool = True
    trains_weights: bool = False  # each weight has a gradient


@dataclass(slots=True)
class _Job:
    """One thing to time: `amount` operations or bytes a call, which stands for `weight` times as many of a pass."""

    kind: str
    run: Callable[[], object]
    amount: float
    weight: float = 1.0
    taken_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    def turn(self) -> None:
        """Time it once, or as often as a turn has room for."""
        began_s, cpu_s = time.perf_counter(), time.process_time()
        end_s = began_s
        while end_s - began_s < _TURN_S:
            start_s = end_s
            self.run()
            end_s = time.perf_counter()
            self.taken_s.append(end_s - start_s)
        self.cpu_s += time.process_time() - cpu_s


def probe(shapes: Shapes, budget_s: float = PROBE_S) -> Rates:
    """The rates of this machine's CPU for a model of these shapes, in about `budget_s` seconds."""
    import torch

    began_s = time.perf_counter()
    with torch.inference_mode():
        jobs = _jobs(shapes, _affordable_rows(shapes, budget_s / (3 * _ROUNDS)))
        for job in jobs:
            job.run()  # prepares the kernel
        for turn, job in enumerate(itertools.cycle(jobs)):
            if turn >= len(jobs) and time.perf_counter() - began_s > budget_s:
                break
            job.turn()
    rates = {kind: _rate([job for job in jobs if job.kind == kind]) for kind in {job.kind for job in jobs}}
    call_s = 1 / rates.pop("calls")
    backward = rates.get("backward", rates["forward"])
    return Rates(
        source=f"measured here: {cpu.name()}, {torch.get_num_threads()} threads, {shapes.precision}",
        forward=rates["forward"],
        backward=backward,
        head=rates["head"],
        adapters=rates.get("adapters", backward),
        attention=rates["attention"],
        elements=rates["elements"],
        memory=rates["memory"],
        call_s=call_s,
        share=_share(jobs, torch.get_num_threads()),
    )


def _rate(jobs: list[_Job]) -> float:
    """Amount a second over jobs, each with its weight."""
    return sum(j.amount * j.weight for j in jobs) / sum(min(j.taken_s) * j.weight for j in jobs)


def _share(jobs: list[_Job], threads: int) -> float:
    """Of the threads' time in products, how much they were running."""
    products = [job for job in jobs if job.kind in ("forward", "backward")]
    return min(1.0, sum(job.cpu_s for job in products) / threads / sum(sum(job.taken_s) for job in products))


def _affordable_rows(shapes: Shapes, round_s: float) -> int:
    """Rows of a product so that each matrix can be multiplied three times in `round_s` seconds."""
    _, inputs, outputs = max(shapes.matrices, key=lambda one: one[1] * one[2])
    x, weight = _matrix(shapes, _FEWEST_ROWS, inputs), _matrix(shapes, outputs, inputs)
    least_s = math.inf
    for _ in range(_ROUNDS):
        start_s = time.perf_counter()
        x @ weight.t()
        least_s = min(least_s, time.perf_counter() - start_s)
    a_row_s = least_s / x.shape[0] / weight.numel()
    round_row_s = 3 * a_row_s * sum(min(i, _WIDEST) * min(o, _WIDEST) for _, i, o in shapes.matrices)
    return int(max(_FEWEST_ROWS, min(shapes.rows, round_s / round_row_s // 16 * 16)))


def _jobs(shapes: Shapes, rows: int) -> list[_Job]:
    jobs = [job for matrix in shapes.matrices for job in _products(shapes, matrix, rows)]
    jobs += _head(shapes)
    jobs.append(_attention(shapes))
    jobs.append(_elements(shapes, rows))
    jobs += _memory()
    return jobs


def _products(shapes: Shapes, matrix: Matrix, rows: int) -> list[_Job]:
    """A layer's product, and what the backward pass makes of it."""
    count, inputs, outputs = matrix[0], min(matrix[1], _WIDEST), min(matrix[2], _WIDEST)
    x, weight, grad = (
        _matrix(shapes, rows, inputs),
        _matrix(shapes, outputs, inputs),
        _matrix(shapes, rows, outputs),
    )
    work = 2.0 * rows * inputs * outputs
    # the weight stands for all of the real matrix
    weight_of = count * matrix[1] * matrix[2] / (inputs * outputs)
    jobs = [_Job("forward", lambda: x @ weight.t(), work, weight_of)]
    if not shapes.trains:
        return jobs
    jobs.append(_Job("backward", lambda: grad @ weight, work, weight_of))
    if shapes.trains_weights:
        jobs.append(_Job("backward", lambda: grad.t() @ x, work, weight_of))
        return jobs
    down, up = _matrix(shapes, shapes.rank, inputs), _matrix(shapes, outputs, shapes.rank)
    into, back = _matrix(shapes, rows, outputs), _matrix(shapes, rows, inputs)

    def adapter() -> None:  # there and back, as a layer of an adapter does
        inner = x @ down.t()
        into.addmm_(inner, up.t())
        grad_inner = grad @ up
        back.addmm_(grad_inner, down)
        (grad_inner.t() @ x).float()
        (grad.t() @ inner).float()

    jobs.append(_Job("adapters", adapter, 6.0 * rows * shapes.rank * (inputs + outputs), weight_of))
    return jobs


def _head(shapes: Shapes) -> list[_Job]:
    outputs = min(shapes.vocabulary, 4 * _WIDEST)
    weight, x = _matrix(shapes, outputs, shapes.hidden), _matrix(shapes, _HEAD_ROWS, shapes.hidden)
    work = 2.0 * _HEAD_ROWS * shapes.hidden * outputs
    logits = x @ weight.t()
    jobs = [_Job("head", lambda: x @ weight.t(), work)]
    return [*jobs, _Job("head", lambda: logits @ weight, work)] if shapes.trains else jobs


def _attention(shapes: Shapes) -> _Job:
    """softmax(q·kᵀ)·v of one row, the query heads of a key head together."""
    import torch

    key_heads, heads, width, tokens = shapes.attention
    groups = -(-heads // max(key_heads, 1))
    dtype = _dtype(shapes)
    query = torch.ones(max(key_heads, 1), groups * tokens, width, dtype=dtype)
    key, value = (torch.ones(max(key_heads, 1), tokens, width, dtype=dtype) for _ in range(2))

    def run() -> "torch.Tensor":
        return torch.bmm(torch.softmax(torch.bmm(query, key.transpose(1, 2)), -1), value)

    return _Job("attention", run, 4.0 * max(key_heads, 1) * groups * tokens**2 * width)


def _elements(shapes: Shapes, rows: int) -> _Job:
    """An activation and a product, as in a gated MLP: two numbers read, one written."""
    import torch

    gate, up = (_matrix(shapes, rows, min(shapes.inner, _WIDEST)) for _ in range(2))
    return _Job("elements", lambda: torch.nn.functional.silu(gate).mul_(up), 3.0 * gate.nbytes)


def _memory() -> list[_Job]:
    import torch

    stream, one = torch.ones(_STREAM_BYTES // 4), torch.ones(1)

    def calls() -> None:
        for _ in range(_CALLS):
            one.add_(1)

    return [_Job("memory", stream.sum, stream.nbytes), _Job("calls", calls, _CALLS)]


def _matrix(shapes: Shapes, rows: int, columns: int) -> "torch.Tensor":
    import torch

    # not random: a run's own numbers would be others after a probe
    made: Any = torch.linspace(-1, 1, rows * columns).view(rows, columns).to(_dtype(shapes))
    return made


def _dtype(shapes: Shapes) -> Any:
    import torch

    return torch.bfloat16 if shapes.precision == "bf16" else torch.float32
