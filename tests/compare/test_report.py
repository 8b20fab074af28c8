"""The report: self-contained, escaped, complete; and the table for the terminal."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from weightwright.compare.arms import arm
from weightwright.compare.questions import Question
from weightwright.compare.record import Record
from weightwright.compare.report import headline, lines, render, seconds, size, table
from weightwright.compare.result import Comparison, summarise
from weightwright.compare.settings import CompareSettings

EVIL = "<script>alert('x')</script><img src=http://evil.example/a.png>"
N = 20


def comparison(*, evil: str = "", broken: str = "", failed: int = 0) -> Comparison:
    settings = CompareSettings(
        model=f"extract{evil}",
        questions="q.jsonl",
        documents=("d",),
        arms=("base", "rag"),
        metrics=("f1", "contains"),
    )
    questions = [
        Question(
            id=f"q{i}{evil}",
            question=f"Which is {i}? {evil}",
            reference="yes indeed",
            kind=("one", "无")[i % 2],
        )
        for i in range(N)
    ]
    cite = {
        "n": 1,
        "document": f"d{evil}",
        "path": "",
        "page": 2,
        "start": 3,
        "end": 9,
        "quote": f"quote {evil}",
    }
    passage = {"document": "d", "start": 0, "end": 9, "text": f"passage {evil}"}
    base = [
        Record("base", q.id, None if i < failed else f"no {evil}{broken}", error=f"lost {evil}", seconds=0.5)
        for i, q in enumerate(questions)
    ]
    grounded = Record("rag", "", "yes indeed", citations=(cite,), passages=(passage,), dropped_marks=2,
                      seconds=1.0, prompt_tokens=100, completion_tokens=5)  # fmt: skip
    records = {arm("base"): base, arm("rag"): [replace(grounded, question=q.id) for q in questions]}
    facts = {"finished_at": "now", "versions": {"python": "3"}, "notes": [f"Not read: x{evil}"]}
    return summarise(
        settings, questions, records, peaks={"rag": 2_100_000_000}, tuning_s=None, provenance=facts
    )


class Page(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_nothing_is_fetched() -> None:
    page = Page(render(comparison(evil=EVIL)))
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "href", "action", "poster", "data"):
            address = attributes.get(name)
            assert address is None or address.startswith("data:image/svg+xml;base64,"), (tag, name, address)
        assert tag not in ("link", "iframe", "object", "embed", "base")
    assert not re.search(r"@import|url\(", render(comparison()).replace("base64", ""))


def test_everything_is_escaped_and_the_policy_allows_only_our_script() -> None:
    html = render(comparison(evil=EVIL, failed=1))
    page = Page(html)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert EVIL not in html
    assert page.text.count(EVIL) > 3 * N  # it is shown, as text
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy


def test_every_answer_stands_beside_its_reference_and_citations() -> None:
    text = Page(render(comparison(failed=3))).text
    assert text.count("Expected yes indeed") == N
    assert text.count("“quote ”") == N
    assert text.count("page 2, characters 3–9") == N
    assert text.count("failed: lost") == 3
    assert text.count("2 unsupported citations dropped") == N
    assert "base: 3 of 20 questions failed and score 0." in text
    assert "Not read: x" in text


def test_sections_and_charts() -> None:
    html = render(comparison())
    titles = re.findall(r"<h2>([^<]+)</h2>", html)
    assert titles == [
        "The arms",
        "Score and cost",
        "Is the difference real?",
        "Every answer",
        "How it was measured",
    ]
    charts = re.findall(r"base64,([A-Za-z0-9+/=]+)", html)
    assert len(charts) == 2 * 3
    assert all(b"<svg" in base64.b64decode(chart) for chart in charts)
    assert "rag wins" in html
    assert "2.1 GB" in html


def test_columns_and_facts_have_names_for_people() -> None:
    page = Page(render(comparison(failed=N)))
    text = " ".join(page.text.split())
    for name in (
        "Word F1",
        "Contains the reference",
        "Time per answer",
        "Tuning time",
        "Finished",
        "Versions",
    ):
        assert name in text, name
    for raw in ("model_fingerprint", "seconds_per_question", "no_answer ", "finished at"):
        assert raw not in text
    assert "there is no pair to test" in text  # base failed everywhere
    assert "No winner: base failed" in text


def test_half_a_surrogate_pair_does_not_break_the_page() -> None:
    render(comparison(broken="\ud83d")).encode("utf-8")


def test_the_terminal_table_fits_and_markup_is_text() -> None:
    from rich.console import Console

    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table(comparison(evil="[bold]x[/nope]")), *lines(comparison(failed=2)))
    shown = console.export_text()
    assert "extract[bold]x[/nope] on 20 questions" in shown
    assert re.search(r"rag +1\.00 +1\.00 +1 +100/5 +2\.1 GB +– +0", shown)
    assert "caution: base: 2 of 20 questions failed" in shown
    assert all(len(line) <= 100 for line in shown.splitlines())


def test_headlines() -> None:
    won: Any = comparison()
    assert headline(won) == "rag wins"


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "–"), (0.0024, "0.0024 s"), (1.26, "1.3 s"), (14.2, "14 s"), (119, "119 s"), (720, "12 min")],
)
def test_durations(value: float | None, words: str) -> None:
    assert seconds(value) == words


@pytest.mark.parametrize(("value", "words"), [(None, "–"), (540e6, "540 MB"), (2.14e9, "2.1 GB")])
def test_sizes(value: Any, words: str) -> None:
    assert size(value) == words
