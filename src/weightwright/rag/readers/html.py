"""HTML as a browser shows it: headings as # lines, lists as - lines, tables with bars, code in fences.

Left out: what is hidden, navigation, input fields, deleted text; beside a page's `<main>` its header, footer and
asides.
"""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from weightwright.rag.readers.base import Content
from weightwright.rag.readers.encoding import decode_web
from weightwright.rag.readers.html_hidden import Shown
from weightwright.rag.readers.html_math import math_text
from weightwright.rag.readers.html_parts import (
    children,
    formula,
    is_note_mark,
    is_permalink,
    language,
    numbers,
    with_few_attributes,
)
from weightwright.rag.readers.html_tables import is_data_table, table_rows
from weightwright.rag.readers.writer import TextWriter, lowered, one_line, raised
from weightwright.rag.settings import LoadSettings

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_BLOCK_NAMES = """
address article aside blockquote body caption center details dialog dir div dl fieldset figcaption figure footer form
header hgroup hr html legend main menu ol optgroup p search section summary table tbody tfoot thead ul
"""
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_LINES = frozenset(("li", "dt", "dd", "tr", "td", "th"))
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_CODE = frozenset(("pre", "listing", "xmp", "plaintext"))
_POSITIONS = {"sup": "super", "sub": "sub"}
_STYLED = frozenset(("span", "a", "font", "small", "b", "i"))  # raised or lowered by a style
_DEEPEST = 40  # texts in texts; deeper ones are read as one
_OWN_WAY = frozenset((*_HEADINGS, *_CODE, "table", "sup", "sub", "ruby", "math", "img", "br"))
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_META = re.compile(
    rb"<meta\b[^>]*?\bcharset\s*=\s*[\"']?\s*([\w.:+-]+)|<\?xml\b[^>]*?\bencoding\s*=\s*[\"']([\w.:+-]+)",
    re.IGNORECASE,
)
_EMPTY_ELEMENT = re.compile(r"<([A-Za-z][\w:-]*)((?:\s[^<>]*?)?)\s*/>")
_VOID_NAMES = "area base br col embed hr img input link meta param source track wbr"
_VOID = frozenset(_VOID_NAMES.split())
_META_WITHIN = 65_536  # bytes


def read_html(data: bytes, _settings: LoadSettings, sheets: Mapping[str, str] | None = None) -> Content:
    """The visible text; the encoding is what the page declares, or what a browser would guess.

    `sheets`: style sheets that are at hand, by the address in the page's link.
    """
    return read_page(decode_web(data, declared_charset(data)), sheets=sheets)


def read_page(
    text: str,
    format_: str = "html",
    writer: TextWriter | None = None,
    sheets: Mapping[str, str] | None = None,
) -> Content:
    """A page that is decoded; with a `writer`, what it holds already comes first."""
    from selectolax.lexbor import LexborHTMLParser

    if text.lstrip().startswith("<?xml") or format_ == "epub":
        text = _EMPTY_ELEMENT.sub(_closed, text)
    page = LexborHTMLParser(with_few_attributes(text.replace("\x00", "")))
    if writer is None:
        writer = TextWriter()
    title = page.css_first("head > title") or page.css_first("body > title")
    if page.root is not None:
        _Walk(writer, Shown(page, sheets)).through(page.root)
    return writer.content(format_, title.text() if title else "")


def _closed(match: re.Match[str]) -> str:
    """`<title/>` of XHTML as HTML's parser understands it."""
    name = match[1].lower()
    return match[0] if name in _VOID else f"<{match[1]}{match[2]}></{match[1]}>"


def declared_charset(data: bytes) -> str | None:
    """The label in a page's `<meta>` or XML declaration."""
    found = _META.search(_COMMENT.sub(b"", data[:_META_WITHIN]))
    return (found[1] or found[2]).decode("ascii", "replace") if found else None


class _Walk:
    """Depth first without recursion, so that a page nested a hundred thousand deep is read too."""

    def __init__(self, writer: TextWriter, shown: Shown) -> None:
        self._writer = writer
        self._shown = shown
        self._inline: list[str] = []
        self._depth = 0  # of texts in texts: raised in raised
        self._mark = ""  # a list item's, before its first line
        self._lists: list[Callable[[LexborNode], str]] = []

    def through(self, root: "LexborNode") -> None:
        """Write everything under `root`."""
        self._each(root)
        self._line()

    def text(self, root: "LexborNode") -> str:
        """What stands under `root`, on one line."""
        writer, kept = TextWriter(), (self._writer, self._inline, self._mark)
        self._writer, self._inline, self._mark = writer, [], ""
        self._depth += 1
        for child in children(root):
            self._each(child)
        self._line()
        self._writer, self._inline, self._mark = kept
        self._depth -= 1
        return one_line(writer.content("").text)

    def _each(self, root: "LexborNode") -> None:
        stack: list[LexborNode | Callable[[], None]] = [root]
        while stack:
            item = stack.pop()
            if callable(item):
                item()
            elif item.tag == "-text":
                self._inline.append(re.sub(r"[ \t\n\f\r]+", " ", item.text_content or ""))
            elif item.tag == "iframe" and item.attributes.get("srcdoc"):
                self._page_in(item.attributes["srcdoc"] or "")
            elif item.is_element_node and not self._shown.hides(item):
                after = self._enter(item)
                if after is not None:
                    stack.append(after)
                    stack.extend(reversed(list(children(item))))

    def _page_in(self, source: str) -> None:
        """A page that stands in a frame of this one."""
        from selectolax.lexbor import LexborHTMLParser

        self._line()
        page = LexborHTMLParser(source)
        if page.root is not None and self._depth <= _DEEPEST:
            kept, self._shown = self._shown, Shown(page)
            self._depth += 1
            self._each(page.root)
            self._line()
            self._depth -= 1
            self._shown = kept

    def _enter(self, node: "LexborNode") -> Callable[[], None] | None:
        """Write what comes before an element's contents; returns what is done after them, None without them."""
        name = node.tag or ""
        display = self._shown.display(node)
        if display == "block" and name not in _LINES:
            if name not in _OWN_WAY:
                return self._block(node, name)
        elif display == "inline" and name in ("div", "span", "p", "section"):
            return _nothing
        elif display == "inline-block" and name in ("div", "span", "a"):
            self._inline.append(" ")
            return lambda: self._inline.append(" ")
        if name in _BLOCKS:
            return self._block(node, name)
        if name in _LINES:
            return self._item(node) if name == "li" else self._own_line()
        if name in _HEADINGS and self._depth <= _DEEPEST:
            self._line()
            self._writer.heading(self.text(node), _HEADINGS[name])
            return None
        if name in _CODE:
            self._line()
            self._writer.code(self._raw(node), language(node))
            return None
        return self._enter_inline(node, name)

    def _enter_inline(self, node: "LexborNode", name: str) -> Callable[[], None] | None:
        if self._depth > _DEEPEST:
            return _nothing
        position = _POSITIONS.get(name) or (name in _STYLED and self._shown.raised(node))
        if position:
            write = raised if position == "super" else lowered
            self._inline.append(write(self.text(node), "".join(self._inline[-3:])))
            return None
        match name:
            case "br":
                self._break()
            case "ruby":
                self._inline.append(self._ruby(node))
            case "math":
                self._inline.append(math_text(node))
            case "img":
                self._inline.append(formula(node))
            case "a" if is_permalink(node):
                pass
            case "a" if is_note_mark(node):
                before = "".join(self._inline[-3:])
                said = self.text(node)
                self._inline.append(raised(said, before) if before[-1:].strip() else said)
            case "a" if node.prev is not None and node.prev.tag == "a":
                self._inline.append(" ")  # two links in a row stand apart by their style
                return _nothing
            case "q":
                self._inline.append("“")
                return lambda: self._inline.append("”")
            case "button":
                self._inline.append(" ")
                return lambda: self._inline.append(" ")
            case _:
                return _nothing
        return None

    def _block(self, node: "LexborNode", name: str) -> Callable[[], None] | None:
        self._line()
        self._writer.apart()
        if name == "table" and is_data_table(node):
            caption = node.css_first("caption")
            if caption is not None:
                self._writer.paragraph(self.text(caption))
            rows, header = table_rows(node, self._shown.hides, self.text)
            self._writer.table(rows, header=header)
            return None
        if name in ("ol", "ul", "menu", "dir"):
            nested = bool(self._lists)
            self._lists.append(numbers(node, self._shown.numerals) if name == "ol" else lambda _item: "- ")
            if nested:
                self._writer.close()
            return lambda: self._leave_list(nested)
        return self._leave_block

    def _leave_block(self) -> None:
        self._line()
        self._writer.apart()

    def _leave_list(self, nested: bool) -> None:
        self._line()
        self._lists.pop()
        if not nested:
            self._writer.apart()

    def _item(self, node: "LexborNode") -> Callable[[], None]:
        self._line()
        self._mark = "  " * (len(self._lists) - 1) + (self._lists[-1](node) if self._lists else "- ")
        return self._leave_item

    def _leave_item(self) -> None:
        self._line()
        self._writer.close()
        self._mark = ""

    def _own_line(self) -> Callable[[], None]:
        self._line()
        return self._line

    def _break(self) -> None:
        if "".join(self._inline).strip():
            self._line()
        else:
            self._inline.clear()
            self._writer.apart()

    def _line(self) -> None:
        """Write the inline text so far as a line."""
        text = one_line("".join(self._inline))
        self._inline.clear()
        if text:
            mark, self._mark = self._mark, ""
            self._writer.line(text, mark)

    def _raw(self, node: "LexborNode") -> str:
        """The text of code, with its white space."""
        out: list[str] = []
        stack: list[LexborNode] = [node]
        while stack:
            item = stack.pop()
            if item.tag == "-text":
                out.append(item.text_content or "")
            elif item.tag == "br":
                out.append("\n")
            elif item is node or (item.is_element_node and not self._shown.hides(item)):
                stack.extend(reversed(list(children(item))))
        return "".join(out).removeprefix("\n")

    def _ruby(self, node: "LexborNode") -> str:
        """The base text whole, its reading behind it: `東京(とうきょう)`."""
        base, reading = "", ""
        for child in children(node):
            if child.tag in ("rt", "rtc"):
                reading += self.text(child)
            elif child.tag == "-text":
                base += (child.text_content or "").strip()
            elif child.tag != "rp":
                base += self.text(child)
        return f"{base}({reading})" if reading else base


def _nothing() -> None:
    pass
