"""Does retrieval find the right paragraph? XQuAD in English and Chinese.

    python bench/retrieval.py --data ../shared/data/qa [--write]
    python bench/retrieval.py --collection FOLDER [--collection FOLDER ...] [--kept FOLDER] [--write]

Each of the 240 paragraphs is a document; each of the 1,190 questions should find its own. `bm25s` joins in
where it is installed. How fast documents are indexed: `bench/embedding.py`, `bench/kb_build.py`.

A collection is a folder in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/test.tsv); our default search is held to
BM25, to the vectors alone and to their fusion (`bench/beir.py`). `--kept` keeps the knowledge bases, so that a second
run embeds nothing.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import beir

from weightwright.address.stores import StoreAddress
from weightwright.connect import open_embedder
from weightwright.extras import installed
from weightwright.ports import Document
from weightwright.rag import evaluate, index
from weightwright.rag.analyze import query_terms, terms
from weightwright.rag.languages import ENGLISH, MULTILINGUAL, Tongues
from weightwright.rag.settings import RetrieveSettings
from weightwright.rag.stores.opening import open_store

METRICS = ("Recall@1", "Recall@5", "nDCG@10")
RESULTS = Path(__file__).parent / "results" / "retrieval.md"
COLLECTIONS = Path(__file__).parent / "results" / "collections.md"
PACKAGES = ("sentence-transformers", "transformers", "torch", "rjieba", "ir-measures")


def read(path: Path) -> tuple[list[Document], dict[str, str], dict[str, dict[str, int]]]:
    """Paragraphs as documents, questions, and which paragraph each belongs to."""
    documents, queries, qrels = [], {}, {}
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            document = f"p{len(documents)}"
            documents.append(Document(document, paragraph["context"]))
            for question in paragraph["qas"]:
                queries[question["id"]] = question["question"]
                qrels[question["id"]] = {document: 1}
    return documents, queries, qrels


def bm25s_peer(documents: list[Document]) -> Callable[[str], list[tuple[str, float]]]:
    """bm25s (its defaults) on our terms: the ranking function alone is compared."""
    import bm25s

    model = bm25s.BM25()
    model.index([terms(document.text) for document in documents], show_progress=False)

    def find(question: str) -> list[tuple[str, float]]:
        numbers, scores = model.retrieve([query_terms(question)], k=10, show_progress=False)
        return [(f"p{n}", float(score)) for n, score in zip(numbers[0], scores[0], strict=True)]

    return find


HEAD = ["| embedder | language | search | recall@1 | recall@5 | nDCG@10 |", "|---|---|---|---|---|---|"]


def quality(data: Path, shown: str, embedder, folder: Path) -> list[str]:
    lines = []
    for language in ("en", "zh"):
        documents, queries, qrels = read(data / f"xquad.{language}.json")
        address = StoreAddress("sqlite", folder / f"{shown}-{language}.db")
        store = open_store(address, embedder=embedder, create=True)
        index.add_documents(store, embedder, documents)
        found = {
            mode: evaluate.evaluate(store, embedder, queries, qrels, METRICS, RetrieveSettings(mode=mode))
            for mode in ("dense", "terms", "hybrid")
        }
        if installed("bm25s"):
            find = bm25s_peer(documents)
            run = {query: evaluate.ranked(find(text)) for query, text in queries.items()}
            found[f"bm25s {version('bm25s')} on our terms"] = evaluate.score_run(run, qrels, METRICS)
        for name, values in found.items():
            lines.append(
                f"| {shown} | {language} | {name} | " + " | ".join(f"{values[m]:.3f}" for m in METRICS) + " |"
            )
            print(lines[-1], flush=True)
        store.close()
    return lines


def collections(folders: list[Path], kept: Path) -> list[str]:
    """nDCG@10 of our default and of each peer on collections, and how far the default is from the best peer."""
    lines: list[str] = []
    ours, best = [], []
    for folder in folders:
        collection = beir.Collection.read(folder)
        tongues = Tongues()
        for document in collection.documents:
            tongues.add(document.text)
        name = tongues.embedder
        embedder = open_embedder(name)
        address = StoreAddress("sqlite", kept / f"{collection.name}-{name}.db")
        store = open_store(address, embedder=embedder, create=True)
        index.add_documents(store, embedder, collection.documents)
        found = beir.compare(collection, store, embedder)
        store.close()
        if not lines:
            lines = [
                f"| collection | documents | questions | embedder | {' | '.join(found)} | hybrid less best |"
            ]
            lines.append("|---" * (len(found) + 5) + "|")
        peers = [value for peer, value in found.items() if peer not in ("hybrid", "terms")]
        ours.append(found["hybrid"])
        best.append(max(peers))
        shown = " | ".join(f"{value:.4f}" for value in found.values())
        sizes = f"{len(collection.documents)} | {len(collection.queries)}"
        lines.append(f"| {collection.name} | {sizes} | {name} | {shown} | {ours[-1] - best[-1]:+.4f} |")
        print(lines[-1], flush=True)
    lines += [
        "",
        f"Means: hybrid {statistics.mean(ours):.4f}, the best of the others {statistics.mean(best):.4f}.",
    ]
    print(lines[-1])
    return lines


def write_collections(lines: list[str]) -> None:
    """The page of `--collection`."""
    head = ["# Retrieval on collections", "", "nDCG@10 with default settings; hybrid is the default search."]
    head += ["`python bench/retrieval.py --collection FOLDER ... --write` makes this page.", ""]
    tail = [
        "",
        f"Machine: {machine()}; "
        + ", ".join(f"{name} {version(name)}" for name in (*PACKAGES, "bm25s"))
        + ".",
    ]
    COLLECTIONS.write_text("\n".join([*head, *lines, *tail]) + "\n", encoding="utf-8")


def machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with xquad.en.json and xquad.zh.json")
    parser.add_argument("--collection", type=Path, action="append", help="folder in BEIR's layout")
    parser.add_argument("--kept", type=Path, help="folder for the collections' knowledge bases")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    given = parser.parse_args()
    if given.collection:
        with tempfile.TemporaryDirectory() as folder:
            lines = collections(given.collection, given.kept or Path(folder))
        if given.write:
            write_collections(lines)
        return
    if given.data is None:
        parser.error("give --data or --collection")
    found = HEAD
    with tempfile.TemporaryDirectory() as folder:
        for name in (ENGLISH, MULTILINGUAL):
            found = found + quality(given.data, name, open_embedder(name), Path(folder))
    lines = [
        "# Retrieval",
        "",
        "XQuAD: 240 paragraphs as documents, 1,190 questions, the same in English and Chinese;",
        "default settings. `python bench/retrieval.py --data DIR --write` makes this page.",
        "",
        *found,
        "",
        f"Machine: {machine()}; " + ", ".join(f"{name} {version(name)}" for name in PACKAGES) + ".",
    ]
    if given.write:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
