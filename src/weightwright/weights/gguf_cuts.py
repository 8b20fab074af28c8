"""How byte-level tokenizers cut text before byte pairs are merged, by the names in GGUF files (`tokenizer.ggml.pre`).

A file holds the name alone. The rules are those of the original tokenizers (the `pre_tokenizer` and `normalizer` of
their tokenizer.json), where llama.cpp writes some of them otherwise; which names there are, which put BOS before a
text and which take whole words of the vocabulary first is llama.cpp's table (`llama-vocab.cpp`).
"""

from dataclasses import dataclass
from typing import Any

Step = dict[str, Any]

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_BREAKS = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
_LLAMA3 = _CONTRACTIONS + "|" + _WORDS + r"|\p{N}{1,3}" + _SIGNS + _BREAKS
_QWEN2 = _CONTRACTIONS + "|" + _WORDS + r"|\p{N}" + _SIGNS + _BREAKS
_QWEN35 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + _BREAKS
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _cased(after: str, digits: str) -> str:
    """o200k's words: capitals, then small letters, with `after` behind them."""
    first = r"[^\r\n\p{L}\p{N}]?"
    return (f"{first}{_UPPER}*{_LOWER}+{after}|{first}{_UPPER}+{_LOWER}*{after}|{digits}"
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _BREAKS)  # fmt: skip


_GPT4O = _cased(_CONTRACTIONS + "?", r"\p{N}{1,3}")
_TEKKEN = _cased("", r"\p{N}")
_BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
_DEEPSEEK3 = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
              r"| ?[\p{P}\p{S}]+[\r\n]*" + _BREAKS)  # fmt: skip
_CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_LETTERS = (  # those with a large and a small form
    r"\s?["
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
    "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5"
    "\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba"
    "\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45"
    "\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe"
    "\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102"
    "\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139"
    "\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3"
    "\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06"
    "\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"
    "\U0001e900-\U0001e943"
    "]+"
)
_SIGNS_OF_TWO_WIDTHS = r"\s?[!-/:-~" "\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"
_GPT2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"


@dataclass(frozen=True)
class Cut:
    """The steps of a pre-tokenizer as tokenizer.json has them.

    `nfc`: text is composed first. `bos`: BOS is put before a text where the file does not say. `whole_words`: a piece
    that is a token is taken as it is (`ignore_merges`).
    """

    steps: tuple[Step, ...]
    nfc: bool = False
    bos: bool = False
    whole_words: bool = False


def _split(rule: str) -> Step:
    return {"type": "Split", "pattern": {"Regex": rule}, "behavior": "Isolated", "invert": False}


def _bytes(*, words: bool = False) -> Step:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": words}


def _digits(*, single: bool = True) -> Step:
    return {"type": "Digits", "individual_digits": single}


def _rules(*rules: str, **options: bool) -> Cut:
    return Cut((*(_split(rule) for rule in rules), _bytes()), **options)


_GPT2 = Cut((_bytes(words=True),))
_GPT2_NFC = Cut((_bytes(words=True),), nfc=True)
_DIGITS = Cut((_digits(), _bytes(words=True)))
_LLAMA3_CUT = _rules(_LLAMA3, bos=True, whole_words=True)
_QWEN2_CUT = _rules(_QWEN2, nfc=True)
_GPT4O_CUT = _rules(_GPT4O)
_DEEPSEEK3_CUT = _rules(r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", _DEEPSEEK3)
_BAILING = _rules(r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
                  r"|\s*[\r\n]|\s+(?!\S)|\s+")  # fmt: skip

# the first name of a rule is what an export writes for it
CUTS: dict[str, Cut] = {
    "llama-bpe": _LLAMA3_CUT,
    **dict.fromkeys(("llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"), _LLAMA3_CUT),
    "dbrx": _rules(_LLAMA3),
    "smaug-bpe": _rules(_LLAMA3),
    "chatglm-bpe": _rules(_LLAMA3),
    "glm4": _rules(_LLAMA3, whole_words=True),
    "glm5": _rules(_LLAMA3, whole_words=True),
    "qwen2": _QWEN2_CUT,
    **dict.fromkeys(("deepseek-r1-qwen", "kormo", "megrez", "stablelm2"), _QWEN2_CUT),
    "hunyuan": _rules(_QWEN2),
    "solar-open": _rules(_QWEN2),
    "grok-2": _rules(_QWEN2),
    "qwen35": _rules(_QWEN35),
    "tekken": _rules(_TEKKEN, bos=True, whole_words=True),
    "gpt-4o": _GPT4O_CUT,
    **dict.fromkeys(("llama4", "kanana2", "minimax-m2"), _GPT4O_CUT),
    "gpt-2": _GPT2,
    **dict.fromkeys(("phi-2", "exaone4", "mellum", "gigachat", "a.x-4.0", "jais", "trillion"), _GPT2),
    "olmo": _GPT2_NFC,
    "mpt": _GPT2_NFC,
    "smollm": _DIGITS,
    **dict.fromkeys(("starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"), _DIGITS),
    "command-r": Cut((_digits(), _bytes(words=True)), nfc=True),
    "falcon": Cut(
        ({"type": "Punctuation", "behavior": "Contiguous"}, _bytes(words=True), _digits(single=False),
         _split("[0-9][0-9][0-9]")),
    ),
    "deepseek-llm": Cut(
        (_split("[\r\n]"), _split(_LETTERS), _split(_SIGNS_OF_TWO_WIDTHS), _split(r"\s+$"), _split(_CJK),
         _digits(), _bytes()),
    ),
    "deepseek-coder": Cut(
        (_split("[\r\n]"), _split(r"\s?\p{L}+"), _split(r"\s?\p{P}+"), _split(_CJK), _digits(), _bytes()),
    ),
    "deepseek-v3": _DEEPSEEK3_CUT,
    **dict.fromkeys(("hunyuan-dense", "joyai-llm"), _DEEPSEEK3_CUT),
    "bloom": _rules(_BLOOM),
    **dict.fromkeys(("poro-chat", "gpt3-finnish"), _rules(_BLOOM)),
    "viking": Cut((_split(_BLOOM), _digits(), _bytes())),
    "bailingmoe": _BAILING,
    **dict.fromkeys(("bailingmoe2", "llada-moe"), _BAILING),
    "seed-coder": _rules(_CONTRACTIONS + "|" + _WORDS + r"|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+" + _BREAKS),
    "minicpm5": _rules(r"\p{N}{1,3}", _CONTRACTIONS + "|" + _WORDS + r"|\p{N}+" + _SIGNS + _BREAKS, whole_words=True),
    # what llama.cpp takes for files that name none
    "default": _rules(r"[\p{P}\$\+<=>\^~\|]+", _GPT2_WORDS, r"\p{N}+", "[0-9][0-9][0-9]"),
}  # fmt: skip
