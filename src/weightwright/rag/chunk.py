"""Documents to chunks: whole sentences, under their headings, never longer than the embedder reads.

A chunk is a range of its document, `chunk.text == document.text[chunk.start:chunk.end]`. Its heading
(document title and headings above it) is no part of the range, but is embedded and searched with it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from weightwright.ports import Chunk, Document
from weightwright.rag.sentences import Range, sentences
from weightwright.rag.settings import ChunkSettings

CountTokens = Callable[[Sequence[str]], list[int]]

WITH_HEADINGS = ("markdown", "html", "notebook")  # values of metadata["format"] whose text has # headings
_HEADING = re.compile(r"^(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$|^[ \t]*(```|~~~)", re.MULTILINE)
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
    chunks: list[Chunk] = []
    for section in _sections(document):
        heading, budget = _fitting_heading(section.heading, limit, count_tokens)
        pieces = _pieces(
            document.text, sentences(document.text, section.start, section.end), budget, count_tokens
        )
        for start, end in _packed(document.text, pieces, budget, settings.overlap_tokens, count_tokens):
            chunks.append(
                Chunk(
                    document_id=document.id,
                    version=document.version,
                    start=start,
                    end=end,
                    text=document.text[start:end],
                    page=document.page_at(start),
                    heading=heading,
                )
            )
    return chunks


# --- sections ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Section:
    start: int
    end: int
    heading: tuple[str, ...]


def _sections(document: Document) -> Iterator[_Section]:
    """The text between headings, with the titles above it. A heading with nothing under it is text itself."""
    title = (document.title,) if document.title else ()
    if document.metadata.get("format") not in WITH_HEADINGS:
        yield _Section(0, len(document.text), title)
        return
    text, above, begin, body = document.text, [""] * 6, 0, 0
    in_code, level_before = False, 0
    path: tuple[str, ...] = title
    for match in _HEADING.finditer(text):
        if match[3]:
            in_code = not in_code
            continue
        if in_code:
            continue
        level = len(match[1])
        has_children = level > level_before > 0
        yield from _section(text, begin, body, match.start(), path, title, has_children)
        above[level - 1 :] = [match[2], *[""] * (6 - level)]
        path = (*title, *(words for words in above if words and (words,) != title))
        begin, body, level_before = match.start(), match.end(), level
    yield from _section(text, begin, body, len(text), path, title, False)


def _section(
    text: str,
    begin: int,
    body: int,
    end: int,
    path: tuple[str, ...],
    title: tuple[str, ...],
    has_children: bool,
) -> Iterator[_Section]:
    if text[body:end].strip():
        yield _Section(body, end, path)
    elif not has_children and text[begin:end].strip():
        yield _Section(begin, end, title)


def _fitting_heading(path: tuple[str, ...], limit: int, count_tokens: CountTokens) -> tuple[str, int]:
    """The heading, outer titles left off until it takes at most half the limit, and what remains for text."""
    for first in range(len(path)):
        heading = " > ".join(path[first:])
        tokens = count_tokens([heading + "\n"])[0]
        if tokens * 2 <= limit:
            return heading, limit - tokens
    return "", limit


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
