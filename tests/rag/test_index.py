"""Files into a knowledge base: what is new, what stays, what goes, and what a kill or Ctrl-C leaves."""

import os
import random
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path

import numpy as np
import pytest

from weightwright.address.stores import parse_store
from weightwright.errors import DataError, StoreError
from weightwright.ports import Document
from weightwright.rag import index
from weightwright.rag.settings import ChunkSettings
from weightwright.rag.stores.opening import open_store
from weightwright.testing.embedder import HashEmbedder

KILLS = [pytest.param(5, id="5 kills"), pytest.param(20, id="20 kills", marks=pytest.mark.slow)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "docs"
    (made / "sub").mkdir(parents=True)
    (made / "a.md").write_text("# A\n\nApples are red.")
    (made / "b.txt").write_text("Pears are green.")
    (made / "sub" / "c.txt").write_text("Plums are blue.")
    return made


def ids(store):
    return [info.id for info in store.documents()]


def test_add_reads_a_folder(store, embedder, folder):
    (folder / "bad.bin").write_bytes(b"\x00\x01\x02" * 100)
    report = index.add(store, embedder, [folder])
    assert (report.documents, report.chunks, report.unchanged) == (3, 3, 0)
    assert [Path(item.path).name for item in report.skipped] == ["bad.bin"]
    assert ids(store) == ["a.md", "b.txt", "sub/c.txt"]
    assert next(store.documents()).path == str(folder / "a.md")


def test_unchanged_documents_are_not_embedded_again(store, embedder, folder):
    index.add(store, embedder, [folder])
    embedder.embedded.clear()
    report = index.add(store, embedder, [folder])
    assert (report.documents, report.chunks, report.unchanged) == (0, 0, 3)
    assert embedder.embedded == []
    (folder / "b.txt").write_text("Pears are yellow.")
    report = index.add(store, embedder, [folder])
    assert (report.documents, report.unchanged) == (1, 2)
    assert embedder.embedded == ["Pears are yellow."]
    assert [hit.chunk.text for hit in store.search_terms("pears", 5)] == ["Pears are yellow."]


def test_a_missing_path_is_refused_before_anything_is_done(store, embedder, folder):
    with pytest.raises(DataError, match="does not exist"):
        index.add(store, embedder, [folder, folder / "nope"])
    assert ids(store) == []


def test_two_files_of_one_id_do_not_replace_each_other(store, embedder, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "readme.md").write_text(f"This is {name}.")
    folders = [tmp_path / "one", tmp_path / "two"]
    assert index.add(store, embedder, folders).documents == 2
    assert ids(store) == ["readme.md", "two/readme.md"]
    # whatever is named again, and in whatever order, each file keeps the id that it has
    for again in (folders[::-1], [folders[1]], [tmp_path / "two" / "readme.md"]):
        report = index.add(store, embedder, again)
        assert (report.documents, report.skipped) == (0, [])
    index.sync(store, embedder, folders[1])
    assert ids(store) == ["readme.md", "two/readme.md"]
    twice = index.add(store, embedder, [folders[0], folders[0] / "readme.md"])
    assert "another document has the id" in twice.skipped[0].reason


def test_an_id_is_free_again_when_its_file_is_gone(store, embedder, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "readme.md").write_text(f"This is {name}.")
    index.add(store, embedder, [tmp_path / "one"])
    (tmp_path / "one" / "readme.md").unlink()
    assert index.add(store, embedder, [tmp_path / "two"]).documents == 1
    assert ids(store) == ["readme.md"]
    assert [hit.chunk.text for hit in store.search_terms("two", 5)] == ["This is two."]


def test_a_moved_file_is_cited_where_it_is_now(store, embedder, folder):
    index.add(store, embedder, [folder])
    moved = folder.rename(folder.parent / "moved")
    assert index.add(store, embedder, [moved]).documents == 3
    assert all(info.path.startswith(str(moved)) for info in store.documents())


def test_remove_by_id_file_and_folder(store, embedder, folder, monkeypatch):
    index.add(store, embedder, [folder])
    monkeypatch.chdir(folder.parent)
    report = index.remove(store, ["a.md", "docs/b.txt", "nothing", "docs/sub"])
    assert (report.documents, report.chunks) == (3, 3)
    assert [item.path for item in report.skipped] == ["nothing"]
    assert ids(store) == []


def test_sync_deletes_what_is_gone_and_only_from_its_folder(store, embedder, folder, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("Stays here.")
    index.add(store, embedder, [other])
    report = index.sync(store, embedder, folder)
    assert (report.documents, report.removed) == (3, 0)
    (folder / "a.md").unlink()
    (folder / "b.txt").write_text("")
    (folder / "new.txt").write_text("Newly there.")
    report = index.sync(store, embedder, folder)
    assert (report.documents, report.unchanged, report.removed) == (1, 1, 2)
    assert ids(store) == ["new.txt", "other.txt", "sub/c.txt"]
    assert store.search_terms("apples", 5) == []


def test_sync_keeps_what_it_cannot_open(store, embedder, folder, monkeypatch):
    index.sync(store, embedder, folder)
    real = Path.read_bytes

    def denied(path):
        if path.name == "b.txt":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", denied)
    report = index.sync(store, embedder, folder)
    assert report.removed == 0
    assert "Permission denied" in report.skipped[0].reason
    assert "b.txt" in ids(store)


def test_sync_of_a_corpus_deletes_missing_lines(store, embedder, folder):
    corpus = folder / "corpus.jsonl"
    corpus.write_text('{"_id": "x1", "text": "one"}\n{"_id": "x2", "text": "two"}\n')
    index.sync(store, embedder, folder)
    corpus.write_text('{"_id": "x2", "text": "two"}\n')
    assert index.sync(store, embedder, folder).removed == 1
    assert "x1" not in ids(store)


def test_sync_takes_a_folder(store, embedder, folder):
    with pytest.raises(DataError, match="not a folder"):
        index.sync(store, embedder, folder / "a.md")


def test_another_embedder_is_refused(store, folder):
    with pytest.raises(StoreError, match="hash-64"):
        index.add(store, HashEmbedder(32), [folder])


def test_chunks_never_exceed_what_the_embedder_reads(store, embedder, tmp_path):
    (tmp_path / "long.txt").write_text("Some words that go on. " * 500)
    index.add(store, embedder, [tmp_path / "long.txt"])
    assert max(embedder.count_tokens(embedder.embedded)) <= min(64, embedder.max_tokens)


def test_progress_counts_documents(store, embedder):
    seen = []
    documents = [Document(f"d{n}", f"text {n}") for n in range(3)]
    index.add_documents(
        store, embedder, documents, progress=lambda done, total, note="": seen.append((done, total))
    )
    assert seen == [(1, None), (2, None), (3, None), (3, 3)]


def test_ctrl_c_leaves_whole_documents_and_the_next_run_goes_on(store, embedder):
    documents = [Document(f"d{n}", f"text {n}. " * 60) for n in range(12)]

    def stop(done, total, note=""):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.add_documents(store, embedder, documents, progress=stop)
    assert len(ids(store)) == 5
    report = index.add_documents(store, embedder, documents)
    assert (report.documents, report.unchanged) == (7, 5)


def test_sync_keeps_what_lies_in_what_it_cannot_open(store, embedder, folder, monkeypatch):
    (folder / "more").mkdir()
    (folder / "more" / "d.txt").write_text("Dates are brown.")
    _pack(folder / "old.zip", {"x.txt": "Figs are purple.", "y.txt": "Limes are green."})
    index.add(store, embedder, [folder])
    before = ids(store)
    assert {"more/d.txt", "old.zip/x.txt", "old.zip/y.txt"} <= set(before)
    iterdir, read_bytes = Path.iterdir, Path.read_bytes

    def refuse(real):
        def call(path):
            if path.name in ("more", "old.zip"):
                raise PermissionError(13, "Permission denied")
            return real(path)

        return call

    monkeypatch.setattr(Path, "iterdir", refuse(iterdir))
    monkeypatch.setattr(Path, "read_bytes", refuse(read_bytes))
    assert index.sync(store, embedder, folder).removed == 0
    assert ids(store) == before
    monkeypatch.undo()
    _pack(folder / "old.zip", {"x.txt": "Figs are purple."})
    assert index.sync(store, embedder, folder).removed == 1
    (folder / "old.zip").unlink()
    assert index.sync(store, embedder, folder).removed == 1
    assert "old.zip/x.txt" not in ids(store)


def test_an_attachment_that_is_gone_answers_no_more(store, embedder, tmp_path):
    """Also where the mail itself is read in part."""
    folder = tmp_path / "mails"
    folder.mkdir()
    _mail(folder / "m.eml", {"plan.txt": b"The plan is green.", "bill.txt": b"The bill is due."})
    index.add(store, embedder, [folder])
    assert ids(store) == ["m.eml", "m.eml/bill.txt", "m.eml/plan.txt"]
    _mail(folder / "m.eml", {"plan.txt": b"The plan is green."})
    assert index.sync(store, embedder, folder).removed == 1
    assert ids(store) == ["m.eml", "m.eml/plan.txt"]


def test_what_is_held_already_is_not_embedded_again(store, embedder, folder):
    """Other paragraphs of a changed file, a moved file, and a text that stands several times."""
    long = "\n\n".join(f"Paragraph {n} says that owl {n} sleeps by day. " * 12 for n in range(8))
    (folder / "owls.txt").write_text(long)
    index.add(store, embedder, [folder])
    before = {chunk.text: vector for chunk, vector in store.scan()}
    embedder.embedded.clear()
    (folder / "owls.txt").write_text(long.replace("owl 7", "owl seven"))
    (folder / "moved").mkdir()
    (folder / "a.md").rename(folder / "moved" / "a.md")
    (folder / "twin1.txt").write_text("The twins are alike.")
    (folder / "twin2.txt").write_text("The twins are alike.")
    index.sync(store, embedder, folder)
    assert all("seven" in text or "twins" in text for text in embedder.embedded)
    assert sum("twins" in text for text in embedder.embedded) == 1
    after = {chunk.text: vector for chunk, vector in store.scan()}
    assert len(before.keys() & after.keys()) > 4
    for text in before.keys() & after.keys():
        np.testing.assert_array_equal(before[text], after[text])
    assert "moved/a.md" in ids(store)


def _pack(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)


def _mail(path, attachments):
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@example.org", "b@example.org", "Papers"
    mail.set_content("See the papers.")
    for name, data in attachments.items():
        mail.add_attachment(data, maintype="text", subtype="plain", filename=name)
    path.write_bytes(mail.as_bytes())


# --- kills ------------------------------------------------------------------------------------------

_RUN = """
import sys
from weightwright.address.stores import parse_store
from weightwright.rag import index
from weightwright.rag.settings import ChunkSettings
from weightwright.rag.stores.opening import open_store
from weightwright.testing.embedder import HashEmbedder
embedder = HashEmbedder()
chunks = ChunkSettings(chunk_tokens=16, overlap_tokens=0)  # many rows a document
store = open_store(parse_store(sys.argv[1]), embedder=embedder, chunks=chunks, create=True)
store._connection.set_trace_callback(lambda statement: print(".", flush=True))  # kills come between any two
report = index.add(store, embedder, [sys.argv[2]])
print("end", report.documents, report.unchanged, flush=True)
"""


@pytest.mark.parametrize("kills", KILLS)
def test_killed_at_any_moment_it_holds_whole_documents_and_a_rerun_completes(tmp_path, kills):
    folder, path = tmp_path / "docs", tmp_path / "kb.db"
    folder.mkdir()
    documents = 120
    for number in range(documents):
        (folder / f"{number:03}.txt").write_text(
            f"Document {number}. " + "It has several sentences. " * number
        )
    whole = _fresh(folder, tmp_path / "whole.db")
    rng = random.Random(kills)
    for _ in range(kills):
        before = _documents(path)
        left = sum(len(chunks) for name, (_, chunks) in whole.items() if name not in before)
        wanted = rng.randrange(0, max(1, left))  # of about 3 statements a chunk
        with subprocess.Popen(
            [sys.executable, "-c", _RUN, str(path), str(folder)], stdout=subprocess.PIPE, text=True
        ) as run:
            for _line in zip(range(wanted), run.stdout, strict=False):
                pass
            os.kill(run.pid, 9)
        after = _documents(path)
        assert before.items() <= after.items()
        assert after.items() <= whole.items()
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(path), str(folder)], capture_output=True, text=True, check=True
    )
    _, added, unchanged = done.stdout.splitlines()[-1].split()
    assert int(added) + int(unchanged) == documents
    assert _documents(path) == whole


def _fresh(folder, path):
    embedder = HashEmbedder()
    chunks = ChunkSettings(chunk_tokens=16, overlap_tokens=0)
    store = open_store(parse_store(str(path)), embedder=embedder, chunks=chunks, create=True)
    index.add(store, embedder, [folder])
    store.close()
    return _documents(path)


def _has_tables(path):
    """Whether the kill came after the tables were made."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,)


def _documents(path):
    """Each document's version and chunks, found in every way; {} where the file has not been made."""
    if not path.exists() or not path.stat().st_size:
        return {}
    if not _has_tables(path):
        return {}
    store = open_store(parse_store(str(path)))
    chunks: dict[str, list] = {}
    for chunk, vector in store.scan():
        assert vector.shape == (64,)
        chunks.setdefault(chunk.document_id, []).append(chunk)
    found = {}
    for info in store.documents():
        assert len(chunks[info.id]) == info.chunks
        found[info.id] = (info.version, tuple(chunks[info.id]))
    assert found.keys() == chunks.keys()
    assert len(store.search_terms("document sentences", 10_000)) == sum(len(c) for _, c in found.values())
    store.close()
    return found
