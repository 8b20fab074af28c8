"""The header of a GGUF file gives the same counts as the config that it was made from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter, Keys

from weightwright.errors import ModelError
from weightwright.plan.params import active_params, count_params
from weightwright.plan.spec import from_config, from_file, from_gguf

SMALL = {"vocab_size": 1000, "hidden_size": 96, "intermediate_size": 208, "num_hidden_layers": 4,
         "num_attention_heads": 6, "num_key_value_heads": 2}  # fmt: skip
LLM, ATTENTION, ROPE, SSM = Keys.LLM, Keys.Attention, Keys.Rope, Keys.SSM
SIZES = {LLM.EMBEDDING_LENGTH: 96, LLM.FEED_FORWARD_LENGTH: 208, LLM.BLOCK_COUNT: 4, ATTENTION.HEAD_COUNT: 6,
         ATTENTION.HEAD_COUNT_KV: 2, LLM.CONTEXT_LENGTH: 512}  # fmt: skip
EXPERTS = {LLM.EXPERT_COUNT: 12, LLM.EXPERT_USED_COUNT: 3, LLM.EXPERT_FEED_FORWARD_LENGTH: 72}
NUMBERED = {"num_experts": 12, "num_experts_per_tok": 3, "moe_intermediate_size": 72}
ROUTED = {"n_routed_experts": 12, "num_experts_per_tok": 3, "moe_intermediate_size": 72, "n_shared_experts": 2,
          "first_k_dense_replace": 1}  # fmt: skip
DEEPSEEK = {**SIZES, **EXPERTS, LLM.EXPERT_SHARED_COUNT: 2, LLM.LEADING_DENSE_BLOCK_COUNT: 1,
            ATTENTION.Q_LORA_RANK: 56, ATTENTION.KV_LORA_RANK: 40, ROPE.DIMENSION_COUNT: 8}  # fmt: skip
LATENT = {
    "kv_lora_rank": 40,
    "q_lora_rank": 56,
    "qk_rope_head_dim": 8,
    "v_head_dim": 20,
    "qk_nope_head_dim": 24,
}


def write(file: Path, architecture: str, keys: dict[str, int], tensors: tuple[str, ...] = ()) -> Path:
    """A GGUF file with a header and an embedding of 1,000 tokens, without a layer's weights."""
    writer = GGUFWriter(file, architecture)
    for key, value in keys.items():
        writer.add_uint32(key.format(arch=architecture), value)
    writer.add_tensor("token_embd.weight", np.zeros((1000, 96), dtype=np.float32))
    for name in tensors:
        writer.add_tensor(name, np.zeros(1, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.mark.parametrize(
    ("architecture", "keys", "tensors", "family", "config"),
    [
        ("llama", SIZES, (), "llama", {}),
        ("llama", SIZES, ("output.weight",), "llama", {"tie_word_embeddings": False}),
        ("qwen2", SIZES, ("blk.0.attn_q.bias",), "qwen2", {}),
        ("qwen3", {**SIZES, ATTENTION.KEY_LENGTH: 20}, (), "qwen3", {"head_dim": 20}),
        ("glm4", {**SIZES, ATTENTION.KEY_LENGTH: 20}, ("blk.0.attn_q.bias",), "glm4", {"head_dim": 20}),
        ("llama", {**SIZES, LLM.EXPERT_COUNT: 8, LLM.EXPERT_USED_COUNT: 2}, (), "mixtral", {}),
        ("qwen2moe", {**SIZES, **EXPERTS, LLM.EXPERT_SHARED_FEED_FORWARD_LENGTH: 88}, ("blk.0.attn_q.bias",),
         "qwen2_moe", {**NUMBERED, "shared_expert_intermediate_size": 88}),
        ("qwen3moe", {**SIZES, **EXPERTS, ATTENTION.KEY_LENGTH: 20}, (), "qwen3_moe", {**NUMBERED, "head_dim": 20}),
        ("deepseek2", {**DEEPSEEK, ATTENTION.KEY_LENGTH: 32, ATTENTION.VALUE_LENGTH: 20}, (), "deepseek_v3",
         {**ROUTED, **LATENT}),
        ("deepseek2", {**DEEPSEEK, ATTENTION.KEY_LENGTH: 48, ATTENTION.VALUE_LENGTH: 40, ATTENTION.KEY_LENGTH_MLA: 32,
                       ATTENTION.VALUE_LENGTH_MLA: 20}, (), "deepseek_v3", {**ROUTED, **LATENT}),
        ("glm4moe", {**SIZES, **EXPERTS, LLM.EXPERT_SHARED_COUNT: 2, LLM.LEADING_DENSE_BLOCK_COUNT: 1,
                     LLM.BLOCK_COUNT: 5, LLM.NEXTN_PREDICT_LAYERS: 1}, ("blk.0.attn_q_norm.weight",), "glm4_moe",
         {**ROUTED, "use_qk_norm": True}),
        ("gpt-oss", {**SIZES, **EXPERTS, ATTENTION.KEY_LENGTH: 20}, ("blk.0.attn_q.bias",), "gpt_oss",
         {"num_local_experts": 12, "num_experts_per_tok": 3, "intermediate_size": 72, "head_dim": 20}),
        ("qwen3next", {**SIZES, **EXPERTS, LLM.EXPERT_SHARED_FEED_FORWARD_LENGTH: 88, ATTENTION.KEY_LENGTH: 32,
                       SSM.CONV_KERNEL: 3, SSM.STATE_SIZE: 8, SSM.GROUP_COUNT: 2, SSM.TIME_STEP_RANK: 4,
                       SSM.INNER_SIZE: 48}, (), "qwen3_next",
         {**NUMBERED, "shared_expert_intermediate_size": 88, "head_dim": 32, "linear_conv_kernel_dim": 3,
          "linear_key_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
          "linear_value_head_dim": 12}),
    ],
)  # fmt: skip
def test_a_header_gives_the_same_count(
    tmp_path: Path, architecture: str, keys: dict, tensors: tuple, family: str, config: dict[str, Any]
):
    found = from_file(write(tmp_path / "m.gguf", architecture, keys, tensors))
    expected = from_config({"model_type": family, "tie_word_embeddings": True, **SMALL, **config})
    assert found.family == family
    assert (count_params(found), active_params(found)) == (count_params(expected), active_params(expected))


def test_the_context_is_read(tmp_path: Path):
    file = write(tmp_path / "m.gguf", "llama", SIZES)
    assert from_gguf(file)["max_position_embeddings"] == 512
    assert from_file(file).context == 512


def test_a_broken_header_is_one_clear_error(tmp_path: Path):
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUX" + bytes(64))
    with pytest.raises(ModelError, match=r"m\.gguf has a broken GGUF header"):
        from_file(file)
