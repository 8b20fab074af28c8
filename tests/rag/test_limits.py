"""A reader in a child process: what it reads, what it refuses, and what happens where a limit is exceeded."""

from pathlib import Path

import pytest

from weightwright.errors import DataError
from weightwright.rag.load import Skipped, load, sources
from weightwright.rag.readers import base
from weightwright.rag.readers.base import Content, own_reader
from weightwright.rag.readers.limits import ReaderProcess
from weightwright.rag.settings import LoadSettings

from .pdf_files import drawn, show


@pytest.fixture(autouse=True)
def found(monkeypatch):
    """The child must find this file's readers."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))


@pytest.fixture
def child():
    process = ReaderProcess()
    yield process
    process.close()


def loops(data, settings):
    while True:
        pass


def takes_memory(data, settings):
    return Content("x" * 3_000_000_000, "text")


def refuses(data, settings):
    raise DataError(None, f"not what is read: {data!r}")


def breaks(data, settings):
    raise AttributeError("a fault of the reader's")


def prints(data, settings):
    print("what a library says")
    return Content(data.decode(), "text")


FINE = drawn(show(72, 700, "Everybody has 27 days."))


def reads_on(child):
    assert "27 days" in child.read(own_reader("pdf"), FINE, LoadSettings()).text


def test_many_files_are_read_by_one_child(child):
    reads_on(child)
    process = child._process
    reads_on(child)
    assert child._process is process


def test_what_a_reader_prints_is_no_reply(child):
    assert child.read(prints, b"27 days", LoadSettings()).text == "27 days"


def test_a_refusal_is_the_readers_own(child):
    with pytest.raises(DataError, match="not what is read: b'abc'"):
        child.read(refuses, b"abc", LoadSettings())
    reads_on(child)


def test_a_file_that_takes_too_long_is_refused_and_the_next_is_read(child):
    with pytest.raises(DataError, match="longer than read_seconds=1; split it, or raise --read-seconds"):
        child.read(loops, b"", LoadSettings(read_seconds=1))
    reads_on(child)


def test_a_file_that_takes_too_much_memory_is_refused_and_the_next_is_read(child):
    with pytest.raises(DataError, match="more than read_memory_mb=500 to read; split it, or raise"):
        child.read(takes_memory, b"", LoadSettings(read_memory_mb=500))
    reads_on(child)


def test_a_reader_that_breaks_costs_its_file_only(child, capfd):
    with pytest.raises(DataError, match="its reader ended"):
        child.read(breaks, b"", LoadSettings())
    assert "a fault of the reader's" in capfd.readouterr().err
    reads_on(child)


def test_load_names_the_file_that_exceeds_a_limit(tmp_path, monkeypatch):
    monkeypatch.setitem(base.READERS, "slow", f"{__name__}:loops")
    (tmp_path / "a.slow").write_bytes(b"x")
    (tmp_path / "b.pdf").write_bytes(FINE)
    slow, fine = (
        item for source in sources([tmp_path]) for item in load(source, LoadSettings(read_seconds=2))
    )
    assert isinstance(slow, Skipped)
    assert slow.path.endswith("a.slow")
    assert "read_seconds=2" in slow.reason
    assert "27 days" in fine.text


def test_the_child_finds_what_this_process_finds_and_nothing_of_the_current_folder(
    child, tmp_path, monkeypatch
):
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    reads_on(child)
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "a_reader.py").write_text(
        "from weightwright.rag.readers.base import Content\n"
        "def read(data, settings):\n    return Content('read by it', 'later')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "later"))
    from a_reader import read

    assert child.read(read, b"", LoadSettings()).text == "read by it"
