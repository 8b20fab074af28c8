"""What distinguishes a family of models from Llama: a few facts each; sizes come from the config.

A fact that a config may state is the config's key (`"attention_bias"`); `defaults` says what the config means
where it is silent, as the family's code in transformers (or the model's own code) has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Rule = Literal["all", "after-first", "every", "between", "listed"]


@dataclass(frozen=True, slots=True)
class Mixture:
    """Where the sizes of a mixture of experts stand in the config, and which layers are mixtures."""

    count: tuple[str, ...]  # keys for the number of experts; the last is the usual one
    active: str = "num_experts_per_tok"
    inner: str = "moe_intermediate_size"
    layers: Rule = "all"
    shared_inner: str = ""  # key for the width of the expert that every token meets
    shared_count: str = ""  # or for how many experts every token meets
    shared_gate: bool = False
    router: str = ""  # the router's name where it is a linear layer
    bias: bool = False  # of experts and router
    correction: bool = False  # a learned correction of the router's scores
    # linear layers beside the experts (of dense layers, of a shared expert) whose names peft takes for the experts
    taken: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Family:
    """How a family's layers are made."""

    attention: Literal["split", "fused", "latent", "hybrid"] = "split"
    mlp: Literal["gated", "fused", "plain"] = "gated"
    qkv_bias: bool | str = "attention_bias"
    out_bias: bool | str = "attention_bias"
    mlp_bias: bool | str = False
    head_bias: bool | str = False
    norms: int = 2  # of the hidden size, in each layer
    norm_bias: bool = False
    qk_norm: Literal["", "head", "full"] = ""  # of a head's width, or of all heads' widths
    qk_norm_if: str = ""  # only where this key of the config is true
    sinks: bool = False  # one learned number a head
    split_gates: bool = True  # hybrid: the linear attention's gates are matrices of their own
    positions: int | None = None  # learned positions, and so many rows more than the context
    names: Mapping[str, str] = field(default_factory=dict)  # what Llama's names are called here
    keys: Mapping[str, str] = field(default_factory=dict)  # what Llama's config keys are called here
    defaults: Mapping[str, Any] = field(default_factory=dict)
    mixture: Mixture | None = None


_TIED = {"tie_word_embeddings": True}
_GEMMA = Family(defaults={**_TIED, "head_dim": 256})
_GLM = Family(mlp="fused", out_bias=False, defaults={"attention_bias": True, "head_dim": 128,
              "num_key_value_heads": 2})  # fmt: skip
_OLMO = Family(qk_norm="full")
_COHERE = Family(norms=1, qk_norm="full", qk_norm_if="use_qk_norm", defaults=_TIED)
_QWEN3 = Family(qk_norm="head", defaults={"head_dim": 128})
_HYBRID: dict[str, Any] = {
    "head_dim": 256, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
    "linear_num_key_heads": 16, "linear_num_value_heads": 32, "full_attention_interval": 4,
}  # fmt: skip
_QWEN_NEXT = Family("hybrid", qk_norm="head", defaults={**_HYBRID, "num_key_value_heads": 2})
_LATENT: dict[str, Any] = {"kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64, "v_head_dim": 128,
                           "qk_nope_head_dim": 128}  # fmt: skip
_ROUTED = Mixture(("num_experts", "num_local_experts", "n_routed_experts"), layers="after-first",
                  shared_count="n_shared_experts")  # fmt: skip
_LOCAL = Mixture(("num_experts", "num_local_experts"), inner="intermediate_size")
_NUMBERED = ("num_local_experts", "num_experts")

DENSE: dict[str, Family] = {
    "llama": Family(mlp_bias="mlp_bias"),
    "smollm3": Family(mlp_bias="mlp_bias", defaults={**_TIED, "num_key_value_heads": 4}),
    "mistral": Family(qkv_bias=False, out_bias=False, defaults={"num_key_value_heads": 8}),
    "ministral3": Family(
        qkv_bias=False, out_bias=False, defaults={"num_key_value_heads": 8, "head_dim": 128}
    ),
    "qwen2": Family(qkv_bias=True, out_bias=False, defaults={"num_key_value_heads": 32}),
    "qwen3": replace(_QWEN3, defaults={"head_dim": 128, "num_key_value_heads": 32}),
    "qwen3_5_text": replace(_QWEN_NEXT, defaults={**_HYBRID, "num_key_value_heads": 4}),
    "gemma": replace(_GEMMA, defaults={**_GEMMA.defaults, "num_key_value_heads": 16}),
    "gemma2": replace(_GEMMA, norms=4, defaults={**_GEMMA.defaults, "num_key_value_heads": 4}),
    "gemma3_text": replace(
        _GEMMA, norms=4, qk_norm="head", defaults={**_GEMMA.defaults, "num_key_value_heads": 4}
    ),
    "phi": Family(
        mlp="plain",
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        head_bias=True,
        norms=1,
        norm_bias=True,
        qk_norm="head",
        qk_norm_if="qk_layernorm",
        names={"o_proj": "dense", "up_proj": "fc1", "down_proj": "fc2"},
    ),
    "phi3": Family("fused", "fused", qkv_bias=False, out_bias=False),
    "gpt2": Family(
        "fused",
        "plain",
        True,
        True,
        True,
        norm_bias=True,
        positions=0,
        defaults=_TIED,
        names={"qkv_proj": "c_attn", "o_proj": "c_proj", "up_proj": "c_fc", "down_proj": "c_proj"},
        keys={
            "hidden_size": "n_embd",
            "num_attention_heads": "n_head",
            "num_hidden_layers": "n_layer",
            "intermediate_size": "n_inner",
            "max_position_embeddings": "n_positions",
        },
    ),
    "gpt_neox": Family(
        "fused",
        "plain",
        mlp_bias=True,
        norm_bias=True,
        defaults={"attention_bias": True},
        names={
            "qkv_proj": "query_key_value",
            "o_proj": "dense",
            "up_proj": "dense_h_to_4h",
            "down_proj": "dense_4h_to_h",
        },
    ),
    "opt": Family(
        "split",
        "plain",
        "enable_bias",
        "enable_bias",
        "enable_bias",
        norm_bias=True,
        positions=2,
        names={"o_proj": "out_proj", "up_proj": "fc1", "down_proj": "fc2"},
        keys={"intermediate_size": "ffn_dim"},
        defaults={**_TIED, "enable_bias": True},
    ),
    "starcoder2": Family(
        "split",
        "plain",
        "use_bias",
        "use_bias",
        "use_bias",
        norm_bias=True,
        names={"up_proj": "c_fc", "down_proj": "c_proj"},
        defaults={**_TIED, "use_bias": True, "num_key_value_heads": 2},
    ),
    "granite": Family(mlp_bias="mlp_bias"),
    "olmo2": _OLMO,
    "olmo3": _OLMO,
    "cohere": _COHERE,
    "cohere2": replace(_COHERE, qk_norm=""),
    "exaone4": Family(qkv_bias=False, out_bias=False, qk_norm="head", defaults={"num_key_value_heads": 32}),
    "glm": _GLM,
    "glm4": replace(_GLM, norms=4),
    "ernie4_5": Family(
        qkv_bias="use_bias",
        out_bias="use_bias",
        mlp_bias="use_bias",
        defaults={**_TIED, "num_key_value_heads": 2, "head_dim": 128},
    ),
    "hunyuan_v1_dense": Family(qk_norm="head"),
    "internlm3": Family(mlp_bias="mlp_bias", defaults={"head_dim": 128, "num_key_value_heads": 2}),
    "seed_oss": Family(
        out_bias="attention_out_bias",
        mlp_bias="mlp_bias",
        defaults={"attention_bias": True, "num_key_value_heads": 8, "head_dim": 128},
    ),
    # 13B, whose code comes with the model; other such models are counted as what they are mapped onto
    "baichuan": Family("fused", qkv_bias=False, out_bias=False, names={"qkv_proj": "W_pack"}),
}

MIXTURES: dict[str, Family] = {
    "mixtral": Family(qkv_bias=False, out_bias=False, mixture=_LOCAL,
                      defaults={"num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2}),
    "qwen2_moe": Family(qkv_bias="qkv_bias", out_bias=False,
                        defaults={"qkv_bias": True, "num_key_value_heads": 16, "num_experts": 60,
                                  "num_experts_per_tok": 4, "moe_intermediate_size": 1408,
                                  "shared_expert_intermediate_size": 5632, "decoder_sparse_step": 1},
                        mixture=Mixture(_NUMBERED, layers="every", shared_gate=True, taken=(),
                                        shared_inner="shared_expert_intermediate_size")),
    "qwen3_moe": replace(_QWEN3, mixture=Mixture(_NUMBERED, layers="every"),
                         defaults={"num_key_value_heads": 4, "num_experts": 128, "num_experts_per_tok": 8,
                                   "moe_intermediate_size": 768, "decoder_sparse_step": 1}),
    "qwen3_next": replace(_QWEN_NEXT, split_gates=False,
                          defaults={**_QWEN_NEXT.defaults, "num_experts": 512, "num_experts_per_tok": 10,
                                    "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
                                    "decoder_sparse_step": 1},
                          mixture=Mixture(_NUMBERED, layers="every", shared_gate=True,
                                          shared_inner="shared_expert_intermediate_size")),
    "qwen3_5_moe_text": replace(_QWEN_NEXT,
                                defaults={**_QWEN_NEXT.defaults, "num_experts": 256, "num_experts_per_tok": 8,
                                          "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512},
                                mixture=Mixture(_NUMBERED, shared_gate=True, taken=(),
                                                shared_inner="shared_expert_intermediate_size")),
    "deepseek_v2": Family("latent", mlp_bias="mlp_bias", mixture=_ROUTED,
                          defaults={**_LATENT, "n_routed_experts": 64, "n_shared_experts": 2,
                                    "first_k_dense_replace": 0, "moe_intermediate_size": 1407}),
    "deepseek_v3": Family("latent", mixture=_ROUTED,
                          defaults={**_LATENT, "n_routed_experts": 256, "n_shared_experts": 1,
                                    "first_k_dense_replace": 3, "num_experts_per_tok": 8,
                                    "moe_intermediate_size": 2048}),
    "glm4_moe_lite": Family("latent", mixture=replace(_ROUTED, layers="listed"),
                            defaults={**_LATENT, "q_lora_rank": 768, "v_head_dim": 256, "qk_nope_head_dim": 192,
                                      "n_routed_experts": 64, "n_shared_experts": 1, "num_experts_per_tok": 4,
                                      "moe_intermediate_size": 1536}),
    "glm4_moe": Family(out_bias=False, qk_norm="head", qk_norm_if="use_qk_norm", mixture=_ROUTED,
                       defaults={"num_key_value_heads": 8, "n_routed_experts": 128, "n_shared_experts": 1,
                                 "first_k_dense_replace": 1, "num_experts_per_tok": 8,
                                 "moe_intermediate_size": 1408}),
    "dots1": Family(qk_norm="head", mixture=_ROUTED,
                    defaults={"num_key_value_heads": 32, "first_k_dense_replace": 0,
                              "moe_intermediate_size": 1408}),
    "gpt_oss": Family(sinks=True, mixture=replace(_LOCAL, bias=True),
                      defaults={"attention_bias": True, "head_dim": 64, "num_key_value_heads": 8,
                                "num_local_experts": 128, "num_experts_per_tok": 4}),
    "minimax_m2": Family(qkv_bias=False, out_bias=False, qk_norm="full", mixture=_LOCAL,
                         defaults={"num_key_value_heads": 8, "head_dim": 128, "num_local_experts": 256,
                                   "num_experts_per_tok": 8}),
    "granitemoe": Family(mixture=_LOCAL, defaults={"num_local_experts": 8, "num_experts_per_tok": 2}),
    "olmoe": Family(qk_norm="full", mixture=replace(_LOCAL, count=_NUMBERED),
                    defaults={"num_experts": 64, "num_experts_per_tok": 8}),
    "phimoe": Family(norm_bias=True, head_bias="lm_head_bias", mixture=replace(_LOCAL, router="router"),
                     defaults={"num_key_value_heads": 8, "num_local_experts": 16, "num_experts_per_tok": 2}),
    "hunyuan_v1_moe": Family(qk_norm="head", defaults={"num_experts": 1, "moe_topk": 1},
                             mixture=Mixture(_NUMBERED, "moe_topk", "intermediate_size", router="wg",
                                             shared_inner="intermediate_size")),
    "ernie4_5_moe": Family(qkv_bias="use_bias", out_bias="use_bias", mlp_bias="use_bias", head_bias="use_bias",
                           defaults={**_TIED, "num_key_value_heads": 4, "moe_num_experts": 64, "moe_k": 6,
                                     "moe_intermediate_size": 1536, "moe_num_shared_experts": 2,
                                     "moe_layer_start_index": 1, "moe_layer_end_index": -1,
                                     "moe_layer_interval": 1},
                           mixture=Mixture(("moe_num_experts",), "moe_k", layers="between", correction=True,
                                           shared_count="moe_num_shared_experts")),
}  # fmt: skip

FAMILIES: dict[str, Family] = {**DENSE, **MIXTURES}
# models that also see: their language part, which is what is loaded and trained here
WRAPPED = {"qwen3_5": "qwen3_5_text", "qwen3_5_moe": "qwen3_5_moe_text"}
