"""How the rows of a run are laid into passes: what its passes compute in all, with their padding."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from weightwright.data.pack import micro_batches, packs, rows_of_step, step_count
from weightwright.kernels.elementwise import padded_rows
from weightwright.plan import measured
from weightwright.plan.advice import batch_rows
from weightwright.plan.settings import PlanSettings
from weightwright.plan.training import OF_PAIRS

_MOST_STEPS = 64  # laid out one by one; of longer runs so many, evenly over them


@dataclass(frozen=True, slots=True)
class Rows:
    """Lengths in tokens of the rows of each example (a pair has two), and the tokens in all that carry loss.

    `common`: tokens that all rows begin with, which a pass may compute once (see `tune.prefixes`).
    """

    examples: Sequence[tuple[int, ...]]
    labelled: int
    common: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return sum(map(sum, self.examples))


@dataclass(frozen=True, slots=True)
class Layout:
    """What passes compute: `tokens` real ones, `computed` with padding, `squares` of the rows' lengths, summed.

    All are floats: those of a long run are scaled up from a part of it.
    """

    tokens: float = 0.0
    computed: float = 0.0
    squares: float = 0.0
    rows: float = 0.0
    passes: float = 0.0

    def __add__(self, other: "Layout") -> "Layout":
        return Layout(
            self.tokens + other.tokens,
            self.computed + other.computed,
            self.squares + other.squares,
            self.rows + other.rows,
            self.passes + other.passes,
        )

    def times(self, factor: float) -> "Layout":
        """So many times as much."""
        return Layout(
            *(factor * x for x in (self.tokens, self.computed, self.squares, self.rows, self.passes))
        )

    @property
    def row_tokens(self) -> int:
        """The length that stands for all rows in attention: what their squares and their tokens lead to."""
        return round(self.squares / self.computed) if self.computed else 0


def full_rows(settings: PlanSettings) -> Rows:
    """Rows as long as may be, where nothing is known of them but their number (1 where not even that)."""
    together = 2 if settings.objective in OF_PAIRS else 1
    count = settings.rows or 1
    lengths = (settings.max_length,) * together
    return Rows((lengths,) * count, count * together * settings.max_length)


def steps_of(settings: PlanSettings, rows: int) -> tuple[int, int]:
    """Steps of the run and rows a step, as tuning chooses them."""
    batch = settings.batch or batch_rows(rows, settings.epochs)
    steps = step_count(rows, settings.epochs, batch)
    return min(steps, settings.max_steps or steps), batch


def trained(settings: PlanSettings, rows: Rows) -> Layout:
    """What all steps compute."""
    steps, batch = steps_of(settings, len(rows.examples))
    shown = range(steps) if steps <= _MOST_STEPS else range(0, steps, -(-steps // _MOST_STEPS))
    total, read = Layout(), 0
    for step in shown:
        numbers = rows_of_step(step, rows=len(rows.examples), epochs=settings.epochs, batch=batch, seed=0)
        total += laid_out(settings, [rows.examples[n] for n in numbers], rows.common)
        read += len(numbers)
    whole = min(steps * batch, len(rows.examples) * settings.epochs)
    return total.times(whole / read)


def laid_out(settings: PlanSettings, examples: Sequence[tuple[int, ...]], common: int = 0) -> Layout:
    """What the passes of one step compute, of rows that all begin with the same `common` tokens."""
    most_tokens = measured.PASS_TOKENS["cpu" if settings.on_cpu else "gpu"]
    if settings.packing:
        once = common if settings.on_cpu and not settings.dropout and settings.objective != "orpo" else 0
        own = [sum(example) - once * len(example) for example in examples]
        groups = packs(own, [*map(len, examples)], settings.micro_batch, most_tokens - once)
        return sum((_packed(settings, [examples[n] for n in group], once) for group in groups), Layout())
    together = max(map(len, examples))
    most = None if settings.micro_batch is None else max(1, settings.micro_batch // together)
    widths = [*map(max, examples)]
    passes = micro_batches(widths, max_rows=most, max_tokens=most_tokens // together)
    return sum((_padded(settings, [examples[n] for n in one]) for one in passes), Layout())


def _packed(settings: PlanSettings, examples: Iterable[tuple[int, ...]], once: int) -> Layout:
    """Rows behind each other, their first `once` tokens one time; on a CPU the line is padded to few sizes."""
    rows = [length for example in examples for length in example]
    tokens = sum(rows) - once * (len(rows) - 1)
    computed = padded_rows(tokens) if settings.on_cpu else tokens
    return Layout(sum(rows), computed, sum(size**2 for size in rows), len(rows), 1)


def _padded(settings: PlanSettings, examples: Iterable[tuple[int, ...]]) -> Layout:
    rows = [length for example in examples for length in example]
    width = padded_rows(max(rows)) if settings.on_cpu else max(rows)
    return Layout(sum(rows), width * len(rows), width**2 * len(rows), len(rows), 1)
