"""A row as it stands in a file: its fields by their names there, and its place (`rows.jsonl, line 3`)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NoReturn

from weightwright.data.jsontext import opened
from weightwright.errors import DataError, Place

OnBroken = Callable[[DataError], None]
Formatting = Literal["alpaca", "sharegpt", "openai"]

INFO_FILE = "dataset_info.json"


def stop(error: DataError) -> NoReturn:
    """The OnBroken that ends at the first row that is wrong."""
    raise error


@dataclass(frozen=True, slots=True)
class Layout:
    """What a `dataset_info.json` says of a file; an empty one leaves everything to the usual names.

    `columns` maps our fields to the file's: a field that it leaves out is not read. None: the usual names.
    `tags` maps what a turn's parts and roles are called.
    """

    formatting: Formatting | None = None
    columns: Mapping[str, str] | None = None
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ranking: bool = False


PLAIN = Layout()


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the file, with its place; fields are asked for by their usual names.

    `asked` gathers the fields that were asked for, by their names in the file, and `inner_unread` those that nothing
    asked for in the turns.
    """

    values: Mapping[str, Any]
    place: Place
    layout: Layout = PLAIN
    asked: set[str] = field(default_factory=set, compare=False, repr=False)
    inner_unread: set[str] = field(default_factory=set, compare=False, repr=False)

    def name(self, wanted: str) -> str | None:
        """What the field is called in this file; None where the layout does not read it."""
        return wanted if self.layout.columns is None else self.layout.columns.get(wanted)

    def get(self, wanted: str) -> Any:
        """The value of a field, None where it is absent or not read; turns that stand there as text are opened."""
        name = self.name(wanted)
        if name is None:
            return None
        self.asked.add(name)
        value = self.values.get(name)
        if not isinstance(value, str):
            return None if _is_nan(value) else value
        try:
            return opened(value, wanted)
        except ValueError as error:
            raise DataError(self.place, f"{name!r} {error}") from error

    def unread(self) -> tuple[str, ...]:
        """The filled fields that nothing has asked for, those of its turns as `messages.NAME`."""
        own = {
            str(name) for name, value in self.values.items() if name not in self.asked and is_filled(value)
        }
        return tuple(sorted(own | self.inner_unread))

    def first(self, names: Sequence[str]) -> str:
        """The first of these fields that is filled, else the first of all."""
        return next((name for name in names if is_filled(self.values.get(self.name(name) or ""))), names[0])

    def has(self, wanted: str) -> bool:
        """Whether the row has the field."""
        return self.name(wanted) in self.values

    def text(self, wanted: str, *, default: str | None = None) -> str:
        """A field that must be a text; `default` stands for an absent one."""
        value = self.get(wanted)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self.wrong(wanted, "a text", value)
        return value

    def filled(self, wanted: str) -> str:
        """A field that must be a text with something in it."""
        text = self.text(wanted)
        if not text.strip():
            raise DataError(self.place, f"{self._shown(wanted)} is empty; fill it or remove the row")
        return text

    def truth(self, wanted: str) -> bool:
        """A field that must be true or false; 1 and 0 are taken for them."""
        value = self.get(wanted)
        if not is_truth(value):
            raise self.wrong(wanted, "true or false (or 1 or 0)", value)
        return bool(value)

    def wrong(self, wanted: str, expected: str, value: Any) -> DataError:
        """The error that says what was expected in a field."""
        if value is None and not self.has(wanted):
            have = ", ".join(map(str, self.values)) or "none"
            return DataError(
                self.place, f"field {self._shown(wanted)} is missing ({expected}); the row has: {have}"
            )
        return DataError(self.place, f"{self._shown(wanted)} must be {expected}, found {kind_of(value)}")

    def _shown(self, wanted: str) -> str:
        return repr(self.name(wanted) or wanted)


def is_filled(value: Any) -> bool:
    """Whether anything stands in a field: not null, blank, or an empty list or object."""
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and value not in ([], {}, ()) and not _is_nan(value)


def _is_nan(value: Any) -> bool:
    """Whether a value is NaN, with which pandas marks what is absent."""
    return isinstance(value, float) and math.isnan(value)


def is_truth(value: Any) -> bool:
    """Whether a value is true or false, or 1 or 0."""
    return isinstance(value, bool | int | float) and value in (0, 1)


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "nothing"}
    return names.get(type(value), "a number")
