"""A row as it stands in a file: its fields by their names there, and its place (`rows.jsonl, line 3`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NoReturn

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
    """One row as it stands in the file, with its place; fields are asked for by their usual names."""

    values: Mapping[str, Any]
    place: Place
    layout: Layout = PLAIN

    def name(self, wanted: str) -> str | None:
        """What the field is called in this file; None where the layout does not read it."""
        return wanted if self.layout.columns is None else self.layout.columns.get(wanted)

    def get(self, wanted: str) -> Any:
        """The value of a field, None where it is absent or not read."""
        name = self.name(wanted)
        return None if name is None else self.values.get(name)

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
        """A field that must be true or false."""
        value = self.get(wanted)
        if not isinstance(value, bool):
            raise self.wrong(wanted, "true or false", value)
        return value

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


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "nothing"}
    return names.get(type(value), "a number")
