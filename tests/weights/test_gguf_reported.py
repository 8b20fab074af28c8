"""GGUF files that readers have stumbled over: headers that say less, or other things, than a reader expects."""

import json
import logging
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from weightwright.errors import ModelError
from weightwright.export.gguf.write import write_gguf
from weightwright.export.merge import whole
from weightwright.weights import load
from weightwright.weights.describe import describe
from weightwright.weights.ends import end_ids
from weightwright.weights.gguf_tokenizer import end_ids as ends_of
from weightwright.weights.gguf_tokenizer import tokenizer_of

from ..export.test_gguf_export import byte_level, model_folder, sentencepiece
from .test_gguf_config import again


def header(tokenizer: Any, **changes: Any) -> dict[str, Any]:
    """A header with a tokenizer, as a converter that writes little beside it has it."""
    inner = json.loads(tokenizer.backend_tokenizer.to_str())
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])]
    special = {one["content"]: 3 if one["special"] else 4 for one in inner["added_tokens"]}
    fields = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [special.get(token, 1) for token in tokens],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in inner["model"]["merges"]],
    }
    fields |= {name.replace("__", ".ggml."): value for name, value in changes.items()}
    return {name: value for name, value in fields.items() if value is not None}


def first_id(fields: dict[str, Any]) -> int:
    return int(tokenizer_of(fields, "x.gguf")("a")["input_ids"][0])


BOS = byte_level("llama-bpe").convert_tokens_to_ids("<|begin_of_text|>")


@pytest.mark.parametrize(
    ("cut", "said", "begins"),
    [
        ("llama-bpe", None, True),
        ("llama-bpe", False, False),
        ("tekken", None, True),
        ("qwen2", None, False),
        ("qwen2", True, True),
    ],
)
def test_bos_is_put_where_the_flag_or_the_kind_says(cut: str, said: bool | None, begins: bool) -> None:
    """ggml-org/llama.cpp#3966, and files older than the flag."""
    fields = header(
        byte_level(cut), tokenizer__pre=cut, tokenizer__bos_token_id=BOS, tokenizer__add_bos_token=said
    )
    assert (first_id(fields) == BOS) == begins


def test_a_bos_beyond_the_vocabulary_is_none() -> None:
    fields = header(byte_level("llama-bpe"), tokenizer__pre="llama-bpe", tokenizer__bos_token_id=10**6)
    assert first_id(fields) == byte_level()("a")["input_ids"][0]


def test_sentencepieces_ids_where_a_file_names_none() -> None:
    tokenizer = sentencepiece()
    fields = header(tokenizer, tokenizer__model="llama", tokenizer__merges=None, tokenizer__pre="default")
    fields["tokenizer.ggml.scores"] = [-float(i) for i in range(len(fields["tokenizer.ggml.tokens"]))]
    found = tokenizer_of(fields, "x.gguf")
    assert (found.bos_token, found.eos_token, found.unk_token) == ("<s>", "</s>", "<unk>")
    assert found("a")["input_ids"][0] == 1
    without = tokenizer_of(
        fields | {"tokenizer.ggml.add_bos_token": False, "tokenizer.ggml.add_eos_token": True}, "x"
    )
    ids = without("a")["input_ids"]
    assert (ids[0] == 1, ids[-1]) == (False, 2)


def test_special_tokens_with_other_letters_than_bytes_are_one_token() -> None:
    """DeepSeek's begin with U+FF5C, which no byte is written as."""
    begin = "<\uff5cbegin\u2581of\u2581sentence\uff5c>"
    fields = header(byte_level("deepseek-v3"), tokenizer__pre="deepseek-v3", tokenizer__add_bos_token=True)
    fields["tokenizer.ggml.tokens"] = [*fields["tokenizer.ggml.tokens"], begin]
    fields["tokenizer.ggml.token_type"] = [*fields["tokenizer.ggml.token_type"], 3]
    fields["tokenizer.ggml.bos_token_id"] = last = len(fields["tokenizer.ggml.tokens"]) - 1
    found = tokenizer_of(fields, "x.gguf")
    assert found("a")["input_ids"][0] == found.bos_token_id == last
    assert found(f"a{begin}", add_special_tokens=False)["input_ids"][-1] == last
    assert len(found) == last + 1


def test_whole_words_first_where_the_kind_takes_them() -> None:
    fields = header(byte_level("llama-bpe"), tokenizer__pre="llama-bpe")
    fields["tokenizer.ggml.tokens"] = [*fields["tokenizer.ggml.tokens"], "\u0120zquorn"]
    fields["tokenizer.ggml.token_type"] = [*fields["tokenizer.ggml.token_type"], 1]
    last = len(fields["tokenizer.ggml.tokens"]) - 1
    assert tokenizer_of(fields, "x")("a zquorn", add_special_tokens=False)["input_ids"][-1] == last
    assert last not in tokenizer_of(fields | {"tokenizer.ggml.pre": "qwen2"}, "x")("a zquorn")["input_ids"]


def test_ends_by_name_and_by_text() -> None:
    """Llama 3's first files name <|end_of_text|> alone (oobabooga/textgen#5885, ollama/ollama#3759)."""
    tokens = ["a", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "</s>", "b"]
    fields = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.token_type": [1, 3, 3, 3, 1, 1],
    }
    assert ends_of(fields) == [1, 2, 3]  # the </s> is a word
    assert ends_of(fields | {"tokenizer.ggml.eot_token_id": 5}) == [1, 5, 2, 3]
    assert ends_of(fields | {"tokenizer.ggml.token_type": [1, 3, 3, 3, 3, 1]}) == [1, 2, 3, 4]
    # gpt-oss ends its messages with <|end|>, its texts with the two others
    tokens = ["<|end|>", "<|return|>", "<|call|>"]
    assert ends_of({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": tokens}) == [1, 2]
    assert ends_of({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": tokens[:1]}) == [0]


def test_ends_are_kept_beside_the_file(tmp_path: Path) -> None:
    file = exported(tmp_path)
    tokenizer = load.load_tokenizer(str(file))
    # two end texts by what they say, though the file names <|im_end|> alone
    named = ["<|im_end|>", "<|end_of_text|>", "<|endoftext|>"]
    assert end_ids(file) == tuple(tokenizer.convert_tokens_to_ids(named))


def exported(tmp_path: Path, kind: str = "qwen2", **changes: Any) -> Path:
    file = tmp_path / "model.gguf"
    if not file.exists():
        write_gguf(whole(str(model_folder(kind, tmp_path / "model"))), file, "f32")
    if changes:
        again(file, tmp_path / "changed.gguf", {}, **changes)
        return tmp_path / "changed.gguf"
    return file


def test_a_rule_or_a_kind_that_is_not_known_is_named(tmp_path: Path) -> None:
    strange = exported(tmp_path, tokenizer__ggml__pre="hieroglyphs")
    assert "by the rule 'hieroglyphs'" in describe(strange).support.why
    with pytest.raises(
        ModelError, match="by the rule 'hieroglyphs', which is not known here; use safetensors"
    ):
        load.load(str(strange))
    with pytest.raises(ModelError, match="kind 'bert'; known are gpt2, llama, gemma4; use safetensors"):
        load.load(str(exported(tmp_path, tokenizer__ggml__model="bert")))


def test_a_file_that_does_not_say_how_text_is_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = exported(tmp_path, tokenizer__ggml__pre=None, tokenizer__huggingface__json=None)
    with caplog.at_level(logging.WARNING):
        found = load.load_tokenizer(str(file))
    assert "does not say how its tokenizer cuts text" in caplog.text
    assert found.decode(found("12 cats sat")["input_ids"]) == "12 cats sat"


def test_an_adapter_and_no_model_are_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"this is an adapter for llama\.cpp; use the folder"):
        load.load(str(exported(tmp_path, general__type="adapter")))


def test_an_empty_and_a_repeated_token() -> None:
    fields = header(byte_level(), tokenizer__pre="qwen2")
    count = len(fields["tokenizer.ggml.tokens"])
    fields["tokenizer.ggml.tokens"] = [*fields["tokenizer.ggml.tokens"], "", "a"]
    fields["tokenizer.ggml.token_type"] = [*fields["tokenizer.ggml.token_type"], 1, 1]
    found = tokenizer_of(fields, "x.gguf")
    assert len(found) == count + 2
    assert found("a")["input_ids"] == byte_level()("a")["input_ids"]


def test_more_rows_than_tokens(tmp_path: Path) -> None:
    """huggingface/transformers#32526: embeddings padded beyond the tokens, in a file without vocab_size."""
    file = exported(tmp_path, qwen2__vocab_size=None)
    reader = gguf.GGUFReader(file)
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    short = header(byte_level(), tokenizer__pre="qwen2")["tokenizer.ggml.tokens"]
    assert len(tokens) > len(short)
    writer_file = tmp_path / "padded.gguf"
    writer = gguf.GGUFWriter(writer_file, "qwen2")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "tokenizer.huggingface.json"):
            continue
        values = field.contents()
        if name in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type"):
            values = values[: len(short)]
        writer.add_key_value(name, values, field.types[0], field.types[1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    for step in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file", "close"):
        getattr(writer, step)()
    found = load.load(str(writer_file), precision="f32", device="cpu")
    assert found.model.get_input_embeddings().num_embeddings == len(tokens)


def test_a_form_that_gguf_no_longer_knows_is_named(tmp_path: Path) -> None:
    """Files repacked for some CPUs (Q4_0_4_4 and its like), which llama.cpp has given up."""
    file = exported(tmp_path)
    data = bytearray(file.read_bytes())
    at = data.index(b"blk.0.attn_q.weight") + len("blk.0.attn_q.weight")
    place = at + 4 + 2 * 8  # number of dimensions, two of them, then the form
    data[place : place + 4] = np.uint32(31).tobytes()
    (tmp_path / "old.gguf").write_bytes(bytes(data))
    with pytest.raises(
        ModelError, match="in the form 31 of ggml, which the gguf package does not know; take another form"
    ):
        load.load(str(tmp_path / "old.gguf"))


def test_a_whole_tokenizer_that_is_another_models_is_not_taken(tmp_path: Path) -> None:
    strange = json.dumps({"model": {"type": "BPE", "vocab": {"never": 0}, "merges": []}, "added_tokens": []})
    file = exported(tmp_path, tokenizer__huggingface__json=strange)
    assert load.load_tokenizer(str(file))("cats")["input_ids"] == byte_level()("cats")["input_ids"]
