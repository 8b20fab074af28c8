"""`kb` and `ask` as a user types them; a hashing embedder stands in for MiniLM but in one test."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from weightwright.cli.app import main
from weightwright.testing.embedder import HashEmbedder


@pytest.fixture
def opened(monkeypatch):
    """Addresses of embedders that were opened; each opens a HashEmbedder (`wide`: a wider one)."""
    addresses = []

    def open_embedder(address, **kwargs):
        addresses.append(address)
        return HashEmbedder(128 if address == "wide" else 64)

    monkeypatch.setattr("weightwright.connect.open_embedder", open_embedder)
    return addresses


@pytest.fixture
def home(tmp_path, monkeypatch, opened) -> Path:
    """A working folder with documents; no knowledge base yet."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "leave.md").write_text("# Leave\n\nEverybody has 27 days of annual leave.\n")
    (docs / "fleet.txt").write_text("The motor boat Grey Teal carries 5 people.")
    (docs / "bad.bin").write_bytes(b"\x00\x01" * 50)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    def call(*tokens, status=0):
        capsys.readouterr()
        found = main([*tokens])
        out, err = capsys.readouterr()
        assert found == status, (out, err)
        assert "Traceback" not in err
        return json.loads(out) if "--json" in tokens and status == 0 else (err if status else out)

    return call


def test_add_search_ask_list_sync_rm(home, run, opened):
    report = run("kb", "add", "kb.db", "docs", "--json")
    assert {key: report[key] for key in ("documents", "chunks", "unchanged")} == {
        "documents": 2,
        "chunks": 2,
        "unchanged": 0,
    }
    assert [Path(item["path"]).name for item in report["skipped"]] == ["bad.bin"]
    assert opened == ["minilm"]
    assert run("kb", "add", "kb.db", "docs", "--json")["unchanged"] == 2

    hits = run("kb", "search", "kb.db", "annual leave", "--k", "1", "--json")["hits"]
    assert [
        set(hit) >= {"document", "version", "path", "page", "start", "end", "score", "text"} for hit in hits
    ] == [True]
    assert hits[0]["document"] == "leave.md"
    text = (home / "docs" / "leave.md").read_text()
    assert text[hits[0]["start"] : hits[0]["end"]] == hits[0]["text"]

    answer = run(
        "ask", "kb.db", "How many days of annual leave does everybody have?", "--model", "extract", "--json"
    )
    assert answer["answer"] == "Everybody has 27 days of annual leave [1]."
    [citation] = answer["citations"]
    assert set(citation) == {"n", "document", "path", "page", "place", "start", "end", "quote"}
    assert text[citation["start"] : citation["end"]] == citation["quote"]
    assert answer["trace"]["citations"]["kept"] == 1
    assert set(answer["usage"]) == {"prompt_tokens", "completion_tokens"}
    shown = run("ask", "kb.db", "How many days of annual leave does everybody have?", "--model", "extract")
    assert f'[1] {home}/docs/leave.md, line 3\n    "Everybody has 27 days of annual leave."' in shown

    listed = run("kb", "list", "kb.db", "--json")
    assert (listed["documents"], [item["document"] for item in listed["items"]]) == (
        2,
        ["fleet.txt", "leave.md"],
    )

    (home / "docs" / "fleet.txt").unlink()
    assert run("kb", "sync", "kb.db", "docs", "--json")["removed"] == 1
    assert run("kb", "rm", "kb.db", "docs/leave.md", "--json")["documents"] == 1
    assert run("kb", "list", "kb.db", "--json")["documents"] == 0


def test_modes_and_conditions(home, run, opened):
    run("kb", "add", "kb.db", "docs")
    opened.clear()
    hits = run("kb", "search", "kb.db", "boat", "--mode", "terms", "--json")["hits"]
    assert [hit["document"] for hit in hits] == ["fleet.txt"]
    assert opened == []  # terms need no embedder
    hits = run("kb", "search", "kb.db", "boat", "--where", "format = 'markdown'", "--json")["hits"]
    assert [hit["document"] for hit in hits] == ["leave.md"]
    assert run("kb", "list", "kb.db", "--where", "document ~ 'fleet'", "--json")["documents"] == 1
    assert "expected" in run("kb", "search", "kb.db", "x", "--where", "format =", status=1)
    assert run("kb", "search", "kb.db", "zeppelin", "--mode", "terms") == "nothing found\n"


def test_a_knowledge_base_remembers_its_embedder_and_chunks(home, run, opened):
    run(
        "kb",
        "add",
        "kb.db",
        "docs/leave.md",
        "--embedder",
        "wide",
        "--chunk-tokens",
        "50",
        "--overlap-tokens",
        "5",
    )
    run("kb", "add", "kb.db", "docs/fleet.txt")
    run("kb", "search", "kb.db", "boat")
    assert opened == ["wide"] * 3
    err = run("kb", "search", "kb.db", "boat", "--embedder", "minilm", status=1)
    assert "use --embedder wide" in err
    err = run("kb", "add", "kb.db", "docs", "--chunk-tokens", "70", status=1)
    assert "chunk_tokens=50, not 70" in err


def test_an_embedder_on_a_server_is_not_used_unasked(home, run, opened):
    url = "http://127.0.0.1:9/v1#m"
    run("kb", "add", "kb.db", "docs", "--embedder", url)
    opened.clear()
    err = run("kb", "search", "kb.db", "boat", status=1)
    assert f"allow it: --embedder {url}" in err
    assert opened == []
    run("kb", "search", "kb.db", "boat", "--embedder", url)


def test_eval(home, run):
    run("kb", "add", "kb.db", "docs")
    (home / "q.jsonl").write_text('{"_id": "q1", "text": "annual leave"}\n{"_id": "q2", "text": "boat"}\n')
    (home / "qrels.txt").write_text("q1 0 leave.md 1\nq2 0 fleet.txt 1\n")
    found = run(
        "kb",
        "eval",
        "kb.db",
        "--queries",
        "q.jsonl",
        "--qrels",
        "qrels.txt",
        "--metrics",
        "nDCG@10,Recall@1",
        "--json",
    )
    assert found == {"nDCG@10": 1.0, "Recall@1": 1.0}
    err = run(
        "kb", "eval", "kb.db", "--queries", "q.jsonl", "--qrels", "qrels.txt", "--metrics", "nope", status=1
    )
    assert "unknown metric 'nope'" in err


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (("kb", "add", "kb.db", "nowhere"), "nowhere does not exist"),
        (("kb", "add", "kb.db", "docs/bad.bin"), "nothing was added"),
        (("kb", "add", "docs", "docs"), "is a folder"),
        (("kb", "add", "no/kb.db", "docs"), "create it first"),
        (("kb", "add", "docs/fleet.txt", "docs"), "not a knowledge base"),
        (("kb", "add", "kb.db"), "nothing to add"),
        (("kb", "add", "milvus://localhost", "docs"), "not in this version"),
        (("kb", "search", "kb.db", "x"), "there is no knowledge base at kb.db"),
        (("kb", "list", "docs"), "is a folder"),
        (("kb", "rm", "kb.db", "x"), "there is no knowledge base"),
        (("kb", "sync", "kb.db", "docs/fleet.txt"), "is not a folder"),
        (("ask", "kb.db", "x", "--model", "extract"), "there is no knowledge base"),
        (("ask", "kb.db", " ", "--model", "extract"), "the question is empty"),
        (("kb", "eval", "kb.db", "--queries", "nope", "--qrels", "nope"), "nope cannot be read"),
    ],
)
def test_what_is_wrong_is_one_clear_line(home, run, tokens, message):
    # a required list that is not given is wrong usage (2), the rest are errors (1)
    status = 2 if tokens == ("kb", "add", "kb.db") else 1
    err = run(*tokens, status=status)
    if status == 1:
        assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (home / "kb.db").exists() or "bad.bin" in tokens[-1]


@pytest.mark.parametrize(
    "tokens", [("kb", "search", "kb.db"), ("kb", "add", "kb.db", "docs", "--nope"), ("ask", "kb.db")]
)
def test_wrong_usage_is_status_2(home, run, tokens):
    run(*tokens, status=2)


def test_sync_of_an_emptied_folder_deletes_all(home, run):
    run("kb", "add", "kb.db", "docs")
    for path in (home / "docs").iterdir():
        path.unlink()
    report = run("kb", "sync", "kb.db", "docs", "--json")
    assert (report["removed"], report["documents"]) == (2, 0)


def test_ctrl_c_exits_130_and_leaves_whole_documents(home, run):
    for number in range(200):
        (home / "docs" / f"{number}.txt").write_text(
            f"Document {number}. " + "Many words follow here. " * 400
        )
    code = (
        "import weightwright.connect as c; from weightwright.testing.embedder import HashEmbedder;"
        "c.open_embedder = lambda address, **kw: HashEmbedder();"
        "from weightwright.cli.app import main; import sys; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "kb", "add", "kb.db", "docs"], stderr=subprocess.PIPE, text=True
    )
    assert "indexing" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err
    before = run("kb", "list", "kb.db", "--json")["documents"]
    assert 0 < before < 202
    report = run("kb", "add", "kb.db", "docs", "--json")
    assert (report["unchanged"], report["documents"]) == (before, 202 - before)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small tmpfs")
def test_a_full_disk_is_one_clear_line(home, run, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], check=False
    ).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (home / "docs" / "long.txt").write_text("Many different words follow here. " * 20_000)
        err = run("kb", "add", str(small / "kb.db"), "docs", status=1)
        assert "the disk is full; free some space" in err
        assert run("kb", "list", str(small / "kb.db"), "--json")["documents"] >= 0
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.model
def test_minilm_from_its_package(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.md").write_text("Cats sleep most of the day.")
    Path("b.md").write_text("The engine was repaired in Oslo.")
    run("kb", "add", "kb.db", "a.md", "b.md")
    hits = run("kb", "search", "kb.db", "felines rest", "--mode", "dense", "--json")["hits"]
    assert hits[0]["document"] == "a.md"


def test_copy_to_another_file(home, run):
    run("kb", "add", "kb.db", "docs")
    done = run("kb", "copy", "kb.db", "sqlite:///other.db", "--json")
    assert done == {"documents": 2, "chunks": 2, "unchanged": 0}
    assert "2 were there already" in run("kb", "copy", "kb.db", "other.db")
    assert run("kb", "list", "other.db", "--json") == run("kb", "list", "kb.db", "--json")
    assert "copied to itself" in run("kb", "copy", "kb.db", "kb.db", status=1)
    assert "not in this version" in run("kb", "copy", "kb.db", "milvus://localhost", status=1)
