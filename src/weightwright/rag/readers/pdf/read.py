"""PDF to text, page by page, so that a citation can name its page."""

import threading
from collections.abc import Iterator
from typing import Any

from weightwright.errors import DataError
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.pdf.fields import insets, open_forms
from weightwright.rag.readers.pdf.glyphs import page_glyphs
from weightwright.rag.readers.pdf.hyphens import join_hyphenated
from weightwright.rag.readers.pdf.lines import lines_of
from weightwright.rag.readers.pdf.paragraphs import paragraphs
from weightwright.rag.readers.pdf.place import with_insets
from weightwright.rag.readers.text import clean
from weightwright.rag.settings import LoadSettings

_ONE_AT_A_TIME = threading.Lock()  # PDFium is not thread-safe


def read_pdf(data: bytes, settings: LoadSettings) -> Content:
    """The text layer. Raises DataError for a locked or broken file and for a scan without text."""
    with _ONE_AT_A_TIME:
        document = _opened(data)
        try:
            pages = len(document)
            if pages > settings.max_pages:
                raise DataError(
                    None,
                    f"{pages} pages, more than max_pages={settings.max_pages}; split it or raise --max-pages",
                )
            notes: list[str] = []
            texts = list(_page_texts(document, pages, settings, notes))
            title = document.get_metadata_value("Title") or ""
        finally:
            document.close()
    if not any(texts):
        raise DataError(None, f"a PDF without text ({pages} pages, a scan?); recognise its text (OCR) first")
    texts = join_hyphenated(texts)
    starts, position = [], 0
    parts = []
    for text in texts:
        starts.append(position)
        parts.append(f"{text}\n\n" if text else "")
        position += len(parts[-1])
    return Content("".join(parts), "pdf", clean(title).strip(), tuple(starts), notes=tuple(notes))


def _opened(data: bytes) -> Any:
    import pypdfium2
    import pypdfium2.raw as pdfium

    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if pdfium.FPDF_GetLastError() == pdfium.FPDF_ERR_PASSWORD or "assword" in str(error):
            raise DataError(None, "an encrypted PDF; save it without its password") from error
        raise DataError(None, f"not a readable PDF ({error}); save it again with a PDF program") from error


def _page_texts(document: Any, pages: int, settings: LoadSettings, notes: list[str]) -> Iterator[str]:
    """Each page's text; a page that PDFium cannot read is empty and noted."""
    import pypdfium2

    total, forms = 0, open_forms(document)
    for number in range(pages):
        try:
            page = document[number]
        except pypdfium2.PdfiumError:
            notes.append(f"page {number + 1} cannot be read; save the file again with a PDF program")
            yield ""
            continue
        try:
            beside = insets(page, forms)
            text = clean(paragraphs(with_insets(lines_of(page_glyphs(page)), beside)))
        finally:
            page.close()
        total += len(text)
        if total > settings.max_characters:
            raise DataError(
                None,
                f"more than max_characters={settings.max_characters} by page {number + 1}; split it or raise "
                "--max-characters",
            )
        yield text
