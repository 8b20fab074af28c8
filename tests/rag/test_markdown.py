"""Headings, code and tables of Markdown and notebooks are CommonMark's."""

import json

import pytest

from weightwright.rag.readers.markdown import read_markdown
from weightwright.rag.readers.notebook import read_notebook
from weightwright.rag.settings import LoadSettings


def content(text):
    return read_markdown(text.encode(), LoadSettings())


@pytest.mark.parametrize(
    ("text", "headings"),
    [
        ("````\n```\n# no\n```\n````\n# yes", [(1, "yes")]),
        ("```pip install x```\n\n# yes", [(1, "yes")]),
        ("Guide\n=====\n\nPart\n---\ntext", [(1, "Guide"), (2, "Part")]),
        ("~~~\n# no\n```\n# no\n~~~\n# yes", [(1, "yes")]),
        ("    # code", []),
        ("#hash", []),
        ("####### seven", []),
        ("## closed ##", [(2, "closed")]),
        ("\\# escaped", []),
        ("#\ttab", [(1, "tab")]),
        ("   # three spaces", [(1, "three spaces")]),
        ("> # quoted", []),
        ("- # in a list", []),
        ("<!--\n# comment\n-->\n\n# yes", [(1, "yes")]),
        ("```\n# unclosed\n\ntext", []),
        ("two\nlines\n===", [(1, "two lines")]),
        ("text\n# directly below", [(1, "directly below")]),
        ("- item\n---\ntext", []),
        ("<pre>\n# html\n</pre>", []),
        ("#", []),
        ("| a |\n|---|\n| # no |", []),
        ("1. one\n\n   # in it\n\n# out", [(1, "out")]),
    ],
)
def test_headings(text, headings):
    assert [(b.level, b.words) for b in content(text).blocks if b.kind == "heading"] == headings


@pytest.mark.parametrize(
    ("front", "title"),
    [
        ("---\ntitle: T\n# comment\ntags: [a]\n---\n", "T"),
        ('+++\ntitle = "T"\n+++\n', "T"),
        ("---\ntitle: 'T: u'\n...\n", "T: u"),
        ("---\nlayout: post\n---\n", "H"),
        ("---\n# only a comment\n---\n", "H"),
        ("---\ntitle: [broken\nother: x\n---\n", "H"),
        ("---\n---\n", "H"),
    ],
)
def test_front_matter_is_no_text(front, title):
    found = content(f"{front}# H\n\ntext\n")
    assert (found.text, found.title) == ("# H\n\ntext\n", title)
    assert found.places[0].lines == front.count("\n") + 1


def test_a_rule_at_the_beginning_is_no_front_matter():
    assert content("---\n\nSome text, and more.\n\n---\n\nMore.").text.startswith("---")


def test_tables_and_code_are_blocks():
    found = content("| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\nx = 1\n```\n")
    assert [(block.kind, found.text[block.start : block.end]) for block in found.blocks] == [
        ("table", "| a | b |\n|---|---|\n| 1 | 2 |"),
        ("code", "```py\nx = 1\n```"),
    ]
    assert found.blocks[0].words == "| a | b |"


def test_code_cells_hold_no_headings():
    cells = [
        {"cell_type": "code", "source": ["# load\n", "x = 1"]},
        {"cell_type": "markdown", "source": "# Data\n\n```\n# no\n```"},
        {"cell_type": "raw", "source": "raw"},
        {"cell_type": "code", "source": "# clean"},
    ]
    found = read_notebook(json.dumps({"cells": cells}).encode(), LoadSettings())
    assert found.text == "# load\nx = 1\n\n# Data\n\n```\n# no\n```\n\nraw\n\n# clean"
    assert [block.words for block in found.blocks if block.kind == "heading"] == ["Data"]
    assert [place.label for place in found.places] == ["cell 1", "cell 2", "cell 3", "cell 4"]


def test_notebooks_of_the_old_form():
    cells = [
        {"cell_type": "heading", "level": 2, "source": "Old"},
        {"cell_type": "code", "input": "print(1)"},
    ]
    found = read_notebook(json.dumps({"worksheets": [{"cells": cells}]}).encode(), LoadSettings())
    assert (found.text, found.title) == ("## Old\n\nprint(1)", "Old")
