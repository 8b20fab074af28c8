"""Citations that were checked: a mark stays only where the range it cites supports what stands before it.

A sentence may carry several marks; each is checked against the words since the mark before it, and two
marks side by side may support their words together. Wrong marks are dropped, a sentence without one gets
one where a passage clearly supports it, and all three are counted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from weightwright.ports import Citation
from weightwright.rag.analyze import terms
from weightwright.rag.context import Passage
from weightwright.rag.sentences import MARK, sentences
from weightwright.rag.settings import CiteSettings
from weightwright.rag.support import Evidence, Facts, Support, facts_of, together

_MARKS = re.compile(rf"\s*(?:{MARK.pattern}\s*)+")
_NUMBER = re.compile(r"\d+")
_LAST_STOP = re.compile(r"[.!?。！？；…]*[\"'”’)\]」』）]*\s*$")
_OPENS_MARK = ("[", "［", "【")
_LONGEST_MARK = 24  # characters; a bracket that is not closed by then opens no mark


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer whose marks were checked."""

    text: str
    citations: tuple[Citation, ...]
    kept: int
    dropped: int
    added: int


def check(
    answer: str, passages: Sequence[Passage], settings: CiteSettings | None = None, no_answer: str = ""
) -> Checked:
    """Check a whole answer. `no_answer` is the sentence that says there is none; it gets no citations."""
    checker = Checker(passages, settings, no_answer)
    text = checker.feed(answer) + checker.finish()
    return Checked(text.strip(), checker.citations, **checker.counts)


class Checker:
    """Checks an answer as it comes: `feed` gives back sentences once they are whole and checked."""

    def __init__(
        self, passages: Sequence[Passage], settings: CiteSettings | None = None, no_answer: str = ""
    ) -> None:
        self._passages = passages
        self._settings = settings or CiteSettings()
        self._no_answer = terms(no_answer)
        self._evidence = [Evidence(passage.text, passage.heading) for passage in passages]
        self._waiting = ""
        self._kept = self._dropped = self._added = 0
        self._citations: dict[tuple[int, int, int], Citation] = {}

    @property
    def citations(self) -> tuple[Citation, ...]:
        """What the marks so far cite, in order, each range once."""
        return tuple(self._citations.values())

    @property
    def counts(self) -> dict[str, int]:
        """The marks so far that were kept, dropped and added."""
        return {"kept": self._kept, "dropped": self._dropped, "added": self._added}

    def feed(self, text: str) -> str:
        """Take more of the answer; returns what can be shown now."""
        self._waiting += text
        return self._release(last=False)

    def finish(self) -> str:
        """The rest of the answer."""
        return self._release(last=True)

    def _release(self, *, last: bool) -> str:
        ranges = sentences(self._waiting)
        whole = len(ranges) if last else self._whole(len(ranges), ranges)
        done, shown = 0, ""
        for start, end in ranges[:whole]:
            shown += self._waiting[done:start] + self._sentence(self._waiting[start:end])
            done = end
        if last:
            shown += self._waiting[done:]
            done = len(self._waiting)
        self._waiting = self._waiting[done:]
        return shown

    def _whole(self, count: int, ranges: list[tuple[int, int]]) -> int:
        """Sentences that nothing to come can change: not the last, nor one whose mark may be on its way."""
        if count and self._waiting[ranges[-1][0] :].startswith(_OPENS_MARK):
            unsure = len(self._waiting) - ranges[-1][0] < _LONGEST_MARK
            return max(0, count - 2) if unsure else count - 1
        return max(0, count - 1)

    # -- one sentence ----------------------------------------------------------------------------

    def _sentence(self, sentence: str) -> str:
        if self._no_answer and terms(MARK.sub("", sentence)) == self._no_answer:
            self._dropped += len(_numbers(sentence))
            return _MARKS.sub("", sentence)
        whole = facts_of(sentence)
        shown, kept_before, position = "", self._kept, 0
        for marks in _MARKS.finditer(sentence):
            before = sentence[position : marks.start()]
            kept = self._marks(_numbers(marks[0]), facts_of(before) or whole)
            space = marks[0][: len(marks[0]) - len(marks[0].lstrip())]
            after = marks[0][len(marks[0].rstrip()) :]
            shown += before + (space + "".join(f"[{n}]" for n in kept) if kept else "") + after
            position = marks.end()
        shown += sentence[position:]
        if self._kept == kept_before and self._settings.add:
            return self._with_added_mark(shown, whole)
        return shown

    def _marks(self, numbers: list[int], facts: Facts) -> list[int]:
        """Those of the marks that are supported, in order, each once; cited, and the rest counted."""
        supports = self._supports(dict.fromkeys(numbers), facts)
        for n, support in supports.items():
            self._cite(n, support)
        self._kept += len(supports)
        self._dropped += len(numbers) - len(supports)
        return list(supports)

    def _supports(self, numbers: dict[int, None], facts: Facts) -> dict[int, Support]:
        known = [n for n in numbers if 1 <= n <= len(self._passages)] if facts else []
        share, most = self._settings.min_support, self._settings.max_sentences
        alone = {n: s for n in known if (s := self._evidence[n - 1].best(facts, share, most))}
        if alone or len(known) < 2:
            return alone
        parts = {n: s for n in known if (s := self._evidence[n - 1].fullest(facts, most))}
        if not together(facts, list(parts.values()), share):
            return {}
        for n in sorted(parts, key=lambda n: len(parts[n].held)):  # leave off what the others do without
            others = [support for m, support in parts.items() if m != n]
            if together(facts, others, share):
                del parts[n]
        return parts

    def _with_added_mark(self, sentence: str, facts: Facts) -> str:
        """The sentence with a mark before its full stop where one passage clearly supports it."""
        if not (facts.numbers or facts.names or len(facts.words) >= 2):
            return sentence
        share, most = self._settings.add_support, self._settings.max_sentences
        supports = {
            n: s for n, evidence in enumerate(self._evidence, 1) if (s := evidence.best(facts, share, most))
        }
        if not supports:
            return sentence
        best = max(supports, key=lambda n: (len(supports[n].held), -n))
        self._cite(best, supports[best])
        self._added += 1
        stop = _LAST_STOP.search(sentence)
        end = stop.start() if stop else len(sentence)
        space = "" if sentence[end - 1 : end] > "\u2e80" else " "
        return f"{sentence[:end]}{space}[{best}]{sentence[end:]}"

    def _cite(self, n: int, support: Support) -> None:
        passage = self._passages[n - 1]
        start, end = passage.start + support.start, passage.start + support.end
        key = (n, start, end)
        if key not in self._citations:
            self._citations[key] = Citation(
                n=n,
                document=passage.document,
                path=passage.path,
                page=_page(passage.page_starts, start),
                start=start,
                end=end,
                quote=passage.text[support.start : support.end],
            )


class Unchecked:
    """In a Checker's place where an answer has a form that marks would break: its text stays as it is."""

    citations: tuple[Citation, ...] = ()
    counts: Mapping[str, int] = MappingProxyType({"kept": 0, "dropped": 0, "added": 0})

    def feed(self, text: str) -> str:
        """The text itself."""
        return text

    def finish(self) -> str:
        """Nothing is held back."""
        return ""


def _numbers(text: str) -> list[int]:
    return [int(number) for mark in MARK.finditer(text) for number in _NUMBER.findall(mark[1])]


def _page(page_starts: tuple[int, ...], offset: int) -> int | None:
    from bisect import bisect_right

    return bisect_right(page_starts, offset) or None
