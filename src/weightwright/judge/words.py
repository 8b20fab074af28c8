"""An answer as the words that are compared: normalised, cut for its language, citation marks gone."""

import re
import string
import unicodedata

from weightwright.data.grounded import NO_ANSWER
from weightwright.data.language import Language

_MARK = re.compile(r"\s?[\[【]\s*\d+(?:\s*[,、]\s*\d+)*\s*[\]】]")
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
_UNIT = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")

# How models say in their own words that the sources do not say.
_SOURCES = (
    r"(?:documents?|sources?|texts?|passages?|contexts?|handbook|information|articles?|paragraphs?|they)"
)
_REFUSALS: dict[Language, tuple[str, ...]] = {
    "en": (
        _SOURCES + r"(?: \w+){0,3}? (?:do|does|did)(?: not|n't)(?: \w+)? "
        r"(?:say|mention|specify|state|contain|provide|include|give|answer)\b",
        r"\b(?:is|are|was|were)(?: not|n't)(?: \w+)? "
        r"(?:mentioned|specified|stated|provided|given|answered)\b",
        r"\bno (?:relevant )?information\b",
        r"\bi (?:do not|don't|cannot|can't|could not) (?:know|answer|find|tell)\b",
        r"^\W*(?:(?:it|this) is )?(?:unknown|not (?:mentioned|specified|stated|provided|given))\W*$",
    ),
    "zh": (
        r"(?:没有|没|未|未曾)(?:明确)?(?:说明|提及|提到|提供|给出|规定|写明|涉及|记载|列出)",
        r"(?:无法|不能)(?:回答|确定|得知)",
        r"(?:没有|无|找不到)(?:相关|有关)(?:的)?(?:信息|资料|答案|内容)",
        r"^\W*(?:我)?不知道",
    ),
}
_REFUSAL = {language: re.compile("|".join(patterns)) for language, patterns in _REFUSALS.items()}


def without_marks(text: str) -> str:
    """The text without citation marks such as `[1]`, `[1, 2]` and `【1】`."""
    return _MARK.sub("", text).strip()


def words(text: str, language: Language) -> list[str]:
    """What a metric compares.

    English: SQuAD's normalisation (Rajpurkar et al. 2016, arXiv 1606.05250): lower case, no punctuation, no
    articles, cut at white space. Chinese: each character, and each run of Latin letters or digits, is one
    word (mixed segmentation as in MLQA, arXiv 1910.07475), after NFKC, without punctuation.
    """
    text = unicodedata.normalize("NFKC", without_marks(text)).lower()
    if language == "zh":
        return _UNIT.findall(text)
    text = text.translate(_ASCII_PUNCTUATION)
    text = "".join(c for c in text if not unicodedata.category(c).startswith("P"))
    return _ARTICLE.sub(" ", text).split()


def is_refusal(text: str, language: Language, no_answer: str = "") -> bool:
    """Whether a short answer says that the sources do not say: as `no_answer` (empty: the standing sentence)
    or in its own words.
    """
    return says_no_answer(text, language, no_answer) or bool(_REFUSAL[language].search(_plain(text)))


def says_no_answer(text: str, language: Language, no_answer: str = "") -> bool:
    """Whether the sentence agreed on for "the sources do not say" stands in the text."""
    return holds(words(text, language), words(no_answer or NO_ANSWER[language], language))


def holds(said: list[str], wanted: list[str]) -> bool:
    """Whether `wanted` stands in `said` as a run of whole words."""
    n = len(wanted)
    return n > 0 and any(said[i : i + n] == wanted for i in range(len(said) - n + 1))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", without_marks(text)).lower().replace("’", "'")
