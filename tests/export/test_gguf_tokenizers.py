"""Each kind of tokenizer through a GGUF file and back: the ids and the text of the original, on 1,000 texts."""

from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from weightwright.export.gguf.write import write_gguf
from weightwright.export.merge import whole
from weightwright.weights import load

from .gguf_originals import BYTE_LEVEL, SENTENCEPIECE, original, texts

NEAR = {"gemma": "Gemma2Config"}


def exported(kind: str, folder: Path) -> tuple[Any, Path]:
    """The original tokenizer, and a GGUF file of a tiny model with it."""
    tokenizer = original(kind)
    options: dict[str, Any] = {"head_dim": 16, "query_pre_attn_scalar": 16} if kind in NEAR else {}
    config = getattr(transformers, NEAR.get(kind, "LlamaConfig"))(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **options,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    made = whole(str(folder / "model"))
    made = made if type(made.tokenizer) is type(tokenizer) else replace_tokenizer(made, tokenizer)
    write_gguf(made, folder / "model.gguf", "f32")
    return tokenizer, folder / "model.gguf"


def replace_tokenizer(made: Any, tokenizer: Any) -> Any:
    """transformers' class of a family may put rules of its own in place of those in the folder."""
    from dataclasses import replace

    return replace(made, tokenizer=tokenizer)


@pytest.mark.parametrize("kind", [*BYTE_LEVEL, *SENTENCEPIECE])
def test_ids_and_text_are_the_originals(tmp_path: Path, kind: str) -> None:
    tokenizer, file = exported(kind, tmp_path)
    found = load.load_tokenizer(str(file))
    for special in (True, False):
        theirs = tokenizer(texts(), add_special_tokens=special)["input_ids"]
        ours = found(texts(), add_special_tokens=special)["input_ids"]
        assert ours == theirs, [t for t, a, b in zip(texts(), ours, theirs, strict=True) if a != b][:3]
    assert found.batch_decode(theirs) == tokenizer.batch_decode(theirs)
    marked = [f"<|im_start|>user\n{text}<|im_end|> <think>\n" for text in texts(100)]
    assert found(marked)["input_ids"] == tokenizer(marked)["input_ids"]
    held = gguf.GGUFReader(file).fields
    # the fields say it all, but for what llama.cpp has no words for
    assert (gguf.Keys.Tokenizer.HF_JSON in held) == (kind.startswith("mistral"))
    if kind in BYTE_LEVEL:
        assert held["tokenizer.ggml.pre"].contents() == SAME.get(kind, kind)
        assert (
            found(" zquorn", add_special_tokens=False)["input_ids"]
            == tokenizer(" zquorn", add_special_tokens=False)["input_ids"]
        )


SAME: dict[str, str] = {"glm4": "llama-bpe"}
