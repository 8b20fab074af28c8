# ruff: noqa: D102 (the names of tests say what they test)
"""The contract of a reader: subclass `ReaderContract` and give it three fixtures.

    class TestMarkdown(ReaderContract):
        @pytest.fixture
        def reader(self):
            return read_markdown

        @pytest.fixture
        def file(self):
            return b"Everybody has **27 days** of leave."

        @pytest.fixture
        def says(self):
            return "27 days"

A reader that an entry point of the group `weightwright.readers` names is taken for files of that ending.
"""

import random

import pytest

from weightwright.errors import DataError
from weightwright.rag.readers.base import Content, Reader
from weightwright.rag.settings import LoadSettings


class ReaderContract:
    """Subclass it with the fixtures `reader`, `file` (the bytes of a good one) and `says` (a text in it)."""

    def test_the_text_comes_out(self, reader: Reader, file: bytes, says: str) -> None:
        content = reader(file, LoadSettings())
        assert says in content.text
        assert content.format
        self._check(content)

    def test_it_reads_the_same_twice(self, reader: Reader, file: bytes) -> None:
        assert reader(file, LoadSettings()) == reader(file, LoadSettings())

    def test_a_file_that_breaks_off_is_read_or_refused(self, reader: Reader, file: bytes) -> None:
        for end in {0, 1, 2, *range(0, len(file), max(1, len(file) // 25))}:
            self._read_or_refused(reader, file[:end])

    def test_a_damaged_file_is_read_or_refused(self, reader: Reader, file: bytes) -> None:
        chance = random.Random(4)
        for _ in range(25):
            damaged = bytearray(file)
            for _ in range(3):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            self._read_or_refused(reader, bytes(damaged))

    @pytest.mark.parametrize(
        "other", [b"", b"\x00" * 50, bytes(range(256)), b"{[<", "\ufffe".encode("utf-16-be")]
    )
    def test_another_kind_of_file_is_read_or_refused(self, reader: Reader, other: bytes) -> None:
        self._read_or_refused(reader, other)

    def _read_or_refused(self, reader: Reader, data: bytes) -> None:
        try:
            self._check(reader(data, LoadSettings()))
        except DataError as error:
            reason = str(error)
        else:
            return
        assert reason.strip()
        assert "\n" not in reason

    @staticmethod
    def _check(content: Content) -> None:
        content.text.encode()
        assert "\r" not in content.text
        assert "\x00" not in content.text
        assert "\n" not in content.title
        assert list(content.page_starts) == sorted(content.page_starts)
        assert all(0 <= start <= len(content.text) for start in content.page_starts)
        assert not content.page_starts or content.page_starts[0] == 0
