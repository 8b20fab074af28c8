"""How well documents are found: BEIR queries and TREC qrels to ir-measures' metrics."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from weightwright.errors import DataError, Place, SettingsError
from weightwright.ports import Embedder, Progress, silent
from weightwright.rag.retrieve import check_fields, query_vectors, retrieve_documents
from weightwright.rag.settings import RetrieveSettings
from weightwright.rag.stores.base import Store
from weightwright.rag.stores.filters import Filter

log = logging.getLogger(__name__)

METRICS = ("nDCG@10", "Recall@5", "Recall@100", "RR@10")
MOST_CUTOFF = 1_000
_NAMES = "expected ir-measures' names, such as nDCG@10, Recall@5, RR@10, AP, P@5"
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
    if not metrics:
        raise SettingsError(f"no metric is named; name some, for example {','.join(METRICS)}")
    depth = max([DEPTH, *(cutoff for _, cutoff in map(parse_metric, metrics) if cutoff)])
    check_fields(store, where)
    _check_match(store, queries, qrels, judged)
    settings = settings or RetrieveSettings()
    vectors = query_vectors(embedder, list(judged.values()), settings)
    run: dict[str, dict[str, float]] = {}
    for done, (query, text) in enumerate(judged.items(), 1):
        vector = None if vectors is None else vectors[done - 1]
        documents = retrieve_documents(store, embedder, text, depth, settings, where, vector)
        run[query] = ranked(documents)
        progress(done, len(judged))
    return score_run(run, {query: qrels[query] for query in judged}, metrics)


def ranked(documents: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Scores that keep the order: trec_eval would otherwise reorder equal scores by document id."""
    return {document: float(len(documents) - rank) for rank, (document, _) in enumerate(documents)}


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
    """ir-measures' metric and its cut-off. `Recall@k` is ir-measures' `R@k`.

    Raises SettingsError for one that is unknown or cannot be computed here (its provider is not installed).
    """
    import ir_measures

    spelled = "R" + name.removeprefix("Recall") if name.startswith("Recall") else name
    try:
        metric = ir_measures.parse_measure(spelled)
    except (NameError, ValueError, SyntaxError, TypeError, KeyError, AssertionError) as error:
        raise SettingsError(f"unknown metric {name!r}; {_NAMES}") from error
    cutoff = metric.params.get("cutoff")
    if cutoff is not None and (type(cutoff) is not int or not 1 <= cutoff <= MOST_CUTOFF):
        # beyond it the measure library can end the whole process
        raise SettingsError(
            f"metric {name!r}: a cut-off is a whole number from 1 to {MOST_CUTOFF:,}, got {cutoff}"
        )
    try:
        ir_measures.calc_aggregate([metric], {"q": {"d": 1}}, {"q": {"d": 1.0}})
    except Exception as error:
        hint = "" if cutoff else f"; with a cut-off, for example {name}@10, it may be one"
        raise SettingsError(f"unknown metric {name!r}: it cannot be computed here{hint}; {_NAMES}") from error
    return metric, cutoff


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
    """TREC lines `query 0 document relevance`, or BEIR's three columns with a header.

    Of judgements that stand there twice with different values the last counts, and the log says so.
    """
    expected = "expected `query 0 document relevance`"
    qrels: dict[str, dict[str, int]] = {}
    twice: list[str] = []

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
        of_query, document = qrels.setdefault(parts[0], {}), parts[-2]
        if of_query.get(document, relevance) != relevance:
            twice.append(f"query {parts[0]}, document {document}: {of_query[document]} and {relevance}")
        of_query[document] = relevance

    _each_line(path, take)
    if twice:
        log.warning(
            "%s: %d judgements stand there twice with different values, the last counts (%s)",
            path, len(twice), "; ".join(twice[:3]),
        )  # fmt: skip
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
    if absent := sorted(relevant - known):
        log.warning(
            "%d of the %d documents judged relevant are not in the knowledge base and cannot be found (%s)",
            len(absent), len(relevant), _some(absent),
        )  # fmt: skip


def _some(names: Any) -> str:
    return ", ".join(repr(name) for name in list(names)[:3]) or "nothing"
