"""EPUB books: chapters in the order of the book, each read as a page."""

import posixpath
from urllib.parse import unquote

from weightwright.errors import DataError
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.encoding import decode_web
from weightwright.rag.readers.html import declared_charset, read_page
from weightwright.rag.readers.package import Package, attribute, descendants
from weightwright.rag.readers.writer import TextWriter
from weightwright.rag.settings import LoadSettings

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
            read_page(decode_web(page, declared_charset(page)), "epub", writer)
    title = next(descendants(book, "title"), None)
    return writer.content("epub", title.text or "" if title is not None else "")


def _encryption(package: Package):  # type: ignore[no-untyped-def]
    root = package.xml("META-INF/encryption.xml")
    return root if root is not None else package.main_xml("META-INF/container.xml")
