"""The tokenizers of models with their own code as a tokenizer.json: tiktoken's files and sentencepiece's.

Ids are those of tiktoken and of sentencepiece; the tests hold both to them.
"""

import base64
import binascii
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightwright.errors import ModelError
from weightwright.hub.weight_files import read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# how texts are cut before bytes are merged, as tokenization_qwen.py and GLM-4's tokenization_chatglm.py have it
_CUT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+")  # fmt: skip
_QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205)))
_CHATGLM_SPECIAL = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
_CHATGLM3_ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
_CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# no turn is ended, as build_chat_input in generation_utils.py has it
_BAICHUAN = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] }}"
    "{% elif message['role'] == 'user' %}{{ 'USER' + message['content'] }}"
    "{% else %}{{ 'ASSISTANT' + message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT' }}{% endif %}"
)
_CHATGLM3 = (
    "{{ '[gMASK]sop' }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n ' + message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_KEPT = ("tokenizer.json", "vocab.json", "merges.txt", "chat_template.jinja", "special_tokens_map.json")
_SAMPLING = ("do_sample", "temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens")
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def small_files(folder: Path, config: Mapping[str, Any]) -> dict[str, bytes | dict[str, Any]]:
    """The tokenizer's files and generation_config.json as transformers reads them, made from those of a folder.

    `config` is the folder's own. Raises ModelError where there is no tokenizer that can be read.
    """
    said = _read(folder / "tokenizer_config.json")
    generation = _read(folder / "generation_config.json")
    files: dict[str, bytes | dict[str, Any]] = {
        name: (folder / name).read_bytes() for name in _KEPT if (folder / name).is_file()
    }
    values = {name: value for name, value in said.items() if name != "auto_map"}
    kind = str(config["model_type"])
    end: list[int] = []
    if not {"tokenizer.json", "vocab.json"} & files.keys():
        inner, made, end = _made(folder, kind, said, generation, config)
        files["tokenizer.json"] = inner.to_str().encode()
        files.pop("special_tokens_map.json", None)
        values = {"chat_template": None} | made | {
            name: said[name] for name in ("chat_template", "model_max_length") if said.get(name)
        }  # fmt: skip
    if "tokenizer.json" in files:
        values["tokenizer_class"] = "PreTrainedTokenizerFast"
    files["tokenizer_config.json"] = {name: value for name, value in values.items() if value is not None}
    files["generation_config.json"] = _generation(generation, config, end)
    return files


def _made(
    folder: Path, kind: str, said: Mapping[str, Any], generation: Mapping[str, Any], config: Mapping[str, Any]
) -> "tuple[Tokenizer, dict[str, Any], list[int]]":
    """A tokenizer made from other formats, what its config says, and tokens that end an answer beside EOS."""
    file = next(
        (path for path in (folder / "qwen.tiktoken", folder / "tokenizer.model") if path.is_file()), None
    )
    if file is None:
        raise ModelError(f"{folder} holds no tokenizer that can be read (tokenizer.json, tokenizer.model, "
                         "qwen.tiktoken); pull or copy the model again")  # fmt: skip
    ranks = _ranks(file)
    if ranks is not None and kind == "qwen":
        inner = _byte_level(ranks, r"\p{N}", _QWEN_SPECIAL, normal=True)
        chats = generation.get("chat_format") == "chatml"
        ends = [_id(inner, token) for token in ("<|im_end|>", "<|im_start|>")] if chats else []
        return (
            inner,
            _words(eos="<|endoftext|>", pad="<|endoftext|>", template=_CHATML if chats else None),
            ends,
        )
    if ranks is not None:
        added = {int(i): str(one["content"]) for i, one in (said.get("added_tokens_decoder") or {}).items()}
        inner = _byte_level(ranks, r"\p{N}{1,3}", [token for _, token in sorted(added.items())])
        if wrong := [token for i, token in added.items() if inner.token_to_id(token) != i]:
            raise ModelError(f"{folder}/tokenizer_config.json numbers {wrong[0]} otherwise than behind the "
                             f"{len(ranks):,} tokens of {file.name}; pull or copy the model again")  # fmt: skip
        if {"[gMASK]", "<sop>"} <= {*added.values()}:
            _put_before(inner, ["[gMASK]", "<sop>"])
        return inner, _words(eos=_text(said.get("eos_token")), pad=_text(said.get("pad_token"))), []
    inner, pieces = _sentencepiece(file)
    if kind == "chatglm":
        third = any(
            "<|user|>" in file.read_text(encoding="utf-8") for file in folder.glob("tokenization_*.py")
        )
        inner.add_special_tokens([*_CHATGLM_SPECIAL, *(_CHATGLM3_ROLES if third else ())])
        _put_before(inner, ["[gMASK]", "sop"])
        ends = [_id(inner, token) for token in ("<|user|>", "<|observation|>")] if third else []
        return inner, _words(eos="</s>", pad="<unk>", template=_CHATGLM3 if third else None), ends
    return _llama_like(inner, pieces, said, generation, config)


def _llama_like(
    inner: "Tokenizer", pieces: Sequence[str], said: Mapping[str, Any], generation: Mapping[str, Any],
    config: Mapping[str, Any],
) -> "tuple[Tokenizer, dict[str, Any], list[int]]":  # fmt: skip
    """Sentencepiece with BOS and EOS, as the tokenizer's config names them; Baichuan's marks of roles are tokens."""
    words = {name: _text(said.get(f"{name}_token")) for name in ("bos", "eos", "unk", "pad")}
    for name in ("bos", "eos"):
        words[name] = words[name] or _piece(pieces, config.get(f"{name}_token_id"))
    user, assistant = (_piece(pieces, generation.get(f"{role}_token_id")) for role in ("user", "assistant"))
    template = None
    if user is not None and assistant is not None:
        inner.add_special_tokens([user, assistant])
        template = _BAICHUAN.replace("USER", user).replace("ASSISTANT", assistant)
    inner.add_special_tokens([word for word in words.values() if word is not None])
    for i, one in sorted((said.get("added_tokens_decoder") or {}).items(), key=lambda item: int(item[0])):
        if one.get("special") and inner.token_to_id(one["content"]) in (None, int(i)):
            inner.add_special_tokens([one["content"]])
    if said.get("add_bos_token", config.get("model_type") in ("internlm", "internlm2")) and words["bos"]:
        _put_before(inner, [words["bos"]])
    return inner, _words(**words, template=template), []


def _piece(pieces: Sequence[str], i: Any) -> str | None:
    return pieces[i] if isinstance(i, int) and 0 <= i < len(pieces) else None


def _words(
    *, bos: str | None = None, eos: str | None = None, unk: str | None = None, pad: str | None = None,
    template: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "bos_token": bos, "eos_token": eos, "unk_token": unk, "pad_token": pad, "chat_template": template,
        "clean_up_tokenization_spaces": False,
    }  # fmt: skip


def _text(token: Any) -> str | None:
    """A special token's text, of a config that has it as such or as an object."""
    content = token.get("content") if isinstance(token, Mapping) else token
    return str(content) if content is not None else None


def _ranks(file: Path) -> dict[bytes, int] | None:
    """The tokens of tiktoken's format with their ids: a line each of base64 and a number. None for other files."""
    ranks: dict[bytes, int] = {}
    try:
        for line in file.read_bytes().splitlines():
            if line:
                token, rank = line.split()
                ranks[base64.b64decode(token, validate=True)] = int(rank)
    except (ValueError, binascii.Error):
        return None
    if sorted(ranks.values()) != [*range(len(ranks))] or len(ranks) < 256:
        raise ModelError(f"{file} does not number its {len(ranks):,} tokens from 0, each byte among them; "
                         "pull or copy the model again")  # fmt: skip
    return ranks


def _byte_level(
    ranks: Mapping[bytes, int], digits: str, special: Sequence[str], *, normal: bool = False
) -> "Tokenizer":
    """Byte pairs with tiktoken's ids; special tokens have those that follow."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = bytes_to_unicode()

    def spelled(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    merges = [(spelled(left), spelled(right)) for left, right in merges_of(ranks)]
    vocabulary = {spelled(token): rank for token, rank in ranks.items()}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    if normal:
        inner.normalizer = normalizers.NFC()
    inner.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(_CUT.replace("DIGITS", digits)), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    inner.post_processor = processors.ByteLevel(trim_offsets=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([*special])
    return inner


def merges_of(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The two tokens that each longer one is made of, by id: what is left before its last merge."""
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            made = [ranks.get(left + right, rank) for left, right in itertools.pairwise(parts)]
            best = min(made)
            if best >= rank:
                break
            at = made.index(best)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            merges.append((parts[0], parts[1]))
    return merges


def _sentencepiece(file: Path) -> "tuple[Tokenizer, list[str]]":
    """A sentencepiece model as its own settings have it, and its pieces by id. Raises ModelError."""
    from google.protobuf.message import DecodeError
    from transformers.convert_slow_tokenizer import SpmConverter, import_protobuf

    proto = import_protobuf().ModelProto()
    try:
        proto.ParseFromString(file.read_bytes())
    except DecodeError as error:
        raise ModelError(f"{file} is neither sentencepiece's nor tiktoken's; get it again") from error
    pieces = [piece.piece for piece in proto.pieces]
    if not pieces:
        raise ModelError(f"{file} holds no tokens; get it again")
    merged = proto.trainer_spec.model_type == 2
    vocabulary: Any = (
        {piece: i for i, piece in enumerate(pieces)} if merged else [(p.piece, p.score) for p in proto.pieces]
    )
    inner = SpmConverter.build_tokenizer_from_spm_proto(proto, vocabulary)
    inner.add_special_tokens([piece.piece for piece in proto.pieces if piece.type == 3])  # control
    return inner, pieces


def _id(inner: "Tokenizer", token: str) -> int:
    found = inner.token_to_id(token)
    assert found is not None  # it was added before
    return int(found)


def _put_before(inner: "Tokenizer", tokens: Sequence[str]) -> None:
    """Begin texts with special tokens."""
    from tokenizers import processors

    inner.post_processor = processors.TemplateProcessing(
        single=[*tokens, "$A"], pair=[*tokens, "$A", *tokens, "$B"],
        special_tokens=[(token, _id(inner, token)) for token in dict.fromkeys(tokens)],
    )  # fmt: skip


def _generation(
    said: Mapping[str, Any], config: Mapping[str, Any], more_ends: Sequence[int]
) -> dict[str, Any]:
    """What transformers knows of a generation config; the code's own settings (chat_format, …) are left out."""
    values = {name: said[name] for name in (*_IDS, *_SAMPLING) if said.get(name) is not None}
    eos = values.get("eos_token_id", config.get("eos_token_id"))
    ends = [*(eos if isinstance(eos, list) else [] if eos is None else [eos]), *more_ends]
    if ends:
        values["eos_token_id"] = ends if len(ends) > 1 else ends[0]
    return values


def _read(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}
