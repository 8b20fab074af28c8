"""The tokenizer in a GGUF file's header, as the original tokenizer.json has it.

Two kinds are read: byte-level ones (`gpt2`, cut by the rules of `gguf_cuts`) and sentencepiece's (`llama`, `gemma4`).
What a file does not say is taken as llama.cpp takes it.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weightwright.errors import ModelError
from weightwright.weights.gguf_cuts import CUTS, Cut

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

log = logging.getLogger(__name__)

UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4  # gguf.TokenType
_SPACE = "\u2581"  # sentencepiece's sign for a space
_WHOLE = "tokenizer.huggingface.json"
# ids where a file names none
_SENTENCEPIECE_IDS = {"bos": 1, "eos": 2, "unknown": 0}
KINDS = ("gpt2", "llama", "gemma4")
# tokens that end a text whatever the header says; the list is llama.cpp's
_ENDS = frozenset((
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>",
    "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "[e~[",
    "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]",
    "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>", "<|file_sep|>",
))  # fmt: skip


def tokenizer_of(fields: Mapping[str, Any], name: str) -> "PreTrainedTokenizerFast":
    """The tokenizer that a header's `fields` describe; `name` is the file's, for messages.

    Raises ModelError for a kind, or a rule that cuts text, that is not known here.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    inner = from_fields(fields, name)
    ids = special_ids(fields)
    tokens = fields["tokenizer.ggml.tokens"]
    named = {f"{kind}_token": tokens[ids[key]] for kind, key in
             (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")) if key in ids}  # fmt: skip
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(inner, ensure_ascii=False)),
        clean_up_tokenization_spaces=False, **named,
    )  # fmt: skip
    tokenizer.chat_template = fields.get("tokenizer.chat_template")
    return tokenizer


def special_ids(fields: Mapping[str, Any]) -> dict[str, int]:
    """The special tokens by GGUF's names (bos, eos, eot, eom, unknown, padding): the file's, or their kind's.

    An id beyond the vocabulary counts as none.
    """
    count = len(fields["tokenizer.ggml.tokens"])
    usual = _SENTENCEPIECE_IDS if fields.get("tokenizer.ggml.model") == "llama" else {}
    said = {
        kind: fields.get(f"tokenizer.ggml.{kind}_token_id", usual.get(kind))
        for kind in ("bos", "eos", "eot", "eom", "unknown", "padding")
    }
    return {kind: int(token) for kind, token in said.items() if token is not None and 0 <= int(token) < count}


def end_ids(fields: Mapping[str, Any]) -> list[int]:
    """The tokens that end a text: eos, eot and eom, then those whose text says so (llama.cpp's list).

    A </s> that is no control token is a word, as it is in Qwen's vocabulary.
    """
    ids = special_ids(fields)
    tokens = fields["tokenizer.ggml.tokens"]
    kinds = fields.get("tokenizer.ggml.token_type") or [CONTROL] * len(tokens)
    named = [ids[kind] for kind in ("eos", "eot", "eom") if kind in ids]
    told = [
        i for i, token in enumerate(tokens) if token in _ENDS and (token != "</s>" or kinds[i] == CONTROL)
    ]
    ends = dict.fromkeys((*named, *told))
    texts = {tokens[i]: i for i in ends}
    # gpt-oss and Solar end messages with <|end|>, texts with others; Gemma 4's </s> is a word
    calls = {"<|call|>", "<|calls|>"} & texts.keys()
    if calls and {"<|return|>", "<|flush|>"} & texts.keys():
        ends.pop(texts.get("<|end|>", -1), None)
    if "<|tool_response>" in texts:
        ends.pop(texts.get("</s>", -1), None)
    return list(ends)


def from_fields(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The tokenizer.json that a header's fields describe, in Python's terms. Raises ModelError as `tokenizer_of`."""
    kind = fields.get("tokenizer.ggml.model")
    if "tokenizer.ggml.tokens" not in fields:
        raise ModelError(f"{name} holds no tokenizer; take another file of the model")
    tokens = _distinct(fields["tokenizer.ggml.tokens"])
    if whole := _whole(fields, tokens):
        return whole
    kinds = fields.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    if kind == "gpt2":
        inner = _byte_level(fields, tokens, name)
    elif kind in ("llama", "gemma4"):
        inner = _sentencepiece(fields, tokens, kinds)
    else:
        raise ModelError(f"{name} holds a tokenizer of the kind {kind!r}; known are {', '.join(KINDS)}; "
                         "use the model's safetensors")  # fmt: skip
    architecture = fields.get("general.architecture")
    inner["added_tokens"] = [
        {"id": i, "content": token, "single_word": False, "lstrip": False, "normalized": False,
         "rstrip": _eats_spaces(architecture, kind, token), "special": token_kind != USER_DEFINED}
        for i, (token, token_kind) in enumerate(zip(tokens, kinds, strict=False))
        if token_kind in (CONTROL, USER_DEFINED) or (token_kind == UNKNOWN and kind != "gpt2")
    ]  # fmt: skip
    inner["post_processor"] = _surround(fields, tokens)
    return {"version": "1.0", "truncation": None, "padding": None, **inner}


def _distinct(tokens: Sequence[str]) -> list[str]:
    """The tokens' texts; an empty one and one that stands there before get a name of their own."""
    if "" not in tokens and len(set(tokens)) == len(tokens):
        return list(tokens)
    seen, named = set[str](), list[str]()
    for i, token in enumerate(tokens):
        named.append(f"[EMPTY_{i}]" if not token else f"[AGAIN_{i}]" if token in seen else token)
        seen.add(token)
    return named


def _whole(fields: Mapping[str, Any], tokens: Sequence[str]) -> dict[str, Any] | None:
    """The tokenizer.json that the file holds beside, where it fits the file's own tokens."""
    text = fields.get(_WHOLE)
    try:
        inner = json.loads(text) if isinstance(text, str) else None
        vocabulary = inner["model"]["vocab"] if inner else None
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(inner, dict) or not isinstance(vocabulary, dict):
        return None
    known = vocabulary | {one["content"]: one["id"] for one in inner.get("added_tokens", ())}
    return inner if all(i < len(tokens) and tokens[i] == token for token, i in known.items()) else None


# -- the two kinds -----------------------------------------------------------------------------------


def cut_of(fields: Mapping[str, Any], name: str) -> Cut:
    """The rule that a byte-level tokenizer cuts text by. Raises ModelError for one that is not known here."""
    said = fields.get("tokenizer.ggml.pre")
    if said is None:
        log.warning("%s does not say how its tokenizer cuts text; it is cut as llama.cpp does then, and some tokens "
                    "may not be the model's", name)  # fmt: skip
        return CUTS["default"]
    if said not in CUTS:
        raise ModelError(f"{name}'s tokenizer cuts text by the rule {said!r}, which is not known here; use the "
                         "model's safetensors")  # fmt: skip
    return CUTS[said]


def _byte_level(fields: Mapping[str, Any], tokens: Sequence[str], name: str) -> dict[str, Any]:
    cut = cut_of(fields, name)
    return {
        "normalizer": {"type": "NFC"} if cut.nfc else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(cut.steps)},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": _bpe(tokens, _merges(fields, name), ignore_merges=cut.whole_words),
    }


def _sentencepiece(fields: Mapping[str, Any], tokens: Sequence[str], kinds: Sequence[int]) -> dict[str, Any]:
    prefix = bool(fields.get("tokenizer.ggml.add_space_prefix", fields["tokenizer.ggml.model"] == "llama"))
    tokens = [_SPACE * len(token) if len(token) > 1 and not token.strip(" ") else token for token in tokens]
    before: list[Any] = [{"type": "Prepend", "prepend": _SPACE}] if prefix else []
    after: list[Any] = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    unknown = next((token for token, kind in zip(tokens, kinds, strict=False) if kind == UNKNOWN), None)
    listed = "tokenizer.ggml.merges" in fields
    merges = _merges(fields, "") if listed else _merges_of_scores(fields, tokens)
    return {
        "normalizer": {"type": "Sequence", "normalizers": [
            *before, {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, *after]},
        "model": _bpe(tokens, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True),
    }  # fmt: skip


def _bpe(tokens: Sequence[str], merges: Sequence[Any], **options: Any) -> dict[str, Any]:
    model: dict[str, Any] = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
    }  # fmt: skip
    vocabulary = {token: i for i, token in enumerate(tokens)}
    kept = [pair for pair in merges if all(part in vocabulary for part in (*pair, "".join(pair)))]
    return {**model, **options, "vocab": vocabulary, "merges": kept}


def _merges(fields: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    """Pairs, best first. The second part begins behind the first space that is not the first character."""
    if "tokenizer.ggml.merges" not in fields:
        raise ModelError(f"{name} lacks its tokenizer's merges; take another file of the model")
    places = ((merge, merge.find(" ", 1)) for merge in fields["tokenizer.ggml.merges"])
    return [(merge[:place], merge[place + 1 :]) for merge, place in places if place > 0]


def _merges_of_scores(fields: Mapping[str, Any], tokens: Sequence[str]) -> list[tuple[str, str]]:
    """Sentencepiece makes the piece with the best score first; Gemma's pieces stand in that order themselves."""
    from transformers.tokenization_utils_base import generate_merges

    architecture = str(fields.get("general.architecture", ""))
    scores = fields.get("tokenizer.ggml.scores")
    if scores is None or architecture.startswith("gemma"):
        scores = [-float(i) for i in range(len(tokens))]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    return list(generate_merges(vocabulary, {token: scores[i] for token, i in vocabulary.items()}))


def _surround(fields: Mapping[str, Any], tokens: Sequence[str]) -> dict[str, Any] | None:
    """BOS before a text and EOS behind it, as the file's flags say, or llama.cpp's defaults where it has none."""
    ids = special_ids(fields)
    kind = fields["tokenizer.ggml.model"]
    cut = CUTS.get(str(fields.get("tokenizer.ggml.pre", "default")))
    usual = kind == "llama" or (kind == "gpt2" and cut is not None and cut.bos)
    # Gemma 4's files ask for BOS, its own tokenizer leaves it to the chat template
    before = "bos" in ids and kind != "gemma4" and bool(fields.get("tokenizer.ggml.add_bos_token", usual))
    behind = "eos" in ids and bool(fields.get("tokenizer.ggml.add_eos_token", False))
    if not (before or behind):
        return None
    first, last = (tokens[ids[kind]] if kind in ids else "" for kind in ("bos", "eos"))

    def marked(token: str, part: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": part}}

    def around(part: str, number: int) -> list[dict[str, Any]]:
        return ([marked(first, number)] * before + [{"Sequence": {"id": part, "type_id": number}}]
                + [marked(last, number)] * behind)  # fmt: skip

    used = {ids["bos"]: first} if before else {}
    used |= {ids["eos"]: last} if behind else {}
    return {
        "type": "TemplateProcessing", "single": around("A", 0), "pair": [*around("A", 0), *around("B", 1)],
        "special_tokens": {token: {"id": token, "ids": [i], "tokens": [token]} for i, token in used.items()},
    }  # fmt: skip


def _eats_spaces(architecture: Any, kind: Any, token: str) -> bool:
    """Phi-3's marks of turns take the spaces behind them; no file says so."""
    return architecture == "phi3" and kind == "llama" and token not in ("<unk>", "<s>", "<|endoftext|>")
