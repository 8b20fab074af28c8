"""Charts are whole SVGs, the same bytes each time, and never fail on a label."""

import sys
from xml.etree import ElementTree

import pytest

from weightwright import plots
from weightwright.plots import Bar

BARS = [Bar("base", 0.1, 0.05, 0.2), Bar("lora+rag", 0.6, 0.5, 0.7), Bar("<b>&", 0.0, 0.0, 0.0)]


def drawn(svg: bytes) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    return root


def test_every_chart_is_a_whole_svg_in_both_inks() -> None:
    charts = [
        plots.interval_bars(BARS, label="F1"),
        plots.cost_against_score(BARS, [0.1, 2.0, 0.0], label="F1", cost_label="s"),
        plots.grouped_bars({"one": BARS, "none": BARS}, label="F1"),
    ]
    for svg in charts:
        drawn(svg)
        assert b"#222222" in svg
        drawn(plots.for_dark(svg))
        assert b"#222222" not in plots.for_dark(svg)


def test_longer_bars_for_higher_scores() -> None:
    root = drawn(plots.interval_bars(BARS[:2], label="F1"))
    space = "{http://www.w3.org/2000/svg}"
    paths = {
        path.get("style", "").lower(): path.get("d", "")
        for path in root.iter(f"{space}path")
        if any(colour.lower() in path.get("style", "").lower() for colour in plots.PALETTE[:2])
    }
    widths = {}
    for style, d in paths.items():
        xs = [float(d.split()[i + 1]) for i, part in enumerate(d.split()) if part in "ML"]
        widths[style.partition("#")[2][:6].upper()] = max(xs) - min(xs)
    assert widths["E69F00"] == pytest.approx(6 * widths["0072B2"], rel=0.01)


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert plots.interval_bars(BARS, label="F1") == plots.interval_bars(BARS, label="F1")


def test_labels_that_no_font_can_draw_are_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "_fonts", lambda: ["DejaVu Sans"])
    assert plots.readable(["一", "two"], "kind") == ["kind 1", "two"]
    drawn(plots.grouped_bars({"一": BARS, "无": BARS}, label="F1"))


def test_no_global_plotting_state_is_touched() -> None:
    plots.interval_bars(BARS, label="F1")
    assert "matplotlib.pyplot" not in sys.modules


def test_memory_by_phase_is_a_png_whose_bars_are_the_parts() -> None:
    phases = {"loading": {"weights": 10**9}, "backward pass": {"weights": 10**9, "activations": 3 * 10**9}}
    plain, limited = plots.memory_phases(phases), plots.memory_phases(phases, limit_bytes=5 * 10**9)
    assert plain.startswith(b"\x89PNG")
    assert plain == plots.memory_phases(phases)
    assert plain != limited
    # the line is where the limit is: the same label, another place
    near = [plots.memory_phases(phases, limit_bytes=limit * 10**7) for limit in (350, 354)]
    assert near[0] != near[1]
    # a limit far beyond the bars is not drawn, so that they stay readable
    assert plots.memory_phases(phases, limit_bytes=10**12) == plain
    assert plots.memory_phases({name: dict(parts) for name, parts in phases.items()}) == plain
    more = {**phases, "backward pass": {"weights": 10**9, "activations": 4 * 10**9}}
    assert plots.memory_phases(more) != plain


def test_a_curve_in_the_terminal_falls_as_its_values_do() -> None:
    from weightwright.plots import terminal_curve

    lines = terminal_curve([4.0, 3.0, 2.0, 1.0], [(4, 1.5)], width=20, height=4).split("\n")
    assert lines[0].startswith("   4.000 │·")
    assert lines[3].startswith("   1.000 │")
    assert lines[3].rstrip().endswith("·")
    assert sum(line.count("o") for line in lines[:4]) == 1
    assert lines[-1].endswith("step 4")
    assert len(terminal_curve([2.0, 2.0], [], width=20, height=4).split("\n")) == 6


def test_rewards_have_a_panel_for_each_measure_beneath() -> None:
    def height(png: bytes) -> int:
        assert png.startswith(b"\x89PNG")
        return int.from_bytes(png[20:24], "big")

    measures = {"tokens an answer": [9.0, 7.0], "KL": [0.0, 0.1]}
    alone = plots.reward_curves([0.1, 0.4], [(0, 0.1)], {})
    assert height(plots.reward_curves([0.1, 0.4], [(0, 0.1)], measures)) > height(alone) + 300
