"""Documents to chunks: whole sentences, under their headings, never longer than the embedder reads.

A chunk is a range of its document, `chunk.text == document.text[chunk.start:chunk.end]`. Its heading
(document title and headings above it) is no part of the range, but is embedded and searched with it.
Tables and code stay whole where they fit; a table that does not is cut between rows, and each part has the
table's header row under its heading.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from weightwright.ports import Block, Chunk, Document
from weightwright.rag.readers.markdown import markdown_blocks
from weightwright.rag.sentences import Range, sentences
from weightwright.rag.settings import ChunkSettings

CountTokens = Callable[[Sequence[str]], list[int]]

_MARKDOWN = ("markdown", "html", "notebook")  # values of metadata["format"] whose text may hold # headings
_BREAKS = (re.compile(r"\n"), re.compile(r"[,;:，、；：]"), re.compile(r"\s"))
_MOST_CHARACTERS_A_TOKEN = 8  # a longer run (a base64 blob) is cut though the tokenizer calls it one token


def indexed_text(chunk: Chunk) -> str:
    """What is embedded and searched for a chunk: its heading and its text."""
    return f"{chunk.heading}\n{chunk.text}" if chunk.heading else chunk.text


def chunk_document(
    document: Document, settings: ChunkSettings, count_tokens: CountTokens, max_tokens: int
) -> list[Chunk]:
    """The document's chunks in order; none where it holds only white space.

    `indexed_text` of each has at most min(chunk_tokens, max_tokens) tokens.
    """
    limit = min(settings.chunk_tokens, max_tokens)
    cutter = _Cutter(document.text, settings.overlap_tokens, count_tokens)
    return [
        Chunk(
            document_id=document.id,
            version=document.version,
            start=start,
            end=end,
            text=document.text[start:end],
            page=document.page_at(start),
            heading=heading,
            places=document.places_in(start, end),
        )
        for section in _sections(document)
        for heading, (start, end) in cutter.ranges(section, limit)
    ]


# --- sections ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Section:
    """Text under one path of headings, and the tables and code in it."""

    start: int
    end: int
    heading: tuple[str, ...]
    blocks: tuple[Block, ...] = ()


def _sections(document: Document) -> Iterator[_Section]:
    """The text between headings, with the titles above it. A heading with nothing under it is text itself."""
    blocks = document.blocks
    if blocks is None:
        is_markdown = document.metadata.get("format") in _MARKDOWN
        blocks = markdown_blocks(document.text) if is_markdown else ()
    headings = [block for block in blocks if block.kind == "heading"]
    others = [block for block in blocks if block.kind != "heading"]
    title = _title_above(document.title, headings)
    above: dict[int, str] = {}
    path, begin, body = title, 0, 0
    for number, heading in enumerate([*headings, None]):
        end = heading.start if heading else len(document.text)
        last = headings[number - 1] if number else None
        has_children = bool(heading and last and heading.level > last.level)
        if document.text[body:end].strip():
            inside = tuple(block for block in others if body <= block.start < end)
            yield _Section(body, end, path, inside)
        elif not has_children and document.text[begin:end].strip():
            yield _Section(begin, end, title)
        if heading is None:
            break
        above = {level: words for level, words in above.items() if level < heading.level}
        above[heading.level] = heading.words
        path = (*title, *(words for _, words in sorted(above.items()) if (words,) != title))
        begin, body = heading.start, heading.end


def _title_above(title: str, headings: list[Block]) -> tuple[str, ...]:
    """The document's title, unless it is only the first of several headings of its level."""
    first = next((block for block in headings if block.words == title), None)
    siblings = [block for block in headings if first and block is not first and block.level <= first.level]
    return (title,) if title and not siblings else ()


def _fitting_heading(path: tuple[str, ...], limit: int, count_tokens: CountTokens) -> tuple[str, int]:
    """The heading, outer titles left off until it takes at most half the limit, and what remains for text."""
    for first in range(len(path)):
        heading = " > ".join(path[first:])
        tokens = count_tokens([heading + "\n"])[0]
        if tokens * 2 <= limit:
            return heading, limit - tokens
    return "", limit


def _with_header_row(heading: str, row: str, limit: int, count_tokens: CountTokens) -> tuple[str, int]:
    """The heading with a table's header row under it, and what remains, where that is half the limit."""
    for candidate in (f"{heading}\n{row}".strip(), row) if row else ():
        tokens = count_tokens([candidate + "\n"])[0]
        if tokens * 2 <= limit:
            return candidate, limit - tokens
    return heading, limit - (count_tokens([heading + "\n"])[0] if heading else 0)


# --- ranges -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cutter:
    """Cuts sections of one text."""

    text: str
    overlap_tokens: int
    count_tokens: CountTokens

    def ranges(self, section: _Section, limit: int) -> Iterator[tuple[str, Range]]:
        """Ranges of a section within the limit, each with the heading that it gets."""
        heading, budget = _fitting_heading(section.heading, limit, self.count_tokens)
        pieces: list[_Piece] = []
        done = section.start
        for block in section.blocks:
            end = min(block.end, section.end)
            if block.start < done:  # code in a list in a table's cell: what is outside counts
                continue
            pieces += self._sentences(done, block.start, budget)
            whole = self._whole(block.start, end, budget)
            if whole:
                pieces.append(whole)
            elif block.kind == "code":
                pieces += self._lines(block.start, end, budget)
            else:
                yield from ((heading, part) for part in self._packed(pieces, budget))
                pieces = []
                yield from self._table(block, end, heading, limit)
            done = end
        pieces += self._sentences(done, section.end, budget)
        yield from ((heading, part) for part in self._packed(pieces, budget))

    def _table(self, block: Block, end: int, heading: str, limit: int) -> Iterator[tuple[str, Range]]:
        """The rows of a table that does not fit."""
        above, budget = _with_header_row(heading, block.words, limit, self.count_tokens)
        start = self._first_row(block, end) if above != heading else block.start
        rows = self._lines(start, end, budget)
        for part in _packed(self.text, rows, budget, 0, self.count_tokens):
            yield above, part

    def _first_row(self, block: Block, end: int) -> int:
        """Where the rows begin below the header row and the line of dashes; at the start where there are none."""
        below = re.compile(r"[^\n]*\n[ \t]*\|?[ \t:|-]+\n?").match(self.text, block.start, end)
        return below.end() if below and below.end() < end else block.start

    def _whole(self, start: int, end: int, budget: int) -> "_Piece | None":
        if end - start > budget * _MOST_CHARACTERS_A_TOKEN:
            return None
        tokens = self.count_tokens([self.text[start:end]])[0]
        return _Piece(start, end, tokens) if tokens <= budget else None

    def _sentences(self, start: int, end: int, budget: int) -> "list[_Piece]":
        if not self.text[start:end].strip():
            return []
        return _pieces(self.text, sentences(self.text, start, end), budget, self.count_tokens)

    def _lines(self, start: int, end: int, budget: int) -> "list[_Piece]":
        lines = [
            (match.start(), match.end()) for match in re.compile(r"[^\n]*\S").finditer(self.text, start, end)
        ]
        return _pieces(self.text, lines, budget, self.count_tokens)

    def _packed(self, pieces: "list[_Piece]", budget: int) -> list[Range]:
        return _packed(self.text, pieces, budget, self.overlap_tokens, self.count_tokens)


# --- pieces -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    end: int
    tokens: int


def _pieces(text: str, ranges: list[Range], budget: int, count_tokens: CountTokens) -> list[_Piece]:
    """Sentences, those longer than the budget cut, in order."""
    waiting = [
        part for whole in ranges for part in _short_enough(text, whole, budget * _MOST_CHARACTERS_A_TOKEN)
    ]
    done: list[_Piece] = []
    while waiting:
        counts = count_tokens([text[start:end] for start, end in waiting])
        longer: list[Range] = []
        for (start, end), tokens in zip(waiting, counts, strict=True):
            if tokens <= budget or end - start < 2:
                least = -(-(end - start) // _MOST_CHARACTERS_A_TOKEN)
                done.append(_Piece(start, end, min(max(tokens, least), budget)))
            else:
                longer += _halves(text, (start, end))
        waiting = longer
    return sorted(done, key=lambda piece: piece.start)


def _short_enough(text: str, whole: Range, most: int) -> list[Range]:
    stack, short = [whole], []
    while stack:
        part = stack.pop()
        if part[1] - part[0] <= most:
            short.append(part)
        else:
            stack += reversed(_halves(text, part))
    return short


def _halves(text: str, whole: Range) -> list[Range]:
    """Two parts (white space between them left out), cut near the middle where it hurts least."""
    start, end = whole
    low, high = start + (end - start) // 4, end - (end - start) // 4
    middle = (start + end) // 2
    cut = middle
    for breaks in _BREAKS:
        places = [match.end() for match in breaks.finditer(text, low, high)]
        if places:
            cut = min(places, key=lambda place: abs(place - middle))
            break
    left, right = text[start:cut].rstrip(), text[cut:end].lstrip()
    return [part for part in ((start, start + len(left)), (end - len(right), end)) if part[0] < part[1]]


# --- packing ----------------------------------------------------------------------------------------


def _packed(
    text: str, pieces: list[_Piece], budget: int, overlap_tokens: int, count_tokens: CountTokens
) -> list[Range]:
    """Ranges of neighbouring pieces within the budget, about equally long, overlapping."""
    ranges: list[Range] = []
    total = sum(piece.tokens for piece in pieces)
    target = total / max(1, -(-total // budget))
    first = 0
    while first < len(pieces):
        size, last = pieces[first].tokens, first + 1
        while last < len(pieces) and size + pieces[last].tokens <= budget:
            if size + pieces[last].tokens / 2 > target:
                break
            size += pieces[last].tokens
            last += 1
        ranges.append((pieces[first].start, pieces[last - 1].end))
        if last == len(pieces):
            break
        first = _overlapping(pieces, first, last, min(overlap_tokens, budget // 2), budget)
    return _within(text, ranges, budget, count_tokens)


def _overlapping(pieces: list[_Piece], first: int, last: int, overlap_tokens: int, budget: int) -> int:
    """Where the next chunk begins: as far back from `last` as the overlap and the next piece allow."""
    size, begin = 0, last
    while begin - 1 > first:
        size += pieces[begin - 1].tokens
        if size > overlap_tokens or size + pieces[last].tokens > budget:
            break
        begin -= 1
    return begin


def _within(text: str, ranges: list[Range], budget: int, count_tokens: CountTokens) -> list[Range]:
    """Halve what is over the budget after all: tokens of a whole may exceed the sum over its parts."""
    done: list[Range] = []
    while ranges:
        counts = count_tokens([text[start:end] for start, end in ranges])
        over: list[Range] = []
        for whole, tokens in zip(ranges, counts, strict=True):
            if tokens <= budget or whole[1] - whole[0] < 2:
                done.append(whole)
            else:
                over += _halves(text, whole)
        ranges = over
    return sorted(set(done))  # halves of two that overlap can be the same
