"""Does an answer say that the sources do not say?"""

import re
import unicodedata

from weightwright.data.grounded import NO_ANSWER
from weightwright.data.language import Language
from weightwright.judge.words import holds, without_marks, words

# How models say it in their own words.
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
_REFUSAL = {
    language: re.compile("|".join(patterns), re.IGNORECASE) for language, patterns in _REFUSALS.items()
}


def is_refusal(text: str, language: Language, no_answer: str = "") -> bool:
    """Whether a short answer says that the sources do not say: as `no_answer` (empty: the standing sentence)
    or in its own words.
    """
    agreed = words(no_answer or NO_ANSWER[language], language)
    return holds(words(text, language), agreed) or bool(_REFUSAL[language].search(_plain(text)))


def without_refusals(text: str, language: Language, no_answer: str = "") -> str:
    """What the text says beside that the sources do not say."""
    rest = _REFUSAL[language].sub(" ", _plain(text))
    agreed = words(no_answer or NO_ANSWER[language], language)
    between = r"\W*" if language == "zh" else r"\W+(?:(?:an?|the)\W+)?"
    return re.sub(between.join(map(re.escape, agreed)), " ", rest, flags=re.IGNORECASE)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", without_marks(text)).replace("’", "'")
