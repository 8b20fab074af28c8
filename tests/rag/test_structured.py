"""JSON and JSON lines that are laid out: nothing in them is changed."""

import json

import pytest

from weightwright.rag.readers.structured import read_json, read_json_lines
from weightwright.rag.settings import LoadSettings

LONG = f'"pad": "{"word " * 100}"'


def laid_out(source):
    return (
        read_json(f"{{{LONG}, {source}}}".encode(), LoadSettings()).text.split("\n", 2)[2].removesuffix("\n}")
    )


@pytest.mark.parametrize(
    "number",
    [
        "1.10",
        "12345678901234567890123",
        "0.10000000000000000001",
        "1e400",
        "1E5",
        "-0",
        "-0.0",
        "NaN",
        "-Infinity",
        "1.0",
    ],
)
def test_numbers_stay_as_they_are_written(number):
    assert laid_out(f'"n": {number}') == f' "n": {number}'
    lines = f'{{"n": {number}}}\n{{"n":[{number}]}}'
    assert read_json_lines(lines.encode(), LoadSettings()).text == f'{{"n": {number}}}\n{{"n": [{number}]}}'


def test_a_key_that_stands_twice_is_kept():
    assert laid_out('"k": 1, "k": 2') == ' "k": 1,\n "k": 2'
    assert read_json_lines(b'{"k":1,"k":2}', LoadSettings()).text == '{"k": 1, "k": 2}'


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2, {"b": None}], "e": {}, "f": [], "t": True, "s": 'q"\\ \u4e2d\n'},
        [[]],
        [[[1]], {"x": {"y": "z"}}],
        "s",
        5,
    ],
)
def test_other_values_are_as_python_writes_them(value):
    source = json.dumps({"pad": "word " * 100, "v": value})
    assert read_json(source.encode(), LoadSettings()).text == json.dumps(
        json.loads(source), ensure_ascii=False, indent=1
    )
    line = json.dumps(value)
    assert read_json_lines(line.encode(), LoadSettings()).text == json.dumps(value, ensure_ascii=False)


def test_what_is_nested_deeply_stays_as_it_is():
    source = f"{'[' * 5000}{']' * 5000}"
    assert read_json(source.encode(), LoadSettings()).text == source
