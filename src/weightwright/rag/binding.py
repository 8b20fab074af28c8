"""Which numbers of a sentence belong together: `from 3.1 billion in 2022 to 3.4 billion in 2023`."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from weightwright.rag.dates import Date
from weightwright.rag.quantities import CONNECTED
from weightwright.rag.quantity import Quantity, stands
from weightwright.rag.units import CURRENCIES

# the words of a clause, those of them that the claim says, and with those that it may say otherwise (厚度 as 厚)
Content = tuple[frozenset[str], frozenset[str], frozenset[str]]

_IN_TURN = re.compile(r"\brespectively\b|分别")


def swapped(claim: Sequence[Quantity], source: Sequence[Quantity], text: str) -> bool:
    """Whether a claim joins numbers that the source's sentence, `text`, joins to others.

    Only where numbers of two kinds take turns there, or are named one kind after the other and `respectively`.
    """
    pairs = _pairs(source, text)
    if not pairs:
        return False
    kinds = {_kind(number) for number in pairs[0]}
    said = [number for number in claim if _kind(number) in kinds]
    if len(said) % 2 or any(_kind(one) == _kind(other) for one, other in pairwise(said)):
        return False
    for pair in zip(said[::2], said[1::2], strict=True):
        places = [{i for i, known in enumerate(pairs) if stands(number, known, ())} for number in pair]
        if all(places) and not places[0] & places[1]:
            return True
    return False


_STOPS = r"[;、。()]|(?<=[\u3400-\u9fff]),|,(?!\d)|\n"
_PARTS = re.compile(_STOPS + r"|\b(?:and|while|whereas|but)\b")
_WIDER_PARTS = re.compile(_STOPS)  # between 9 and 17 is one


def of_another(
    claim: Sequence[Quantity], text: str, source: Sequence[Quantity], content: Callable[[str], Content]
) -> bool:
    """Whether a claim's number stands in a clause that speaks of something else, and another clause of the claim.

    `adults 14 euros, pupils 9 euros` says not that adults pay 9. The other clause has a number of the same kind,
    which the claim does not say.
    """
    ends = [match.start() for match in _PARTS.finditer(text)]
    clauses = list(pairwise([0, *ends, len(text)]))
    for number in claim:
        rivals = _by_clause(clauses, [q for q in source if q.required and _kind(q) == _kind(number)])
        own = [i for i, q in rivals.items() if stands(number, (q,), ())]
        if len(own) != 1 or any(
            stands(other, (rivals[i],), ()) for other in claim for i in rivals if i != own[0]
        ):
            continue
        begin, end = clauses[own[0]]
        inside = [q for q in source if begin <= q.start < end and q is not rivals[own[0]]]
        if any(stands(other, inside, ()) for other in claim if other is not number):
            continue
        said = {i: _content(text[slice(*clauses[i])], q.end - clauses[i][0], content, first=i == 0)
                for i, q in rivals.items()}  # fmt: skip
        mine = said.pop(own[0])
        if any(_fits_better(other, mine) for other in said.values()):
            return True
    return False


def split(claim: Sequence[Quantity], said: str, text: str, source: Sequence[Quantity]) -> bool:
    """Whether both ends of a claim's range (`9 to 20`) stand in the source's sentence, but in no clause together."""
    clauses = list(pairwise([0, *(match.start() for match in _WIDER_PARTS.finditer(text)), len(text)]))
    for first, second in pairwise(claim):
        if (
            isinstance(first.moment, tuple)
            or _kind(first) != _kind(second)
            or not CONNECTED.fullmatch(said[first.end : second.start])
        ):
            continue
        places = [
            {
                i
                for i, (a, b) in enumerate(clauses)
                if stands(end, [q for q in source if a <= q.start < b], ())
            }
            for end in (first, second)
        ]
        if all(places) and not places[0] & places[1]:
            return True
    return False


def _by_clause(clauses: Sequence[tuple[int, int]], numbers: Sequence[Quantity]) -> dict[int, Quantity]:
    """The number in each clause that has one; none where a clause has several."""
    found: dict[int, Quantity] = {}
    for i, (begin, end) in enumerate(clauses):
        inside = [q for q in numbers if begin <= q.start < end]
        if len(inside) > 1:
            return {}
        if inside:
            found[i] = inside[0]
    return found


def _fits_better(other: Content, mine: Content) -> bool:
    """Whether a claim speaks of another clause: it says nothing of the number's own, or all of the other one."""
    (every, held, _), (own, shared, akin) = other, mine
    if not own:
        return False  # it says nothing itself: for stopping there, 35 euros
    nothing = bool(held) and not akin
    whole = bool(every) and every == held and own != akin
    return nothing or whole or (shared < held and len(held) >= len(shared) + 2)


def _content(clause: str, at: int, content: Callable[[str], Content], *, first: bool) -> Content:
    """What a clause says, whose number ends at `at`; in the first clause the subject of all stands before it."""
    if first and (behind := content(clause[at:]))[0]:
        return behind
    return content(clause)


def _pairs(source: Sequence[Quantity], text: str) -> list[tuple[Quantity, Quantity]]:
    numbers = [number for number in source if number.required and not number.rate]
    half = len(numbers) // 2
    if len(numbers) < 4 or len(numbers) % 2:
        return []
    kinds = [_kind(number) for number in numbers]
    if kinds[0] != kinds[1] and kinds == kinds[:2] * half:
        return list(zip(numbers[::2], numbers[1::2], strict=True))
    if half == 2 and kinds[0] == kinds[3] != kinds[1] == kinds[2]:  # in 2019 23%, up from 19% in 2015
        return [(numbers[0], numbers[1]), (numbers[3], numbers[2])]
    in_turn = kinds[0] != kinds[half] and kinds == [kinds[0]] * half + [kinds[half]] * half
    if in_turn and _IN_TURN.search(text):
        return list(zip(numbers[:half], numbers[half:], strict=True))
    return []


def _kind(number: Quantity) -> str:
    """What a number says: a date, or something in a unit."""
    if isinstance(number.moment, Date):
        return "date"
    if number.moment is not None:
        return type(number.moment).__name__
    if number.bare and all(1000 <= value <= 2100 for value in number.plain):
        return "date"
    return " ".join(sorted({"money" if base in CURRENCIES else base for base in number.bases} - {""}))
