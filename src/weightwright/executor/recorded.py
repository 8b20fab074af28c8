"""A decoder's passes over a few rows, recorded once for each number of rows and then run without Python."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from weightwright.kernels.elementwise import Rows
from weightwright.kernels.pool import threads
from weightwright.kernels.record import Program, Recording, Room, prepare
from weightwright.kernels.skinny import MOST_ROWS
from weightwright.kernels.step import Step

log = logging.getLogger(__name__)

_MOST = 32  # rows: what more take to launch is little beside what they take to compute
_DIFFERENCE = 0.5  # of the largest number: rounding to int8 makes much of little, what is wrong makes more


class Inputs(NamedTuple):
    """What a pass is given: the stream [n, hidden] f32, which it changes, angles, and where its tokens stand."""

    stream: Tensor
    cos: Tensor
    sin: Tensor
    step: Step

    def take(self, other: "Inputs") -> None:
        """Copy from the inputs of a step as large."""
        for mine, its in zip(self[:3], other[:3], strict=True):
            mine.copy_(its)
        self.step.slots.copy_(other.step.slots)
        self.step.lengths.copy_(other.step.lengths)
        self.step.tables[:, : other.step.tables.shape[1]].copy_(other.step.tables)


Body = Callable[[Inputs, Callable[[], None] | None], "tuple[Rows, Tensor | None]"]


@dataclass(frozen=True, slots=True)
class _Pass:
    inputs: Inputs
    program: Program
    output: "tuple[Rows, Tensor | None]"


class RecordedPasses:
    """`body` computes a pass: with its second argument given, by kernels alone, calling it at each layer."""

    def __init__(self, body: Body) -> None:
        prepare()
        self._body = body
        self._room = Room()
        self._passes: dict[tuple[int, int, int], _Pass] = {}
        self._most = 1 << 30  # rows, of what could be recorded

    def __call__(self, inputs: Inputs) -> "tuple[Tensor, Rows, Tensor | None]":
        """The stream after the pass, and what is still to be added to it; good until the next call."""
        n, cache = len(inputs.stream), inputs.step.cache
        if n > min(self._most, _MOST):
            return inputs.stream, *self._body(inputs, None)
        key = (n, threads(), id(cache))
        found = self._passes.get(key)
        if found is None:
            found = self._recorded(inputs)
            if found is None:
                self._most = MOST_ROWS if n > MOST_ROWS else n - 1
                return self(inputs)
            self._passes[key] = found
        found.inputs.take(inputs)
        found.program()
        return found.inputs.stream, *found.output

    def _recorded(self, inputs: Inputs) -> _Pass | None:
        """The pass over so many rows, None where it is more than kernels or gives something else."""
        step = inputs.step
        tables = torch.zeros(
            len(step.tables), max(step.cache.blocks, step.tables.shape[1]), dtype=torch.int32
        )
        still = replace(step, slots=step.slots.clone(), lengths=step.lengths.clone(), tables=tables)
        held = Inputs(inputs.stream.clone(), inputs.cos.clone(), inputs.sin.clone(), still)
        held.take(inputs)
        expected = _sum(held.stream, *self._body(held, None))
        held.take(inputs)
        recording = Recording(self._room)
        with recording:
            output = self._body(held, self._room.turn)
        if recording.foreign:
            log.debug(
                "passes over %d rows are not recorded: %s is no kernel", len(held.stream), recording.foreign
            )
            return None
        error = float((_sum(held.stream, *output) - expected).abs().max() / expected.abs().max())
        if not error < _DIFFERENCE:
            log.info("passes over %d rows are not recorded: they differ by %.1e", len(held.stream), error)
            return None
        return _Pass(held, recording.program(), output)


def _sum(stream: Tensor, y: Rows, bias: Tensor | None) -> Tensor:
    total = stream + (y.data if y.scales is None else y.data * y.scales[:, None])
    return total if bias is None else total + bias
