"""GGUF files of mixtures as llama.cpp's converter writes them: keys, stacks of experts, DeepSeek's split matrices."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np

ARCHITECTURES = {
    "mixtral": "llama",
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
    "deepseek_v2": "deepseek2",
    "deepseek_v3": "deepseek2",
}
_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate.weight": "ffn_gate_inp.weight",
    "mlp.gate.e_score_correction_bias": "exp_probs_b.bias",
    "mlp.experts.down_proj": "ffn_down_exps.weight",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
    "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
    "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp",
    "mlp.shared_experts.down_proj": "ffn_down_shexp",
}
_TOP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def write(
    model: Any,
    file: Path,
    *,
    tokens: list[str],
    old_latent: bool = False,
    four_bits: bool = False,
    apart: bool = False,
) -> None:
    """The model with a byte-level tokenizer of these tokens; `old_latent`: DeepSeek's keys and values in one.

    With `four_bits` the experts are in Q4_0, with `apart` each is a tensor of its own, as in files of 2023.
    """
    config = model.config
    kind = ARCHITECTURES[config.model_type]
    writer = gguf.GGUFWriter(file, kind)
    _settings(writer, config)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges(["a b"])
    for path, weight in model.state_dict().items():
        for name, values in _tensors(path, weight.float().numpy(), config, old_latent):
            form = gguf.GGMLQuantizationType.Q4_0 if four_bits and "_exps" in name else None
            experts = {name: values}
            if apart and "_exps." in name:
                experts = {name.replace("_exps.", f".{i}."): one for i, one in enumerate(values)}
            for one, part in experts.items():
                whole = np.ascontiguousarray(part)
                writer.add_tensor(one, whole if form is None else gguf.quantize(whole, form), raw_dtype=form)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(path: str, values: Any, config: Any, old_latent: bool) -> Iterator[tuple[str, Any]]:
    if path in _TOP:
        yield _TOP[path], values
        return
    layer, inner = path.removeprefix("model.layers.").split(".", 1)
    block = f"blk.{layer}."
    if inner == "mlp.experts.gate_up_proj":
        gate, up = np.split(values, 2, axis=1)
        yield block + "ffn_gate_exps.weight", gate
        yield block + "ffn_up_exps.weight", up
    elif inner == "mlp.shared_expert_gate.weight":
        yield block + "ffn_gate_inp_shexp.weight", values[0]
    elif inner == "self_attn.kv_b_proj.weight":
        if old_latent:
            yield block + "attn_kv_b.weight", values
            return
        heads = values.reshape(config.num_attention_heads, -1, config.kv_lora_rank)
        keys, rest = np.split(heads, [config.qk_nope_head_dim], axis=1)
        yield block + "attn_k_b.weight", keys.transpose(0, 2, 1)
        yield block + "attn_v_b.weight", rest
    else:
        known = next(name for name in sorted(_NAMES, key=len, reverse=True) if inner.startswith(name))
        name = block + _NAMES[known] + inner.removeprefix(known)
        if config.model_type == "mixtral" and known in ("self_attn.q_proj", "self_attn.k_proj"):
            heads = config.num_attention_heads if "q_proj" in known else config.num_key_value_heads
            values = values.reshape(heads, 2, -1, values.shape[-1]).swapaxes(1, 2).reshape(values.shape)
        yield name, values


def _settings(writer: gguf.GGUFWriter, config: Any) -> None:
    latent = "deepseek" in config.model_type
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(1 if latent else config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_expert_count(
        getattr(config, "n_routed_experts", None)
        or getattr(config, "num_local_experts", None)
        or config.num_experts
    )
    writer.add_expert_used_count(config.num_experts_per_tok)
    if config.model_type != "mixtral":
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    if config.model_type == "qwen2_moe":
        writer.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
    if latent:
        _latent(writer, config)
    else:
        writer.add_key_length(
            getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        )
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        if "mscale_all_dim" in rope:
            writer.add_rope_scaling_yarn_log_mul(0.1 * rope["mscale_all_dim"])


def _latent(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_q_lora_rank(config.q_lora_rank)
    writer.add_kv_lora_rank(config.kv_lora_rank)
    writer.add_key_length(config.kv_lora_rank + config.qk_rope_head_dim)
    writer.add_value_length(config.kv_lora_rank)
    writer.add_key_length_mla(config.qk_nope_head_dim + config.qk_rope_head_dim)
    writer.add_value_length_mla(config.v_head_dim)
    writer.add_rope_dimension_count(config.qk_rope_head_dim)
    writer.add_expert_shared_count(config.n_shared_experts)
    writer.add_leading_dense_block_count(config.first_k_dense_replace)
    writer.add_expert_weights_scale(config.routed_scaling_factor)
    writer.add_expert_weights_norm(config.norm_topk_prob)
    if config.model_type == "deepseek_v3":
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
