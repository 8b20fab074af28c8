"""Collections in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/test.tsv), and the rankings to hold ours to.

BM25 twice: bm25s on our own terms with its defaults, and as Lucene's analyzers and Anserini's constants have it
(English: Porter's stems without Lucene's stop words; Chinese, Japanese: pairs of characters).
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from weightwright.ports import Document, Embedder
from weightwright.rag import evaluate
from weightwright.rag.analyze import query_terms, terms
from weightwright.rag.normal import HAN, KANA
from weightwright.rag.retrieve import query_vectors, reciprocal_rank_fusion, retrieve_documents
from weightwright.rag.settings import RetrieveSettings
from weightwright.rag.stores.base import Store

METRIC = "nDCG@10"
_DEPTH = 100
_LUCENE_STOP_WORDS_TEXT = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to
was will with
"""
_LUCENE_STOP_WORDS = frozenset(_LUCENE_STOP_WORDS_TEXT.split())
_WORDS = re.compile(rf"[{HAN}{KANA}]+|[^\W_{HAN}{KANA}]+")
Ranking = list[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents, questions and which documents answer them."""

    name: str
    documents: list[Document]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]

    @classmethod
    def read(cls, folder: Path) -> "Collection":
        """The collection in a folder; questions without judgements are left out."""
        lines = (folder / "corpus.jsonl").read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line.strip()]
        documents = [
            Document(row["_id"], f"{row['title']}\n\n{row['text']}" if row.get("title") else row["text"])
            for row in rows
        ]
        found = next(path for path in (folder / "qrels" / "test.tsv", folder / "qrels.tsv") if path.exists())
        qrels = evaluate.read_qrels(found)
        queries = evaluate.read_queries(folder / "queries.jsonl")
        return cls(folder.name, documents, {q: text for q, text in queries.items() if q in qrels}, qrels)


def compare(collection: Collection, store: Store, embedder: Embedder) -> dict[str, float]:
    """Mean nDCG@10 of each ranking: ours in every mode, both BM25, and each of these fused with the vectors."""
    runs: dict[str, dict[str, Ranking]] = {
        mode: ours(collection, store, embedder, RetrieveSettings(mode=mode))
        for mode in ("hybrid", "terms", "dense")
    }
    for name, (of_document, of_query, k1, b) in BM25.items():
        runs[name] = bm25s_run(collection, of_document, of_query, k1, b)
        runs[f"RRF of dense and {name}"] = fused(runs[name], runs["dense"])
    return {name: score(run, collection) for name, run in runs.items()}


def ours(
    collection: Collection, store: Store, embedder: Embedder, settings: RetrieveSettings
) -> dict[str, Ranking]:
    """The documents that `kb search` finds for each question."""
    vectors = query_vectors(embedder, list(collection.queries.values()), settings)
    return {
        query: retrieve_documents(
            store, embedder, text, _DEPTH, settings, vector=None if vectors is None else vectors[n]
        )
        for n, (query, text) in enumerate(collection.queries.items())
    }


def lucene_terms(text: str) -> list[str]:
    """Lucene's EnglishAnalyzer and CJKAnalyzer, near enough."""
    import Stemmer

    porter = Stemmer.Stemmer("porter")
    found: list[str] = []
    for word in _WORDS.findall(text.lower()):
        if re.match(f"[{HAN}{KANA}]", word):
            found += [word[i : i + 2] for i in range(max(1, len(word) - 1))]
        elif word not in _LUCENE_STOP_WORDS:
            found.append(porter.stemWord(word))
    return found


BM25: Mapping[str, tuple[Callable[[str], list[str]], Callable[[str], list[str]], float, float]] = {
    "bm25s on our terms": (terms, query_terms, 1.5, 0.75),
    "BM25 as Anserini's": (lucene_terms, lucene_terms, 0.9, 0.4),
}


def bm25s_run(
    collection: Collection,
    of_document: Callable[[str], list[str]],
    of_query: Callable[[str], list[str]],
    k1: float,
    b: float,
) -> dict[str, Ranking]:
    """Whole documents ranked by bm25s, a repeated term as often as it stands."""
    import bm25s

    model = bm25s.BM25(k1=k1, b=b)
    model.index([of_document(document.text) for document in collection.documents], show_progress=False)
    depth = min(_DEPTH, len(collection.documents))
    run: dict[str, Ranking] = {}
    for query, text in collection.queries.items():
        asked = [term for term in of_query(text) if term in model.vocab_dict]
        if not asked:
            run[query] = []
            continue
        numbers, scores = model.retrieve([asked], k=depth, show_progress=False)
        run[query] = [
            (collection.documents[n].id, float(value))
            for n, value in zip(numbers[0], scores[0], strict=True)
            if value > 0
        ]
    return run


def fused(one: Mapping[str, Ranking], other: Mapping[str, Ranking]) -> dict[str, Ranking]:
    """Reciprocal-rank fusion (k 60) of two runs."""
    return {
        query: reciprocal_rank_fusion([[name for name, _ in run[query]] for run in (one, other)])
        for query in one
    }


def score(run: Mapping[str, Sequence[tuple[str, float]]], collection: Collection) -> float:
    """The run's mean nDCG@10."""
    shown = {query: evaluate.ranked(found) for query, found in run.items()}
    return evaluate.score_run(shown, {q: collection.qrels[q] for q in collection.queries}, [METRIC])[METRIC]
