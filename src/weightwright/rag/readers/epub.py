"""EPUB books: chapters in the order of the book, each read as a page."""

import posixpath
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from weightwright.errors import DataError
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.encoding import decode_web
from weightwright.rag.readers.html import declared_charset, read_page
from weightwright.rag.readers.package import Package, attribute, descendants
from weightwright.rag.readers.writer import TextWriter
from weightwright.rag.settings import LoadSettings

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_MOST_SHEETS, _MOST_SHEET_BYTES = 20, 1_000_000
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")


def read_epub(data: bytes, settings: LoadSettings) -> Content:
    """The chapters that the book's spine names. Raises DataError where there is none, or they are locked."""
    package = Package(data, settings, "epub")
    container = package.main_xml("META-INF/container.xml")
    root_file = next(descendants(container, "rootfile"), None)
    main = attribute(root_file, "full-path") or ""
    book = package.main_xml(main)
    items = {attribute(item, "id"): item for item in descendants(book, "item")}
    locked = {attribute(ref, "URI") for ref in descendants(_encryption(package), "CipherReference")}
    writer = TextWriter()
    sheets = _Sheets(package, items.values(), posixpath.dirname(main))
    chapter = 0
    for reference in descendants(book, "itemref"):
        item = items.get(attribute(reference, "idref"))
        if item is None or attribute(item, "media-type") not in _PAGES:
            continue
        name = posixpath.normpath(
            posixpath.join(posixpath.dirname(main), unquote(attribute(item, "href") or ""))
        )
        if "nav" in (attribute(item, "properties") or "").split():
            continue  # its table of contents
        if name in locked:
            raise DataError(None, "a book with copy protection (DRM); it can only be read by its own program")
        page = package.read(name)
        if page:
            chapter += 1
            writer.apart()
            writer.place(f"chapter {chapter}")
            read_page(decode_web(page, declared_charset(page)), "epub", writer, sheets.beside(name))
    title = next(descendants(book, "title"), None)
    return writer.content("epub", title.text or "" if title is not None else "")


class _Sheets:
    """The book's style sheets."""

    def __init__(self, package: Package, items: "Iterable[Element]", folder: str) -> None:
        self._found: dict[str, str] = {}
        left = _MOST_SHEET_BYTES
        for item in items:
            if attribute(item, "media-type") == "text/css" and len(self._found) < _MOST_SHEETS:
                name = posixpath.normpath(posixpath.join(folder, unquote(attribute(item, "href") or "")))
                data = package.read(name)
                left -= len(data)
                if left >= 0:
                    self._found[name] = decode_web(data, "utf-8")

    def beside(self, page: str) -> dict[str, str]:
        """The sheets by the addresses that a page has for them."""
        folder = posixpath.dirname(page) or "."
        return {quote(posixpath.relpath(name, folder)): sheet for name, sheet in self._found.items()}


def _encryption(package: Package) -> "Element":
    root = package.xml("META-INF/encryption.xml")
    return root if root is not None else package.main_xml("META-INF/container.xml")
