"""HTML to text: headings become # lines and lists - lines, so that chunks know their headings."""

import re
import warnings

from weightwright.rag.readers.base import Content
from weightwright.rag.readers.text import clean
from weightwright.rag.settings import LoadSettings

_UNSEEN = [
    "script",
    "style",
    "noscript",
    "template",
    "svg",
    "nav",
    "iframe",
    "head",
    "form",
    "button",
    "select",
]
_BLOCK_NAMES = """
address article aside blockquote body caption dd details div dl dt fieldset figcaption figure footer
header hr html li main ol p pre section summary table tbody tfoot thead tr ul h1 h2 h3 h4 h5 h6 br
"""
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_CELLS = frozenset(("td", "th"))
_SPACES = re.compile(r"[ \t\xa0\u200b]+")
_BLANK_LINES = re.compile(r"\n{3,}")


def read_html(data: bytes, _settings: LoadSettings) -> Content:
    """The visible text; the encoding is what the page declares."""
    from bs4 import BeautifulSoup, XMLParsedAsHTMLWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        soup = BeautifulSoup(data, "lxml")
    title = _SPACES.sub(" ", soup.title.get_text(" ", strip=True)) if soup.title else ""
    for element in soup(_UNSEEN):
        element.decompose()
    text = _text_of(soup)
    return Content(clean(text), "html", clean(" ".join(title.split())))


def _text_of(soup: object) -> str:
    """Depth first without recursion, so that a page nested a hundred thousand deep is read too."""
    from bs4.element import NavigableString, PreformattedString, Tag

    out: list[str] = []
    stack: list[object] = [soup]
    while stack:
        node = stack.pop()
        if isinstance(node, Tag):
            before, after = _around(node.name)
            out.append(before)
            stack.append(after)
            stack.extend(reversed(node.contents))
        elif isinstance(node, NavigableString):
            if not isinstance(node, PreformattedString):  # comments, doctype
                out.append(str(node) if node.find_parent("pre") else re.sub(r"\s+", " ", str(node)))
        elif isinstance(node, str):
            out.append(node)
    lines = [_SPACES.sub(" ", line).strip() for line in "".join(out).split("\n")]
    lines = [line for line in lines if line.strip("# |-") or not line]
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _around(name: str) -> tuple[str, str]:
    """What stands before and after an element's text."""
    if name in _HEADINGS:
        return "\n\n" + _HEADINGS[name], "\n\n"
    if name == "li":
        return "\n- ", "\n"
    if name in _CELLS:
        return " ", " | "
    if name in ("tr", "br", "dt", "dd"):
        return "\n", "\n" if name != "br" else ""
    return ("\n\n", "\n\n") if name in _BLOCKS else ("", "")
