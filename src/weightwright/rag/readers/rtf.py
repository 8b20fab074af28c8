"""Rich Text Format: paragraphs, headings, lists with their numbers, tables, notes, comments, text boxes, headers."""

from dataclasses import dataclass, field, replace

from weightwright.errors import DataError
from weightwright.ports import Place
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.rtf_story import Story, write_paragraph
from weightwright.rag.readers.rtf_words import (
    BOXES,
    FORMULA,
    HEADERS,
    HOLDERS,
    KNOWN,
    SIGNS,
    SYMBOL_CHARSET,
    UNSEEN,
    Font,
    Token,
    code_page,
    decoded,
    tokens,
)  # fmt: skip
from weightwright.rag.readers.symbol_fonts import symbol, without_symbols
from weightwright.rag.readers.writer import TextWriter
from weightwright.rag.settings import LoadSettings

_MOST_GROUPS = 100_000  # in each other


def read_rtf(data: bytes, _settings: LoadSettings) -> Content:
    """The text that is shown. Raises DataError where it is no RTF file."""
    if not data.lstrip().startswith(b"{\\rtf"):
        raise DataError(None, "not an RTF file; it begins otherwise than {\\rtf")
    reader = _Reader()
    for token in tokens(data.decode("latin-1")):
        reader.take(token)
        if reader.ended:
            break
    content = reader.finished()
    return replace(content, places=(Place(0, "", lines=1),))


@dataclass(slots=True)
class _Group:
    """What holds up to the end of a group."""

    story: Story
    kind: str = ""  # the group's own word where it is a special one
    unseen: bool = False  # nothing in it is shown
    holder: bool = False  # only groups of their own are shown
    hidden: bool = False
    deleted: bool = False
    position: int = 0  # 1 raised, -1 lowered
    font: int = 0
    skip: int = 1  # characters behind one of Unicode
    captured: list[str] | None = None  # text that goes here, not into the story


@dataclass(slots=True)
class _Reader:
    writer: TextWriter = field(default_factory=TextWriter)
    fonts: dict[int, Font] = field(default_factory=dict)
    levels: dict[int, int] = field(default_factory=dict)  # of headings by style
    title: list[str] = field(default_factory=list)
    author: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    page: str = "cp1252"
    left: int = 0  # characters that stand for one of Unicode
    noted: int = 0
    hidden: int = 0
    raw: bytearray = field(default_factory=bytearray)
    star: bool = False
    ended: bool = False  # what stands behind the file's last bracket is none of it
    stack: list[_Group] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stack.append(_Group(Story(self.writer)))

    def finished(self) -> Content:
        """What was read."""
        self._flush()
        while len(self.stack) > 1:
            self._end()
        story = self.stack[0].story
        write_paragraph(story)
        story.close()
        for text in dict.fromkeys(self.headers):
            self.writer.paragraph(text)
        note = f"pieces of hidden text that were left out: {self.hidden}"
        return self.writer.content("rtf", "".join(self.title), notes=(note,) if self.hidden else ())

    def take(self, token: Token) -> None:
        """One token of the file."""
        group = self.stack[-1]
        if token.kind == "text":
            self._take_raw(token.text.encode("latin-1"))
        elif token.kind == "hex":
            self._take_raw(bytes.fromhex(token.text))
        elif token.kind == "symbol" and token.text == "*":
            self.star = True
        elif token.kind == "symbol" and token.text not in SIGNS:
            pass
        elif self.left and token.kind != "brace" and token.text != "u":
            self.left -= 1
        else:
            self._flush()
            if token.kind == "brace":
                self.left, self.star = 0, False
                self._begin() if token.text == "{" else self._end()
            elif token.text in SIGNS:
                self._say(SIGNS[token.text])
            else:
                self._word(group, token.text, token.number)

    def _take_raw(self, data: bytes) -> None:
        skipped = min(self.left, len(data))
        self.left -= skipped
        self.raw += data[skipped:]

    def _flush(self) -> None:
        """The bytes so far as text, in their font's character set."""
        if not self.raw:
            return
        data, self.raw = bytes(self.raw), bytearray()
        font = self.fonts.get(self.stack[-1].font)
        if font is not None and font.charset == SYMBOL_CHARSET and self.stack[-1].kind != "font":
            self._say(
                "".join(symbol(0xF000 + byte, font.name) if byte > 0x20 else chr(byte) for byte in data)
            )
        else:
            self._say(decoded(data, font, self.page))

    def _say(self, text: str) -> None:
        group = self.stack[-1]
        if group.captured is not None:
            group.captured.append(text)
        elif group.unseen or group.holder or group.deleted:
            return
        elif group.hidden:
            self.hidden += bool(text.strip())
        else:
            group.story.say(text, group.position)

    # -- groups ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if len(self.stack) > _MOST_GROUPS:
            raise DataError(None, f"more than {_MOST_GROUPS} groups in each other; save it again")
        self.stack.append(replace(self.stack[-1], kind=""))

    def _end(self) -> None:
        if len(self.stack) == 1:
            return
        group = self.stack.pop()
        above = self.stack[-1]
        self.ended = len(self.stack) == 1
        if group.kind == "font":
            self.fonts[group.font] = replace(
                self.fonts.get(group.font, Font()), name="".join(group.captured or ()).rstrip("; ")
            )
        elif group.kind in ("listtext", "pntext"):
            above.story.mark = "".join(group.captured or ()).replace("\t", " ").strip()
        elif group.kind == "style":
            self._named_style(group)
        elif group.story is not above.story:
            text = group.story.text()
            if not text:
                return
            if group.kind in HEADERS:
                self.headers += [text] if any(character.isalpha() for character in text) else []
            elif group.kind == "annotation":
                name = "".join(self.author)
                above.story.later.append(f"Comment{f' ({name})' if name else ''}: {text}")
            elif group.kind == "footnote":
                above.story.later.append(f"{group.story.note_mark} {text}")
            else:
                above.story.later.append(text)

    def _named_style(self, group: _Group) -> None:
        name = "".join(group.captured or ()).strip("; ").lower()
        number = name.removeprefix("heading ")
        if group.story.outline is not None:
            self.levels[group.story.style] = group.story.outline + 1
        elif name.startswith("heading ") and number.isdecimal():
            self.levels[group.story.style] = int(number)

    def _special(self, group: _Group, word: str) -> bool:
        """A word that says what its group is."""
        if group.unseen:
            return False
        if word in UNSEEN or word.endswith("Pr") or (self.star and word not in KNOWN):
            group.unseen = True
        elif word in HOLDERS:
            group.holder = True
        elif word in ("fonttbl", "stylesheet"):
            group.kind, group.holder = word, True
        elif word == "title" and group.holder:
            group.captured = self.title
        elif word == "atnauthor":
            self.author = group.captured = []
        elif word in ("listtext", "pntext"):
            group.kind, group.captured = word, []
        elif word in ("footnote", "annotation") or word in HEADERS or word in BOXES:
            story = Story(self.writer, alone=True)
            if word == "footnote":
                self.noted += 1
                story.note_mark = group.story.note(self.noted)
            group.kind, group.story, group.holder, group.position = word, story, False, 0
        elif word == "ud":
            group.holder = False
        elif word in FORMULA:
            self._say(FORMULA[word])
        else:
            return False
        self.star = False
        return True

    # -- words -------------------------------------------------------------------------------------

    def _word(self, group: _Group, word: str, number: int | None) -> None:
        if self._special(group, word):
            return
        on = number != 0
        match word:
            case "u":
                code = (number or 0) & 0xFFFF
                font = self.fonts.get(group.font)
                self._say(without_symbols(chr(code), font.name if font else "") if code else "")
                self.left = group.skip
            case "uc":
                group.skip = number or 0
            case "v":
                group.hidden = on
            case "deleted":
                group.deleted = on
            case "super" | "sub" | "nosupersub" | "up" | "dn":
                raised = {"super": 1, "up": 1, "sub": -1, "dn": -1}.get(word, 0)
                group.position = raised if on else 0
            case "plain":
                group.hidden, group.deleted, group.position, group.font = False, False, 0, 0
            case "f" | "fcharset" | "cpg" | "ansicpg" | "mac" | "pc" | "pca":
                self._font(group, word, number or 0)
            case "s" if self._within("stylesheet") and group.captured is None:
                group.kind, group.captured = "style", []
                group.story = Story(self.writer, alone=True, style=number or 0)
            case _ if not group.unseen:
                self._layout(group, word, number)

    def _layout(self, group: _Group, word: str, number: int | None) -> None:
        """Words that say how paragraphs and tables are laid out."""
        story = group.story
        if group.captured is not None and word != "outlinelevel":
            return
        match word:
            case "par" | "sect" | "page" | "column":
                story.level = self.levels.get(story.style, 0) if story.outline is None else story.outline + 1
                if not group.deleted:
                    write_paragraph(story)
            case "pard":
                story.style, story.outline, story.in_table = 0, None, False
            case "s":
                story.style = number or 0
            case "outlinelevel":
                story.outline = number if number is not None and number < 9 else None
            case _:
                story.table_word(word, number)

    def _font(self, group: _Group, word: str, number: int) -> None:
        if word == "ansicpg":
            self.page = code_page(number)
        elif word in ("mac", "pc", "pca"):
            self.page = {"mac": "mac_roman", "pc": "cp437", "pca": "cp850"}[word]
        elif word == "f":
            group.font = number
            if self._within("fonttbl") and group.kind != "font":
                group.kind, group.captured = "font", []
        else:
            font = self.fonts.get(group.font, Font())
            changed = (
                replace(font, charset=number) if word == "fcharset" else replace(font, page=code_page(number))
            )
            self.fonts[group.font] = changed

    def _within(self, kind: str) -> bool:
        return any(group.kind == kind for group in self.stack[-3:])
