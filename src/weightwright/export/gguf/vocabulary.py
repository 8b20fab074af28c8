"""A tokenizer in the words of llama.cpp: tokens and their kinds, merges or scores, special tokens, chat template.

What goes wrong most often in exported files is decided here: whether text begins with a BOS token (asked of the
tokenizer itself, so that no template doubles it), which tokens end an answer, and by which rule text is cut before
byte pairs are merged (llama.cpp knows these rules by name; a tokenizer with another rule is refused).
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weightwright.data.render import render
from weightwright.data.turn_end import turn_ends
from weightwright.errors import DataError, ModelError, Place
from weightwright.export.merge import Whole
from weightwright.ports import Message, Tokenizer
from weightwright.weights import gguf_header, gguf_tokenizer
from weightwright.weights.gguf_cuts import CUTS

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_NEVER = -1e6  # the score of what no merge makes
_UNDERSCORE = "\u2581"  # sentencepiece's sign for a space
_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTES = 1, 2, 3, 4, 5, 6  # gguf.TokenType


def add_vocabulary(writer: Any, model: Whole) -> list[str]:
    """Write the tokenizer of `model` into a gguf.GGUFWriter; what the user should know of it.

    A tokenizer that came from a GGUF file and did not change is copied field by field. Raises ModelError for
    tokenizers that llama.cpp has no counterpart for.
    """
    rows = len(model.model.get_input_embeddings().weight)
    if model.path.is_file() and not model.own_tokenizer and _copied(writer, model.path, rows):
        return []
    tokenizer = model.tokenizer
    inner = _inner(tokenizer)
    if _is_byte_level(inner):
        _byte_level(writer, inner, tokenizer, rows)
    else:
        _sentencepiece(writer, inner, tokenizer, rows)
    notes = []
    if any(step.get("prepend_scheme") == "first" for step in _steps(inner.get("pre_tokenizer"))):
        notes.append("llama.cpp puts a space before each text and behind each special token, where this tokenizer "
                     "puts one before the first word alone, if none stands there; in conversations some tokens "
                     "differ")  # fmt: skip
    notes += _special_tokens(writer, tokenizer, model.model.config, rows)
    template = tokenizer.chat_template
    if isinstance(template, Mapping):
        writer.add_chat_template([{"name": name, "template": text} for name, text in template.items()])
    elif template:
        writer.add_chat_template(template)
    return notes + _kept_whole(writer, inner)


def _kept_whole(writer: Any, inner: dict[str, Any]) -> list[str]:
    """Write tokenizer.json beside, where the fields do not say all of it; notes on what llama.cpp makes otherwise."""
    import gguf

    fields = {name: field.value for name, field in writer.kv_data[-1].items()}
    read = gguf_tokenizer.from_fields(fields, "the file")
    if _said(read) == _said(inner):
        return []
    writer.add_string(gguf.Keys.Tokenizer.HF_JSON, json.dumps(inner, ensure_ascii=False))
    if not _is_byte_level(inner) and set(_merges(read)) != set(_merges(inner)):
        return ["llama.cpp joins any two pieces that are a piece together, where this tokenizer joins those of its "
                "own list alone; some tokens differ there"]  # fmt: skip
    return []


def _said(inner: dict[str, Any]) -> tuple[Any, ...]:
    """What of a tokenizer.json decides which tokens a text becomes, and which text they become."""
    unimportant = {"trim_offsets", "invert", "add_prefix_space"}

    def steps(part: dict[str, Any] | None) -> list[dict[str, Any]]:
        return [
            {key: value for key, value in step.items() if key not in unimportant} for step in _steps(part)
        ]

    decoder = [step for step in _steps(inner.get("decoder")) if step["type"] != "ByteLevel"]
    free = {"special"}
    if {step["type"] for step in _steps(inner.get("normalizer"))} <= {"NFC"}:
        free.add("normalized")  # marks stay as they are
    added = {one["content"]: {key: one[key] for key in one.keys() - free} for one in inner["added_tokens"]}
    model = inner["model"]
    options = {key: bool(model.get(key)) for key in ("ignore_merges", "byte_fallback")}
    return (
        steps(inner.get("normalizer")),
        steps(inner.get("pre_tokenizer")),
        decoder,
        added,
        options,
        _merges(inner),
    )


def adds_token(tokenizer: Tokenizer, *, at_end: bool = False) -> bool:
    """Whether the tokenizer puts BOS before a text by itself (at its end: EOS after it)."""
    ids, bare = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
    wanted = tokenizer.eos_token_id if at_end else tokenizer.bos_token_id
    if wanted is None or len(ids) == len(bare):
        return False
    return bool(ids[-1 if at_end else 0] == wanted and (bare[-1:] if at_end else bare[:1]) != [wanted])


def _copied(writer: Any, file: Path, rows: int) -> bool:
    """Copy the tokenizer of the GGUF file that the model came from, if it has as many tokens as embeddings."""
    import gguf

    with gguf_header.quick_reader():
        fields = gguf.GGUFReader(file).fields
    tokens = fields.get("tokenizer.ggml.tokens")
    if tokens is None or len(tokens.data) != rows:
        return False
    for name, field in fields.items():
        if name.startswith("tokenizer.") and field.types:
            inner = field.types[1] if len(field.types) > 1 else None
            if field.types[0] != gguf.GGUFValueType.ARRAY or inner is not None:
                writer.add_key_value(name, field.contents(), field.types[0], inner)
    return True


# -- the two kinds of tokenizer ----------------------------------------------------------------------


def _inner(tokenizer: Tokenizer) -> dict[str, Any]:
    """The tokenizer as tokenizer.json has it. Raises ModelError for kinds that cannot be written."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError("this model's tokenizer has no tokenizer.json, from which a GGUF file's is written; "
                         "use a version of the model that has one")  # fmt: skip
    inner: dict[str, Any] = json.loads(backend.to_str())
    kind = inner["model"].get("type")
    if kind != "BPE":
        raise ModelError(f"tokenizers of the kind {kind} are not written as GGUF here, BPE ones are; write "
                         "--format safetensors")  # fmt: skip
    if not inner["model"]["merges"]:
        raise ModelError("this model's tokenizer has no merges (each byte is a token), which llama.cpp cannot read; "
                         "write --format safetensors")  # fmt: skip
    return inner


def _is_byte_level(inner: dict[str, Any]) -> bool:
    return any(step["type"] == "ByteLevel" for step in _steps(inner.get("pre_tokenizer")))


def _byte_level(writer: Any, inner: dict[str, Any], tokenizer: Tokenizer, rows: int) -> None:
    """GPT-2's kind: bytes as letters, merges in order."""
    name = cut_name(inner)
    tokens, kinds = _tokens(inner, tokenizer, rows)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in _merges(inner)])


def _sentencepiece(writer: Any, inner: dict[str, Any], tokenizer: Tokenizer, rows: int) -> None:
    """The kind of sentencepiece: the piece with the best score is made first, and an earlier merge scores better."""
    if not inner["model"].get("byte_fallback") or _UNDERSCORE not in json.dumps(inner, ensure_ascii=False):
        raise ModelError("this model's tokenizer is neither byte-level BPE nor sentencepiece's; such a one is not "
                         "written as GGUF here, write --format safetensors")  # fmt: skip
    tokens, kinds = _tokens(inner, tokenizer, rows)
    rank: dict[str, int] = {}
    for place, pair in enumerate(_merges(inner)):
        rank.setdefault("".join(pair), place)
    for i, token in enumerate(tokens):
        if _BYTE.fullmatch(token):
            kinds[i] = _BYTES
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id < rows:
        kinds[tokenizer.unk_token_id] = _UNKNOWN
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([float(-rank[token]) if token in rank else _NEVER for token in tokens])
    writer.add_token_types(kinds)
    writer.add_add_space_prefix(_space_before(inner))


def _space_before(inner: dict[str, Any]) -> bool:
    """Whether a text gets a space before its first word."""
    for step in (*_steps(inner.get("normalizer")), *_steps(inner.get("pre_tokenizer"))):
        if step["type"] == "Prepend":
            return bool(step["prepend"] == _UNDERSCORE)
        if step["type"] == "Metaspace":
            return bool(step.get("prepend_scheme", "always") != "never")
    return False


def _tokens(inner: dict[str, Any], tokenizer: Tokenizer, rows: int) -> tuple[list[str], list[int]]:
    """The text and kind of each token; embeddings without a token get one that is never used."""
    tokens, kinds = [f"[PAD{i}]" for i in range(rows)], [_UNUSED] * rows
    for token, i in tokenizer.get_vocab().items():
        if i < rows:  # transformers' own class for a model may add a token that the model does not have
            tokens[i], kinds[i] = token, _NORMAL
    added = [(one["id"], one["content"], one["special"]) for one in inner["added_tokens"]]
    # and those that only the tokenizer's config names
    added += [(i, token.content, token.special) for i, token in tokenizer.added_tokens_decoder.items()]
    for i, token, special in added:
        if i < rows:
            tokens[i], kinds[i] = token, _CONTROL if special else _USER
    return tokens, kinds


def _merges(inner: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs, best first; older tokenizer.json files have them as texts."""
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in inner["model"]["merges"])
    return [(first, second) for first, second in pairs]


def _steps(part: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A normalizer or pre-tokenizer as a flat list."""
    if part is None:
        return []
    inner = part.get("pretokenizers", part.get("normalizers"))
    return [step for one in inner for step in _steps(one)] if inner is not None else [part]


def cut_name(inner: dict[str, Any]) -> str:
    """llama.cpp's name for the rule by which a byte-level tokenizer cuts text. Raises ModelError without one."""
    steps = _steps(inner.get("pre_tokenizer"))
    normal = {step["type"] for step in _steps(inner.get("normalizer"))}
    bare = _bare(steps)
    whole_words = bool(inner["model"].get("ignore_merges"))
    fitting = [name for name, cut in CUTS.items() if _bare(cut.steps) == bare] if normal <= {"NFC"} else []
    alike = [name for name in fitting if CUTS[name].whole_words == whole_words] or fitting
    if alike:
        return next((name for name in alike if CUTS[name].nfc or not normal), alike[0])
    shown = " + ".join(step["type"] for step in (*_steps(inner.get("normalizer")), *steps))
    raise ModelError(f"this model's tokenizer cuts text by a rule ({shown}) that llama.cpp has no known name for, so "
                     "its tokens would differ; write --format safetensors")  # fmt: skip


def _bare(steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in step.items() if key != "trim_offsets"} for step in steps]


# -- special tokens ----------------------------------------------------------------------------------


def _special_tokens(writer: Any, tokenizer: Tokenizer, config: Any, rows: int) -> list[str]:
    """BOS, EOS and their like, each only where there is one: llama.cpp has defaults of its own for the rest."""

    def held(token: int | None) -> bool:
        return token is not None and token < rows

    configured = config.eos_token_id
    first = configured[0] if isinstance(configured, list) and configured else configured
    end = tokenizer.eos_token_id if held(tokenizer.eos_token_id) else first
    turn, call = (*(i for i in turn_ends(tokenizer).token_ids if held(i)), None, None)[:2]
    notes = []
    if end is None:
        end = turn
    if held(tokenizer.bos_token_id):
        writer.add_bos_token_id(tokenizer.bos_token_id)
    if end is None:
        notes.append(
            "the tokenizer names no token that ends a text (EOS); llama.cpp will take one of its own"
        )
    else:
        writer.add_eos_token_id(end)
    if turn is not None and turn != end:
        writer.add_eot_token_id(turn)
    if call is not None and call != end:
        writer.add_eom_token_id(call)
    if held(tokenizer.unk_token_id):
        writer.add_unk_token_id(tokenizer.unk_token_id)
    if held(tokenizer.pad_token_id):
        writer.add_pad_token_id(tokenizer.pad_token_id)
    before = adds_token(tokenizer)
    writer.add_add_bos_token(before)
    writer.add_add_eos_token(adds_token(tokenizer, at_end=True))
    if before and tokenizer.chat_template and not _begins_with_bos(tokenizer):
        notes.append("the tokenizer puts BOS before a text and the chat template does not write it: llama.cpp will "
                     "put it before conversations, too")  # fmt: skip
    return notes


def _begins_with_bos(tokenizer: Tokenizer) -> bool:
    try:
        text = render((Message("user", "a"),), tokenizer, Place())
    except DataError:
        return True  # nothing is known, so nothing is said
    return text.startswith(str(tokenizer.bos_token))
