"""Tokenizers of the families that GGUF files name, each by its family's own rules, trained here; texts to try.

The rules are written as they stand in the tokenizer.json of a model of the family.
"""

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, processors, trainers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast
from transformers.tokenization_utils_base import generate_merges

_ROOT = Path(__file__).parents[2]
_CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN35 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CJK = "[一-龥ࠀ-一가-\ud7ff]+"


def _split(rule: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": rule}, "behavior": "Isolated", "invert": False}


def _byte_level(use_regex: bool = False) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


_DIGITS = {"type": "Digits", "individual_digits": True}
# name in GGUF: pre-tokenizer, normalizer, whole words first, BOS
BYTE_LEVEL: dict[str, tuple[list[dict[str, Any]], str, bool, bool]] = {
    "llama-bpe": ([_split(_CL100K), _byte_level()], "", True, True),
    "dbrx": ([_split(_CL100K), _byte_level()], "", False, False),  # Phi-4 too
    "glm4": ([_split(_CL100K), _byte_level()], "", True, False),
    "qwen2": ([_split(_QWEN2), _byte_level()], "NFC", False, False),
    "qwen35": ([_split(_QWEN35), _byte_level()], "", False, False),
    "gpt-4o": ([_split(_O200K), _byte_level()], "", False, False),
    "tekken": ([_split(_TEKKEN), _byte_level()], "", True, True),
    "gpt-2": ([_byte_level(True)], "", False, False),
    "olmo": ([_byte_level(True)], "NFC", False, False),
    "smollm": ([_DIGITS, _byte_level(True)], "", False, False),  # StarCoder too
    "command-r": ([_DIGITS, _byte_level(True)], "NFC", False, True),
    "falcon": (
        [
            {"type": "Punctuation", "behavior": "Contiguous"},
            _byte_level(True),
            {"type": "Digits", "individual_digits": False},
            _split("[0-9][0-9][0-9]"),
        ],
        "",
        False,
        False,
    ),
    "deepseek-coder": (
        [_split("[\r\n]"), _split(r"\s?\p{L}+"), _split(r"\s?\p{P}+"), _split(_CJK), _DIGITS, _byte_level()],
        "",
        False,
        True,
    ),
    "deepseek-v3": (
        [_split(r"\p{N}{1,3}"), _split("[一-龥\u3040-ゟ゠-ヿ]+"), _split(_DEEPSEEK3), _byte_level()],
        "",
        False,
        True,
    ),
    "bloom": ([_split(" ?[^(\\s|[.,!?…。，、।۔،])]+"), _byte_level()], "", False, False),
    "seed-coder": (
        [
            _split(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
            _byte_level(),
        ],
        "",
        False,
        True,
    ),
    "bailingmoe": (
        [
            _split(
                r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]"
                r"|\s+(?!\S)|\s+"
            ),
            _byte_level(),
        ],
        "",
        False,
        False,
    ),
}
SENTENCEPIECE = ("llama", "gemma", "mistral, a space before the first word only")
SPECIAL = ["<|end|>", "<|im_start|>", "<|im_end|>", "<｜begin▁of▁sentence｜>"]
_BEGIN = SPECIAL[-1]
CHINESE = [
    "机器学习是人工智能的一个分支，研究如何从数据中学习规律。",
    "他说：“明天下午三点，我们在图书馆见面吧！”",
    "北京大学成立于１８９８年，是中国近代第一所国立综合性大学。",
    "请把下面的句子翻译成英文：床前明月光，疑是地上霜。",
    "价格是￥1,234.50元（含税）。",
    "深度学习框架有PyTorch、TensorFlow和MindSpore等。",
]
_ODD = [
    "I'm sure they'll say it's DON'T, we've, you'D, he’s",
    "Ünïcödé naïve café Ångström",
    "e\u0301 n\u0303 a\u030a cafe\u0301",
    "日本語のテキスト、カタカナ ー",
    "한국어 텍스트입니다",
    "Привет, мир! 1917 год",
    "مرحبا بالعالم ١٢٣",
    "हिन्दी में लिखा",
    "😀👍🏽🇺🇸 ❤️‍🔥",
    "ied 4 ½ months ² ³ Ⅻ ٣",
    "3.14159 1,000,000 0x1F 12345678 ₂₃",
    "a\tb\t\tc",
    "  x  ",
    "\n\n\n",
    "\r\n\r\n",
    " \n \n",
    "\u3000全角\u3000空格",
    "x = [i**2 for i in range(10)]  # squares\n\tif x:\n\t\treturn None",
    "C:\\path\\to\\file.txt <b>bold</b> &amp; $a+b=c^2~|`",
    "\u00a0nbsp\u200bzero",
    "ABC123def456GHI",
    "http://example.com/a?b=1&c=2#d",
    "--- === *** ___ ...!!!???",
    "(\"quoted\"), 'single'",
]


@cache
def corpus() -> list[str]:
    """Lines to train on: this project's guide and code, and some Chinese."""
    files = [
        *sorted((_ROOT / "docs").glob("*.md"))[:8],
        *sorted((_ROOT / "src/weightwright/plan").glob("*.py")),
    ]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [*lines[:2500], *CHINESE * 20, *_ODD * 4]


@cache
def texts(count: int = 1000) -> list[str]:
    """`count` texts, seeded: prose, code, Chinese, numbers, runs of spaces, mixed scripts, odd letters."""
    rng = random.Random(0)
    prose, made = [line for line in corpus() if len(line) > 20], [*_ODD, *CHINESE]
    spaces = [" ", "  ", "   ", "\n", "\n\n", "\t", " \n", "\r\n", "\u3000", ""]
    while len(made) < count:
        parts = rng.choices([*rng.sample(prose, 3), *CHINESE, *_ODD], k=rng.randint(1, 3))
        parts = [part[rng.randint(0, 4) : rng.randint(5, 90)] for part in parts]
        parts.append(str(rng.randint(0, 10 ** rng.randint(1, 12))))
        rng.shuffle(parts)
        made.append("".join(part + rng.choice(spaces) * rng.randint(1, 3) for part in parts))
    return [text for text in made if text][:count]


def original(kind: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a kind: a name of BYTE_LEVEL or SENTENCEPIECE."""
    inner = _byte_pairs(kind) if kind in BYTE_LEVEL else _pieces(kind)
    begins = BYTE_LEVEL[kind][3] if kind in BYTE_LEVEL else True
    first = _BEGIN if kind in BYTE_LEVEL else "<s>"
    if begins:
        inner.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", special_tokens=[(first, inner.token_to_id(first))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=first,
        eos_token="<|end|>" if kind in BYTE_LEVEL else "</s>",
        unk_token=None if kind in BYTE_LEVEL else "<unk>",
        clean_up_tokenization_spaces=False,
    )


def _with(inner: Tokenizer, **parts: Any) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(json.loads(inner.to_str()) | parts))


def _byte_pairs(kind: str) -> Tokenizer:
    steps, normal, whole_words, _ = BYTE_LEVEL[kind]
    parts = {
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "normalizer": {"type": normal} if normal else None,
    }
    inner = _with(Tokenizer(models.BPE(ignore_merges=whole_words)), **parts)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    inner.train_from_iterator(corpus(), trainer)
    if whole_words:  # a word that no merge makes: taken whole
        state = json.loads(inner.to_str())
        state["model"]["vocab"]["Ġzquorn"] = len(state["model"]["vocab"])
        inner = Tokenizer.from_str(json.dumps(state))
    inner.add_tokens(["<think>"])
    return inner


def _pieces(kind: str) -> Tokenizer:
    """sentencepiece's kind: every two pieces that are a piece together are joined, best score first."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    replaced = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    trained = _with(trained, normalizer=replaced)
    trainer = trainers.BpeTrainer(
        vocab_size=1200, special_tokens=["<unk>"], max_token_length=16, show_progress=False
    )
    words = [word + " " for line in corpus()[:800] for word in line.split(" ") if word]
    trained.train_from_iterator(["▁" + word.strip() for word in words], trainer)
    pieces = [token for token, _ in sorted(trained.get_vocab().items(), key=lambda pair: pair[1])][1:]
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        "<|im_start|>",
        "<|im_end|>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *pieces,
    ]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    scores = {token: -float(i) for i, token in enumerate(pieces)}
    merges = [pair for pair in generate_merges(vocabulary, scores) if "".join(pair) in scores]
    inner = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    before = {"type": "Prepend", "prepend": "▁"}
    first = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    inner = _with(
        inner,
        normalizer=None
        if kind.startswith("mistral")
        else {"type": "Sequence", "normalizers": [before, replaced] if kind == "llama" else [replaced]},
        pre_tokenizer=first if kind.startswith("mistral") else None,
        decoder={
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *([] if kind == "gemma" else strip),
            ],
        },
    )
    inner.add_special_tokens(["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"])
    return inner
