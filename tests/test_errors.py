"""Errors of data carry their parts; their text is made of them."""

import pickle
from pathlib import Path

import pytest

from weightwright.errors import DataError, Place, TemplateError


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place("a.jsonl", line=3), "a.jsonl, line 3"),
        (Place("a.json", row=2, line=14), "a.json, row 2 (line 14)"),
        (Place("a.parquet", row=2), "a.parquet, row 2"),
        (Place("a.json", line=2, column=7), "a.json, line 2, column 7"),
        (
            Place("july: final.jsonl", line=1).within("chosen").within("message 2"),
            "july: final.jsonl, line 1, chosen, message 2",
        ),
        (Place(line=4), "line 4"),
        (Place(part="messages"), "messages"),
    ],
)
def test_a_place_reads_as_users_know_it(place, text):
    assert str(place) == text
    error = DataError(place, "role: 'x' is not one of a: b")
    assert str(error) == f"{text}: role: 'x' is not one of a: b"
    assert (error.place, error.problem) == (place, "role: 'x' is not one of a: b")


def test_a_file_as_a_whole_is_the_subject_and_no_place_is_none():
    for whole in (Path("a: b.jsonl"), "a: b.jsonl"):
        error = DataError(whole, "is empty")
        assert (str(error), error.place, error.problem) == (
            "a: b.jsonl is empty",
            Place("a: b.jsonl"),
            "is empty",
        )
    error = DataError(None, "holds no text")
    assert (str(error), error.place) == ("holds no text", None)


@pytest.mark.parametrize("kind", [DataError, TemplateError])
def test_an_error_keeps_its_parts_between_processes(kind):
    error = kind(Place("a.jsonl", line=3), "is wrong")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.place, again.problem) == (str(error), error.place, error.problem)
