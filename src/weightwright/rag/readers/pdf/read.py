"""PDF to text, page by page, so that a citation can name its page."""

import threading
from collections.abc import Iterator
from typing import Any

from weightwright.errors import DataError
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.pdf.fields import Inset, draw, insets, open_forms
from weightwright.rag.readers.pdf.glyphs import page_glyphs
from weightwright.rag.readers.pdf.hyphens import join_hyphenated
from weightwright.rag.readers.pdf.lines import Line, lines_of
from weightwright.rag.readers.pdf.names import GlyphNames
from weightwright.rag.readers.pdf.paragraphs import paragraphs
from weightwright.rag.readers.pdf.place import with_insets
from weightwright.rag.readers.pdf.rules import grids
from weightwright.rag.readers.pdf.scanned import is_scanned, recognised_lines
from weightwright.rag.readers.pdf.substitute import offer_font
from weightwright.rag.readers.pdf.tables import with_tables
from weightwright.rag.readers.text import clean
from weightwright.rag.settings import LoadSettings

_ONE_AT_A_TIME = threading.Lock()  # PDFium is not thread-safe


def read_pdf(data: bytes, settings: LoadSettings) -> Content:
    """The text layer, values of forms, free texts; scanned pages with `ocr`.

    Raises DataError for a locked or broken file and where no page has text.
    """
    with _ONE_AT_A_TIME:
        document = _opened(data, settings.pdf_password)
        try:
            pages = len(document)
            if pages > settings.max_pages:
                raise DataError(
                    None,
                    f"{pages} pages, more than max_pages={settings.max_pages}; split it or raise --max-pages",
                )
            reading = _Reading(document, pages, settings, GlyphNames(data, settings.pdf_password))
            texts = list(reading.texts())
            title = document.get_metadata_value("Title") or ""
        finally:
            document.close()
    if not any(texts):
        raise DataError(None, reading.why_empty())
    return _content(join_hyphenated(texts), clean(title).strip(), reading.notes())


def _content(texts: list[str], title: str, notes: tuple[str, ...]) -> Content:
    starts, parts, position = [], [], 0
    for text in texts:
        starts.append(position)
        parts.append(f"{text}\n\n" if text else "")
        position += len(parts[-1])
    return Content("".join(parts), "pdf", title, tuple(starts), notes=notes)


def _opened(data: bytes, password: str) -> Any:
    import pypdfium2
    import pypdfium2.raw as pdfium

    offer_font()
    try:
        return pypdfium2.PdfDocument(data, password=password or None)
    except pypdfium2.PdfiumError as error:
        if pdfium.FPDF_GetLastError() == pdfium.FPDF_ERR_PASSWORD or "assword" in str(error):
            wrong = "an encrypted PDF that pdf_password does not open" if password else "an encrypted PDF"
            raise DataError(None, f"{wrong}; give its password with --pdf-password") from error
        raise DataError(None, f"not a readable PDF ({error}); save it again with a PDF program") from error


class _Reading:
    """One document, read a page at a time; remembers which pages were not read."""

    def __init__(self, document: Any, pages: int, settings: LoadSettings, names: GlyphNames) -> None:
        self._document = document
        self._pages = pages
        self._settings = settings
        self._names = names
        self._broken: list[int] = []
        self._scanned: list[int] = []

    def texts(self) -> Iterator[str]:
        """Each page's text, empty for one that cannot be read."""
        import pypdfium2

        total, forms = 0, open_forms(self._document)
        for number in range(1, self._pages + 1):
            try:
                page = self._document[number - 1]
            except pypdfium2.PdfiumError:
                self._broken.append(number)
                yield ""
                continue
            try:
                beside = insets(page, forms)
                if draw(page, forms):
                    page.close()
                    page = self._document[number - 1]
                text = clean(paragraphs(self._lines(page, number, beside)))
            finally:
                page.close()
            total += len(text)
            if total > self._settings.max_characters:
                raise DataError(
                    None,
                    f"more than max_characters={self._settings.max_characters} by page {number}; split it or raise "
                    "--max-characters",
                )
            yield text

    def _lines(self, page: Any, number: int, beside: list[Inset]) -> list[Line]:
        lines = lines_of(page_glyphs(page, lambda: self._names.of_page(number - 1)))
        if not lines and is_scanned(page):
            if self._settings.ocr:
                lines = recognised_lines(page)
            else:
                self._scanned.append(number)
        return with_tables(with_insets(lines, beside), grids(page) if lines else ())

    def notes(self) -> tuple[str, ...]:
        """Which pages were not read, and what helps."""
        broken = f"{_numbers(self._broken)} cannot be read; save the file again with a PDF program"
        scanned = f"{_numbers(self._scanned)} without text (scanned?); recognise it with --ocr"
        return tuple(note for note, pages in ((broken, self._broken), (scanned, self._scanned)) if pages)

    def why_empty(self) -> str:
        """The reason for a document without any text."""
        pages = f"{self._pages} pages"
        if self._broken and not self._scanned:
            return f"a PDF without a readable page ({pages}); save it again with a PDF program"
        if self._settings.ocr:
            return f"a PDF without text ({pages}), and OCR finds none"
        return f"a PDF without text ({pages}, a scan?); recognise it with --ocr"


def _numbers(pages: list[int]) -> str:
    """Pages as they are named: `page 3`, `pages 3, 5-9`."""
    runs: list[list[int]] = []
    for page in pages:
        if runs and page == runs[-1][-1] + 1:
            runs[-1][1:] = [page]
        else:
            runs.append([page])
    named = ", ".join("-".join(map(str, run)) for run in runs)
    return f"page {named}" if len(pages) == 1 else f"pages {named}"
