"""Citations that were checked: a mark stays only where the range it cites supports what stands before it.

A sentence may carry several marks; each is checked against the words since the mark before it, and two
marks side by side may support their words together. Wrong marks are dropped, a sentence without one gets
one where a passage clearly supports it, and all three are counted. In code and JSON nothing changes; what a
JSON answer says is cited beside it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from weightwright.ports import Citation
from weightwright.rag.analyze import terms
from weightwright.rag.claim import Facts, facts_of
from weightwright.rag.context import Passage
from weightwright.rag.forms import (
    BLOCK,
    HIDDEN,
    forms,
    hidden,
    is_data_line,
    is_index,
    is_mark,
    marks,
    parsed,
    values,
)
from weightwright.rag.sentences import MARK, sentences
from weightwright.rag.settings import CiteSettings
from weightwright.rag.support import Evidence, Support, together

_MARKS = re.compile(rf"\s*(?:{MARK.pattern}\s*)+")
_NUMBER = re.compile(r"\d+")
_LAST_STOP = re.compile(r"[.!?。！？；…]*[\"'”’)\]」』）]*\s*$")
_ROW_END = re.compile(r"\s*\|?\s*$")  # a mark stays in the last cell of a table's row
_BETWEEN_MARKS = re.compile(r"\s*(?:[,，、;&]|and|和|及|与)\s*")
_RANGE = re.compile(r"(\d+)\s*[–-]\s*(\d+)")
_OPENS_MARK = ("[", "\\[", "［", "【")
# side by side, what stood before and behind a mark could be other code than it was: `x`[1]`, $x_1$[1]2
_ONE_CODE = re.compile(rf"[{HIDDEN}$\\<~][{HIDDEN}$\w~(/]|\w[{HIDDEN}$]")
_MOST_VALUES = 200  # of a JSON answer that are looked for in the passages
_LONGEST_MARK = 48  # characters; a bracket that is not closed by then opens no mark


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
        self._line = ""  # what stood before it in its line
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
        found = forms(self._waiting, last=last, before=self._line)
        covered = hidden(self._waiting, found)
        ranges = sentences(covered)
        whole = len(ranges) if last else self._whole(len(ranges), ranges, covered)
        if found and not found[-1].closed:
            before = sum(end <= found[-1].start for _, end in ranges)
            may_be_mark = self._waiting[found[-1].start] == "["
            whole = min(whole, max(0, before - may_be_mark))
        done, shown = 0, ""
        for start, end in ranges[:whole]:
            shown += self._waiting[done:start] + self._sentence(self._waiting[start:end], covered[start:end])
            done = end
        if last:
            shown += self._waiting[done:]
            done = len(self._waiting)
        self._line = (self._line + self._waiting[:done]).rpartition("\n")[2]
        self._waiting = self._waiting[done:]
        return shown

    def _whole(self, count: int, ranges: list[tuple[int, int]], covered: str) -> int:
        """Sentences that nothing to come can change: not the last, nor one whose mark may be on its way."""
        if count and covered[ranges[-1][0] :].startswith(_OPENS_MARK):
            unsure = len(covered) - ranges[-1][0] < _LONGEST_MARK
            return max(0, count - 2) if unsure else count - 1
        return max(0, count - 1)

    # -- one sentence ----------------------------------------------------------------------------

    def _sentence(self, sentence: str, covered: str) -> str:
        """The sentence with checked marks; `covered` is the same with code and JSON hidden."""
        if covered.startswith(BLOCK) or not covered.strip(HIDDEN + " \n\t.,;。，；"):
            self.cite_values(sentence)
            return sentence
        if self._no_answer and terms(MARK.sub("", sentence)) == self._no_answer:
            self._dropped += len(_numbers(sentence))
            return _MARKS.sub("", sentence)
        whole = facts_of(sentence)
        shown, kept_before, position = "", self._kept, 0
        for found in _runs_of_marks(covered, len(self._passages)):
            before = sentence[position : found.start]
            kept = self._marks(_numbers(covered[found.start : found.end]), facts_of(before) or whole)
            marked = found.space + "".join(f"[{n}]" for n in kept) if kept else ""
            sides = covered[max(0, found.start - 1) : found.start] + covered[found.end : found.end + 1]
            if not kept and _ONE_CODE.fullmatch(sides):
                marked = " "
            shown += before + marked
            position = found.end
        shown += sentence[position:]
        indices = self._cite_indices(covered, whole)
        if self._kept == kept_before and self._settings.add and not (indices or is_data_line(covered)):
            return self._with_added_mark(shown, whole, covered)
        return shown

    def _cite_indices(self, covered: str, facts: Facts) -> bool:
        """Whether brackets that are no marks hold numbers of passages; behind a word those that support it are cited.

        `25 days[1]` may be a mark and may be an index: it stays as it is.
        """
        known = False
        for match in MARK.finditer(covered):
            if is_mark(covered, match):
                continue
            numbers = [n for n in _numbers(match[0]) if 1 <= n <= len(self._passages)]
            known |= bool(numbers)
            if is_index(covered, match):
                for n, support in self._supports(dict.fromkeys(numbers), facts).items():
                    self._cite(n, support)
        return known

    def cite_values(self, form: str) -> None:
        """Cite what the values of a JSON form say, where a passage holds a value and words of its name."""
        data = parsed(form)
        if data is None:
            return
        for count, (name, value) in enumerate(values(data)):
            if count == _MOST_VALUES:
                return
            self.cite_claim(value, name)

    def cite_claim(self, claim: str, name: str = "") -> None:
        """Cite the passage that supports a claim best, if any does; a bare number needs a word of its name, too."""
        facts, named = facts_of(claim), facts_of(name)
        if not facts:
            return
        share, most = self._settings.add_support, self._settings.max_sentences
        both = Facts(facts.numbers, facts.names, facts.words | named.words)
        fitting: dict[int, tuple[int, Support]] = {}
        for n, evidence in enumerate(self._evidence, 1):
            support = evidence.best(facts, share, most)
            if support is None:
                continue
            wider = evidence.best(both, 0.0, most) or support
            of_name = len(wider.held & named.words)
            if of_name or facts.names or len(facts) > 1:
                fitting[n] = (of_name, wider)
        if fitting:
            best = max(fitting, key=lambda n: (fitting[n][0], -n))
            self._cite(best, fitting[best][1])
            self._added += 1

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

    def _with_added_mark(self, sentence: str, facts: Facts, covered: str) -> str:
        """The sentence with a mark before its full stop where one passage clearly supports it."""
        is_row = sentence.lstrip().startswith("|")
        if not (facts.numbers or (not is_row and (facts.names or len(facts.words) >= 2))):
            return sentence  # a row without a number may be the one that names the columns
        share, most = self._settings.add_support, self._settings.max_sentences
        supports = {
            n: s for n, evidence in enumerate(self._evidence, 1) if (s := evidence.best(facts, share, most))
        }
        if not supports:
            return sentence
        best = max(supports, key=lambda n: (len(supports[n].held), -n))
        self._cite(best, supports[best])
        self._added += 1
        stop = (_ROW_END if is_row else _LAST_STOP).search(sentence) if not covered.endswith(HIDDEN) else None
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


class Beside:
    """In a Checker's place where an answer has a form that marks would break: its text stays as it is.

    What it says is cited beside it: each value of a JSON document, or the whole of another form.
    """

    def __init__(self, passages: Sequence[Passage], settings: CiteSettings | None = None) -> None:
        self._checker = Checker(passages, settings)
        self._text = ""

    @property
    def citations(self) -> tuple[Citation, ...]:
        """What the answer's values are cited from; known at its end."""
        return self._checker.citations

    @property
    def counts(self) -> dict[str, int]:
        """No marks were kept or dropped; citations were added."""
        return self._checker.counts

    def feed(self, text: str) -> str:
        """The text itself."""
        self._text += text
        return text

    def finish(self) -> str:
        """Nothing is held back."""
        if parsed(self._text) is not None:
            self._checker.cite_values(self._text)
        else:
            self._checker.cite_claim(self._text)
        return ""


@dataclass(frozen=True, slots=True)
class _Run:
    """Marks side by side, with the white space before them."""

    start: int
    end: int
    space: str


def _runs_of_marks(covered: str, passages: int) -> list[_Run]:
    """Marks side by side, also `[1] and [2]`; a range beyond the passages ([0-9]) is none."""
    runs: list[_Run] = []
    for mark in marks(covered):
        if _RANGE.search(mark[0]) and not all(1 <= n <= passages for n in _numbers(mark[0])):
            continue
        start = len(covered[: mark.start()].rstrip())
        if runs and (start <= runs[-1].end or _BETWEEN_MARKS.fullmatch(covered[runs[-1].end : mark.start()])):
            runs[-1] = _Run(runs[-1].start, mark.end(), runs[-1].space)
        else:
            runs.append(_Run(start, mark.end(), covered[start : mark.start()]))
    return runs


def _numbers(text: str) -> list[int]:
    found: list[int] = []
    for mark in MARK.finditer(text):
        for part in re.split(r"[,，、;&]|and|和", mark[1]):
            ends = [int(number) for number in _NUMBER.findall(part)]
            found += range(ends[0], ends[-1] + 1) if len(ends) == 2 else ends
    return found


def _page(page_starts: tuple[int, ...], offset: int) -> int | None:
    from bisect import bisect_right

    return bisect_right(page_starts, offset) or None
