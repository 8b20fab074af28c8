"""Where each millisecond of a decode step goes.

int8 weights, 64-token prompts, 1, 8 and 32 sequences decoding. Functions are wrapped with a clock that counts each
one's own time, without that of wrapped functions it calls; a step is from the start of one forward pass to the start
of the next. The products' floor is the same packed products called back to back over all layers, in the engine's
thread, so that the weights come from memory as in a step. Steps without the clock are timed, too.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from harness.report import Table, spread

from engine_parts.harness import (
    Steps,
    decode_steps,
    fresh,
    in_engine,
    open_engine,
    random_ids,
    read_rate,
)

if TYPE_CHECKING:
    from weightwright.engine.engine import Engine
    from weightwright.engine.schedule import Batch, Schedule

COUNTS = (1, 8, 32)
KINDS = ("qkv", "out", "gate_up", "down", "head")
OTHERS = (
    "attention", "rope", "norm + quantise", "gate + quantise", "quantise (put)", "rotary angles",
    "logits x row scales", "forward pass: the rest", "rows and tables", "adapters' rows",
    "sampling", "text and pieces", "schedule", "guesses", "commit: the rest", "loop",
)  # fmt: skip


def measure(options: argparse.Namespace) -> list[object]:
    found = fresh("budget", model=options.model, rounds=options.rounds, tokens=17 if options.quick else 65,
                  passes=5 if options.quick else 20)  # fmt: skip
    cases = [found[str(count)] for count in COUNTS]
    steps = Table("ms", *(f"{count} sequences" for count in COUNTS))

    def row(name: str, values: list[float]) -> None:
        steps.row(name, *(f"{value:.2f}" for value in values))

    steps.row("step without the clock: min/median/max", *(spread(case["plain_ms"], 2) for case in cases))
    steps.row("step with the clock", *(spread(case["step_ms"], 2) for case in cases))
    row("products' floor", [case["floor_ms"] for case in cases])
    row("reading the packed weights alone", [case["read_ms"] for case in cases])
    for kind in KINDS:
        row(f"product {kind}: in the step", [case["spent"].get(kind, 0.0) for case in cases])
        row(f"product {kind}: floor", [case["floor"][kind] for case in cases])
    products = [sum(case["spent"].get(kind, 0.0) for kind in KINDS) for case in cases]
    row("all products in the step", products)
    for name in OTHERS:
        row(name, [case["spent"].get(name, 0.0) for case in cases])
    whole = [statistics.median(case["step_ms"]) for case in cases]
    row("outside products", [total - part for total, part in zip(whole, products, strict=True)])
    row("outside products, percent", [100 * (1 - p / w) for p, w in zip(products, whole, strict=True)])
    row("step without the clock / floor", [statistics.median(c["plain_ms"]) / c["floor_ms"] for c in cases])
    rate = spread([r / 1e9 for r in found["rates"]])
    return [steps, f"Plain read: {rate} GB/s; {found['layers']} layers, weights in {found['form']}."]


class Clock:
    """Each name's own seconds, of one thread."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []  # of each wrapped function under way: seconds of those it called

    def wrap(self, owner: Any, attribute: str, name: str | Callable[..., str]) -> None:
        """Let owner.attribute be timed under a name, or what `name` makes of its first argument."""
        function = getattr(owner, attribute)

        def timed(*arguments: Any, **options: Any) -> Any:
            self._inner.append(0.0)
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                whole = time.perf_counter() - start
                own = whole - self._inner.pop()
                self.spent[name if isinstance(name, str) else name(arguments[0])] += own
                if self._inner:
                    self._inner[-1] += whole

        setattr(owner, attribute, timed)


class ClockedSteps(Steps):
    """Keeps what the clock says at the start of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.clock: Clock | None = None
        self.read: list[dict[str, float]] = []

    def begin(self, batch: "Batch") -> None:
        """A step begins."""
        super().begin(batch)
        self.read.append(dict(self.clock.spent) if self.clock is not None else {})

    def clear(self) -> None:
        """Forget the steps so far."""
        super().clear()
        self.read.clear()

    def spent_ms(self, sequences: int) -> dict[str, float]:
        """Mean milliseconds of each name in the steps that `decode_s` counts."""
        total: dict[str, float] = defaultdict(float)
        count = 0
        for at, (before, after) in enumerate(zip(self.noted, self.noted[1:], strict=False)):
            if before[1:] == after[1:] == (sequences, sequences):
                count += 1
                for name, seconds in self.read[at + 1].items():
                    total[name] += seconds - self.read[at].get(name, 0.0)
        return {name: 1e3 * seconds / max(count, 1) for name, seconds in total.items()}


def child(model: str, rounds: int, tokens: int, passes: int) -> dict:
    import numpy as np

    steps, rng = ClockedSteps(), np.random.default_rng(0)
    engine = open_engine(model, "int8", max_sequences=32, max_context=1024, share_prefixes=False, speculate=0)
    layers = engine.parts.executor._layers
    found: dict[str, Any] = {"layers": len(layers), "form": layers[0].qkv.linear.form}
    rates = in_engine(engine, read_rate)

    def timed(count: int, tokens: int) -> list[float]:
        return decode_steps(engine, steps, [random_ids(rng, 64) for _ in range(count)], tokens)

    for count in COUNTS:
        timed(count, 5)
        plain = [1e3 * statistics.mean(timed(count, tokens)) for _ in range(rounds)]
        floor, size = in_engine(engine, lambda count=count: products_alone(engine, count, passes))
        found[str(count)] = {
            "plain_ms": plain, "floor": floor, "floor_ms": sum(floor.values()),
            "read_ms": 1e3 * size / statistics.median(rates),
        }  # fmt: skip
    steps.clock = Clock()
    in_engine(engine, lambda: wrap_all(steps.clock, engine))
    for count in COUNTS:
        timed(count, 5)
        step_ms, spent = [], []
        for _ in range(rounds):
            seconds = timed(count, tokens)
            step_ms.append(1e3 * statistics.mean(seconds))
            spent.append(steps.spent_ms(count))
        middle = spent[step_ms.index(statistics.median_low(step_ms))]
        middle["loop"] = statistics.median_low(step_ms) - sum(middle.values())
        found[str(count)] |= {"step_ms": step_ms, "spent": middle}
    found["rates"] = rates + in_engine(engine, read_rate)
    engine.close()
    return found


def wrap_all(clock: Clock, engine: "Engine") -> None:
    """Put the clock around what a step calls."""
    from weightwright.engine import completions as engine_rows
    from weightwright.engine.engine import Engine
    from weightwright.engine.runner import Runner
    from weightwright.executor import fuse
    from weightwright.kernels import elementwise

    executor: Any = engine.parts.executor
    kinds = {id(executor._head): "head"}
    for layer in executor._layers:
        kinds |= {id(getattr(layer, kind)): kind for kind in KINDS[:-1]}
    clock.wrap(fuse.Product, "__call__", lambda product: kinds[id(product)])
    for owner, attribute, name in (
        (fuse, "attend", "attention"), (elementwise, "rope", "rope"), (elementwise, "add_norm", "norm + quantise"),
        (elementwise, "gate", "gate + quantise"), (elementwise, "put", "quantise (put)"),
        (fuse.FusedDecoder, "_angles", "rotary angles"), (fuse.FusedDecoder, "logits", "logits x row scales"),
        (fuse.FusedDecoder, "_run", "forward pass: the rest"), (Runner, "_prepare", "rows and tables"),
        (Runner, "_choose_adapters", "adapters' rows"), (engine_rows, "choose", "sampling"),
        (engine_rows, "take", "text and pieces"), (Schedule, "next", "schedule"), (Schedule, "commit", "schedule"),
        (engine_rows.Rows, "guess", "guesses"), (Engine, "_commit", "commit: the rest"),
    ):  # fmt: skip
        clock.wrap(owner, attribute, name)


def products_alone(engine: "Engine", count: int, passes: int) -> tuple[dict[str, float], int]:
    """Median milliseconds of each kind of product over all layers, called in a row; bytes of the weights."""
    import torch

    executor: Any = engine.parts.executor
    order = [(kind, getattr(layer, kind)) for layer in executor._layers for kind in KINDS[:-1]]
    calls, size = [], 0
    with torch.inference_mode():
        for kind, product in (*order, ("head", executor._head)):
            linear = product.linear.at(count)
            size += linear.weight_bytes
            if linear.form == "int8":
                x = torch.randint(0, 127, (count, linear.in_features), dtype=linear.activation_dtype)
                calls.append((kind, linear.product, x))
            else:
                calls.append((kind, linear, torch.randn(count, linear.in_features)))
        taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(passes):
            sums = dict.fromkeys(KINDS, 0.0)
            for kind, call, x in calls:
                start = time.perf_counter()
                call(x)
                sums[kind] += time.perf_counter() - start
            for kind in KINDS:
                taken[kind].append(1e3 * sums[kind])
    return {kind: statistics.median(times) for kind, times in taken.items()}, size
