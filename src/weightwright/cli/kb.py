"""`weightwright kb …`: knowledge bases: add, remove, list, sync, search, eval."""

from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic import Field

from weightwright.cli.flags import Outcome, verb
from weightwright.cli.progress import bar
from weightwright.config import Settings
from weightwright.connect import open_for_adding, open_knowledge, open_store
from weightwright.errors import DataError, UsageError
from weightwright.ports import Hit
from weightwright.rag.answer import KnowledgeBase
from weightwright.rag.settings import AnswerSettings, ChunkSettings, LoadSettings, RetrieveSettings

_EMBEDDER_HELP = "embedder address; default: the knowledge base's own, minilm for a new one"
_SHOWN_CHARACTERS = 300
_REASONS_SHOWN = 5


class KbAddSettings(Settings):
    """What is added, and how."""

    kb: str = Field(description="knowledge base: a file, or a store address")
    paths: tuple[str, ...] = Field(description="files and folders")
    embedder: str = Field("", description=_EMBEDDER_HELP)
    chunk: ChunkSettings = ChunkSettings()
    load: LoadSettings = LoadSettings()


class KbSyncSettings(Settings):
    """Which folder the knowledge base follows."""

    kb: str = Field(description="knowledge base: a file, or a store address")
    folder: str = Field(description="folder; documents that came from it and are gone are deleted")
    embedder: str = Field("", description=_EMBEDDER_HELP)
    chunk: ChunkSettings = ChunkSettings()
    load: LoadSettings = LoadSettings()


class KbRmSettings(Settings):
    """What is removed."""

    kb: str = Field(description="knowledge base: a file, or a store address")
    paths: tuple[str, ...] = Field(description="document ids, files or folders")


class KbListSettings(Settings):
    """Which knowledge base is listed."""

    kb: str = Field(description="knowledge base: a file, or a store address")
    where: str = Field("", description="only documents for which this holds, e.g. format = 'pdf'")


class KbSearchSettings(Settings):
    """What is searched, and how."""

    kb: str = Field(description="knowledge base: a file, or a store address")
    query: str = Field(description="what is looked for")
    k: int = Field(10, ge=1, description="hits, at most")
    where: str = Field("", description="only documents for which this holds, e.g. format = 'pdf'")
    embedder: str = Field("", description=_EMBEDDER_HELP)
    retrieve: RetrieveSettings = RetrieveSettings()


class KbEvalSettings(Settings):
    """What retrieval is measured with."""

    kb: str = Field(description="knowledge base: a file, or a store address")
    queries: Path = Field(description='BEIR lines {"_id", "text"}')
    qrels: Path = Field(description="TREC lines: query 0 document relevance")
    metrics: tuple[str, ...] = Field(
        ("nDCG@10", "Recall@5", "Recall@100", "RR@10"),
        description="ir-measures' names, e.g. nDCG@10,Recall@5",
    )
    embedder: str = Field("", description=_EMBEDDER_HELP)
    retrieve: RetrieveSettings = RetrieveSettings()


@verb(KbAddSettings, section="kb_add", positional=("kb", "paths"))
def add(settings: KbAddSettings) -> Outcome:
    """Read files and folders into a knowledge base, which is made where there is none."""
    from weightwright.rag import index

    if not settings.paths:
        raise UsageError("nothing to add; give files or folders")
    index.must_exist(settings.paths)  # before the seconds that the embedder takes
    with (
        bar("indexing") as progress,
        open_for_adding(settings.kb, embedder=settings.embedder, chunks=settings.chunk) as (store, embedder),
    ):
        report = index.add(store, embedder, settings.paths, settings=settings.load, progress=progress)
    return _reported(report, "added")


@verb(KbSyncSettings, section="kb_sync", positional=("kb", "folder"))
def sync(settings: KbSyncSettings) -> Outcome:
    """Add what is new or changed in a folder, and delete what is gone from it."""
    from weightwright.rag import index

    if not Path(settings.folder).is_dir():
        raise DataError(settings.folder, "is not a folder; sync takes one, kb add takes files too")
    with (
        bar("indexing") as progress,
        open_for_adding(settings.kb, embedder=settings.embedder, chunks=settings.chunk) as (store, embedder),
    ):
        report = index.sync(store, embedder, settings.folder, settings=settings.load, progress=progress)
    return _reported(report, "added")


@verb(KbRmSettings, section="kb_rm", positional=("kb", "paths"))
def rm(settings: KbRmSettings) -> Outcome:
    """Remove documents by id, file or folder."""
    from weightwright.rag import index

    if not settings.paths:
        raise UsageError("nothing to remove; give document ids, files or folders")
    with closing(open_store(settings.kb)) as store:
        report = index.remove(store, settings.paths)
    return _reported(report, "removed")


@verb(KbListSettings, section="kb_list", positional=("kb",))
def list_documents(settings: KbListSettings) -> Outcome:
    """List the documents of a knowledge base."""
    with closing(open_store(settings.kb)) as store:
        found = list(store.documents(where_of(settings.where)))
        meta = store.meta
    data = {
        "documents": len(found),
        "chunks": sum(info.chunks for info in found),
        "unchanged": 0,
        "skipped": [],
        "embedder": meta.embedder,
        "items": [
            {
                "document": info.id,
                "version": info.version,
                "path": info.path,
                "title": info.title,
                "chunks": info.chunks,
                "pages": len(info.page_starts) or None,
            }
            for info in found
        ],
    }
    lines = [f"{info.chunks:6}  {info.id}  {info.title}".rstrip() for info in found]
    return Outcome(data, "\n".join([*lines, f"{len(found)} documents, {data['chunks']} chunks"]))


@verb(KbSearchSettings, section="kb_search", positional=("kb", "query"))
def search(settings: KbSearchSettings) -> Outcome:
    """Search a knowledge base."""
    where = where_of(settings.where)
    with closing(_knowledge(settings)) as knowledge:
        hits = knowledge.search(settings.query, settings.k, where=where)
    lines = [
        f"{n}. {place(hit.chunk.document_id, hit.chunk.page)}  {hit.chunk.heading}".rstrip()
        + f"\n   {one_line(hit.chunk.text)}"
        for n, hit in enumerate(hits, 1)
    ]
    return Outcome({"hits": [_hit(hit) for hit in hits]}, "\n".join(lines) or "nothing found")


@verb(KbEvalSettings, section="kb_eval", positional=("kb",))
def evaluate(settings: KbEvalSettings) -> Outcome:
    """Measure how well the documents that queries need are found."""
    from weightwright.rag import evaluate as evaluation

    metrics = tuple(name.strip() for item in settings.metrics for name in item.split(",") if name.strip())
    for name in metrics:
        evaluation.parse_metric(name)
    queries = evaluation.read_queries(settings.queries)
    qrels = evaluation.read_qrels(settings.qrels)
    with (
        bar("searching") as progress,
        closing(_knowledge(settings)) as knowledge,
    ):
        values = evaluation.evaluate(
            knowledge.store,
            knowledge.embedder,
            queries,
            qrels,
            metrics,
            settings.retrieve,
            progress=progress,
        )
    return Outcome(values, "\n".join(f"{name:12} {value:.4f}" for name, value in values.items()))


def _knowledge(settings: KbSearchSettings | KbEvalSettings) -> KnowledgeBase:
    return open_knowledge(
        settings.kb, embedder=settings.embedder, settings=AnswerSettings(retrieve=settings.retrieve)
    )


def where_of(text: str) -> Any:
    """The condition in `--where`, or None."""
    from weightwright.rag.stores.filters import parse

    return parse(text) if text.strip() else None


# --- showing ----------------------------------------------------------------------------------------


def place(document: str, page: int | None) -> str:
    """A document and, where it has any, the page."""
    return f"{document}, page {page}" if page is not None else document


def one_line(text: str) -> str:
    """The text on one line, cut where it is long."""
    joined = " ".join(text.split())
    return joined if len(joined) <= _SHOWN_CHARACTERS else joined[: _SHOWN_CHARACTERS - 1] + "…"


def _hit(hit: Hit) -> dict[str, Any]:
    chunk = hit.chunk
    return {
        "document": chunk.document_id,
        "version": chunk.version,
        "path": hit.path,
        "page": chunk.page,
        "start": chunk.start,
        "end": chunk.end,
        "score": hit.score,
        "heading": chunk.heading,
        "text": chunk.text,
    }


def _reported(report: Any, done: str) -> Outcome:
    """What was done. Raises DataError where nothing was and something was refused."""
    lines = [f"skipped {item.path}: {item.reason}" for item in report.skipped]
    if report.skipped and not (report.documents or report.unchanged or report.removed):
        more = f" (and {len(lines) - _REASONS_SHOWN} more)" if len(lines) > _REASONS_SHOWN else ""
        raise DataError(None, f"nothing was {done}: " + "; ".join(lines[:_REASONS_SHOWN]) + more)
    summary = f"{done} {report.documents} documents ({report.chunks} chunks), {report.unchanged} unchanged"
    if report.removed:
        summary += f", {report.removed} deleted"
    if report.skipped:
        summary += f", {len(report.skipped)} skipped"
    return Outcome(report.to_json(), "\n".join([*lines, summary]))
