"""The outcome for people: one self-contained report.html and a table for the terminal."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightwright.compare.result import ArmResult, Comparison
from weightwright.config import to_yaml
from weightwright.judge.metrics import METRICS
from weightwright.stats.intervals import Interval, counted

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_HERE = Path(__file__).parent
_FACTS = {
    "finished_at": "Finished",
    "machine": "Machine",
    "versions": "Versions",
    "model_fingerprint": "Model (hash of its files, or address)",
    "adapter": "Adapter",
    "adapter_fingerprint": "Adapter (hash of its files)",
    "documents": "Documents in the knowledge base",
    "knowledge_base": "Knowledge base (hash of its documents)",
    "embedder": "Embedder",
    "seed": "Seed of resampling",
}


def write_report(comparison: Comparison, file: Path) -> None:
    """Write report.html whole: beside, then renamed."""
    from weightwright.files import write_whole

    write_whole(file, render(comparison))


def render(comparison: Comparison) -> str:
    """The report as one HTML page: no address in it is ever fetched, and all text is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"seconds": seconds, "size": size, "tokens": tokens}
    script = (_HERE / "report.js").read_text(encoding="utf-8")
    page = environment.get_template("report.html.j2").render(
        headline=headline(comparison),
        cautions=comparison.cautions,
        verdict=comparison.verdict,
        settings=comparison.settings,
        arms=comparison.arms,
        colour=_colours(comparison),
        metric=METRICS,
        primary=title_of(comparison.settings.primary),
        charts=list(_charts(comparison)),
        kinds=list(dict.fromkeys(q.kind for q in comparison.questions if q.kind)),
        questions=list(_questions(comparison)),
        n_questions=len(comparison.questions),
        n_clusters=len(set(comparison.clusters.labels.tolist())),
        provenance=comparison.provenance,
        facts=list(_facts(comparison)),
        settings_yaml=to_yaml(comparison.settings),
        style=Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return page.encode("utf-8", "replace").decode()  # a model may have written half a surrogate pair


def headline(comparison: Comparison) -> str:
    """The verdict in a few words."""
    verdict = comparison.verdict
    if verdict.winner:
        won = next(result for result in comparison.arms if result.arm.name == verdict.winner)
        though = (
            f", though it failed on {won.failed} of {counted(len(won.records), 'question')}"
            if won.failed
            else ""
        )
        return f"{verdict.winner} wins{though}"
    if verdict.cheapest:
        return f"No difference shown; {verdict.cheapest} is the cheapest"
    failed = [result.arm.name for result in comparison.arms if result.failed]
    return f"No winner: {' and '.join(failed)} failed" if failed else "No winner"


def table(comparison: Comparison) -> "Table":
    """The arms as a rich table."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    settings = comparison.settings
    title = f"{escape(settings.model)} on {len(comparison.questions)} questions"
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown.add_column("arm", no_wrap=True)
    for metric in settings.metrics:
        shown.add_column(
            ("★ " if metric == settings.primary else "") + title_of(metric).lower(), justify="right"
        )
    for heading in ("s / answer", "tokens in/out", "peak memory", "tuning", "failed"):
        shown.add_column(heading, justify="right")
    for result in comparison.arms:
        means, cost = result.means, result.cost
        shown.add_row(
            result.arm.name,
            *[_cell(mean, with_interval=metric == settings.primary) for metric, mean in means.items()],
            "–" if cost.seconds_per_question is None else f"{cost.seconds_per_question:.2g}",
            f"{tokens(cost.prompt_tokens)}/{tokens(cost.completion_tokens)}",
            size(cost.peak_bytes),
            seconds(cost.tuning_s),
            str(result.failed),
            style="bold green" if result.arm.name == comparison.verdict.winner else "",
        )
    return shown


def _cell(mean: Interval, *, with_interval: bool) -> str:
    return f"{mean.mean:.2f}" + (f"\n[dim]{mean.low:.2f}–{mean.high:.2f}[/]" if with_interval else "")


def lines(comparison: Comparison) -> list["Text"]:
    """The verdict and what to keep in mind, as plain text for the terminal."""
    from rich.text import Text

    return [Text(comparison.verdict.why), *[Text(f"caution: {note}") for note in comparison.cautions]]


def title_of(metric: str) -> str:
    """A metric's name for people."""
    return METRICS[metric].title or metric


def seconds(value: float | None) -> str:
    """A duration for people: `0.21 s`, `14 s`, `12 min`."""
    if value is None:
        return "–"
    if value >= 120:
        return f"{value / 60:.0f} min"
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


def tokens(value: float | None) -> str:
    """A mean number of tokens for people."""
    return "–" if value is None else f"{value:,.0f}"


def size(value: int | None) -> str:
    """Bytes for people: `540 MB`, `2.1 GB`."""
    if value is None:
        return "–"
    return f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def _colours(comparison: Comparison) -> dict[str, str]:
    from weightwright.plots import PALETTE

    return {result.arm.name: PALETTE[i % len(PALETTE)] for i, result in enumerate(comparison.arms)}


def _charts(comparison: Comparison) -> Iterator[dict[str, str]]:
    from weightwright import plots

    primary = comparison.settings.primary

    def bar(result: ArmResult, mean: Any) -> plots.Bar:
        return plots.Bar(result.arm.name, mean.mean, mean.low, mean.high)

    bars = [bar(result, result.means[primary]) for result in comparison.arms]
    costs = [result.cost.seconds_per_question for result in comparison.arms]
    kinds = list(comparison.arms[0].by_kind)
    groups = {kind or "all": [bar(r, r.by_kind[kind]) for r in comparison.arms] for kind in kinds}

    def chart(title: str, svg: bytes) -> dict[str, str]:
        return {"title": title, "light": _uri(svg), "dark": _uri(plots.for_dark(svg))}

    title = title_of(primary)
    yield chart(f"{title} with 95% intervals", plots.interval_bars(bars, label=title))
    against_cost = plots.cost_against_score(bars, costs, label=title, cost_label="seconds per answer")
    yield chart(f"{title} against time", against_cost)
    if len(kinds) > 1:
        yield chart(f"{title} by kind of question", plots.grouped_bars(groups, label=title))


def _uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _questions(comparison: Comparison) -> Iterator[dict[str, Any]]:
    primary = comparison.settings.primary
    for i, question in enumerate(comparison.questions):
        answers = [
            {"arm": r.arm.name, "record": r.records[i], "score": r.scores[i][primary]}
            for r in comparison.arms
        ]
        yield {
            "id": question.id,
            "kind": question.kind,
            "documents": question.documents,
            "question": question.question,
            "references": question.references,
            "answers": answers,
            "primary": [round(r.scores[i][primary], 4) for r in comparison.arms],
            "failed": sum(r.records[i].answer is None for r in comparison.arms),
        }


def _facts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """Name and value of what somebody needs to repeat or to doubt the measurement."""
    for key, name in _FACTS.items():
        value = comparison.provenance.get(key)
        if value in (None, "", (), []):
            continue
        yield name, ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
