"""Make the small tokenizers and what sentencepiece and tiktoken themselves say of some texts, in this folder.

pip install sentencepiece==0.2.3 tiktoken==0.14.0 && python tests/hub/tokenizers/make.py
"""

import base64
import io
import itertools
import json
import random
import unicodedata
from pathlib import Path

import sentencepiece
import tiktoken

HERE = Path(__file__).resolve().parent
CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
LEARNT = (
    "The garden opens at six. Its pond holds forty carp, and the gardener's name is Ottilie.\n"
    "def add(a, b):\n    return a + b  # adds\n\nfor i in range(10):\n        print(i, add(i, i))\n"
    "会议室的密码是蓝鲸。打印机在三楼，每天晚上八点关闭。请在会议室的门口等我，我们八点开会。\n"
    "Receipts are kept for seven years. Refunds above 400 euro need two signatures. 1234567890\n"
) * 6
PLAIN = (
    "", " ", "   ", "\n", "\n\n  \n", "hello", " hello", "hello ", "The garden opens", "the  pond   holds    carp",
    "会议室", "会议室 的 密码", " 会议室\n打印机", "def add(a, b):\n        return a\n", "\t\tx = 10 ** 12\r\n",
    "3.14159 and 1,000,000", "½ ﬁ Å A\u030a e\u0301 ﾊﾝｶｸ", "😀🏽 🇨🇳", "▁ ▁▁ x▁y", "<s> </s> <unk> <reserved_1>",
    "<0x41> <0xE4>", "a\u0000b", "Ottilie's they'LL we've", "ＡＢＣ　全角", "\u200b\u00a0\ufeff",
)  # fmt: skip


def texts() -> list[str]:
    """Texts by hand, pieces of what was learnt, and random ones."""
    draw = random.Random(0)
    out = list(PLAIN)
    for _ in range(40):
        start = draw.randrange(len(LEARNT) // 6)
        out.append(LEARNT[start : start + draw.randrange(2, 60)])
    for _ in range(40):
        kinds = ("abcdeghinoprt", "  \n\t", "0123456789", "会议室的密码八点开门", "éøßЖ日本語😀")
        out.append("".join(draw.choice(draw.choice(kinds)) for _ in range(draw.randrange(1, 40))))
    return out


def pieces(**options: object) -> bytes:
    """A sentencepiece model of byte pairs."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LEARNT.splitlines()), model_writer=model, model_type="bpe", vocab_size=480,
        byte_fallback=True, split_digits=True, character_coverage=0.999, minloglevel=2, **options,
    )  # fmt: skip
    return model.getvalue()


def ranks() -> dict[bytes, int]:
    """Byte pairs of the learnt text in tiktoken's form, the most frequent pair first."""
    import re

    words = [[word[i : i + 1] for i in range(len(word))] for word in
             (part.encode() for part in re.findall(r" ?\w+|\s+|[^\w\s]+", LEARNT))]  # fmt: skip
    found = {bytes([byte]): byte for byte in range(256)}
    for _ in range(300):
        counts: dict[tuple[bytes, bytes], int] = {}
        for word in words:
            for pair in itertools.pairwise(word):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], pair))
        found.setdefault(best[0] + best[1], len(found))
        for word in words:
            at = 0
            while at < len(word) - 1:
                if (word[at], word[at + 1]) == best:
                    word[at : at + 2] = [best[0] + best[1]]
                at += 1
    return found


def main() -> None:
    """Write all files."""
    says = {}
    kinds = {
        "baichuan": {
            "add_dummy_prefix": False, "remove_extra_whitespaces": False, "normalization_rule_name": "identity",
            "user_defined_symbols": ["\u2581" * n for n in range(2, 9)] + ["<reserved_0>", "<reserved_1>"],
        },
        "internlm": {"remove_extra_whitespaces": False, "normalization_rule_name": "identity"},
    }  # fmt: skip
    for name, options in kinds.items():
        model = pieces(**options)
        (HERE / f"{name}.model").write_bytes(model)
        read = sentencepiece.SentencePieceProcessor(model_proto=model)
        says[name] = [read.encode(text) for text in texts()]
    found = ranks()
    lines = b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in found.items())
    (HERE / "qwen.tiktoken").write_bytes(lines)
    encoding = tiktoken.Encoding("small", pat_str=CUT, mergeable_ranks=found, special_tokens={})
    says["qwen"] = [
        encoding.encode(unicodedata.normalize("NFC", text), disallowed_special=()) for text in texts()
    ]
    threes = CUT.replace(r"\p{N}|", r"\p{N}{1,3}|")
    encoding = tiktoken.Encoding("threes", pat_str=threes, mergeable_ranks=found, special_tokens={})
    says["glm4"] = [encoding.encode(text, disallowed_special=()) for text in texts()]
    says["texts"] = texts()
    (HERE / "expected.json").write_text(json.dumps(says, ensure_ascii=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
