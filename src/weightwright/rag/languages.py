"""Which embedder fits texts: the English one is small and quick, the multilingual one reads all others as well.

What is not English is told by scripts and by the commonest small words (`data.language`). Measured on XQuAD with both
(docs/documents.md): on Chinese the English one finds next to nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from weightwright.data.language import tongue_of
from weightwright.rag.load import Skipped, Source, load, sources
from weightwright.rag.settings import LoadSettings

ENGLISH, MULTILINGUAL = "minilm", "multilingual-e5-small"
_AS_ENGLISH = ("en", "none", "latin script")  # too few words to tell, which is how tables and code look
_SHOWN_CHARACTERS = 4000  # of a text, as much as is looked at
_SAMPLES, _SAMPLE_BYTES = 16, 1_000_000  # files looked at for a new knowledge base, and how large they may be
_FEW = 0.1  # of the characters, that need not be English


@dataclass
class Tongues:
    """How much of which language was seen: characters looked at and texts, by its code."""

    characters: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)

    def add(self, text: str) -> None:
        """Look at a text."""
        shown = text[:_SHOWN_CHARACTERS]
        tongue = tongue_of(shown)
        self.characters[tongue] += len(shown)
        self.texts[tongue] += 1

    @property
    def others(self) -> dict[str, int]:
        """Texts that are not English, by their language, the commonest first."""
        return {name: count for name, count in self.texts.most_common() if name not in _AS_ENGLISH}

    @property
    def embedder(self) -> str:
        """The embedder for them: the multilingual one where more than a few characters are not English."""
        other = sum(count for name, count in self.characters.items() if name not in _AS_ENGLISH)
        return MULTILINGUAL if other > _FEW * self.characters.total() else ENGLISH


def sampled(paths: Sequence[str | Path], settings: LoadSettings) -> Tongues:
    """The languages of some of the files that `paths` name: small ones, from all over them."""
    found = Tongues()
    files = [source for source in sources(paths) if not isinstance(source, Skipped)]
    small = [source for source in files if _size(source.path) <= _SAMPLE_BYTES] or files[:1]
    for text in _texts(small[:: -(-len(small) // _SAMPLES) or 1], settings):
        found.add(text)
    return found


def _texts(files: Iterable[Source], settings: LoadSettings) -> Iterator[str]:
    for source in files:
        for number, read in enumerate(load(source, settings)):
            if number == _SAMPLES:  # a corpus of many
                break
            if not isinstance(read, Skipped):
                yield read.text


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
