"""Sentences as character ranges, English and Chinese, without a model."""

import re

Range = tuple[int, int]

MARK = re.compile(r"[\[［【]\s*(\d{1,3}(?:\s*[,，、;]\s*\d{1,3})*)\s*[\]］】]")
_MARKS = r"(?:\s*[\[［【]\s*\d{1,3}(?:\s*[,，、;]\s*\d{1,3})*\s*[\]］】])*"
_CLOSING = "[\"'”’»)\\]」』）】]*"
_STOP = re.compile(
    rf"(?P<latin>[.!?]+){_CLOSING}(?P<latin_marks>{_MARKS})(?=\s|$|[\u3400-\u9fff])"
    rf"|[。！？…]+{_CLOSING}{_MARKS}"
    r"|(?P<line>\n)"
)
_LINE_START = re.compile(r"\s*(?:[-*+•·]\s|\d{1,3}[.)、]\s|#{1,6}\s|\||>|```|\n|$)")
_ABBREVIATED = """
mr mrs ms dr prof sr jr st vs etc e.g i.e cf al inc ltd co corp no nos fig figs eq vol pp p ch sec
approx dept est gen gov rep sen col lt sgt capt jan feb mar apr jun jul aug sep sept oct nov dec u.s u.k
a.m p.m
"""
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())
_BEFORE_A_NAME = """
mr mrs ms dr prof st vs e.g i.e cf fig figs eq vol pp no nos gen gov rep sen capt
"""
_NEVER_LAST = frozenset(_BEFORE_A_NAME.split())
_WORD_BEFORE = re.compile(r"([A-Za-z](?:[A-Za-z.]*[A-Za-z])?)$")
_SHORT_LINE = 60  # a shorter line that the next one does not carry on stands for itself
_SHORT_CHINESE_LINE = 20


def sentences(text: str, start: int = 0, end: int | None = None) -> list[Range]:
    """Ranges (start, end) in `text[start:end]`, in order, without white space at their ends.

    Every character that is not white space lies in exactly one of them. A mark [n] after a full stop
    belongs to the sentence before it.
    """
    stop = len(text) if end is None else end
    ranges: list[Range] = []
    begin = start
    for match in _STOP.finditer(text, start, stop):
        if match.start() < begin:
            continue
        if match["line"]:
            if not _line_ends_sentence(text, begin, match.start(), stop):
                continue
        elif match["latin"] and not _full_stop(text, match.start(), match.end(), stop):
            continue
        _append(ranges, text, begin, match.end())
        begin = match.end()
    _append(ranges, text, begin, stop)
    return ranges


def _append(ranges: list[Range], text: str, start: int, end: int) -> None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        ranges.append((start, end))


def _full_stop(text: str, dot: int, after: int, stop: int) -> bool:
    """Whether the dot at `dot` ends a sentence (and is not an abbreviation's or an initial's)."""
    if text[dot] != ".":
        return True
    following = text[after : min(after + 40, stop)].lstrip()
    if following and following[0].islower():
        return False
    if text[dot:after].strip(". "):
        return True  # a closing quote or a mark follows the dot
    word = _WORD_BEFORE.search(text, max(0, dot - 12), dot)
    if word is None:
        return not _is_list_number(text, dot)
    short = word[1].lower()
    if len(short) == 1 and word[1].isupper():
        return not following
    if short in _NEVER_LAST:
        return not following
    return short not in _ABBREVIATIONS or not following or following[0].isupper()


def _is_list_number(text: str, dot: int) -> bool:
    """Whether the dot follows a number that begins its line (`2. Unpack`)."""
    line = text.rfind("\n", 0, dot) + 1
    return text[line:dot].strip().isdigit()


def _line_ends_sentence(text: str, begin: int, newline: int, stop: int) -> bool:
    """Whether a line break parts two sentences: blank lines, lists, tables, headings, short lines."""
    line_start = max(begin, text.rfind("\n", 0, newline) + 1)
    line = text[line_start:newline].strip()
    if _LINE_START.match(text, newline + 1, min(newline + 80, stop)) or line.startswith(("#", "|", "```")):
        return True
    following = text[newline + 1 : newline + 2]
    if not line or line[-1] in ",;，、：—-" or following.islower():
        return False
    chinese = "\u3400" <= line[-1] <= "\u9fff"
    return len(line) < (_SHORT_CHINESE_LINE if chinese else _SHORT_LINE)
