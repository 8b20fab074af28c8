"""A reader of your own: subtitles (SubRip), what is said without numbers and times.

Run its contract with `pytest examples/extend/reader.py`. A package makes an ending known by an entry point:

    [project.entry-points."weightwright.readers"]
    srt = "reader:read_subtitles"
"""

import re

import pytest

from weightwright.errors import DataError
from weightwright.rag.readers.base import Content, Reader
from weightwright.rag.readers.text import decode
from weightwright.rag.settings import LoadSettings
from weightwright.testing import ReaderContract

_CUE = re.compile(r"\d+\n(?:\d+:)?\d\d:\d\d,\d{3} --> [^\n]*\n(.*?)(?:\n\n|\Z)", re.DOTALL)


def read_subtitles(data: bytes, _settings: LoadSettings) -> Content:
    """Each cue's lines as one line. Raises DataError where there is no cue."""
    cues = _CUE.findall(decode(data).strip() + "\n")
    if not cues:
        raise DataError(None, "holds no subtitles; a cue is a number, a line of times and text")
    return Content("\n".join(" ".join(cue.split()) for cue in cues), format="subtitles")


class TestSubtitles(ReaderContract):
    """What must hold of every reader."""

    @pytest.fixture
    def reader(self) -> Reader:
        """The reader under test."""
        return read_subtitles

    @pytest.fixture
    def file(self) -> bytes:
        """A good file."""
        return b"1\n00:00:01,000 --> 00:00:02,500\nThe ferry leaves\nat nine.\n\n2\n00:00:03,000 --> 00:00:04,000\n!"

    @pytest.fixture
    def says(self) -> str:
        """What stands in it."""
        return "The ferry leaves at nine."
