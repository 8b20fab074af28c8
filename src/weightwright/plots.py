"""Every chart that a report or a terminal shows: one style, colours that colour-blind people can tell apart.

Each function returns the bytes of an SVG. Figures are made without pyplot: nothing global is touched.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito 2008, "Color Universal Design"
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
_CJK_FONTS = (
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Microsoft YaHei",
    "SimHei",
    "Heiti SC",
)
_BAR_HEIGHT = 0.62
_INK, _INK_ON_DARK = "#222222", "#e6e6e6"


@dataclass(frozen=True, slots=True)
class Bar:
    """A value with the ends of its interval."""

    name: str
    value: float
    low: float
    high: float


def interval_bars(bars: Sequence[Bar], *, label: str) -> bytes:
    """Horizontal bars with error bars, the first on top; values from 0 to 1."""
    figure, axes = _figure(7.2, 0.9 + 0.46 * len(bars))
    places = range(len(bars), 0, -1)
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(bars))]
    values = [bar.value for bar in bars]
    axes.barh(places, values, height=_BAR_HEIGHT, color=colours, zorder=2)
    axes.errorbar(values, places, xerr=_error(bars), fmt="none", ecolor=_INK, capsize=3, zorder=3)
    for place, bar in zip(places, bars, strict=True):
        axes.annotate(f"{bar.value:.2f}", (max(bar.high, bar.value), place), xytext=(6, 0),
                      textcoords="offset points", va="center", color=_INK)  # fmt: skip
    axes.set_yticks(list(places), labels=readable([bar.name for bar in bars], "arm"))
    axes.set_xlim(0, 1.08)
    axes.set_xlabel(label)
    return _svg(figure)


def cost_against_score(
    bars: Sequence[Bar], costs: Sequence[float | None], *, label: str, cost_label: str
) -> bytes:
    """Scores with error bars over cost, each point with its name; best is top left.

    Costs [len(bars)]; one without a cost (None) is not drawn.
    """
    figure, axes = _figure(7.2, 3.6)
    names = readable([bar.name for bar in bars], "arm")
    points = [
        (i, bar, cost) for i, (bar, cost) in enumerate(zip(bars, costs, strict=True)) if cost is not None
    ]
    order = [i for i, _, _ in sorted(points, key=lambda point: (point[2], point[1].value))]
    highest = max([*(cost for _, _, cost in points), 1e-9])
    for i, bar, cost in points:
        colour = PALETTE[i % len(PALETTE)]
        axes.errorbar([cost], [bar.value], yerr=_error([bar]), fmt="o", color=colour, capsize=3, markersize=8)
        left = cost > 0.75 * highest
        above = order.index(i) % 2 == 0  # neighbours in cost write on different sides
        axes.annotate(
            names[i],
            (cost, bar.value),
            xytext=(-9 if left else 9, 5 if above else -13),
            textcoords="offset points",
            ha="right" if left else "left",
            color=_INK,
        )
    axes.set_xlim(0, 1.1 * highest)
    axes.set_ylim(0, 1.05)
    axes.set_xlabel(cost_label)
    axes.set_ylabel(label)
    return _svg(figure)


def grouped_bars(groups: Mapping[str, Sequence[Bar]], *, label: str) -> bytes:
    """One group of vertical bars with error bars for each key; every group has the same names in order."""
    rows = list(groups.values())
    names = [bar.name for bar in rows[0]]
    figure, axes = _figure(7.2, 3.4)
    width = 0.8 / len(names)
    for i, name in enumerate(readable(names, "arm")):
        places = [g + (i - (len(names) - 1) / 2) * width for g in range(len(rows))]
        bars = [row[i] for row in rows]
        values = [bar.value for bar in bars]
        axes.bar(places, values, width * 0.9, color=PALETTE[i % len(PALETTE)], label=name, zorder=2)
        axes.errorbar(places, values, yerr=_error(bars), fmt="none", ecolor=_INK, capsize=2, zorder=3)
    axes.set_xticks(range(len(rows)), labels=readable(list(groups), "kind"))
    axes.set_ylim(0, 1.05)
    axes.set_ylabel(label)
    axes.grid(visible=False, axis="x")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=len(names), frameon=False,
                labelcolor=_INK)  # fmt: skip
    return _svg(figure)


def for_dark(svg: bytes) -> bytes:
    """The same chart for a dark page: only the ink is another, the ground is transparent."""
    return svg.replace(_INK.encode(), _INK_ON_DARK.encode())


def readable(labels: Sequence[str], word: str) -> list[str]:
    """Labels that the fonts of this machine can draw; one that they cannot becomes `word` and its number."""
    fonts = _fonts()
    plain = all(label.isascii() for label in labels) or len(fonts) > 1
    return [label if plain or label.isascii() else f"{word} {i}" for i, label in enumerate(labels, 1)]


def _figure(width_in: float, height_in: float) -> "tuple[Figure, Axes]":
    figure, (axes,) = _stacked(width_in, (height_in,))
    return figure, axes


def _stacked(width_in: float, heights_in: Sequence[float]) -> "tuple[Figure, list[Axes]]":
    """Panels of these heights from the top, over one x axis."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"font.family": _fonts(), "font.size": 10.5}):
        figure = Figure(figsize=(width_in, sum(heights_in)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = [
            *figure.subplots(len(heights_in), sharex=True, squeeze=False, height_ratios=heights_in)[:, 0]
        ]
    figure.patch.set_alpha(0)
    for axes in panels:
        axes.patch.set_alpha(0)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(_INK)
        axes.tick_params(colors=_INK)
        axes.xaxis.label.set_color(_INK)
        axes.yaxis.label.set_color(_INK)
        axes.grid(visible=True, alpha=0.25, zorder=0)
    return figure, panels


def _svg(figure: "Figure") -> bytes:
    from matplotlib import rc_context

    stream = io.BytesIO()
    # fixed ids and no date: the same numbers give the same bytes
    with rc_context({"font.family": _fonts(), "svg.hashsalt": "weightwright", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _error(bars: Sequence[Bar]) -> Any:
    return [[max(0.0, b.value - b.low) for b in bars], [max(0.0, b.high - b.value) for b in bars]]


def _fonts() -> list[str]:
    """DejaVu (comes with matplotlib) and the first Chinese font that this machine has."""
    from matplotlib.font_manager import fontManager

    known = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *[name for name in _CJK_FONTS if name in known][:1]]


def loss_curve(
    losses: Sequence[float], evals: Sequence[tuple[int, float]], *, what: str = "loss per labelled token"
) -> bytes:
    """A PNG: the loss (or `what`) of each step, and of each evaluation (steps done, loss)."""
    figure, axes = _figure(7, 4)
    _draw_curve(axes, losses, evals, what)
    axes.set_xlabel("step")
    return _png(figure)


def reward_curves(
    rewards: Sequence[float],
    evals: Sequence[tuple[int, float]],
    measures: Mapping[str, Sequence[float]],
) -> bytes:
    """A PNG: the mean reward of each step and of each evaluation (steps done, reward); `measures` by name beneath."""
    figure, panels = _stacked(7, (4, *[1.6] * len(measures)))
    _draw_curve(panels[0], rewards, evals, "mean reward")
    for axes, (name, values) in zip(panels[1:], measures.items(), strict=True):
        _draw_curve(axes, values, (), name)
    panels[-1].set_xlabel("step")
    return _png(figure)


def _draw_curve(axes: "Axes", values: Sequence[float], evals: Sequence[tuple[int, float]], what: str) -> None:
    steps = range(1, len(values) + 1)
    axes.plot(steps, values, color=PALETTE[4], linewidth=0.8, alpha=0.7, label="each step")
    axes.plot(steps, _smooth(values), color=PALETTE[0], linewidth=2, label="training, smoothed")
    if evals:
        axes.plot(*zip(*evals, strict=True), "o-", color=PALETTE[5], linewidth=2, label="held out")
    axes.set_ylabel(what)
    if min(values) >= 0:
        axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _png(figure: "Figure") -> bytes:
    figure.patch.set_alpha(1)  # image viewers show what is transparent as black
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def terminal_curve(
    losses: Sequence[float], evals: Sequence[tuple[int, float]], *, width: int = 60, height: int = 10
) -> str:
    """The smoothed loss over the steps as text, `width` x `height` characters; evaluations are marked o."""
    smooth = _smooth(losses)
    low, high = min([*smooth, *(e for _, e in evals)]), max([*smooth, *(e for _, e in evals)])
    rows = [[" "] * width for _ in range(height)]

    def put(step: float, value: float, mark: str) -> None:
        column = round((step - 1) / max(1, len(smooth) - 1) * (width - 1))
        row = round((high - value) / ((high - low) or 1) * (height - 1))
        rows[row][min(max(column, 0), width - 1)] = mark

    for step, value in enumerate(smooth, 1):
        put(step, value, "·")
    for done, value in evals:
        put(done, value, "o")
    labels = [f"{high:8.3f}", *[" " * 8] * (height - 2), f"{low:8.3f}"]
    lines = [f"{label} │{''.join(row).rstrip()}" for label, row in zip(labels, rows, strict=True)]
    axis = f"{'':8} └{'─' * width}"
    return "\n".join([*lines, axis, f"{'':10}1{f'step {len(smooth)}':>{width - 1}}"])


def _smooth(values: Sequence[float]) -> list[float]:
    """The mean of each value and those shortly before it."""
    width = max(1, len(values) // 20)
    starts = (max(0, i + 1 - width) for i in range(len(values)))
    return [sum(values[s : i + 1]) / (i + 1 - s) for i, s in enumerate(starts)]


def memory_phases(phases: Mapping[str, Mapping[str, int]], *, limit_bytes: int = 0) -> bytes:
    """A PNG: one bar a phase with its parts in bytes, in order from the top; a line where memory ends (0: none)."""
    figure, axes = _figure(7.6, 1.5 + 0.5 * len(phases))
    names = list(dict.fromkeys(part for parts in phases.values() for part in parts))
    places = list(range(len(phases), 0, -1))
    left = [0.0] * len(phases)
    for i, name in enumerate(names):
        sizes = [parts.get(name, 0) / 1e9 for parts in phases.values()]
        axes.barh(places, sizes, left=left, height=_BAR_HEIGHT, color=PALETTE[i % len(PALETTE)], label=name, zorder=2,
                  hatch="//" if i >= len(PALETTE) else None)  # fmt: skip
        left = [start + size for start, size in zip(left, sizes, strict=True)]
    for place, end in zip(places, left, strict=True):
        axes.annotate(f"{end:.2f}", (end, place), xytext=(6, 0), textcoords="offset points", va="center", color=_INK,
                      zorder=4, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    axes.set_yticks(places, labels=list(phases))
    limit, longest = limit_bytes / 1e9, max(left)
    near = 0 < limit < 4 * longest
    if near:
        axes.axvline(limit, color=_INK, linestyle="--", linewidth=1.2, zorder=3)
    axes.set_xlim(0, 1.12 * max(longest, limit if near else 0))
    axes.set_xlabel(f"GB; the dashed line is the limit of {limit:.1f}" if near else "GB")
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, labelcolor=_INK)
    return _png(figure)
