"""Which rows are alike, found as they pass by: of each row some 300 bytes stay, however long it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

from weightwright.data.checks import identity, question_of, words_of
from weightwright.data.near import Match, Triples, near_across, near_duplicates
from weightwright.data.rowstore import Places
from weightwright.data.sample import Built, Sample
from weightwright.errors import Place


@dataclass(frozen=True, slots=True)
class Alike:
    """Two rows that are alike; `similarity` is 1 for equal ones."""

    place: Place
    like: Place
    similarity: float = 1.0

    def to_json(self) -> dict[str, str | float]:
        """As the command line prints it."""
        return {"place": str(self.place), "like": str(self.like), "similarity": self.similarity}


class AlikeRows:
    """Rows that repeat an earlier one: `duplicates` are identical, `same_question` ask the same, answered otherwise.

    Only conversations are of the latter: pairs and judged answers are meant to share a question.
    """

    def __init__(self) -> None:
        self.duplicates: list[Alike] = []
        self.same_question: list[Alike] = []
        self._places, self._triples = Places(), Triples()  # of distinct rows
        self._identities: dict[bytes, int] = {}  # numbers of distinct rows
        self._questions: dict[bytes, int] = {}

    def add(self, row: Built) -> None:
        """Compare a row with those before it."""
        number = len(self._places)
        first = self._identities.setdefault(_digest(identity(row)), number)
        if first != number:
            self.duplicates.append(Alike(row.place, self._places[first]))
            return
        self._places.append(row.place)
        self._triples.append(words_of(row))
        if question := question_of(row).strip():
            conversation = isinstance(row, Sample)
            asked = self._questions.setdefault(_digest(conversation, question), number)
            if asked != number and conversation:
                self.same_question.append(Alike(row.place, self._places[asked]))

    def near(self) -> tuple[Alike, ...]:
        """Rows similar, not identical, to an earlier row; each with one such row."""
        return tuple(_alike(match, self._places, self._places) for match in near_duplicates(self._triples))

    def identical(self, row: Built) -> Place | None:
        """Where the first row stands that is identical to a row of another file."""
        number = self._identities.get(_digest(identity(row)))
        return None if number is None else self._places[number]

    def asked(self, row: Built) -> Place | None:
        """Where the first row stands that asks what a row of another file does."""
        question = question_of(row).strip()
        found = (self._questions.get(_digest(conversation, question)) for conversation in (True, False))
        first = min((number for number in found if number is not None), default=None)
        return None if first is None else self._places[first]

    def near_of(self, places: Places, texts: Triples) -> Iterator[Alike]:
        """Those of another file's rows that are similar to one of these."""
        return (_alike(match, places, self._places) for match in near_across(texts, self._triples))


class Leaks:
    """Held-out rows that also stand among `rows`, each listed once: identical, with the same question, or nearly."""

    def __init__(self, rows: AlikeRows) -> None:
        self.duplicates: list[Alike] = []
        self.same_question: list[Alike] = []
        self._rows, self._places, self._triples = rows, Places(), Triples()

    def add(self, row: Built) -> None:
        """Look for a held-out row."""
        if (same := self._rows.identical(row)) is not None:
            self.duplicates.append(Alike(row.place, same))
        elif (same := self._rows.asked(row)) is not None:
            self.same_question.append(Alike(row.place, same))
        else:
            self._places.append(row.place)
            self._triples.append(words_of(row))

    def near(self) -> tuple[Alike, ...]:
        """Those that are similar to a row."""
        return tuple(self._rows.near_of(self._places, self._triples))


def _alike(match: Match, rows: Places, like: Places) -> Alike:
    return Alike(rows[match.row], like[match.like], round(match.similarity, 3))


def _digest(*parts: object) -> bytes:
    return blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
