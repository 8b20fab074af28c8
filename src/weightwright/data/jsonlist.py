"""A file that is one JSON list, value by value: no more of it is held than its largest value takes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from weightwright.data.jsontext import json_problem
from weightwright.errors import DataError, Place

_PIECE = 1 << 16  # characters read at once
_SPACE = re.compile(r"[ \t\r\n]*")
_BEHIND = " \t\r\n,]"  # what stands behind a value
_DECODER = json.JSONDecoder()


class JsonList:
    """The values of a list, each with the place where it begins; the file is open where nothing of it is read yet."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path, self._file = path, file
        self._text, self._at = "", 0
        self._known = (0, 1, 1)  # a character of the text that is behind: its line and column

    def values(self) -> Iterator[tuple[Place, Any]]:
        """All values, in order. Raises DataError where the list breaks, with its place."""
        self._take("[", "Expecting value")
        number, character = 0, self._next()
        while number or character != "]":
            number += 1
            self._next()
            self._known = (self._at, *self._position(self._at))
            place = Place(str(self._path), row=number, line=self._known[1])
            try:
                value = self._value()
            except RecursionError as error:
                raise DataError(place, json_problem(error)) from error
            except json.JSONDecodeError as error:
                raise self._wrong(error.msg, error.pos) from error
            except ValueError as error:
                raise DataError(place, json_problem(error)) from error
            yield place, value
            if self._next() == "]":
                break
            self._take(",", "Expecting ',' delimiter")
        self._take("]", "Expecting value")
        if self._next():
            raise self._wrong("Extra data", self._at)

    def _value(self) -> Any:
        """The value that begins here. Raises as JSONDecoder does, once the file has no more of it."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                if not self._read_on():
                    raise
                continue
            ended = self._text[end : end + 1] in _BEHIND and end < len(self._text)
            if ended or not self._read_on():  # a number may go on
                self._at = end
                return value

    def _take(self, character: str, else_wrong: str) -> None:
        if self._next() != character:
            raise self._wrong(else_wrong, self._at)
        self._at += 1

    def _next(self) -> str:
        """The next character that is no space, "" at the end of the file."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                return ""

    def _read_on(self) -> bool:
        """Leave what was read behind and read as much again; False where the file has ended."""
        rest = self._text[self._at :]
        piece = self._file.read(max(_PIECE, len(rest)))
        if piece:
            self._known = (0, *self._position(self._at))
            self._text, self._at = rest + piece, 0
        return bool(piece)

    def _position(self, at: int) -> tuple[int, int]:
        """Line and column of a character of the text."""
        known, line, column = self._known
        broken = self._text.rfind("\n", known, at)
        return line + self._text.count("\n", known, at), at - broken if broken >= 0 else column + at - known

    def _wrong(self, message: str, at: int) -> DataError:
        line, column = self._position(at)
        error = json.JSONDecodeError(message, "", 0)
        return DataError(Place(str(self._path), line=line, column=column), json_problem(error))
