"""PDF to text, page by page, so that a citation can name its page."""

import re
import threading

from weightwright.errors import DataError
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.text import clean
from weightwright.rag.settings import LoadSettings

_ONE_AT_A_TIME = threading.Lock()  # PDFium is not thread-safe
_HYPHENATED = re.compile(r"[\ufffe\x02\xad]\n?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")


def read_pdf(data: bytes, settings: LoadSettings) -> Content:
    """The text layer. Raises DataError for a locked or broken file and for a scan without text."""
    import pypdfium2
    import pypdfium2.raw as pdfium

    with _ONE_AT_A_TIME:
        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            if pdfium.FPDF_GetLastError() == pdfium.FPDF_ERR_PASSWORD or "assword" in str(error):
                raise DataError(None, "an encrypted PDF; save it without its password") from error
            raise DataError(
                None, f"not a readable PDF ({error}); save it again with a PDF program"
            ) from error
        try:
            pages = len(document)
            if pages > settings.max_pages:
                raise DataError(
                    None,
                    f"{pages} pages, more than max_pages={settings.max_pages}; split it or raise --max-pages",
                )
            texts = _page_texts(document, pages, settings)
            title = document.get_metadata_value("Title") or ""
        finally:
            document.close()
    if not any(text.strip() for text in texts):
        raise DataError(None, f"a PDF without text ({pages} pages, a scan?); recognise its text (OCR) first")
    starts, position = [], 0
    for text in texts:
        starts.append(position)
        position += len(text)
    return Content("".join(texts), "pdf", clean(title).strip(), tuple(starts))


def _page_texts(document, pages: int, settings: LoadSettings) -> list[str]:  # type: ignore[no-untyped-def]
    """Each page's text, which ends in a blank line; a page that PDFium cannot read is empty."""
    import pypdfium2

    texts: list[str] = []
    total = 0
    for number in range(pages):
        try:
            page = document[number]
        except pypdfium2.PdfiumError:
            texts.append("")
            continue
        try:
            text_page = page.get_textpage()
            text = text_page.get_text_bounded()
            text_page.close()
        finally:
            page.close()
        text = _CONTROL.sub(" ", _HYPHENATED.sub("", clean(text))).strip()
        texts.append(f"{text}\n\n" if text else "")
        total += len(text)
        if total > settings.max_characters:
            raise DataError(
                None,
                f"more than max_characters={settings.max_characters} by page {number + 1}; split it or raise "
                "--max-characters",
            )
    return texts
