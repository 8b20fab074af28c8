"""Which questions hang together: copies of one question, and questions about one document, are one cluster."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from weightwright.data.language import language_of
from weightwright.judge.numbers import CJK
from weightwright.judge.words import words
from weightwright.stats.clusters import Labels, by_shared

_TOKEN = re.compile(rf"[{CJK}]|[^\W{CJK}]+|[^\w\s]")
_AROUND = set(".?!,;:…。？！，；：、\"'`“”‘’«»「」『』*_-–—")
_SMALL_WORDS = re.compile(
    "is|are|was|were|be|been|do|does|did|what|whats|which|who|whos|whom|whose|when|where|wheres|how|of|in|on|at|to|"
    "please|tell|me|us|you|can|could|would|的|了|吗|呢|吧|请|问|是|在|有"
)


class Asked(Protocol):
    """What is looked at of a question or a judged row."""

    @property
    def question(self) -> str: ...  # noqa: D102
    @property
    def references(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def documents(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def id(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Clusters:
    """Cluster labels [n] and, for each question that stands more than once, the ids of its copies."""

    labels: Labels
    copied: tuple[tuple[str, ...], ...]

    @property
    def caution(self) -> str:
        """How many copies there are; empty where there is none."""
        if not self.copied:
            return ""
        more = sum(len(ids) - 1 for ids in self.copied)
        first, *others = max(self.copied, key=len)
        shown = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        return (
            f"{more} of {len(self.labels)} questions {'repeats' if more == 1 else 'repeat'} another one "
            f"(such as {first}: {shown}); copies count as one question"
        )


def clusters_of(questions: Sequence[Asked]) -> Clusters:
    """Questions that share a document, or are copies of each other, directly or through others, are one cluster.

    Copies are the same text, apart from case, spacing, forms of a character and punctuation around it; or the same
    words in the same order, small ones (`is`, `the`, `please`) aside, with a reference in common.
    """
    texts = [_copy_tags(question) for question in questions]
    documents = _one_name_each([question.documents for question in questions])
    labels = by_shared([text + about for text, about in zip(texts, documents, strict=True)])
    groups: dict[int, list[str]] = {}
    for question, label in zip(questions, by_shared(texts).tolist(), strict=True):
        groups.setdefault(label, []).append(question.id)
    return Clusters(labels, tuple(tuple(ids) for ids in groups.values() if len(ids) > 1))


def _copy_tags(question: Asked) -> list[str]:
    text = question.question
    content = [word for word in words(text, language_of(text)) if not _SMALL_WORDS.fullmatch(word)]
    signs = re.findall(r"[^\w\s.?!,;:…。？！，；：、\"'`“”‘’*_]", text)  # 3+5 is not 3-5
    near = [f"near {content} {signs} {_same(reference)}" for reference in question.references if content]
    return [f"text {_same(text)}", *near]


def _same(text: str) -> str:
    """One spelling for texts that differ only in case, spacing, forms of characters, or punctuation around them."""
    text = "".join(
        c for c in unicodedata.normalize("NFKC", text).casefold() if unicodedata.category(c) != "Cf"
    )
    tokens = _TOKEN.findall(text)
    while tokens and tokens[-1] in _AROUND:
        tokens.pop()
    while tokens and tokens[0] in _AROUND - {"-", "–"}:
        tokens.pop(0)
    return " ".join(tokens) or text


def _one_name_each(documents: Sequence[Sequence[str]]) -> list[list[str]]:
    """Each document under one name: `a.md`, `./a.md` and `docs/a.md` are one if no other path ends so."""
    plain = [[_path(name) for name in names] for names in documents]
    known = {name for names in plain for name in names}
    longer: dict[str, set[str]] = {}
    for name in known:
        for i in (i for i, c in enumerate(name) if c == "/"):
            longer.setdefault(name[i + 1 :], set()).add(name)

    def whole(name: str) -> str:
        inside = longer.get(name, set())
        return whole(next(iter(inside))) if len(inside) == 1 else name

    return [[f"document {whole(name)}" for name in names] for names in plain]


def _path(name: str) -> str:
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")
