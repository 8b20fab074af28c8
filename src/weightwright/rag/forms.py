"""Parts of an answer that are no prose: code and JSON, where nothing is added, removed or rewritten.

Found are fenced blocks, code spans and bracketed forms. Brackets that only look like marks (`arr[1]`, the key of
`Press [1]`, a link) are told from marks by what stands around them.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from weightwright.rag.sentences import MARK

BLOCK = "```"  # begins a fenced block in what is hidden
HIDDEN = "\ufffc"  # stands for each character of a form, where sentences and marks are looked for

_FENCE = re.compile(r"^[ \t]{0,3}(?:[-*+>]\s+|\d+[.)]\s+)?(`{3,}|~{3,})", re.MULTILINE)
_OPENS = re.compile(r"`+|~{3,}|[{\[]|\$\$?|\\\(|</?[A-Za-z]")
_MATHS = re.compile(
    r"\$\$[^$]+\$\$|\$(?! )[^$\n]*[\\_^{][^$\n]*(?<! )\$(?!\d)|\\\((?:(?!\\\)).)+\\\)", re.DOTALL
)
_TAG = re.compile(
    r"<(code|pre|script|style)\b[^<>\n]*>.*?</\1\s*>|</?[A-Za-z][^<>\n]*>", re.DOTALL | re.IGNORECASE
)
_LIKE_DATA = re.compile(r"""["'\w]\s*[:=]|;|"[^"]*"|^\{\s*\}$""")
_NESTED = re.compile(r"""\[\s*(?:["{\[]|true\b|false\b|null\b|-?\d+\.\d)""")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_LETTER = r"[^\W\u2e80-\U0003fffd]"  # or digit, of a script that puts spaces between words
_BEHIND_WORD = re.compile(rf"{_LETTER}\Z")
_BEHIND_INDEX = re.compile(
    rf"(?:{_LETTER}|[:=,\\]|=\s*|{_LETTER}\([^()\s]*\)|{_LETTER}(?:\[[^\[\]\s]*\])+)\Z"
)
# Chinese is written without spaces: 容量为64GB[1]。
_BEHIND_CHINESE_NUMBER = re.compile(r"[\u3400-\u9fff] ?\d[\d.,:%]*(?:[A-Za-z°℃%/]{0,6})$")
_ENDS_CHINESE = re.compile(r"\s*(?:[\[［【]\d|[。，；！？、：]|$)")
_OPENS_KEY = r"\s*[\"'“‘(]?\s*$"
# told to do something with a key: `Press [1]`, `then enter [1]`, `by typing [1]`; not `visitors enter [1]`
_BEHIND_ORDER = re.compile(
    r"(?:^|[.!?,;:(\[—–*#>\n。！？；，：、-]\s*|\b(?:then|and|or|please|to|now|by|just|simply|must|should|can|could|may|will|first|next|you|users?"
    r"|when|after|if|instead|always|also|i|we|customers?|callers?|either|again|twice|once)\s+)"
    r"(?:press(?:ing|ed)?|hit|tap|typ(?:e|ing)|enter(?:ing)?|dial(?:ling|ing)?|push|click|choose|select(?:ing)?)"
    + _OPENS_KEY,
    re.IGNORECASE,
)
_BEHIND_KEY = re.compile(
    r"(?:(?<![A-Za-z])(?:keys?|buttons?|option|menu|field|step|item|figure|fig\.?|table|equation|eq\.?)"
    r"|按下?|输入|拨打?|键入|选择|点击|选项|键)" + _OPENS_KEY,
    re.IGNORECASE,
)
# a noun with an article names no key, figure or table by its number: `people at a table [1].`
_BEHIND_NOUN = re.compile(
    r"\b(?:an?|the|this|that|each|every|any|no|per|your|our|their|its|his|her|my|one|same|whole)\s+(?:[\w-]+\s+)?"
    r"(?:key|button|option|menu|field|step|item|figure|table|equation)\s*$",
    re.IGNORECASE,
)
_ENDS_CLAUSE = re.compile(r"\s*(?:[.,;!?)]|[\[［【]|$)")
# `refs: [1]` on a line of its own, as YAML writes it
_YAML_KEY = re.compile(r"[ \t]*(?:-[ \t]+)?[a-z][a-z0-9_.-]*:[ \t]+$")
_YAML_LINE = re.compile(r"[ \t]*(?:-[ \t]+)?[a-z][a-z0-9_.-]*:(?:[ \t][^\n]*)?")
_AFTER_KEY = re.compile(r"\s*(?:key|button|option|键|按钮)s?\b|\s*[键按]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Form:
    """A range that is no prose; `block`: a fence. `closed` is False where its end has not come yet."""

    start: int
    end: int
    closed: bool = True
    block: bool = False


def forms(text: str, *, last: bool, before: str = "") -> list[Form]:
    """Code and JSON in order; of one that is still open only the last is told, and only while more may come.

    `before` is what stands before the text in its first line: only at the begin of a line a fence opens.
    """
    if before:
        return [replace(form, start=form.start - len(before), end=form.end - len(before))
                for form in _forms(before + text, len(before), last=last)]  # fmt: skip
    return _forms(text, 0, last=last)


def _forms(text: str, position: int, *, last: bool) -> list[Form]:
    found: list[Form] = []
    while match := _OPENS.search(text, position):
        form = _form_at(text, match, last=last)
        if form is None:
            position = match.end() if match[0][0] in "`~$" else match.start() + 1
            continue
        found.append(form)
        if not form.closed:
            break
        position = form.end
    return found


def hidden(text: str, found: list[Form]) -> str:
    """The text with each form's characters covered; a fenced block stays a block, on lines of its own.

    Backticks that open nothing are covered, too: nobody is to take them for a fence.
    """
    parts, done = [], 0
    for form in found:
        kept = BLOCK if form.block and form.end - form.start > len(BLOCK) else ""
        parts += [
            _without_fences(text[done : form.start]),
            kept,
            HIDDEN * (form.end - form.start - len(kept)),
        ]
        done = form.end
    return "".join([*parts, _without_fences(text[done:])])


def _without_fences(prose: str) -> str:
    return prose.replace("`", HIDDEN).replace("~~~", HIDDEN * 3)


def marks(text: str) -> Iterator[re.Match[str]]:
    """The marks [n] of a text; not indices, keys and links that look like them."""
    return (match for match in MARK.finditer(text) if is_mark(text, match))


def is_mark(text: str, match: re.Match[str]) -> bool:
    """Whether what MARK found is a citation's mark."""
    if _BEHIND_CHINESE_NUMBER.search(text[: match.start()]) and _ENDS_CHINESE.match(text, match.end()):
        return True
    before, after = text[max(0, match.start() - 48) : match.start()], text[match.end() : match.end() + 12]
    if match[0][0] == "[" and (_BEHIND_INDEX.search(before) or after.startswith(("(", "]("))):
        return False
    if after.startswith(":") and not before.rpartition("\n")[2].strip():
        return False  # what a Markdown link refers to
    if _YAML_KEY.fullmatch(before.rpartition("\n")[2]) and not after.partition("\n")[0].strip():
        return False
    if _BEHIND_NOUN.search(before) and _ENDS_CLAUSE.match(after):
        return True
    return not (_BEHIND_ORDER.search(before) or _BEHIND_KEY.search(before) or _AFTER_KEY.match(after))


def is_data_line(sentence: str) -> bool:
    """Whether a sentence is lines of `key: value`, as YAML writes them, that end without a full stop."""
    lines = sentence.strip("\n").split("\n")
    return all(_YAML_LINE.fullmatch(line) and line.rstrip()[-1:] not in ".。!?！？" for line in lines)


def is_index(text: str, match: re.Match[str]) -> bool:
    """Whether it stands directly behind a word, as an index does (and marks of careless models)."""
    return (
        match[0][0] == "["
        and not is_mark(text, match)
        and bool(_BEHIND_WORD.search(text[max(0, match.start() - 1) : match.start()]))
    )


def values(data: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The values of a JSON document that say something, each with the names above it."""
    if isinstance(data, dict):
        for key, value in data.items():
            if not re.fullmatch(r"(?i)(?:refs?|references?|citations?|cites?|sources?|ids?)", str(key)):
                yield from values(value, f"{name} {key}".strip())
    elif isinstance(data, list):
        for value in data:
            yield from values(value, name)
    elif isinstance(data, str) or (isinstance(data, int | float) and not isinstance(data, bool)):
        yield re.sub(r"[_\W]+|(?<=[a-z])(?=[A-Z])", " ", name), str(data)


def parsed(text: str) -> Any:
    """What a text says as JSON, also in a fence; None where it is no object or list."""
    inside = re.fullmatch(r"\s*(?:`{3,}|~{3,})\w*\s*\n(.*?)\n?\s*(?:`{3,}|~{3,})\s*", text, re.DOTALL)
    try:
        data = json.loads(inside[1] if inside else text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict | list) else None


def _form_at(text: str, match: re.Match[str], *, last: bool) -> Form | None:
    start, opener = match.start(), match[0]
    if opener[0] in "$\\<":
        whole = (_TAG if opener[0] == "<" else _MATHS).match(text, start)
        return Form(start, whole.end()) if whole else None
    if opener[0] in "`~":
        line = text.rfind("\n", 0, start) + 1
        fence = _FENCE.match(text, line)
        if fence is not None and fence.start(1) == start and "`" not in _rest_of_line(text, match.end()):
            return _fence(text, start, opener, last=last)
        return _span(text, start, opener, last=last) if opener[0] == "`" else None
    return _brackets(text, start, last=last)


def _rest_of_line(text: str, position: int) -> str:
    return text[position : _line_end(text, position)]


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _fence(text: str, start: int, opener: str, *, last: bool) -> Form:
    """Up to a line of as many marks, or to the end of the answer (CommonMark 4.5)."""
    closing = re.compile(rf"^[ \t>]*{re.escape(opener[0])}{{{len(opener)},}}[ \t]*$", re.MULTILINE)
    close = closing.search(text, _line_end(text, start))
    if close is None or (close.end() == len(text) and not last):
        return Form(start, len(text), closed=last, block=True)
    return Form(start, close.end(), block=True)


def _span(text: str, start: int, opener: str, *, last: bool) -> Form | None:
    """Up to as many backticks in the same paragraph; without them a backtick is a character."""
    paragraph = _BLANK_LINE.search(text, start)
    end = paragraph.start() if paragraph else len(text)
    close = re.compile(rf"(?<!`){opener}(?!`)").search(text, start + len(opener), end)
    if close is not None and (close.end() < len(text) or last):
        return Form(start, close.end())
    return None if paragraph or last else Form(start, len(text), closed=False)


def _brackets(text: str, start: int, *, last: bool) -> Form | None:
    """A JSON form: braces with data in them, or a list of what is no number of a passage."""
    doubled = MARK.match(text, start + 1) if text[start] == "[" else None
    if doubled is not None and text[doubled.end() : doubled.end() + 1] == "]":
        return None  # [[1]] is a mark
    if text[start] == "[" and not _NESTED.match(text, start):
        undecided = not last and not text[start + 1 :].strip()
        return Form(start, len(text), closed=False) if undecided else None
    end = _balanced(text, start)
    if end is None:
        return None if last else Form(start, len(text), closed=False)
    inside = text[start:end]
    is_data = _is_list(inside) if text[start] == "[" else _LIKE_DATA.search(inside)
    return Form(start, end) if is_data else None


def _is_list(inside: str) -> bool:
    """Whether it is a list in JSON, or as Python writes it."""
    for written in (inside, re.sub(r"\b(?:None|True|False)\b", "null", inside.replace("'", '"'))):
        try:
            json.loads(written)
        except (ValueError, RecursionError):
            continue
        return True
    return False


def _balanced(text: str, start: int) -> int | None:
    """Where the bracket at `start` closes, strings in double quotes left out; None where it does not."""
    depth, quoted, position = 0, False, start
    while position < len(text):
        character = text[position]
        if quoted:
            if character == "\\":
                position += 1
            elif character == '"':
                quoted = False
        elif character == '"':
            quoted = True
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
            if depth == 0:
                return position + 1
        position += 1
    return None
