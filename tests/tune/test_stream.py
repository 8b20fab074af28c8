"""Rows are streamed: what memory a run needs does not grow with their text."""

import gc
import json
import tracemalloc
from pathlib import Path

import pytest

from weightwright.data.jsonlist import JsonList
from weightwright.data.rowstore import RowStore
from weightwright.data.template import Encoded
from weightwright.errors import DataError, Place
from weightwright.tune import dataset
from weightwright.tune.batch import Example
from weightwright.tune.examples import Examples
from weightwright.tune.reference import with_reference
from weightwright.weights.load import load

GROWTH_BYTES = 150  # of memory, for a row more: some forty, and what caches took meanwhile


def put(file: Path, rows: int, *, as_list: bool = False) -> Path:
    lines = [json.dumps({"instruction": f"say {n}", "output": "word " * 40}) for n in range(rows)]
    file.write_text("[" + ",\n".join(lines) + "]" if as_list else "\n".join(lines), encoding="utf-8")
    return file


@pytest.mark.parametrize("as_list", [False, True])
def test_a_row_takes_few_bytes_of_memory(make, tmp_path, monkeypatch, as_list):
    """Next to nothing stays of a row, which takes 1,500 bytes as Python's objects and 11,000 as its 250 tokens."""
    monkeypatch.setattr("weightwright.data.rowstore._IN_MEMORY", 1 << 12)
    settings = make(data=put(tmp_path / "rows.json", 10, as_list=as_list), max_length=600)
    loaded = load(settings.model, precision="f32", device="cpu")
    held, peaks = [], []
    for rows in (10, 100, 500):  # the first fills caches
        put(tmp_path / "rows.json", rows, as_list=as_list)
        gc.collect()
        tracemalloc.start()
        found = dataset.to_learn(settings)[0]
        examples, _ = dataset.to_examples(found, loaded, settings, dataset.learnt(settings))
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(found) == len(examples) == rows
        del examples, found
    assert (held[2] - held[1]) / 400 < GROWTH_BYTES
    assert (peaks[2] - peaks[1]) / 400 < 800  # half of a row as objects: what the collector has not met yet


def test_rows_come_back_as_they_were_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("weightwright.data.rowstore._IN_MEMORY", 8)
    rows = [
        Encoded((5, 0, 151_000), (False, True, True), Place("a.jsonl", line=3)),
        Encoded((0,), (False,), Place("b.json", row=70_000, line=9)),
        Encoded((1, 2), (True, False), Place("b.json", row=2).within("piece 2")),
    ]
    store = RowStore(tmp_path)
    for number, row in enumerate(rows):
        store.append(row)
        assert store[number] == row  # reading in between does not disturb
    assert [store[n] for n in (2, 0, 1)] == [rows[n] for n in (2, 0, 1)]
    assert store.lengths.tolist() == [3, 1, 2]
    assert not [*tmp_path.iterdir()]  # the file has no name


def test_examples_come_back_with_partner_judgement_and_reference():
    row = [Encoded((n, n + 1), (False, True), Place("a", line=n)) for n in range(1, 7)]
    given = [
        Example((row[0],), good=False, partner=Example((row[1],))),
        Example((row[2],)),
        Example((row[3],), partner=Example((row[4],))),
    ]
    examples = Examples(given)
    assert [*examples] == [*examples[:3]] == given
    assert examples[-1] == given[2]
    assert (examples.lengths.tolist(), examples.labelled_tokens) == ([[2]] * 3, 3)

    class Alone:
        is_first = True

        def broadcast(self, make):
            return [[[1.0, 2.0], [3.0], [4.0, 5.0]]]

    (known,) = with_reference([examples], None, None, Path(), Alone(), print)
    assert [one.reference for one in known] == [(1.0,), (3.0,), (4.0,)]
    assert [one.partner and one.partner.reference for one in known] == [(2.0,), None, (5.0,)]


# -- a list of JSON, piece by piece ----------------------------------------------------------------


def values(file: Path) -> list[tuple[int, int, object]]:
    with file.open(encoding="utf-8", newline="\n") as opened:
        return [(place.row, place.line, value) for place, value in JsonList(file, opened).values()]


@pytest.mark.parametrize("piece", [1, 2, 7, 1 << 16])
def test_a_list_is_read_whatever_a_piece_ends_in(tmp_path, monkeypatch, piece):
    monkeypatch.setattr("weightwright.data.jsonlist._PIECE", piece)
    file = tmp_path / "rows.json"
    rows = [{"a": 'x"],é\u2028'}, {"b": [1, {"c": None}]}, {}, "text", 12345, -1.5e3, True, [], [[1], 2]]
    file.write_text(
        " \n[" + " ,\n".join(json.dumps(row, indent=1) for row in rows) + "\n]\n ", encoding="utf-8"
    )
    found = values(file)
    assert [value for *_, value in found] == rows
    assert [(row, line) for row, line, _ in found][:4] == [(1, 2), (2, 5), (3, 13), (4, 14)]
    file.write_text("[]")
    assert values(file) == []


@pytest.mark.parametrize("piece", [1, 5, 1 << 16])
@pytest.mark.parametrize(
    "text",
    ["[1 2]", "[1,]", "[,1]", '[1,\n {"a": ]', '[{"a": 1}', '[{"a": "b', "[1] 2", "[1]]", "[", '[\n"a",\n\nnul]',
     "[1,\n\n", "[01]", "[1.5.2]"],
)  # fmt: skip
def test_a_broken_list_is_one_error_with_the_place_that_json_names(tmp_path, monkeypatch, piece, text):
    monkeypatch.setattr("weightwright.data.jsonlist._PIECE", piece)
    file = tmp_path / "rows.json"
    file.write_text(text)
    with pytest.raises(json.JSONDecodeError) as theirs:
        json.loads(text)
    with pytest.raises(DataError) as ours:
        values(file)
    at = f"{file}, line {theirs.value.lineno}, column {theirs.value.colno}: not valid JSON ({theirs.value.msg})"
    assert str(ours.value) == at
