"""Conditions on documents: `format = 'pdf' and (year >= 2020 or not path ~ 'draft')`.

Fields are `document`, `path`, `title`, `version`, `modified` (`2026-11-30T09:00:00Z`) and the document's
metadata. A comparison with a field that a document lacks, or with a value of another kind (text against
number), is false.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from weightwright.errors import SettingsError
from weightwright.ports import MetadataValue

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "~", "in"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)
BUILT_IN_FIELDS = ("document", "path", "title", "version", "modified")


@dataclass(frozen=True, slots=True)
class Compare:
    """`field operator value`; `~` is "contains", `in` takes a tuple."""

    field: str
    operator: Operator
    value: MetadataValue | tuple[MetadataValue, ...]


@dataclass(frozen=True, slots=True)
class And:
    """All of the parts."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of the parts."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: "Filter"


Filter = Compare | And | Or | Not


def fields_of(where: Filter) -> set[str]:
    """The fields that a condition names."""
    match where:
        case And(parts) | Or(parts):
            return set[str]().union(*map(fields_of, parts))
        case Not(part):
            return fields_of(part)
        case Compare(field):
            return {field}


def matches(where: Filter | None, values: Mapping[str, MetadataValue]) -> bool:
    """Whether a document with these fields fulfils the condition."""
    match where:
        case None:
            return True
        case And(parts):
            return all(matches(part, values) for part in parts)
        case Or(parts):
            return any(matches(part, values) for part in parts)
        case Not(part):
            return not matches(part, values)
        case Compare(field, operator, value):
            return field in values and _holds(values[field], operator, value)


def _holds(left: MetadataValue, operator: Operator, right: MetadataValue | tuple[MetadataValue, ...]) -> bool:
    if isinstance(right, tuple):
        return operator == "in" and any(_holds(left, "=", item) for item in right)
    if isinstance(left, str) and isinstance(right, str):
        return right in left if operator == "~" else _ordered(left, operator, right)
    if not isinstance(left, str) and not isinstance(right, str):
        return _ordered(left, operator, right)
    return False


def _ordered(left: str | float, operator: Operator, right: str | float) -> bool:
    if operator == "=":
        return left == right
    if operator == "!=":
        return left != right
    if isinstance(left, str) != isinstance(right, str):
        return False
    less, equal = left < right, left == right  # type: ignore[operator]
    return {"<": less, "<=": less or equal, ">": not less and not equal, ">=": not less}.get(operator, False)


# --- reading one from text --------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<number>-?\d+(?:\.\d+)?(?![\w.-]))
    |(?P<operator><=|>=|!=|==|=|<|>|~)|(?P<bracket>[(),])|(?P<word>[^\s()=<>!~,'"]+))""",
    re.VERBOSE,
)
_EXAMPLE = "expected something like: format = 'pdf' and year >= 2020"
_DEEPEST = 50


def parse(text: str) -> Filter:
    """Read a condition. Raises SettingsError with the place where it goes wrong."""
    reader = _Reader(text)
    condition = reader.either(0)
    if reader.kind != "end":
        raise reader.wrong("and, or, or the end")
    return condition


class _Reader:
    """Recursive descent over the tokens: either → both → one → comparison."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._next()

    def either(self, depth: int) -> Filter:
        parts = [self._both(depth)]
        while self._take_word("or"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def wrong(self, expected: str) -> SettingsError:
        here = repr(self.token) if self.kind != "end" else "the end"
        return SettingsError(f"where {self._text!r}: expected {expected}, found {here} at character "
                             f"{self._start + 1}; {_EXAMPLE}")  # fmt: skip

    def _both(self, depth: int) -> Filter:
        parts = [self._one(depth)]
        while self._take_word("and"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _one(self, depth: int) -> Filter:
        if depth > _DEEPEST:
            raise SettingsError(f"where: more than {_DEEPEST} levels of brackets and not; use fewer")
        if self._take_word("not"):
            return Not(self._one(depth + 1))
        if self._take("("):
            inner = self.either(depth + 1)
            if not self._take(")"):
                raise self.wrong("a closing bracket")
            return inner
        return self._comparison()

    def _comparison(self) -> Filter:
        if self.kind not in ("word", "string"):
            raise self.wrong("a field")
        field = self._value() if self.kind == "string" else self.token
        if self.kind == "word":
            self._next()
        if self._take_word("in"):
            return Compare(str(field), "in", self._list())
        if self.kind != "operator":
            raise self.wrong(f"one of {' '.join(OPERATORS)}")
        written = "=" if self.token == "==" else self.token
        operator = next(known for known in OPERATORS if known == written)
        self._next()
        return Compare(str(field), operator, self._value())

    def _list(self) -> tuple[MetadataValue, ...]:
        if not self._take("("):
            raise self.wrong("an opening bracket")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        if not self._take(")"):
            raise self.wrong("a closing bracket")
        return tuple(values)

    def _value(self) -> MetadataValue:
        kind, token = self.kind, self.token
        if kind not in ("string", "number", "word"):
            raise self.wrong("a value")
        self._next()
        if kind == "string":
            return re.sub(r"\\(.)", r"\1", token[1:-1])
        if kind == "number":
            return float(token) if "." in token else int(token)
        return {"true": True, "false": False}.get(token.lower(), token)

    def _take(self, bracket: str) -> bool:
        return self._advance_if(self.kind == "bracket" and self.token == bracket)

    def _take_word(self, word: str) -> bool:
        return self._advance_if(self.kind == "word" and self.token.lower() == word)

    def _advance_if(self, condition: bool) -> bool:
        if condition:
            self._next()
        return condition

    def _next(self) -> None:
        rest = self._text[self._position :]
        self._start = self._position + len(rest) - len(rest.lstrip())
        if not rest.strip():
            self.kind, self.token = "end", ""
            return
        match = _TOKEN.match(self._text, self._position)
        if match is None:
            self.kind, self.token = "unknown", self._text[self._start]
            return
        self.kind, self.token = str(match.lastgroup), match[str(match.lastgroup)]
        self._position = match.end()
