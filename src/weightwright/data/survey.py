"""Rows looked at one by one, as their files are read; no row is kept."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from weightwright.data import checks
from weightwright.data.alike import AlikeRows
from weightwright.data.build import Format
from weightwright.data.catalogue import Source
from weightwright.data.checks import Problem
from weightwright.data.formats import read_parts
from weightwright.data.grounded import PromptSettings
from weightwright.data.language import tongue_of
from weightwright.data.rowstore import Places
from weightwright.data.sample import Built, Prompt
from weightwright.data.template import Encoded
from weightwright.errors import DataError, ModelError, Place, PlacedError

Encode = Callable[[Built], tuple[Encoded, ...]]


def read_checked(
    where: Path | Source, problems: list[Problem], prompt: PromptSettings | None = None
) -> Iterator[tuple[Format, Built]]:
    """Every row at data addresses with the format of its file; those that cannot be learnt from become problems.

    Raises DataError where there is no file, or, at the end, not one row was read.
    """

    def note(error: DataError) -> None:
        problems.append(Problem(error.place or Place(str(where)), error.problem))

    read = False
    for part in read_parts(where, prompt, note):
        for row in part.read(note):
            read = True
            yield part.format, row
    if read:
        return
    if len(problems) == 1:
        place = problems[0].place
        whole = place == Place(place.file)  # a file as a whole is the subject of a sentence
        raise DataError(place.file if whole else place, problems[0].problem)
    first = f", the first: {problems[0].place}: {problems[0].problem}" if problems else ""
    raise DataError(Place(str(where)), f"not one row can be learnt from ({len(problems)} are wrong{first})")


class Survey:
    """What rows hold; `add` takes them one by one, in the order of their files.

    `encode` makes a row tokens as a model will read it; without it lengths are in characters. Rows that the model's
    chat template refuses become problems. The rows' instructions or questions are kept where `tasks` is true.
    """

    def __init__(self, encode: Encode | None, *, tasks: bool) -> None:
        self.by_file: dict[str, Format] = {}
        self.rows: Counter[str] = Counter()  # of each file
        self.lengths: Counter[str] = Counter()  # of all rows of each file together
        self.sizes = array("Q")  # of each row; of a pair's both conversations
        self.labelled_tokens = 0
        self.unlabelled: list[Place] = []
        self.unread: Counter[str] = Counter()  # filled fields that nothing reads
        self.languages: Counter[str] = Counter()
        self.placeholders: list[Problem] = []
        self.refused: list[Problem] = []
        self.tasks: list[str] = []
        self.alike = AlikeRows()
        self.places = Places()
        self._encode, self._keeps_tasks = encode, tasks
        self._first: DataError | ModelError | None = None

    def add(self, known: Format, row: Built) -> None:
        """Look at a row."""
        self.places.append(row.place)
        self.by_file[row.place.file] = known
        self.rows[row.place.file] += 1
        self.unread.update(row.unread)
        self.languages[tongue_of(checks.words_of(row))] += 1
        if (placeholders := checks.unfilled(row)) is not None:
            self.placeholders.append(placeholders)
        if self._keeps_tasks:
            self.tasks.append(checks.task_of(row))
        if self._encode is None:
            self._count(row.place.file, len(checks.words_of(row)))
        else:
            self._measure(row, self._encode)
        self.alike.add(row)

    def _measure(self, row: Built, encode: Encode) -> None:
        try:
            encoded = encode(row)
        except (DataError, ModelError) as error:
            placed = error if isinstance(error, PlacedError) else PlacedError(row.place, str(error))
            self.refused.append(Problem(placed.place or row.place, placed.problem))
            self._first = self._first or error
            return
        for one in encoded:
            self._count(row.place.file, len(one))
            self.labelled_tokens += one.labelled_tokens
            if not (one.labelled_tokens or isinstance(row, Prompt)):
                self.unlabelled.append(one.place)

    def _count(self, file: str, size: int) -> None:
        self.sizes.append(size)
        self.lengths[file] += size

    def finish(self) -> None:
        """Raises the first error of a model that not one row can be encoded for: it is not the one for them."""
        if self._first is not None and not self.sizes:
            raise self._first
