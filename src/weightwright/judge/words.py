"""An answer as the words that are compared: normalised, cut for its language, citation marks gone."""

import re
import string
import unicodedata

from weightwright.data.language import Language
from weightwright.judge.numbers import CJK, CURRENCY, MINUS, plain, value_of

_MARK = re.compile(r"\s?[\[【]\s*(?!\d{1,3}(?:,\d{3})+\s*[\]】])\d{1,3}(?:\s*[,、;–-]\s*\d{1,3})*\s*[\]】]")
_BEFORE_A_VALUE = re.compile(r"(?:^|[:=：]|\b(?:is|are|was|were|be|equals?)|[为是])\s*$", re.IGNORECASE)
_CLAUSE_END = re.compile(r"\s*(?:$|[.,;!?。，；！？\n])")
_ARTICLES = frozenset({"a", "an", "the"})
_LABEL = "\x01"  # after an article that is none: the A of "(A)" or "option A"
_LABELS = re.compile(
    r"(?<![\w'’])(?:(?<=[(\"'“‘\[【*`])(?i:an?|the)\b|(?i:an?|the)(?=\s*(?:[)\]】\"”’*`.,:;!?。]|$))"
    r"|(?:(?<=[a-z,:] )|(?=A (?:is|was|and|or)\b))A\b)"
)
_WORD = re.compile(rf"[{CJK}]|[^\s{CJK}]+")
_SIGNED_CURRENCY = re.compile(rf"({MINUS}?)([{CURRENCY}])")


def without_marks(text: str) -> str:
    """The text without citation marks such as `[1]`, `[1, 2]` and `【1】`.

    A number in brackets is a mark if it has up to three digits and stands where a citation can: not as the value in
    `The answer is [5].`
    """

    def kept(match: re.Match[str]) -> str:
        before, after = text[max(0, match.start() - 10) : match.start()], text[match.end() :]
        return match[0] if _BEFORE_A_VALUE.search(before) and _CLAUSE_END.match(after) else ""

    return _MARK.sub(kept, text).strip()


def words(text: str, language: Language, *, labels: bool = False) -> list[str]:
    """What a metric compares.

    English: SQuAD's normalisation (Rajpurkar et al. 2016, arXiv 1606.05250): lower case, no punctuation, no articles,
    cut at white space; hyphens cut words, and numbers keep their value, as in DROP. `+` and `#` after a letter stay.
    Chinese: each character, and each run of Latin letters or digits, is one word (mixed segmentation as in MLQA,
    arXiv 1910.07475). Both after NFKC. With `labels`, an A that names something ("(A)", "option A") is a word.
    """
    text = without_marks(text).replace(_LABEL, " ")
    if labels:
        text = _LABELS.sub(rf"\g<0>{_LABEL}", text)
    text = _SIGNED_CURRENCY.sub(r" \2 \1", plain(text, language))
    kept = [value_of(token).replace(MINUS, "-") for token in _WORD.findall(_without_punctuation(text))]
    if language == "en":
        kept = [word for word in kept if word not in _ARTICLES]
    return [word.replace(_LABEL, "") for word in kept]


def symbols(text: str) -> list[str]:
    """Words and each single sign: how a reference without words (`+`, `->`) is compared."""
    return re.findall(r"\w+|[^\w\s]", unicodedata.normalize("NFKC", without_marks(text)).lower())


def holds(said: list[str], wanted: list[str]) -> bool:
    """Whether `wanted` stands in `said` as a run of whole words."""
    n = len(wanted)
    return n > 0 and any(said[i : i + n] == wanted for i in range(len(said) - n + 1))


def _without_punctuation(text: str) -> str:
    """Punctuation deleted, save what belongs to a number or a name; a space where digits would run together."""
    kept = [" "]
    for before, character, after in zip(" " + text, text, text[1:] + " ", strict=False):
        if not _is_punctuation(character) or _belongs(character, before, after, kept[-1]):
            kept.append(character)
        elif _parts(character, before, after, kept[-1]):
            kept.append(" ")
    return "".join(kept)


def _belongs(character: str, before: str, after: str, kept: str) -> bool:
    """Whether punctuation is part of a number (`3.5`, `10:30`, `.5`) or of a name (`C++`, `F#`)."""
    if character in "+#":
        return before == kept and (before in "+#" or (before.isascii() and before.isalpha()))
    if character not in ".:/^" or not after.isdigit():
        return False
    return before.isdigit() or (character == "." and not before.isalnum() and before != ".")


def _parts(character: str, before: str, after: str, kept: str) -> bool:
    """Whether a space stays in its place: a dash, or what stands between two numbers (`1, 2`) or in `US$5`."""
    if unicodedata.category(character) == "Pd" or character == "−":
        return True
    return after.isdigit() and (kept.isdigit() or (character == "$" and before.isalpha()))


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or character == "−" or unicodedata.category(character)[0] == "P"
