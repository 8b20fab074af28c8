"""Whatever a model writes over whatever documents: each citation is an exact range, code stays as it was written."""

import json
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from weightwright.ports import Document
from weightwright.rag.cite import Beside, Checker, check
from weightwright.rag.context import Passage
from weightwright.rag.forms import forms, hidden, marks

SENTENCES = st.sampled_from(
    [
        "The ferry to Lisse carries 48 cars.",
        "Bring €12 in cash.",
        "It opened on 3/4/2019, says Oda Brink.",
        "渡轮可载四十八辆汽车。",
        "船票为12欧元。",
        "# Ferries",
        "## Prices 2024",
        "- item 7",
        "| a | 5 km |",
        "Use `pier [2]` at 9:30 pm.",
        "See Nr. 5 [1] of the list.",
        "⻓江⼤桥",
        "x\u00ad\u200by 10⁶ \ud83d\ude80",
        "",
        "Version 3.10 is at -7 °C.",
        "“Is it far?” she asked.",
        "三点五万亿",
        "1,2,3 and 12 000 000",
        "MCMXC XIV",
    ]
)
BREAKS = st.sampled_from([" ", "\n", "\n\n", "", "\r\n", "\x0c"])
DOCUMENTS = st.lists(st.tuples(SENTENCES, BREAKS), max_size=6).map(lambda parts: "".join(map("".join, parts)))
SCRAPS = st.sampled_from(
    [
        "[1]",
        " [2]",
        "[1][2]",
        "[3, 1]",
        "[99]",
        "[0]",
        "[-1]",
        "[source 1]",
        "[1-2]",
        "[0-9]",
        " [1] and [2]",
        "[[2]]",
        "\\[1\\]",
        "【1†source】",
        "$x_{[1]}$",
        "<b title='[1]'>",
        "<code>",
        "</code>",
        "not 12 euros but ",
        "没有",
        "【1】",
        "［2］",
        "[1",
        "1]",
        "[[1]]",
        "(1)",
        "[^1]",
        "`",
        "``",
        "```\n",
        "\n```",
        "~~~",
        "{",
        "}",
        '{"a": [1]}',
        '{"n": 48, "refs": [2]}',
        "[",
        "]",
        '"',
        "\\",
        "[1](x)",
        "a[1]",
        "= [2]",
        ". ",
        "。",
        "\n",
        "\n\n",
        "…",
        "Press [1].",
        "\x00",
        "\ufffc",
        "𝟜",
        "٣",
        "²",
    ]
)
ANSWERS = st.lists(st.one_of(SENTENCES, SCRAPS, st.text(max_size=6)), max_size=14).map("".join)


def passages_of(texts):
    """Each text as a passage somewhere inside a document with pages."""
    found, documents = [], {}
    for n, text in enumerate(texts):
        before = "Vorne. " * n
        document = Document(
            f"d{n}", before + text + " End.", page_starts=(0, len(before), len(before) + len(text) // 2)
        )
        documents[document.id] = document
        found.append(
            Passage(
                document.id,
                document.version,
                len(before),
                len(before) + len(text),
                text,
                heading="Ferries 48" if n % 2 else "",
                page_starts=document.page_starts,
            )
        )
    return found, documents


@settings(max_examples=150, deadline=None)
@given(st.lists(DOCUMENTS, max_size=3), ANSWERS, st.integers(1, 9))
@example([], "`[1]`[1]`", 1)
@example([], "$x_{[1]}$[1]1,2,3 and 12 000 000", 1)
@example([], "渡轮可载四十八辆汽车。```\n[1]", 1)
@example([], "渡轮可载四十八辆汽车。Press [1].", 1)
@example([], "\n```Use `pier [2]` at 9:30 pm.See Nr. 5 [1] of the list.", 1)
def test_every_citation_is_an_exact_range(texts, answer, step):
    passages, documents = passages_of(texts)
    whole = check(answer, passages)
    checker = Checker(passages)
    shown = (
        "".join(checker.feed(answer[i : i + step]) for i in range(0, len(answer), step)) + checker.finish()
    )
    for text, citations in ((whole.text, whole.citations), (shown.strip(), checker.citations)):
        for citation in citations:
            document = documents[citation.document]
            passage = passages[citation.n - 1]
            assert passage.document == citation.document
            assert passage.start <= citation.start < citation.end <= passage.end
            assert document.text[citation.start : citation.end] == citation.quote != ""
            assert 1 <= citation.page <= len(document.page_starts)
        cited = {citation.n for citation in citations}
        for mark in marks(hidden(text, forms(text, last=True))):
            assert not mark[1].isdigit() or int(mark[1]) in cited
        for n in map(int, re.findall(r" \[(\d{1,3})\](?=[.。]|$)", _prose(text))):
            assert n in cited or re.search(rf"(?i)(?:press|=|\\)\s*\[{n}\]|\[{n}\]\(", text)


def test_code_stays_code_where_a_mark_behind_it_goes():
    assert check("`[1]`[1]`", []).text == "`[1]` `"


def _prose(text):
    for form in reversed(forms(text, last=True)):
        text = text[: form.start] + "x" * (form.end - form.start) + text[form.end :]
    return text


@settings(max_examples=100, deadline=None)
@given(
    st.lists(DOCUMENTS, max_size=2),
    st.recursive(
        st.one_of(st.integers(0, 99), st.sampled_from(["48 cars", "€12", "[1]"])),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["cars", "refs", "price"]), inner, max_size=3)
        ),
    ),
)
def test_a_json_answer_is_never_changed(texts, data):
    passages, documents = passages_of(texts)
    answer = json.dumps({"answer": data, "refs": [1]}, ensure_ascii=False)
    for text in (answer, f"```json\n{answer}\n```"):
        found = check(text, passages)
        assert found.text == text
        beside = Beside(passages)
        assert beside.feed(answer) + beside.finish() == answer
        for citation in (*found.citations, *beside.citations):
            assert documents[citation.document].text[citation.start : citation.end] == citation.quote


@settings(max_examples=150, deadline=None)
@given(
    st.lists(DOCUMENTS, min_size=1, max_size=2),
    st.lists(st.sampled_from(["a = [1]", "f(x[2])", "[1]", "# [9]", '{"k": [1]}', ""]), max_size=5),
    ANSWERS,
)
def test_fenced_code_is_never_changed(texts, lines, answer):
    passages, _ = passages_of(texts)
    code = "\n".join(["```python", *lines, "```"])
    assert code in check(f"{code}\n\n{answer}", passages).text
