"""How well documents are found: BEIR queries and TREC qrels to ir-measures' metrics."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from weightwright.errors import DataError, Place, SettingsError
from weightwright.ports import Embedder, Progress, silent
from weightwright.rag.retrieve import query_vectors, retrieve_documents
from weightwright.rag.settings import RetrieveSettings
from weightwright.rag.stores.base import Store
from weightwright.rag.stores.filters import Filter

METRICS = ("nDCG@10", "Recall@5", "Recall@100", "RR@10")
DEPTH = 100  # documents retrieved where no metric asks for more

Qrels = Mapping[str, Mapping[str, int]]


def evaluate(
    store: Store,
    embedder: Embedder | None,
    queries: Mapping[str, str],
    qrels: Qrels,
    metrics: Sequence[str] = METRICS,
    settings: RetrieveSettings | None = None,
    where: Filter | None = None,
    progress: Progress = silent,
) -> dict[str, float]:
    """Means over the queries that have judgements; chunk hits are folded to documents (best chunk).

    Raises SettingsError for an unknown metric, DataError where queries, judgements and store do not match.
    """
    judged = {query: text for query, text in queries.items() if query in qrels}
    _check_match(store, queries, qrels, judged)
    depth = max([DEPTH, *(cutoff for _, cutoff in map(parse_metric, metrics) if cutoff)])
    settings = settings or RetrieveSettings()
    vectors = query_vectors(embedder, list(judged.values()), settings)
    run: dict[str, dict[str, float]] = {}
    for done, (query, text) in enumerate(judged.items(), 1):
        vector = None if vectors is None else vectors[done - 1]
        found = retrieve_documents(store, embedder, text, depth, settings, where, vector)
        run[query] = ranked(found)
        progress(done, len(judged))
    return score_run(run, {query: qrels[query] for query in judged}, metrics)


def ranked(found: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Scores that keep the order: trec_eval would otherwise reorder equal scores by document id."""
    return {document: float(len(found) - rank) for rank, (document, _) in enumerate(found)}


def score_run(
    run: Mapping[str, Mapping[str, float]], qrels: Qrels, metrics: Sequence[str] = METRICS
) -> dict[str, float]:
    """ir-measures' means over `qrels`; a query without results counts as 0."""
    import ir_measures

    parsed = [parse_metric(name)[0] for name in metrics]
    values = ir_measures.calc_aggregate(
        parsed, {q: dict(d) for q, d in qrels.items()}, {q: dict(d) for q, d in run.items()}
    )
    return {name: float(values[metric]) for name, metric in zip(metrics, parsed, strict=True)}


def parse_metric(name: str) -> tuple[Any, int | None]:
    """ir-measures' metric and its cut-off. `Recall@k` is ir-measures' `R@k`. Raises SettingsError."""
    import ir_measures

    spelled = "R" + name.removeprefix("Recall") if name.startswith("Recall") else name
    try:
        metric = ir_measures.parse_measure(spelled)
    except (NameError, ValueError, SyntaxError, TypeError, KeyError, AssertionError) as error:
        raise SettingsError(
            f"unknown metric {name!r}; expected ir-measures' names, such as nDCG@10, Recall@5, RR@10, AP, P@5"
        ) from error
    cutoff = metric.params.get("cutoff")
    return metric, int(cutoff) if cutoff else None


def read_queries(path: Path) -> dict[str, str]:
    """BEIR lines `{"_id", "text"}`: text by id. Raises DataError with the line that is wrong."""
    expected = 'expected {"_id": ..., "text": ...}'
    queries: dict[str, str] = {}

    def take(line: str) -> None:
        try:
            row = json.loads(line)
            query, text = str(row["_id"]), row["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(None, f"no query; {expected}") from error
        if not isinstance(text, str) or not text.strip():
            raise DataError(None, f"query {query!r} has no text; {expected}")
        if query in queries:
            raise DataError(None, f"query {query!r} stands there twice")
        queries[query] = text

    _each_line(path, take)
    return queries


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """TREC lines `query 0 document relevance`, or BEIR's three columns with a header."""
    expected = "expected `query 0 document relevance`"
    qrels: dict[str, dict[str, int]] = {}

    def take(line: str) -> None:
        parts = line.split("\t") if "\t" in line else line.split()
        parts = [part.strip() for part in parts]
        if parts[-1] == "score" and not qrels:
            return  # BEIR's header
        if len(parts) not in (3, 4):
            raise DataError(None, f"{len(parts)} columns; {expected}")
        try:
            relevance = int(parts[-1])
        except ValueError as error:
            raise DataError(None, f"relevance {parts[-1]!r} is no whole number; {expected}") from error
        qrels.setdefault(parts[0], {})[parts[-2]] = relevance

    _each_line(path, take)
    return qrels


def _each_line(path: Path, take: Callable[[str], None]) -> None:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(path, f"is not UTF-8 ({error.reason}); convert it") from error
    if not any(line.strip() for line in lines):
        raise DataError(path, "is empty")
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                take(line)
            except DataError as error:
                raise DataError(Place(str(path), line=number), error.problem) from error


def _check_match(store: Store, queries: Mapping[str, str], qrels: Qrels, judged: Mapping[str, str]) -> None:
    if not judged:
        raise DataError(
            None,
            f"none of the {len(queries)} queries has a judgement (queries like {_some(queries)}, qrels about "
            f"{_some(qrels)}); give the qrels of these queries",
        )
    relevant = {document for query in judged for document, rank in qrels[query].items() if rank > 0}
    known = {info.id for info in store.documents()}
    if relevant and known.isdisjoint(relevant):
        raise DataError(
            None,
            f"none of the {len(relevant)} documents judged relevant is in the knowledge base (judged: "
            f"{_some(sorted(relevant))}; there: {_some(sorted(known))}); document ids must be the same",
        )


def _some(names: Any) -> str:
    return ", ".join(repr(name) for name in list(names)[:3]) or "nothing"
