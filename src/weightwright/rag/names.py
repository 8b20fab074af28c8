"""The names that a sentence speaks of: capitals, also in front of it, Latin words among Chinese, Chinese names."""

import gzip
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

from weightwright.rag.analyze import STOP_WORDS, is_han, stem
from weightwright.rag.chinese_names import chinese_names
from weightwright.rag.normal import HAN, folded
from weightwright.rag.places import in_english, places

_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['’](?=[^\W\d_])|(?<=[A-Z])\.(?=[A-Z]\b))*(?<!['’])")
_OPENING = re.compile(r"(?:^|[.!?:;。！？：；]|\n)[\s\"'“”‘’«»(\[*_>#-]*$")
_LATIN = rf"(?:(?![{HAN}_])[^\W\d])+"
_VERBS_TEXT = """
is was are were has had have will would can could may might must should did does founded built wrote led ran won
became made came went took gave held began said says left bought sold met kept taught drew grew sang spoke chose
"""
_VERBS = frozenset(_VERBS_TEXT.split())
_DEMONYM = re.compile(r"(?:n|an|ian|ean|ish|ese|i|er|ic|s|'s)$")
_PEOPLES = re.compile(r"(?:[a-z]{3}(?:an|ian|eli|aqi|ani)|[a-z]{4}er)s$")
_TITLES_TEXT = """
mr mrs ms miss dr prof sir dame lord lady
"""
_TITLES = frozenset(_TITLES_TEXT.split())
_PLACE_SUFFIX = re.compile(r"(?<=[^\s]{2})[市省县区州镇站村乡岛港]$")


@dataclass(frozen=True, slots=True)
class Name:
    """A name in small letters, and what may stand for it: `who` for World Health Organization, `mueller`."""

    word: str
    acronyms: frozenset[str] = frozenset()
    ordinary: bool = False  # an ordinary word with a capital, of which other forms are the same


def names(text: str) -> tuple[Name, ...]:
    """The names in a sentence, each once."""
    chinese = bool(re.search(f"[{HAN}]", text))
    found = _latin(text, every=chinese)
    if chinese:
        found |= {name: Name(name) for name in chinese_names(text)}
    return tuple(found.values())


def has_name(name: Name, there: "Written") -> bool:
    """Whether a text holds the name, a form of it (Egyptian, Egypt), or an acronym of it, or what it is one of."""
    word = name.word
    if is_han(word):
        bare = _PLACE_SUFFIX.sub("", word)
        if bare in there.text or _is_said_otherwise(word, there.text):
            return True
        english = folded(there.text)
        return in_english(word, english) or in_english(bare, english)
    if word in there.words or (name.ordinary and stem(word) in there.stems):
        return True
    if word in there.acronyms or not name.acronyms.isdisjoint(there.words):
        return True
    if there.chinese and word in _english(there.text):
        return True
    return any(
        _same_people(word, other) or _same_people(other, word)
        for other in there.words
        if other[:3] == word[:3]
    ) or not _COUNTRIES.get(word, _NONE).isdisjoint(there.words)


def _is_said_otherwise(word: str, text: str) -> bool:
    """大桥 where the text says 该桥, 南站 where it says 北京南; 珠峰 of 珠穆朗玛峰."""
    if _is_short_for(word, text):
        return True
    if len(word) != 2 or word[1] not in "桥站楼路街江河湖山塔馆寺":
        return False
    return word[1] in text if word[0] in "大小该本此新老" else word[0] in "东西南北" and word[0] in text


def _is_short_for(word: str, text: str) -> bool:
    """Whether a longer word of the text begins and ends as a short name does."""
    import rjieba

    if len(word) not in (2, 3) or word[0] not in text or word[-1] not in text:
        return False
    return any(
        len(other) > len(word) + 1
        and other[0] == word[0]
        and other[-1] == word[-1]
        and set(word) <= set(other)
        for other in rjieba.cut(text)
    )


@dataclass(frozen=True, slots=True)
class Written:
    """What `has_name` looks into: a text in small letters, its words, their stems, initials of its capitals."""

    text: str
    words: frozenset[str]
    stems: frozenset[str]
    acronyms: frozenset[str]
    chinese: bool = False

    @classmethod
    def of(cls, text: str) -> "Written":
        """The text (as `quantities.readable` gives it) taken apart."""
        words = [_bare(match[0]) for match in _WORD.finditer(_apart(text))]
        words += [_bare(spelt) for match in _UMLAUTS.finditer(text) for spelt in (_spelt_out(match[0]),)]
        acronyms = {acronym for run in _capital_runs(text) for acronym in _acronyms(run)}
        initials = "".join(word[0] for word in words if word not in ("of", "and", "the", "for"))
        acronyms |= {initials[i : i + n] for n in (3, 4, 5) for i in range(len(initials) - n + 1)}
        acronyms |= {short for short, long in _SHORT.items() if long in text.lower()}
        return cls(text.lower(), frozenset(words), frozenset(map(stem, words)), frozenset(acronyms),
                   chinese=bool(re.search(f"[{HAN}]", text)))  # fmt: skip

    def __or__(self, other: "Written") -> "Written":
        return Written(
            f"{self.text}\n{other.text}",
            self.words | other.words,
            self.stems | other.stems,
            self.acronyms | other.acronyms,
            self.chinese or other.chinese,
        )


# acronyms of two letters, which the initials of any two words might be
_SHORT = {"hr": "human resources", "it": "information technology", "pr": "public relations", "eu": "european union",
          "un": "united nations", "us": "united states", "uk": "united kingdom", "ai": "artificial intelligence",
          "gp": "general practitioner", "phd": "doctor", "vat": "value added", "id": "identi"}  # fmt: skip
NOTHING = Written("", frozenset(), frozenset(), frozenset())


def _apart(text: str) -> str:
    """Latin words among Chinese characters as words of their own."""
    return re.sub(rf"(?<=[{HAN}])(?=[^\W{HAN}])|(?<=[^\W{HAN}])(?=[{HAN}])", " ", text)


_UMLAUTS = re.compile(r"\w*[äöüåøæÄÖÜÅØÆ]\w*")


def _spelt_out(word: str) -> str:
    """Müller as Mueller, the other way to write it."""
    return word.translate(_TWO_LETTERS)


_TWO_LETTERS = str.maketrans(
    {
        "ä": "ae",
        "ö": "oe",
        "ü": "ue",
        "å": "aa",
        "ø": "oe",
        "æ": "ae",
        "Ø": "Oe",
        "Æ": "Ae",
        "Ä": "Ae",
        "Ö": "Oe",
        "Ü": "Ue",
        "Å": "Aa",
    }
)


@lru_cache(maxsize=1024)
def _english(text: str) -> frozenset[str]:
    """The words of the English names of places that a Chinese text names."""
    return frozenset(
        word
        for chinese, english in places().items()
        if chinese in text
        for name in english
        for word in name.split()
    )


def _bare(word: str) -> str:
    word = folded(word.replace("’", "'").lower())
    return word.removesuffix("'s").removesuffix("'").replace("'", "").replace(".", "")


# --- Latin letters ----------------------------------------------------------------------------------


def _latin(text: str, *, every: bool) -> dict[str, Name]:
    text = _apart(text) if every else text
    runs = _capital_runs(text)
    standing = {word: acronym for run in runs for word in run for acronym in [_acronyms(run)]}
    found: dict[str, Name] = {}
    for match in _WORD.finditer(text):
        word = match[0]
        bare = _bare(word)
        capitals = sum(letter.isupper() for letter in word)
        if is_han(word) or not bare or bare in _TITLES:
            continue
        if every or _is_name(text, match, bare, capitals):
            if bare in STOP_WORDS and not (capitals > 1 and word.isupper()) and bare != "may":
                continue
            if len(bare) == 1 and not every:
                continue
            others = {_bare(_spelt_out(word))} - {bare}
            found[bare] = Name(bare, frozenset(standing.get(bare, ())) | others, is_ordinary(bare))
    return found


def _is_name(text: str, match: re.Match[str], bare: str, capitals: int) -> bool:
    word = match[0]
    if not capitals or (not word[0].isupper() and capitals < 1):
        return False
    if not word[0].isupper() or capitals > 1:
        return True  # iPhone, IT
    if not _OPENING.search(text[: match.start()]):
        return True
    if bare in STOP_WORDS:
        return False
    if not is_ordinary(bare):
        return True
    return _is_also_name(bare) and _acts(text[match.end() :])


def _acts(after: str) -> bool:
    """Whether a verb or another name follows: Mark founded, Rose Miller; not `Mark the box`."""
    following = re.match(rf"(?:'s)?,? ({_LATIN})", after)
    if following is None:
        return False
    word = following[1]
    return (
        word in _VERBS
        or word[0].isupper()
        or word.endswith("ed")
        or (word.endswith("s") and not word.endswith("ss"))
    )


def is_ordinary(word: str) -> bool:
    """Whether a word (small letters) is an ordinary English word, a form of one, or the plural of two in one."""
    if stem(word) in _ordinary()[0]:
        return True
    parts = ((word[:n], word[n:]) for n in range(4, len(word) - 4))
    return word.endswith("s") and any(
        stem(a) in _ordinary()[0] and stem(b) in _ordinary()[0] for a, b in parts
    )


def _is_also_name(word: str) -> bool:
    return word in _ordinary()[1]


@cache
def _ordinary() -> tuple[frozenset[str], frozenset[str]]:
    """Stems of ordinary words, and those words that are names, too."""
    packed = (files("weightwright.rag") / "english_words.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode().splitlines()
    stems = frozenset(line for line in lines if line[0].islower())
    return stems, frozenset(line.lower() for line in lines if line[0].isupper())


def _capital_runs(text: str) -> list[list[str]]:
    """Words with capitals one behind the other; of, and, the, for may stand between them."""
    runs: list[list[str]] = []
    end = -1
    for match in _WORD.finditer(text):
        word = match[0]
        between = text[end : match.start()] if end >= 0 else ""
        joined = end >= 0 and re.fullmatch(r"[ -]", between)
        if word in ("of", "and", "the", "for", "de", "des") and joined:
            end = match.end()
            continue
        if word[0].isupper():
            if joined and runs:
                runs[-1].append(_bare(word))
            else:
                runs.append([_bare(word)])
            end = match.end()
        else:
            end = -1
    return runs


def _acronyms(run: list[str]) -> set[str]:
    """The initials of every part of a run of at least two words."""
    letters = "".join(word[0] for word in run if word)
    return {letters[i:j] for i in range(len(letters)) for j in range(i + 2, min(len(letters), i + 7) + 1)}


_NONE = frozenset[str]()
# countries whose people are called otherwise than by an ending
_PEOPLES_TEXT = """
norway norwegian norwegians; denmark danish dane danes; sweden swedish swede swedes; finland finnish finn finns
netherlands dutch holland; france french; germany german germans; greece greek greeks; ireland irish
poland polish pole poles; portugal portuguese; spain spanish spaniard spaniards; switzerland swiss
turkey turkish turk turks; wales welsh; scotland scottish scots; britain british uk; england english
china chinese; us usa american americans america; czechia czech czechs; iceland icelandic
belgium belgian belgians; hungary hungarian hungarians; ukraine ukrainian ukrainians
argentina argentine argentinian; peru peruvian; philippines filipino filipinos; thailand thai
europe european europeans eu
"""
_COUNTRIES = {
    word: frozenset(group.split()) for group in re.split("[;\\n]", _PEOPLES_TEXT) for word in group.split()
}


def _same_people(root: str, form: str) -> bool:
    """Egypt and Egyptian, American and Americans; not John and Johnson, Evan and Evans."""
    if len(root) < 4 or not form.startswith(root[:-1]):
        return False
    if form == root + "s" or form == root + "es":
        return bool(_PEOPLES.fullmatch(form)) or is_ordinary(root)
    tail = form.removeprefix(root) if form.startswith(root) else ""
    if tail in ("n", "an", "ian", "ean", "ese", "ish", "i", "ians", "ans", "is", "ite"):
        return True
    return root[-1] in "aeyo" and form[len(root) - 1 :] in ("an", "ian", "ese", "ish", "ans", "ians", "ic")
