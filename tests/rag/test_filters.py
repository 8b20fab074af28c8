"""Conditions in text; what they mean is in the store contract."""

import pytest

from weightwright.errors import SettingsError
from weightwright.rag.stores.filters import And, Compare, Not, Or, parse


def test_and_binds_tighter_than_or():
    a, b, c = (Compare(field, "=", 1) for field in "abc")
    assert parse("a = 1 or b = 1 and c = 1") == Or((a, And((b, c))))
    assert parse("(a = 1 or b = 1) and not c == 1") == And((Or((a, b)), Not(c)))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x = 'it\\'s'", "it's"),
        ('x = "a b"', "a b"),
        ("x = word", "word"),
        ("x = -2", -2),
        ("x = 2.5", 2.5),
        ("x = true", True),
        ("x = 2024-01-05", "2024-01-05"),
        ("x = 'true'", "true"),
        ("x = 中文", "中文"),
    ],
)
def test_values(text, value):
    found = parse(text)
    assert found == Compare("x", "=", value)
    assert type(found.value) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "x =",
        "= 1",
        "x = 1 and",
        "(x = 1",
        "x = 1)",
        "x in 1",
        "x in (1",
        "x ! 1",
        "x = 'open",
        "x = 1 y = 2",
        "not",
        "x in ()",
    ],
)
def test_what_cannot_be_read_is_one_clear_line(text):
    with pytest.raises(SettingsError, match=r"where .*expected .*expected something like"):
        parse(text)


def test_deep_nesting_is_refused_not_a_crash():
    with pytest.raises(SettingsError, match="levels"):
        parse("(" * 5000 + "x = 1" + ")" * 5000)
