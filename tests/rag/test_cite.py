"""Checked citations: wrong marks go, supported ones stay with the exact range, clear ones are added."""

import re

import pytest
from hypothesis import example, given
from hypothesis import settings as tried
from hypothesis import strategies as st

from weightwright.rag.cite import Beside, Checker, check
from weightwright.rag.context import Passage
from weightwright.rag.settings import CiteSettings

LEAVE = (
    "Everybody has 27 days of annual leave. After 5 years with the company it is 30 days. "
    "Enter it in Tidebook."
)
FLEET = "The motor boat Grey Teal carries 5 people. It was built in 1998 by Harlan Works."
ZH_LEAVE = "每位员工每年有27天年假。工作满5年后为30天。请在Tidebook中登记。"
ZH_FLEET = "灰水鸭号摩托艇可以载5人。它由Harlan船厂建于1998年。"
ALWAYS = CiteSettings(add=False)


def passage(text, start=0, **kwargs):
    return Passage("d", "v", start, start + len(text), text, **kwargs)


ENGLISH = [passage(LEAVE), passage(FLEET)]
CHINESE = [passage(ZH_LEAVE), passage(ZH_FLEET)]


def checked(answer, passages=ENGLISH, settings=ALWAYS, **kwargs):
    found = check(answer, passages, settings, **kwargs)
    return found.text, [(c.n, c.quote) for c in found.citations], (found.kept, found.dropped, found.added)


def test_a_supported_mark_stays_with_its_sentence():
    text, cited, counts = checked("Everybody has 27 days of annual leave [1].")
    assert text == "Everybody has 27 days of annual leave [1]."
    assert cited == [(1, "Everybody has 27 days of annual leave.")]
    assert counts == (1, 0, 0)


def test_a_planted_wrong_mark_and_a_planted_unknown_one_go():
    answer = "Everybody has 27 days of annual leave [1][2]. The Grey Teal was built in 1998 [9][2]."
    text, cited, counts = checked(answer)
    assert text == "Everybody has 27 days of annual leave [1]. The Grey Teal was built in 1998 [2]."
    assert [n for n, _ in cited] == [1, 2]
    assert counts == (2, 2, 0)
    text, cited, counts = checked("Everybody has 27 days of annual leave [2].")
    assert (text, cited, counts) == ("Everybody has 27 days of annual leave.", [], (0, 1, 0))


def test_planted_marks_go_in_chinese_too():
    text, cited, counts = checked("每位员工每年有27天年假[1][2]。灰水鸭号建于1998年[9]。", CHINESE)
    assert text == "每位员工每年有27天年假[1]。灰水鸭号建于1998年。"
    assert cited == [(1, "每位员工每年有27天年假。")]
    assert counts == (1, 2, 0)
    assert checked("灰水鸭号由Harlan船厂建于1998年[2]。", CHINESE)[2] == (1, 0, 0)
    assert checked("灰水鸭号由Norwell船厂建于1998年[2]。", CHINESE)[2] == (0, 1, 0)
    assert checked("员工每年有28天年假[1]。", CHINESE)[2] == (0, 1, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        "Everybody has 28 days of annual leave [1].",
        "Everybody at Norwell has 27 days of annual leave [1].",
        "The swimming pool opens early every morning [1].",
        "Leave is entered in Pennyjar [1].",
        "The Grey Teal carries 27 people [2].",
        "[1]",
        "Yes [1].",
    ],
)
def test_a_wrong_number_name_or_subject_is_not_supported(wrong):
    text, cited, counts = checked(wrong)
    assert "[" not in text
    assert cited == []
    assert counts == (0, 1, 0)


@pytest.mark.parametrize(
    "right",
    [
        "27 days [1].",
        "Tidebook [1]",
        "After five years it is 30 days [1].",
        "According to the source, everybody has 27 days of annual leave [1].",
        "The boat was built by Harlan Works in 1998 [2].",
        "1998 [2]",
        "It carries 5 people [ 2 ].",
        "It carries 5 people【2】.",
    ],
)
def test_other_words_for_the_same_are_supported(right):
    text, cited, counts = checked(right)
    assert counts == (1, 0, 0)
    assert len(cited) == 1
    assert "[1]" in text or "[2]" in text


def test_the_range_is_exact_in_the_document_and_has_its_page():
    before = "x" * 1000
    found = check(
        "Leave is 30 days after 5 years [1].",
        [passage(LEAVE, 1000, path="/h/leave.pdf", page_starts=(0, 1000, 1039, 5000))],
        ALWAYS,
    )
    [citation] = found.citations
    assert (before + LEAVE)[citation.start : citation.end] == citation.quote
    assert citation.quote == "After 5 years with the company it is 30 days."
    assert (citation.page, citation.path, citation.document) == (3, "/h/leave.pdf", "d")


def test_a_run_of_sentences_may_support_together_but_not_too_many():
    answer = "Annual leave is entered in Tidebook by everybody [1]."
    _text, cited, counts = checked(answer)
    assert counts == (1, 0, 0)
    assert cited[0][1] == LEAVE
    assert checked(answer, settings=CiteSettings(add=False, max_sentences=1))[2] == (0, 1, 0)


def test_a_heading_helps_but_does_not_support_alone():
    under = [passage("It carries 5 people.", heading="Fleet > Grey Teal")]
    assert checked("The Grey Teal carries 5 people [1].", under)[2] == (1, 0, 0)
    assert checked("The Grey Teal [1].", under)[2] == (0, 1, 0)


def test_each_mark_is_checked_against_the_words_before_it():
    answer = "Everybody has 27 days of annual leave [1], and the Grey Teal carries 5 people [2]."
    assert checked(answer)[2] == (2, 0, 0)
    swapped = "Everybody has 27 days of annual leave [2], and the Grey Teal carries 5 people [1]."
    assert checked(swapped)[0] == "Everybody has 27 days of annual leave, and the Grey Teal carries 5 people."


def test_two_marks_side_by_side_may_support_together():
    answer = "The Grey Teal was built in 1998 and everybody has 27 days of leave [1][2]."
    text, cited, _counts = checked(answer)
    assert text == answer
    assert [n for n, _ in cited] == [1, 2]
    third = [*ENGLISH, passage("The canteen opens at noon. Built in 1998.")]
    assert checked(answer.replace("[1][2]", "[1, 3, 2]"), third)[0] == answer


def test_marks_in_other_writings_become_plain():
    assert (
        checked("Everybody has 27 days of annual leave [1, 2].")[0]
        == "Everybody has 27 days of annual leave [1]."
    )
    assert checked("每位员工每年有27天年假［1］。", CHINESE)[0] == "每位员工每年有27天年假[1]。"


def test_a_mark_after_the_full_stop_belongs_to_the_sentence():
    text, _cited, counts = checked("Everybody has 27 days of annual leave. [1] It was built in 1998. [2]")
    assert text == "Everybody has 27 days of annual leave. [1] It was built in 1998. [2]"
    assert counts == (2, 0, 0)


def test_a_sentence_without_a_mark_gets_one_where_it_is_clear():
    found = check("Everybody has 27 days of annual leave.", ENGLISH)
    assert found.text == "Everybody has 27 days of annual leave [1]."
    assert (found.kept, found.dropped, found.added) == (0, 0, 1)
    assert check("每位员工每年有27天年假。", CHINESE).text == "每位员工每年有27天年假[1]。"
    assert check("Swimming is healthy.", ENGLISH).text == "Swimming is healthy."
    assert check("Leave.", ENGLISH).added == 0
    assert check("Everybody has 27 days of annual leave.", ENGLISH, ALWAYS).added == 0


def test_a_wrong_mark_is_put_right():
    found = check("Everybody has 27 days of annual leave [2].", ENGLISH)
    assert found.text == "Everybody has 27 days of annual leave [1]."
    assert (found.kept, found.dropped, found.added) == (0, 1, 1)


def test_no_answer_gets_no_citations():
    passages = [passage("The documents do not say anything here.")]
    found = check("The documents do not say. [1]", passages, no_answer="The documents do not say.")
    assert (found.text, found.citations) == ("The documents do not say.", ())
    assert (found.kept, found.dropped, found.added) == (0, 1, 0)
    assert check("资料中没有说明[1]。", CHINESE, no_answer="资料中没有说明。").text == "资料中没有说明。"


def test_a_range_cited_twice_is_listed_once():
    found = check("It carries 5 people [2]. The Grey Teal carries 5 people [2].", ENGLISH, ALWAYS)
    assert (len(found.citations), found.kept) == (1, 2)


def test_without_passages_every_mark_goes():
    assert checked("Anything [1].", [])[0] == "Anything."


PARTS = st.sampled_from(
    [
        "Everybody has 27 days of annual leave",
        "The Grey Teal carries 5 people",
        " [1]",
        "[2]",
        "[9]",
        ".",
        ". ",
        "\n",
        "[",
        "1]",
        " [12",
        "Dr. Smith",
        "灰水鸭",
        "。",
        "3.",
        "5",
        "U.S.",
        "  ",
    ]
)


@tried(deadline=None)
@given(st.lists(PARTS, max_size=15).map("".join), st.integers(1, 7))
@example("Everybody has 27 days of annual leaveEverybody has 27 days of annual leave\n[9]", 1)
def test_what_is_streamed_is_what_stands_in_the_end(answer, step):
    whole = check(answer, ENGLISH)
    checker = Checker(ENGLISH)
    shown = (
        "".join(checker.feed(answer[i : i + step]) for i in range(0, len(answer), step)) + checker.finish()
    )
    for text, citations in ((whole.text, whole.citations), (shown.strip(), checker.citations)):
        assert all(1 <= c.n <= 2 for c in citations)
        assert not re.search(r"(?<![\w:=,\]])\[9\]", text)  # behind a letter or digit it is an index
        for citation in citations:
            assert f"[{citation.n}]" in text
            assert ENGLISH[citation.n - 1].text[citation.start : citation.end] == citation.quote


def test_a_sentence_is_shown_once_it_is_whole():
    checker = Checker(ENGLISH, ALWAYS)
    assert checker.feed("Everybody has 27 days of annual leave") == ""
    assert checker.feed(" [1") == ""
    assert checker.feed("]. The") == "Everybody has 27 days of annual leave [1]."
    assert checker.feed(" pool is open. [") == ""
    assert checker.feed("2] ") == ""
    assert checker.feed("Next") == " The pool is open."
    assert checker.finish() == " Next"


DESK = "Everybody has 25 days of annual leave. Press [1] to book a desk. Support is open from 9:00 to 17:00."
ROOMS = "The office in Leeds has 5 rooms and a lift."
BOTH = [passage(DESK), passage(ROOMS)]


@pytest.mark.parametrize(
    "answer",
    [
        '{"refs": [1], "days": 25}',
        '[{"leave": 25, "marks": [1]}, [2]]',
        '{"text": "leave [2]", "nested": {"n": [1, 2]}}',
        '```json\n{"refs": [1]}\n```',
        "arr = [1]\nprint(arr[1])",
        "x=[1]",
        "y = rows[0][1]",
        "f(x)[1]",
        "data: list[2]",
        "```python\na = [1]\nb = a [2]\n```",
        "~~~\n[1] and [9]\n~~~",
        "Run `head [2]` first.",
        "Run ``a ` [1]`` first.",
        "Press [1] to book.",
        "Press the [2] key.",
        "Then hit [1].",
        "Type [2] for help.",
        "按[1]预约。",
        "请输入【2】确认。",
        "选择[1]键。",
        "See [1](https://example.org).",
        "[1]: https://example.org",
        "Rows are [[1, 2], [2, 1]].",
        'Tags are ["a", "b"] here.',
        "The set {a: [1]} is small.",
        "An escaped \\[1].",
        "The index $x_{[1]}$ and \\(y[2]\\) and $$z_{[3]}$$ are sums.",  # RAGFlow#8594 has such answers
        '<div data-x="[1]">rooms</div> and <code>arr [2]</code>',  # DeepTutor#468, open-webui#24948
        "Step [1]: open the door.",
        "As Figure [2] shows.",
        "The pattern [0-9] matches digits.",
    ],
)
def test_what_is_no_mark_stays_as_it_was_written(answer):
    for settings in (ALWAYS, CiteSettings()):
        assert check(answer, BOTH, settings).text == answer
        assert check(answer, [], settings).text == answer


@pytest.mark.parametrize(
    "mark",
    [
        "[source 1]",
        "[Source: 1]",
        "[doc 1]",
        "[Document #1]",
        "[1–1]",
        "【1†source】",
        "\\[1\\]",
        "[来源1]",
        "[ID:1]",
        "［资料 1］",
        "[1 ]",
    ],
)
def test_marks_as_models_write_them(mark):
    """Vane#719, deptrace#40, crownshy/comhairle#791: what is not read as a mark is shown unchecked."""
    right = f"Everybody has 25 days of annual leave {mark}."
    assert checked(right, BOTH) == ("Everybody has 25 days of annual leave [1].",
                                    [(1, "Everybody has 25 days of annual leave.")], (1, 0, 0))  # fmt: skip
    assert (
        checked(f"Everybody has 26 days of annual leave {mark}.", BOTH)[0]
        == "Everybody has 26 days of annual leave."
    )


@pytest.mark.parametrize(
    "marks", ["[1-2]", "[1] and [2]", "[1], [2]", "[1 and 2]", "[source 1, source 2]", "[1]和[2]", "[1; 2]"]
)
def test_marks_in_a_row_are_one_run(marks):
    answer = "Everybody has 25 days of annual leave and the office in Leeds has 5 rooms"
    assert checked(f"{answer} {marks}.", BOTH)[0] == f"{answer} [1][2]."
    assert (
        checked(f"The pool is open in the morning, see {marks}.", BOTH)[0]
        == "The pool is open in the morning, see."
    )


def test_marks_beside_code_are_checked():
    answer = "```\nx [9]\n```\nEverybody has 25 days of annual leave [1]. Run `x [9]` [2]."
    assert checked(answer, BOTH)[0] == answer.removesuffix(" [2].") + "."
    assert checked("An open { brace [9]. A ` tick [2].", BOTH)[0] == "An open { brace. A ` tick."
    assert checked("容量为64GB[1]。", [passage("存储卡容量为64GB。")])[2] == (1, 0, 0)
    assert checked("容量为64GB[1]。", [passage("存储卡容量为32GB。")])[0] == "容量为64GB。"


def test_the_values_of_a_json_answer_are_cited_beside_it():
    found = check(
        '{"annual_leave_days": 25, "rooms": "5 rooms in Leeds", "sources": [2], "open": true}', BOTH
    )
    assert [(c.n, c.quote) for c in found.citations] == [
        (1, "Everybody has 25 days of annual leave."),
        (2, ROOMS),
    ]
    assert not check('{"annual_leave_days": 26, "rooms": "5 rooms in Hull", "price": 25}', BOTH).citations
    beside = Beside(BOTH)
    assert (
        beside.feed('{"annual_leave') + beside.feed('_days": 25}') + beside.finish()
        == '{"annual_leave_days": 25}'
    )
    assert [c.n for c in beside.citations] == [1]
    choice = Beside(BOTH)
    assert choice.feed("25 days of leave") + choice.finish() == "25 days of leave"
    assert [c.n for c in choice.citations] == [1]


def test_a_bracket_behind_a_word_stays_and_is_cited_where_it_is_right():
    found = check("Everybody has 25 days of annual leave[1].", BOTH)
    assert (found.text, [c.n for c in found.citations]) == ("Everybody has 25 days of annual leave[1].", [1])
    assert not check("Everybody has 26 days of annual leave[1].", BOTH).citations
