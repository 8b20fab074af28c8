"""Knowledge bases, from settings to results: `kb add`, `sync`, `rm`, `list`, `search`, `eval`, and `ask`."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from weightwright.config import Settings
from weightwright.errors import DataError, RequestError, UsageError
from weightwright.extras import require
from weightwright.ports import Completion, Embedder, Hit, Progress, Usage, silent
from weightwright.rag.index import Report
from weightwright.rag.settings import AnswerSettings, ChunkSettings, LoadSettings, RetrieveSettings
from weightwright.rag.stores.base import DocumentInfo, StoreMeta

if TYPE_CHECKING:
    from weightwright.rag.copying import Copied
    from weightwright.rag.reindex import Reindexed
    from weightwright.rag.stores.base import Store

_log = logging.getLogger(__name__)
_EMBEDDER_HELP = (
    "embedder address; default: the knowledge base's own, for a new one minilm, or multilingual-e5-small where "
    "not all is English"
)
_REASONS_SHOWN = 5
_LISTEN_MS = 300


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
    watch: bool = Field(False, description="go on: follow each change of the folder until Ctrl-C")
    embedder: str = Field("", description=_EMBEDDER_HELP)
    chunk: ChunkSettings = ChunkSettings()
    load: LoadSettings = LoadSettings()


class KbReindexSettings(Settings):
    """Which knowledge base is made anew, and how."""

    kb: str = Field(description="knowledge base: a file, or a store address")
    to: str = Field(
        "", description="make the new one at this address and leave the old one; default: in its place"
    )
    embedder: str = Field("", description="embedder address; default: the knowledge base's own")
    chunk: ChunkSettings = ChunkSettings()
    load: LoadSettings = LoadSettings()


class KbCopySettings(Settings):
    """Which knowledge base is copied, and where to."""

    kb: str = Field(description="knowledge base: a file, or a store address")
    to: str = Field(description="where the copy is made, or goes on: a file, or a store address")


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
    """What retrieval, or answers, are measured with."""

    kb: str = Field(description="knowledge base: a file, or a store address")
    queries: Path | None = Field(None, description='BEIR lines {"_id", "text"}')
    qrels: Path | None = Field(None, description="TREC lines: query 0 document relevance")
    answers: Path | None = Field(
        None,
        description='answers instead of retrieval: lines {"question", "documents"}, none where they do not say',
    )
    model: str = Field("extract", description="with --answers: the model address that answers")
    metrics: tuple[str, ...] = Field(
        ("nDCG@10", "Recall@5", "Recall@100", "RR@10"),
        description="ir-measures' names, e.g. nDCG@10,Recall@5",
    )
    embedder: str = Field("", description=_EMBEDDER_HELP)
    retrieve: RetrieveSettings = RetrieveSettings()


class AskSettings(Settings):
    """Who is asked what."""

    kb: str = Field(description="knowledge base: a file, or a store address")
    question: str = Field(description="the question")
    model: str = Field(description="model address; `extract` quotes the best sentences without a model")
    embedder: str = Field("", description="embedder address; default: the knowledge base's own")
    where: str = Field("", description="only documents for which this holds, e.g. format = 'pdf'")
    answer: AnswerSettings = AnswerSettings()


@dataclass(frozen=True, slots=True)
class Listing:
    """The documents of a knowledge base, and what it was made with."""

    documents: tuple[DocumentInfo, ...]
    meta: StoreMeta

    @property
    def chunks(self) -> int:
        """Chunks of all documents."""
        return sum(info.chunks for info in self.documents)

    def data(self) -> dict[str, Any]:
        """The listing as JSON."""
        return {
            "documents": len(self.documents),
            "chunks": self.chunks,
            "unchanged": 0,
            "skipped": [],
            "embedder": self.meta.embedder,
            "items": [
                {
                    "document": info.id,
                    "version": info.version,
                    "path": info.path,
                    "title": info.title,
                    "chunks": info.chunks,
                    "pages": len(info.page_starts) or None,
                    "modified": info.modified,
                }
                for info in self.documents
            ],
        }


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer with its citations, and the tokens that it took."""

    completion: Completion
    usage: Usage

    def data(self) -> dict[str, Any]:
        """The answer as JSON."""
        return {
            "answer": self.completion.text.strip(),
            "citations": [
                {
                    "n": citation.n,
                    "document": citation.document,
                    "path": citation.path,
                    "page": citation.page,
                    "place": citation.place,
                    "start": citation.start,
                    "end": citation.end,
                    "quote": citation.quote,
                }
                for citation in self.completion.citations
            ],
            "usage": {
                "prompt_tokens": self.usage.prompt_tokens,
                "completion_tokens": self.usage.completion_tokens,
            },
            "trace": dict(self.completion.trace),
        }


def add(settings: KbAddSettings, progress: Progress = silent) -> Report:
    """Read files and folders into a knowledge base, which is made where there is none. Raises DataError."""
    from weightwright.rag import index

    if not settings.paths:
        raise UsageError("nothing to add; give files or folders")
    index.must_exist(settings.paths)  # before the seconds that the embedder takes
    with _adding(settings, settings.paths) as (store, embedder):
        report = index.add(store, embedder, settings.paths, settings=settings.load, progress=progress)
        _say_tongues(settings.kb, store.meta, report)
    return _something_done(report, "added")


def sync(settings: KbSyncSettings, progress: Progress = silent) -> Report:
    """Add what is new or changed in a folder, and delete what is gone from it. Raises DataError."""
    from weightwright.rag import index

    if not Path(settings.folder).is_dir():
        raise DataError(settings.folder, "is not a folder; sync takes one, kb add takes files too")
    with _adding(settings, [settings.folder]) as (store, embedder):
        report = index.sync(store, embedder, settings.folder, settings=settings.load, progress=progress)
        _say_tongues(settings.kb, store.meta, report)
    return _something_done(report, "added")


def follow(settings: KbSyncSettings, progress: Progress = silent) -> Iterator[Report]:
    """`sync`, and again whenever something in the folder has changed, without an end. Raises MissingExtraError."""
    watchfiles, own = require("watchfiles", extra="watch"), Path(settings.kb)
    usual = watchfiles.DefaultFilter()

    def concerns(change: Any, path: str) -> bool:
        """Whether it is a document's: the knowledge base may lie in the folder."""
        return usual(change, path) and not Path(path).name.startswith((own.name, f"{own.stem}.reindex"))

    first = True  # once changes are listened for, so that none falls between
    for changes in watchfiles.watch(
        settings.folder, watch_filter=concerns, yield_on_timeout=True, rust_timeout=_LISTEN_MS
    ):
        if not (changes or first):
            continue
        first = False
        try:
            yield sync(settings, progress)
        except DataError as error:  # the folder is away for now, or nothing in it can be read
            _log.warning("%s", error)


def reindex(settings: KbReindexSettings, progress: Progress = silent) -> "Reindexed":
    """Make a knowledge base anew with another embedder or cut in another way; see `rag.reindex`."""
    from weightwright.address.stores import parse_store
    from weightwright.connect import open_embedder, open_store
    from weightwright.rag import reindex as again

    with closing(open_store(settings.kb)) as old:
        address = settings.embedder or old.meta.embedder_address
        given = {name: getattr(settings.chunk, name) for name in settings.chunk.model_fields_set}
        chunks = old.meta.chunks.model_copy(update=given)
    with closing(open_embedder(address, progress=progress)) as embedder:
        return again.reindex(
            parse_store(settings.kb), embedder, embedder_address=address, chunks=chunks,
            to=parse_store(settings.to) if settings.to else None, settings=settings.load, progress=progress,
        )  # fmt: skip


def copy(settings: KbCopySettings, progress: Progress = silent) -> "Copied":
    """Copy a knowledge base to another store, without embedding again; see `rag.copying`."""
    from weightwright.address.stores import parse_store
    from weightwright.rag import copying

    return copying.copy(parse_store(settings.kb), parse_store(settings.to), progress=progress)


def _adding(
    settings: KbAddSettings | KbSyncSettings, paths: Sequence[str]
) -> AbstractContextManager[tuple["Store", Embedder]]:
    from weightwright.connect import open_for_adding
    from weightwright.rag.languages import sampled

    return open_for_adding(
        settings.kb,
        embedder=settings.embedder,
        chunks=settings.chunk,
        tongues=lambda: sampled(paths, settings.load),
    )


def _say_tongues(kb: str, meta: StoreMeta, report: Report) -> None:
    """Say where an English embedder was given other languages."""
    from weightwright.rag import languages

    if meta.embedder_address == languages.ENGLISH and report.tongues.others:
        _log.warning(
            "%s of %s documents are not English (%s), which the embedder %s reads badly; for all languages: "
            "weightwright kb reindex %s --embedder %s",
            f"{sum(report.tongues.others.values()):,}", f"{report.tongues.texts.total():,}",
            ", ".join(report.tongues.others), languages.ENGLISH, kb, languages.MULTILINGUAL,
        )  # fmt: skip


def remove(settings: KbRmSettings) -> Report:
    """Remove documents by id, file or folder. Raises DataError."""
    from weightwright.connect import open_store
    from weightwright.rag import index

    if not settings.paths:
        raise UsageError("nothing to remove; give document ids, files or folders")
    with closing(open_store(settings.kb)) as store:
        return _something_done(index.remove(store, settings.paths), "removed")


def listing(settings: KbListSettings) -> Listing:
    """The documents of a knowledge base."""
    from weightwright.connect import open_store

    with closing(open_store(settings.kb)) as store:
        return Listing(tuple(store.documents(_condition(settings.where))), store.meta)


def search(settings: KbSearchSettings) -> list[Hit]:
    """The best hits, best first."""
    from weightwright.connect import open_knowledge

    where = _condition(settings.where)
    asked = AnswerSettings(retrieve=settings.retrieve)
    with closing(open_knowledge(settings.kb, embedder=settings.embedder, settings=asked)) as knowledge:
        return list(knowledge.search(settings.query, settings.k, where=where))


def evaluate(settings: KbEvalSettings, progress: Progress = silent) -> dict[str, float]:
    """The metrics of retrieval or answers. Raises DataError and SettingsError before anything is opened."""
    from weightwright.connect import open_knowledge
    from weightwright.rag import evaluate as evaluation

    if settings.answers is not None:
        return _evaluate_answers(settings, settings.answers, progress)
    if settings.queries is None or settings.qrels is None:
        raise UsageError(
            "nothing to measure with; give --queries and --qrels for retrieval, or --answers for answers"
        )
    metrics = tuple(name.strip() for item in settings.metrics for name in item.split(",") if name.strip())
    for name in metrics:
        evaluation.parse_metric(name)
    queries = evaluation.read_queries(settings.queries)
    qrels = evaluation.read_qrels(settings.qrels)
    asked = AnswerSettings(retrieve=settings.retrieve)
    with closing(open_knowledge(settings.kb, embedder=settings.embedder, settings=asked)) as knowledge:
        return evaluation.evaluate(
            knowledge.store, knowledge.embedder, queries, qrels, metrics, settings.retrieve, progress=progress
        )


def _evaluate_answers(settings: KbEvalSettings, answers: Path, progress: Progress) -> dict[str, float]:
    from weightwright.connect import open_chat, open_knowledge
    from weightwright.rag.evaluate_answers import evaluate_answers, read_questions

    if settings.queries is not None or settings.qrels is not None:
        raise UsageError("--answers is measured alone; leave out --queries and --qrels, or --answers")
    questions = read_questions(answers)
    asked = AnswerSettings(retrieve=settings.retrieve)
    with (
        closing(open_knowledge(settings.kb, embedder=settings.embedder, settings=asked)) as knowledge,
        closing(open_chat(settings.model, progress=progress)) as chat,
    ):
        return evaluate_answers(knowledge, chat, questions, progress)


def ask(settings: AskSettings, progress: Progress = silent) -> Answered:
    """Answer a question from a knowledge base. Raises RequestError for an empty one."""
    from weightwright.connect import open_chat, open_knowledge

    if not settings.question.strip():
        raise RequestError("the question is empty; write what you want to know")
    where = _condition(settings.where)
    with (
        closing(
            open_knowledge(settings.kb, embedder=settings.embedder, settings=settings.answer)
        ) as knowledge,
        closing(open_chat(settings.model, progress=progress)) as chat,
    ):
        result = knowledge.submit(chat, knowledge.request(settings.question), where).result()
        return Answered(result.completions[0], result.usage)


def hit_data(hit: Hit) -> dict[str, Any]:
    """A hit as JSON."""
    chunk = hit.chunk
    return {
        "document": chunk.document_id,
        "version": chunk.version,
        "path": hit.path,
        "page": chunk.page,
        "place": chunk.place,
        "start": chunk.start,
        "end": chunk.end,
        "score": hit.score,
        "heading": chunk.heading,
        "text": chunk.text,
    }


def _condition(text: str) -> Any:
    """The condition in `--where`, or None."""
    from weightwright.rag.stores.filters import parse

    return parse(text) if text.strip() else None


def _something_done(report: Report, done: str) -> Report:
    """The report. Raises DataError where nothing was done and something was refused."""
    if report.skipped and not (report.documents or report.unchanged or report.removed):
        lines = [f"skipped {item.path}: {item.reason}" for item in report.skipped]
        more = f" (and {len(lines) - _REASONS_SHOWN} more)" if len(lines) > _REASONS_SHOWN else ""
        raise DataError(None, f"nothing was {done}: " + "; ".join(lines[:_REASONS_SHOWN]) + more)
    return report
