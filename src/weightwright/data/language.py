"""Which language a text is in: `en` or `zh` for prompts and metrics, a finer guess for counting rows.

The finer guess counts what can be counted honestly: scripts, which name many languages by themselves, and in Latin
script the commonest small words of a few languages. Where neither says enough, the script is all that is named.
"""

import re
import unicodedata
from collections import Counter
from typing import Literal

Language = Literal["en", "zh"]

_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]+")
_SCANNED_CHARACTERS = 4000

# a script that (nearly) one language writes in; of the others only the script is named
_OWN_SCRIPT = {
    "HANGUL": "ko", "THAI": "th", "HEBREW": "he", "GREEK": "el", "TAMIL": "ta", "TELUGU": "te", "BENGALI": "bn",
    "GEORGIAN": "ka", "ARMENIAN": "hy", "KHMER": "km", "LAO": "lo", "MYANMAR": "my", "GUJARATI": "gu",
    "KANNADA": "kn", "MALAYALAM": "ml", "SINHALA": "si",
}  # fmt: skip
# words that are common in one of these languages and rare in the others
_SMALL_WORDS = {
    "en": "the of and to is that for with as this are you it be on by from have not what your can how",
    "de": "der die das und ist nicht ein eine zu den mit von auf für sich dem auch es ich wie wird sind",
    "fr": "le les des et est une du dans qui pour pas que sur au avec vous je ce il plus sont cette",
    "es": "el los las y que es en una por con para su como más lo se muy pero está del son qué",
    "pt": "o os as e que é em uma por com para não mais do da dos das ao você são como seu",
    "it": "il gli di che è una per con non del della sono più nel dei alla questo anche come si",
    "nl": "de het een van en is dat niet zijn op met voor ook aan er maar om bij wordt je",
}
_WORDS = {name: frozenset(words.split()) for name, words in _SMALL_WORDS.items()}


def language_of(text: str) -> Language:
    """`zh` when at least a third of the letters are Chinese characters, else `en`."""
    letters = len(_LETTER.findall(text))
    return "zh" if letters and len(_CJK.findall(text)) * 3 >= letters else "en"


def tongue_of(text: str) -> str:
    """The language that most of a text seems to be in, as its ISO 639-1 code; `none` without letters.

    Where only the script can be told, that is named: `latin script`, `cyrillic script`. Kana make a text with Chinese
    characters Japanese.
    """
    shown = text[:_SCANNED_CHARACTERS]
    scripts = Counter(map(_script, _LETTER.findall(shown)))
    if not scripts:
        return "none"
    kana = scripts.pop("HIRAGANA", 0) + scripts.pop("KATAKANA", 0)
    east = kana + scripts.pop("CJK", 0)
    # a Chinese character says about as much as three letters
    script, count = scripts.most_common(1)[0] if scripts else ("", 0)
    if east * 3 >= count and east:
        return "ja" if kana * 5 >= east else "zh"
    if script == "LATIN":
        return _latin(shown)
    return _OWN_SCRIPT.get(script, f"{script.lower()} script")


def _script(letter: str) -> str:
    """The script of a letter: the first word of its Unicode name."""
    return unicodedata.name(letter, "UNNAMED").split()[0].split("-")[0]


def _latin(text: str) -> str:
    """The language whose small words are most frequent, where they are a tenth of all and clearly ahead."""
    words = [word.lower() for word in _WORD.findall(text)]
    hits = Counter({name: sum(word in known for word in words) for name, known in _WORDS.items()})
    (best, most), (_, second) = hits.most_common(2)
    return best if most * 10 >= len(words) and most > second else "latin script"
