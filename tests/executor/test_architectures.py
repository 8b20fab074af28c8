"""Any transformers model through our attention: paged, batched, chunked logits equal transformers' own (f32)."""

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from weightwright.errors import ModelError
from weightwright.executor import fits, fuse
from weightwright.executor.execute import Executor, Transformers
from weightwright.executor.linear import pack
from weightwright.executor.lora import AdapterBank
from weightwright.kernels import pool
from weightwright.kernels.attend import supported

from .paging import compare, expected_of, ours

BASE = {
    "vocab_size": 256, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.3, "pad_token_id": None,
    "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
MLA = {
    "num_key_value_heads": 4, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16,
    "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "first_k_dense_replace": 1,
}  # fmt: skip
OWN = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None, "vocab_size": 256}
# family: config class, what it adds, whether the quick executor takes it
CASES: dict[str, tuple[str, dict, bool]] = {
    "llama": ("LlamaConfig", BASE, True),
    "llama3-rope": (
        "LlamaConfig",
        BASE
        | {"attention_bias": True, "mlp_bias": True, "rope_parameters": {
            "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64}},
        True,
    ),
    "yi": ("LlamaConfig", BASE | {"rope_parameters": {"rope_type": "default", "rope_theta": 5e6}}, True),
    "qwen2": ("Qwen2Config", BASE, True),
    "qwen2-sliding": (
        "Qwen2Config", BASE | {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, True,
    ),
    "qwen3": ("Qwen3Config", BASE | {"head_dim": 32}, True),
    "mistral": ("MistralConfig", BASE | {"sliding_window": 8}, True),
    "mixtral": ("MixtralConfig", BASE | {"num_local_experts": 4}, True),
    "qwen2-moe": (
        "Qwen2MoeConfig",
        BASE | {"num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
                "num_experts_per_tok": 2},
        True,
    ),
    "qwen3-moe": (
        "Qwen3MoeConfig",
        BASE | {"num_experts": 4, "moe_intermediate_size": 32, "num_experts_per_tok": 2, "head_dim": 16},
        True,
    ),
    "phi2": ("PhiConfig", BASE | {"partial_rotary_factor": 0.5}, False),
    "phi3": ("Phi3Config", BASE, True),
    "gemma2": ("Gemma2Config", BASE | {"head_dim": 16, "sliding_window": 8, "attn_logit_softcapping": 2.0}, False),
    "gemma3": ("Gemma3TextConfig", BASE | {"head_dim": 16, "sliding_window": 8}, False),
    "deepseek-v2": ("DeepseekV2Config", BASE | MLA | {"q_lora_rank": None}, False),
    "deepseek-v3": ("DeepseekV3Config", BASE | MLA | {"q_lora_rank": 16, "n_group": 2, "topk_group": 1}, False),
    "gpt2": ("GPT2Config", OWN | {"n_embd": 64, "n_layer": 3, "n_head": 4, "initializer_range": 0.3}, False),
    "opt": (
        "OPTConfig",
        OWN | {"hidden_size": 64, "ffn_dim": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
               "max_position_embeddings": 256, "word_embed_proj_dim": 64, "init_std": 0.3},
        False,
    ),
    "gpt-oss-sinks": (
        "GptOssConfig", BASE | {"head_dim": 16, "num_local_experts": 4, "sliding_window": 8}, False,
    ),
}  # fmt: skip
PROMPTS = (5, 40, 17, 33)


def _model(family: str):
    kind, options, _ = CASES[family]
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**options)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.mark.parametrize("family", CASES)
def test_paged_batched_chunked_logits_are_those_of_transformers(family: str) -> None:
    model = _model(family)
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randint(3, 256, (n,), generator=generator).tolist() for n in PROMPTS]
    expected = expected_of(model, prompts)
    bank = AdapterBank(torch.float32)
    fused = not fits.fits(model, "f32")
    assert fused == (CASES[family][2] and pool.available())
    executor: Executor = Transformers(model, lambda _, w, b: pack(w, b, "f32"), bank)
    compare(expected, ours(executor, bank, prompts, native=False))
    if pool.available() and all(supported(s.key_width, s.value_width, "f32") for s in executor.shapes):
        compare(expected, ours(executor, bank, prompts, native=True))
    if fused:
        executor = fuse.FusedDecoder(_model(family), lambda _, w, b: pack(w, b, "f32"), bank)
        compare(expected, ours(executor, bank, prompts, native=True))


def test_int8_keys_and_values_stay_close() -> None:
    model = _model("qwen2")
    prompts = [list(range(3, 3 + n)) for n in PROMPTS]
    expected = expected_of(model, prompts)
    bank = AdapterBank(torch.float32)
    executor = Transformers(model, lambda _, w, b: pack(w, b, "f32"), bank)
    by_torch = ours(executor, bank, prompts, native=False, dtype=torch.int8)
    by_kernel = ours(executor, bank, prompts, native=pool.available(), dtype=torch.int8)
    for (_, logits), (_, first), (_, second) in zip(expected, by_torch, by_kernel, strict=True):
        assert float((first[0] - logits[0]).norm() / logits[0].norm()) < 0.15
        assert float((second[0] - logits[0]).norm() / logits[0].norm()) < 0.15
        # the kernel may round queries and weights to 8 bits as well; test_kernels holds it to f64
        assert float((second[0] - first[0]).norm() / first[0].norm()) < 0.1


def test_a_model_with_attention_of_its_own_is_refused_by_name() -> None:
    torch.manual_seed(0)
    config = transformers.BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=2)
    model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(
        ModelError, match="BloomForCausalLM does not compute its attention through transformers'"
    ):
        Transformers(model, lambda _, w, b: pack(w, b, "f32"), AdapterBank(torch.float32))
