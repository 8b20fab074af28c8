"""What can go wrong, as one tree: every message says the value, the limit and the remedy.

WeightwrightError
├── SettingsError        an option, a file of options or the environment is wrong
│   └── UsageError       the command line itself is wrong (exit status 2)
├── MissingExtraError    an optional package is not installed
├── AddressError         a model or store address cannot be read
├── DataError            a data file or a row in it cannot be used: carries its place and its problem
├── ModelError           a model cannot be loaded or is not supported
│   └── TemplateError    a model's chat template cannot be followed in a row: carries place and problem, too
├── EngineError          the engine broke under a request: a fault of ours, whose traceback is in the log
├── DownloadError        a download failed or does not match its checksum
├── MemoryLimitError     something does not fit into the memory at hand
├── RequestError         one request cannot be answered; others go on
│   └── NoSuchModelError a request names a model that is not offered
├── RemoteError          a server answered with an error or not at all
├── StoreError           a knowledge base cannot be opened, or does not match
└── TuneError            a training run cannot start or go on
"""

from dataclasses import dataclass, replace
from pathlib import Path


class WeightwrightError(Exception):
    """The root: its text is meant for the user and is shown without a traceback."""


class SettingsError(WeightwrightError):
    """An option, a settings file or the environment is wrong."""


class UsageError(SettingsError):
    """The command line itself is wrong: a missing argument or an option that does not exist.

    `missing` names the options that had to be given.
    """

    def __init__(self, message: str, missing: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.missing = missing


class MissingExtraError(WeightwrightError):
    """An optional package is not installed."""


class AddressError(WeightwrightError):
    """A model or store address cannot be read."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where in a data file something stands; counted from 1, and 0 or "" where it is not known.

    Its text is what users read: `rows.jsonl, line 3, message 2`, `rows.json, row 2 (line 14)`.
    """

    file: str = ""
    row: int = 0
    line: int = 0
    column: int = 0
    part: str = ""

    def within(self, part: str) -> "Place":
        """A part of what stands here: a message, a field, a piece."""
        return replace(self, part=f"{self.part}, {part}" if self.part else part)

    def __str__(self) -> str:
        line = f"line {self.line}" if self.line else ""
        if self.row:
            line = f"row {self.row} ({line})" if line else f"row {self.row}"
        column = f"column {self.column}" if self.column else ""
        return ", ".join(part for part in (self.file, line, column, self.part) if part)


class PlacedError(WeightwrightError):
    """An error that carries its parts: `place`, where it is known, and `problem`, what is wrong there.

    Its text is `PLACE: PROBLEM`. A path is a file as a whole, the subject of the sentence: `rows.jsonl is empty`.
    None: whoever catches it knows the place.
    """

    def __init__(self, place: Place | Path | str | None, problem: str) -> None:
        super().__init__(place, problem)
        self.place = Place(str(place)) if isinstance(place, Path | str) else place
        self.problem = problem
        between = ": " if place is self.place else " "
        self._text = problem if place is None else f"{place}{between}{problem}"

    def __str__(self) -> str:
        return self._text


class DataError(PlacedError):
    """A data file or a row in it cannot be used."""


class ModelError(WeightwrightError):
    """A model cannot be loaded or is not supported."""


class TemplateError(PlacedError, ModelError):
    """A model's chat template cannot be followed in a row."""


class EngineError(WeightwrightError):
    """The engine broke under a request: a fault of ours, whose traceback is in the log."""


class DownloadError(WeightwrightError):
    """A download failed or does not match its checksum."""


class MemoryLimitError(WeightwrightError):
    """Something does not fit into the memory at hand."""


class RequestError(WeightwrightError):
    """One request cannot be answered; other requests go on."""


class NoSuchModelError(RequestError):
    """A request names a model that is not offered."""


class RemoteError(WeightwrightError):
    """A server answered with an error, of the given HTTP status, or not at all (None)."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class StoreError(WeightwrightError):
    """A knowledge base cannot be opened or does not match what is asked of it."""


class TuneError(WeightwrightError):
    """A training run cannot start or go on."""
