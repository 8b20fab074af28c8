"""Which form a model's linear layers take: `--precision auto` measures them on this machine and remembers.

The candidates are timed for 1, 8, 64 and 512 rows on the model's own shapes (the few that are most of the work,
cut down where they are large), with the weights out of the CPU's caches for the small row counts, as they are
in a model. The times are kept under WEIGHTWRIGHT_HOME; what follows from them is decided anew each time.
"""

import hashlib
import json
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from weightwright.errors import SettingsError
from weightwright.files import write_whole
from weightwright.home import cache
from weightwright.machine import cpu
from weightwright.machine import device as devices

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from weightwright.executor.linear import PackedLinear
    from weightwright.weights.source import Weight

log = logging.getLogger(__name__)

PRECISIONS = ("auto", "f32", "bf16", "int8", "int4")
ROWS = (1, 8, 64, 512)
CANDIDATES = ("int8", "bf16", "f32")
BYTES = {"f32": 4.0, "bf16": 2.0, "int8": 1.0, "int4": 0.5625}  # a weight with its scales

Times = Mapping[str, Mapping[int, float]]  # form -> rows -> seconds for one pass over the shapes

_SHAPES = 3  # how many shapes are timed
_ELEMENTS = 1 << 22  # of each at most
_COLD_ROWS = 8  # up to here the weights' way from memory counts
_FLUSH_BYTES = 96 << 20
_ROUNDS = 3
_BUDGET_S = 1.2
_HOPELESS = 4.0  # a form so many times slower than the best is not timed for more rows
_WORTH = 1.3  # two forms at once must save so much somewhere: they take memory, and times vary
_KEPT = 1  # the layout of the kept times; another number means others are not read


@dataclass(frozen=True, slots=True)
class Choice:
    """`few` below `crossover` rows, `many` from there on; the same form twice with crossover 1 for one alone.

    `times` are the seconds that decided, empty where nothing was measured.
    """

    few: str
    many: str
    crossover: int = 1
    times: Times = field(default_factory=dict)
    device: str = "cpu"

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms that are kept, one or two."""
        return (self.few,) if self.few == self.many else (self.few, self.many)

    @property
    def bytes_per_weight(self) -> float:
        """Memory of a weight in all its forms, scales included."""
        return sum(BYTES[form] for form in self.forms)

    @property
    def head(self) -> "Choice":
        """The choice for the output head: int8 for int4, in which a head loses more than all other layers.

        In a mixture likewise for all but its experts, which are most of its weights.
        """
        from weightwright.executor.probe import supported

        if self.few != "int4" or (self.device == "cpu" and not supported("int8")):
            return self
        return Choice("int8", "int8", device=self.device)

    @property
    def expert(self) -> "Choice":
        """The choice for the experts of a mixture, whose rows are few in each: the form for few rows alone."""
        return Choice(self.few, self.few)

    def pack(
        self, weight: "Tensor | Weight", bias: "Tensor | None", *, rotated: bool = False
    ) -> "PackedLinear":
        """The layer for a weight: `linear.pack`, or a mixture of two forms."""
        from weightwright.executor.linear import MixedLinear, pack

        packed = [pack(weight, bias, form, rotated=rotated, device=self.device) for form in self.forms]
        return packed[0] if len(packed) == 1 else MixedLinear(packed[0], packed[1], self.crossover)

    def __str__(self) -> str:
        return (
            self.few if self.few == self.many else f"{self.few} below {self.crossover} rows, then {self.many}"
        )


def choose(
    shapes: Sequence[tuple[int, int]],
    precision: str = "auto",
    *,
    device: str = "cpu",
    deterministic: bool = False,
    room_bytes: float = 0,
) -> Choice:
    """The choice for a model whose linear layers have `shapes` (out, in), one entry a layer.

    `deterministic` gives all row counts one form; two forms are chosen only where both fit into `room_bytes`.
    A precision that is asked for by name is kept for all row counts. Raises SettingsError for one that does not
    exist.
    """
    if precision not in PRECISIONS:
        raise SettingsError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if not device.startswith("cpu"):
        form = devices.default_precision(device) if precision == "auto" else precision
        return Choice(form, form, device=device)
    if not shapes or precision != "auto":
        form = "f32" if precision == "auto" else precision
        return Choice(form, form)
    weights = sum(outputs * inputs for outputs, inputs in shapes)
    choice = decide(measured(shapes, CANDIDATES), room=0.0 if deterministic else room_bytes / weights)
    log.info("precision %s: %s", precision, choice)
    return choice


def decide(times: Times, *, room: float = 0.0) -> Choice:
    """The choice that follows from `times`; a pure function.

    One form is best by the geometric mean over all row counts. A second is added where both take at most `room`
    bytes a weight and it is at least 1.3 times as fast for few or for many rows. A form that lacks a row count was
    too slow there.
    """
    alone = min(times, key=lambda form: _mean(times[form], ROWS))
    best: tuple[float, Choice] = (1.0, Choice(alone, alone, times=times))
    for small in times:
        for large in times:
            if small == large or BYTES[small] + BYTES[large] > room:
                continue
            crossover = _crossover(times[small], times[large])
            if crossover is None:
                continue
            mixed = {rows: times[small if rows < crossover else large].get(rows, math.inf) for rows in ROWS}
            gains = [_mean(times[alone], part) / _mean(mixed, part) for part in (ROWS[:2], ROWS[2:])]
            gain = math.sqrt(_bounded(gains[0]) * _bounded(gains[1]))
            if max(gains) >= _WORTH and gain > best[0]:
                best = (gain, Choice(small, large, crossover, times))
    return best[1]


def measured(shapes: Sequence[tuple[int, int]], forms: Iterable[str]) -> Times:
    """Seconds for each form and row count, from an earlier run on such a machine or measured now."""
    from weightwright.executor.probe import supported

    most = main_shapes(shapes)
    wanted = [form for form in forms if supported(form)]
    note = _note(most, wanted)
    kept = _read(note, wanted)
    if kept is not None:
        return kept
    times = measure(most, wanted)
    try:
        write_whole(note, json.dumps({"version": _KEPT, "times": times}))
    except OSError as error:
        log.warning("the measured times cannot be kept in %s: %s", note, error)
    return times


def main_shapes(shapes: Sequence[tuple[int, int]]) -> list[tuple[int, int, float]]:
    """The few shapes that are most of the work, outputs cut down, with how often each cut one stands for."""
    work = Counter(shapes)
    largest = sorted(work, key=lambda shape: (-work[shape] * shape[0] * shape[1], shape))[:_SHAPES]
    cut = []
    for outputs, inputs in largest:
        rows = min(outputs, max(64, _ELEMENTS // inputs // 64 * 64))
        cut.append((rows, inputs, work[outputs, inputs] * outputs / rows))
    return cut


def measure(shapes: Sequence[tuple[int, int, float]], forms: Sequence[str]) -> dict[str, dict[int, float]]:
    """Time each form for each row count, in turn: seconds weighted by how often a shape stands for one.

    On one thread: with more, a machine that is busy with other work makes every product wait for the thread
    whose turn it is not, which measures the scheduler (seen: 40 times slower); the ratios are what counts.
    """
    import torch

    from weightwright.executor.linear import pack

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        generator = torch.Generator().manual_seed(0)
        layers: dict[tuple[str, int], PackedLinear] = {}
        for i, (outputs, inputs, _) in enumerate(shapes):
            weight = torch.randn(outputs, inputs, generator=generator) * 0.02
            layers |= {(form, i): pack(weight, None, form, rotated=True) for form in forms}
        with torch.inference_mode():
            return _measure(shapes, layers, list(forms), generator)
    finally:
        torch.set_num_threads(threads)


def _measure(
    shapes: Sequence[tuple[int, int, float]],
    layers: "Mapping[tuple[str, int], PackedLinear]",
    going: list[str],
    generator: "torch.Generator",
) -> dict[str, dict[int, float]]:
    """The times of packed layers; a form that falls far behind is left out for the larger row counts."""
    import torch

    flush = torch.zeros(_FLUSH_BYTES // 4)
    times: dict[str, dict[int, float]] = {form: {} for form in going}
    end = time.perf_counter() + _BUDGET_S
    for rows in ROWS:
        for i, (_, inputs, stands_for) in enumerate(shapes):
            x = torch.randn(rows, inputs, generator=generator).bfloat16()
            for form, seconds in _fastest({f: layers[f, i] for f in going}, x, flush, end).items():
                times[form][rows] = times[form].get(rows, 0.0) + seconds * stands_for
        limit = _HOPELESS * min(times[form][rows] for form in going)
        going = [form for form in going if times[form][rows] <= limit]
    return times


def _fastest(
    layers: "Mapping[str, PackedLinear]", x: "Tensor", flush: "Tensor", end: float
) -> dict[str, float]:
    """The shortest time of each product in a few rounds, one after the other; one round after `end`."""
    fastest = dict.fromkeys(layers, math.inf)
    cold, long = len(x) <= _COLD_ROWS, len(x) >= ROWS[-1]
    calls = {form: _call(layer, x) for form, layer in layers.items()}
    for call in calls.values() if not long else ():
        call()  # sets kernels up
    for _ in range(_ROUNDS if cold else 1):
        for form, call in calls.items():
            if cold:
                flush.sum()  # the weights leave the cache
            start = time.perf_counter()
            call()
            fastest[form] = min(fastest[form], time.perf_counter() - start)
        if time.perf_counter() > end:
            break
    return fastest


def _call(layer: "PackedLinear", x: "Tensor") -> "Callable[[], Tensor]":
    """What is timed. Of int8 the product alone: quantising the rows is part of the pass that makes them, and
    grows with the inputs only, so it must not be counted as often as the outputs were cut down.
    """
    import torch

    from weightwright.executor.linear import Int8Linear, quantize_rows

    if isinstance(layer, Int8Linear):
        codes = quantize_rows(x, layer.offset)[0]
        return lambda: layer.product(codes)
    if layer.form == "f32":
        x = x.to(torch.float32)
    return lambda: layer(x)


def _mean(times: Mapping[int, float], rows: Iterable[int]) -> float:
    """The geometric mean over row counts; infinite where one is missing."""
    logs = [math.log(max(times[r], 1e-12)) if r in times else math.inf for r in rows]
    return math.exp(sum(logs) / len(logs)) if all(map(math.isfinite, logs)) else math.inf


def _bounded(gain: float) -> float:
    return min(gain, 1e6) if not math.isnan(gain) else 1e-6


def _crossover(few: Mapping[int, float], many: Mapping[int, float]) -> int | None:
    """From how many rows `many` is faster for good, between two measured counts on a log scale; None if never so."""
    ratios = [math.log(max(few.get(r, math.inf), 1e-12)) - math.log(max(many.get(r, math.inf), 1e-12))
              if r in few and r in many else (math.inf if r in many else -math.inf) for r in ROWS]  # fmt: skip
    if ratios[0] >= 0 or ratios[-1] <= 0:
        return None  # one of the two is better everywhere
    last = max(i for i, ratio in enumerate(ratios) if ratio <= 0)
    low, high = ratios[last], ratios[last + 1]
    share = -low / (high - low) if math.isfinite(high) else 0.0
    crossover: float = ROWS[last] * (ROWS[last + 1] / ROWS[last]) ** share
    return max(2, math.ceil(crossover))


def _note(shapes: Sequence[tuple[int, int, float]], forms: Sequence[str]) -> Path:
    """The file that keeps the times of this machine, torch and these shapes."""
    import torch

    key = [cpu.name(), cpu.features(), str(torch.__version__), torch.get_num_threads(),
           os.environ.get("ONEDNN_MAX_CPU_ISA"), shapes, list(forms), _KEPT]  # fmt: skip
    return cache() / "precision" / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.json"


def _read(note: Path, forms: Sequence[str]) -> dict[str, dict[int, float]] | None:
    """The times in a note; None where there is none, with a warning where it is broken."""
    try:
        values = json.loads(note.read_text(encoding="utf-8"))
        if values["version"] != _KEPT:
            return None
        times = {form: {int(rows): float(s) for rows, s in values["times"][form].items()} for form in forms}
        if not all(t and all(r in ROWS and 0 < s < math.inf for r, s in t.items()) for t in times.values()):
            raise ValueError("no times")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("the measured times in %s cannot be read (%s); measuring again", note, error)
        return None
    return times
