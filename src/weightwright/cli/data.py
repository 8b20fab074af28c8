"""`weightwright data`: look at rows before they are learnt, and check them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from weightwright import inspection
from weightwright.cli.flags import Outcome, as_text, verb
from weightwright.data.settings import DataCheckSettings, DataShowSettings

if TYPE_CHECKING:
    from weightwright.data.alike import Alike
    from weightwright.data.checks import Problem
    from weightwright.data.show import FilePreview
    from weightwright.data.summary import FileSummary
    from weightwright.errors import Place
    from weightwright.inspection import Inspection

_SHOWN = 10


@verb(DataShowSettings, section="data_show", positional=("file",))
def show(settings: DataShowSettings) -> Outcome:
    """Print rows as the model will read them, with the tokens that carry loss in colour.

    A preference pair is printed as two rows, the chosen answer first.
    """
    preview = inspection.show(settings)
    return Outcome(preview.data(), _view(preview))


@verb(DataCheckSettings, section="data_check", positional=("file",))
def check(settings: DataCheckSettings) -> Outcome:
    """Check rows: lengths, duplicates, what stands in held-out rows too, broken rows, languages, kinds of task.

    Of several files, or a folder, a table says what each holds, and what is left out.
    """
    result = inspection.check(settings)
    report = "\n".join(_report(result.summary, [*_kinds(result), *result.notes]))
    return Outcome(result.data(), _with_files(result.summary, report))


def _with_files(summary: "FileSummary", report: str) -> str:
    """The report under a table of the files, where there are several, or some are left out."""
    if len(summary.files) < 2 and not summary.left_out:
        return report
    from rich.table import Column, Table

    from weightwright.data.folder import say_left_out

    kinds = ("kinds",) if summary.kinds is not None else ()
    counted = [Column(name, justify="right") for name in ("rows", *kinds, summary.lengths.unit)]
    table = Table("file", "format", *counted, "problems")
    for one in summary.files:
        numbers = [n for n in (one.rows, one.task_kinds, one.length) if n is not None]
        table.add_row(one.file, one.format or "–", *(f"{n:,}" for n in numbers), one.problems)
    return "\n".join([as_text(table).rstrip("\n"), *say_left_out(summary.left_out), report])


def _kinds(result: "Inspection") -> list[str]:
    """How many kinds of task there are, and the rank advised for them."""
    kinds = result.summary.kinds
    if kinds is None:
        return []
    groups = list(zip(kinds.sizes, result.summary.examples, strict=True))[:_SHOWN]
    return [
        f"{result.why}: rank {result.rank}",
        *(f"  {size} rows like: {_short(example)}" for size, example in groups),
    ]


def _view(preview: "FilePreview") -> Any:
    from rich.console import Group
    from rich.text import Text

    blocks: list[Any] = [
        f"{preview.rows} rows, {preview.tokens:,} tokens, {preview.labelled_tokens:,} of them carry loss; "
        f"the longest row has {preview.longest:,}"
    ]
    for one in preview.shown:
        head = f"\n{one.row.place}: {len(one.row)} tokens, {one.row.labelled_tokens} carry loss"
        blocks.append(Text(f"{head}, {one.note}" if one.note else head, style="bold"))
        styled = [(text, "bold green" if labelled else "dim") for labelled, text in one.runs]
        blocks.append(Text.assemble(*styled))
    return Group(*blocks)


def _report(summary: "FileSummary", kinds: list[str]) -> list[str]:
    sizes = summary.lengths
    lines = [
        f"{summary.rows} rows ({', '.join(summary.formats)}), "
        f"for --objective {', '.join(summary.objectives) or 'none'}",
        f"{sizes.unit} a row: {sizes.min:,} at least, {sizes.median:,} in the middle, {sizes.p95:,} at 95%, "
        f"{sizes.max:,} at most; {sizes.total:,} together"
        + (f", {summary.labelled_tokens:,} carry loss" if summary.labelled_tokens is not None else ""),
        "languages: " + ", ".join(f"{name} {count}" for name, count in summary.languages.items()),
    ]
    if summary.held_out is not None:
        lines.append(f"{summary.held_out.rows} rows held out, {len(summary.held_out.broken)} of them broken")
    lines += kinds
    if summary.asked is not None:
        lines += summary.asked.lines()
    lines += summary.verdict or ("nothing wrong was found",)
    lines += _problems(summary.broken)
    for title, alike in (
        ("repeats", summary.duplicates),
        ("nearly repeats", summary.near_duplicates),
        ("asks the same as", summary.same_question),
    ):
        lines += _pairs(title, alike)
    lines += _few([f"  {one.place} answers with {one.problem}" for one in summary.placeholders])
    if summary.held_out is not None:
        lines += _problems(summary.held_out.broken)
        lines += _pairs("is also", summary.held_out.duplicates)
        lines += _pairs("asks the same as", summary.held_out.same_question)
        lines += _pairs("is nearly", summary.held_out.near_duplicates)
    return lines


def _problems(problems: "Sequence[Problem]") -> list[str]:
    """All of them; rows of a file with the same problem share a line."""
    alike: dict[tuple[str, str], list[Place]] = {}
    for one in problems:
        alike.setdefault((one.place.file, one.problem), []).append(one.place)
    return [
        f"  {'; '.join([str(first), *(str(replace(place, file='')) for place in rest)])}: {problem}"
        for (_, problem), (first, *rest) in alike.items()
    ]


def _pairs(title: str, alike: "Sequence[Alike]") -> list[str]:
    return _few([f"  {one.place} {title} {one.like}" for one in alike])


def _few(lines: list[str]) -> list[str]:
    """The first few; --json has them all."""
    more = len(lines) - _SHOWN
    return [*lines[:_SHOWN], f"  and {more} more: --json lists all"] if more > 0 else lines


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 80 else f"{words[:79]}…"
