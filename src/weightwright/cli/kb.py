"""`weightwright kb …`: knowledge bases: add, remove, list, sync, search, eval."""

from collections.abc import Iterator

from weightwright import kb
from weightwright.cli.flags import Outcome, verb
from weightwright.cli.progress import bar
from weightwright.kb import (
    KbAddSettings,
    KbCopySettings,
    KbEvalSettings,
    KbListSettings,
    KbReindexSettings,
    KbRmSettings,
    KbSearchSettings,
    KbSyncSettings,
)
from weightwright.rag.index import Report

_SHOWN_CHARACTERS = 300


@verb(KbAddSettings, section="kb_add", positional=("kb", "paths"))
def add(settings: KbAddSettings) -> Outcome:
    """Read files and folders into a knowledge base, which is made where there is none."""
    with bar("indexing") as progress:
        report = kb.add(settings, progress)
    return _reported(report, "added")


@verb(KbSyncSettings, section="kb_sync", positional=("kb", "folder"))
def sync(settings: KbSyncSettings) -> Outcome | Iterator[Outcome]:
    """Add what is new or changed in a folder, and delete what is gone from it."""
    if settings.watch:
        return (_reported(report, "added") for report in kb.follow(settings))
    with bar("indexing") as progress:
        report = kb.sync(settings, progress)
    return _reported(report, "added")


@verb(KbReindexSettings, section="kb_reindex", positional=("kb",))
def reindex(settings: KbReindexSettings) -> Outcome:
    """Make a knowledge base anew with another embedder or cut in another way; a stopped run goes on where it was."""
    with bar("indexing") as progress:
        made = kb.reindex(settings, progress)
    alone = f", {made.rebuilt} from what it held, as their files are gone or changed" if made.rebuilt else ""
    return Outcome(made.data(), f"{made.documents} documents anew{alone}; embedder {made.embedder}")


@verb(KbCopySettings, section="kb_copy", positional=("kb", "to"))
def copy(settings: KbCopySettings) -> Outcome:
    """Copy a knowledge base to another store, without embedding again; a stopped run goes on where it was."""
    with bar("copying") as progress:
        done = kb.copy(settings, progress)
    return Outcome(
        done.data(),
        f"copied {done.documents} documents ({done.chunks} chunks), {done.unchanged} were there already",
    )


@verb(KbRmSettings, section="kb_rm", positional=("kb", "paths"))
def rm(settings: KbRmSettings) -> Outcome:
    """Remove documents by id, file or folder."""
    return _reported(kb.remove(settings), "removed")


@verb(KbListSettings, section="kb_list", positional=("kb",))
def list_documents(settings: KbListSettings) -> Outcome:
    """List the documents of a knowledge base."""
    listing = kb.listing(settings)
    lines = [f"{info.chunks:6}  {info.id}  {info.title}".rstrip() for info in listing.documents]
    return Outcome(
        listing.data(), "\n".join([*lines, f"{len(listing.documents)} documents, {listing.chunks} chunks"])
    )


@verb(KbSearchSettings, section="kb_search", positional=("kb", "query"))
def search(settings: KbSearchSettings) -> Outcome:
    """Search a knowledge base."""
    hits = kb.search(settings)
    lines = [
        f"{n}. {place(hit.chunk.document_id, hit.chunk.page, hit.chunk.place)}"
        f"  {hit.chunk.heading.split(chr(10))[0]}".rstrip()
        + f"\n   {one_line(hit.chunk.text)}"
        for n, hit in enumerate(hits, 1)
    ]
    return Outcome({"hits": [kb.hit_data(hit) for hit in hits]}, "\n".join(lines) or "nothing found")


@verb(KbEvalSettings, section="kb_eval", positional=("kb",))
def evaluate(settings: KbEvalSettings) -> Outcome:
    """Measure how well the documents that queries need are found."""
    with bar("searching") as progress:
        values = kb.evaluate(settings, progress)
    return Outcome(values, "\n".join(f"{name:12} {value:.4f}" for name, value in values.items()))


# --- showing ----------------------------------------------------------------------------------------


def place(document: str, page: int | None, label: str = "") -> str:
    """A document and, where it has any, the page and the place in it."""
    return ", ".join(part for part in (document, f"page {page}" if page is not None else "", label) if part)


def one_line(text: str) -> str:
    """The text on one line, cut where it is long."""
    joined = " ".join(text.split())
    return joined if len(joined) <= _SHOWN_CHARACTERS else joined[: _SHOWN_CHARACTERS - 1] + "…"


def _reported(report: Report, done: str) -> Outcome:
    lines = [f"skipped {item.path}: {item.reason}" for item in report.skipped]
    summary = f"{done} {report.documents} documents ({report.chunks} chunks), {report.unchanged} unchanged"
    if report.removed:
        summary += f", {report.removed} deleted"
    if report.skipped:
        summary += f", {len(report.skipped)} skipped"
    return Outcome(report.to_json(), "\n".join([*lines, summary]))
