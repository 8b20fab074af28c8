"""Style sheets that lie beside an HTML file: they say what of the page is shown."""

import os.path
import re
import stat
from pathlib import Path
from urllib.parse import unquote

_LINK = re.compile(rb"<link\b[^>]{0,2000}>", re.IGNORECASE)
_REL = re.compile(rb"\brel\s*=\s*(?:\"[^\"]*\bstylesheet\b|'[^']*\bstylesheet\b|stylesheet\b)", re.IGNORECASE)
_HREF = re.compile(rb"\bhref\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>]+))", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_IMPORT = re.compile(r"@import\s+(?:url\(\s*)?[\"']?([^\"')\s;]+)[\"']?\s*\)?\s*([^;]*);", re.IGNORECASE)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
_LINKS_WITHIN = 262_144  # bytes
_MOST_ABOVE = 10  # folders
_MOST_SHEETS = 20
_MOST_BYTES = 1_000_000  # of all sheets of a page


def beside(data: bytes, page: Path) -> dict[str, str]:
    """The style sheets that a page links to, by the address in its link, where they are files (`.css`).

    They lie beside it, below, or at most 10 folders above. An `@import` is replaced by what it names. At most 20
    files and 1 MB in all; what goes beyond is passed over.
    """
    shelf = _Shelf()
    found: dict[str, str] = {}
    for link in _LINK.findall(data[:_LINKS_WITHIN]):
        address = _HREF.search(link)
        if address is None or not _REL.search(link):
            continue
        href = (
            (address[1] or address[2] or address[3] or b"").decode("utf-8", "replace").replace("&amp;", "&")
        )
        sheet = shelf.sheet(page.parent, href, frozenset())
        if sheet:
            found[href] = sheet
    return found


class _Shelf:
    """Takes sheets from the disk until it has taken enough."""

    def __init__(self) -> None:
        self._files, self._bytes = _MOST_SHEETS, _MOST_BYTES

    def sheet(self, folder: Path, href: str, above: frozenset[Path]) -> str:
        """A sheet with those that it imports, "" for one that is not taken."""
        path = _place(folder, href)
        if path is None or path in above or self._files == 0:
            return ""
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > self._bytes:
                return ""
            text = _COMMENT.sub("", path.read_bytes().decode("utf-8", "replace"))
        except (OSError, ValueError):  # none there, or its name is none; a browser goes on without it, too
            return ""
        self._files -= 1
        self._bytes -= status.st_size

        def imported(match: re.Match[str]) -> str:
            inner = self.sheet(path.parent, match[1], above | {path})
            return f"@media {match[2] or 'all'} {{{inner}\n}}" if inner else ""

        return _IMPORT.sub(imported, text)


def _place(folder: Path, href: str) -> Path | None:
    """The file that a relative address names; None for what lies elsewhere or is no style sheet."""
    name = unquote(re.split(r"[?#]", href.strip(), maxsplit=1)[0])
    if not name.lower().endswith(".css") or _ELSEWHERE.match(name) or name.startswith("/"):
        return None
    return None if name.split("/").count("..") > _MOST_ABOVE else Path(os.path.normpath(folder / name))
