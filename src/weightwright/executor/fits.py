"""Whether the quick executor computes what a model computes: by its structure, and by a small twin of it."""

import copy
from typing import Any

from weightwright.executor.experts import KNOWN_ACTIVATIONS
from weightwright.executor.fuse import FusedDecoder
from weightwright.executor.layers import activation_of, is_mixture
from weightwright.kernels import pool
from weightwright.kernels.attend import supported
from weightwright.kernels.cache import PagedCache
from weightwright.kernels.step import Step
from weightwright.weights.rope import CHANGING

_LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_ATTENTION = {"q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "q_norm", "k_norm"}
_MLP = {"gate_proj", "up_proj", "gate_up_proj", "down_proj"}


def fits(model: Any, cache_kind: str) -> str:
    """Empty where FusedDecoder computes what `model` computes, else why not."""
    if not pool.available():
        return "there are no kernels for this machine"
    why = _shape_of(model)
    if why:
        return why
    width = model.model.layers[0].self_attn.head_dim
    if not supported(width, width, cache_kind):
        return f"heads of {width} numbers"
    try:
        return _twin_differs(model)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RuntimeError,
        IndexError,
        ZeroDivisionError,
    ) as error:
        return f"its small twin could not be made ({type(error).__name__}: {error})"


def _shape_of(model: Any) -> str:
    import torch

    inner: Any = getattr(model, "model", None)
    rope = getattr(model.config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") in CHANGING:
        return f"its rotary embedding ({rope['rope_type']}) depends on the length of the text"
    if not all(hasattr(inner, name) for name in ("embed_tokens", "layers", "norm", "rotary_emb")):
        return "it is not built as embedding, layers, norm"
    if not hasattr(model, "lm_head") or model.device.type != "cpu":
        return "it has no lm_head on the CPU"
    for layer in inner.layers:
        mixture = is_mixture(getattr(layer, "mlp", None))
        for part, known in (
            (layer, _LAYER),
            (getattr(layer, "self_attn", None), _ATTENTION),
            *([] if mixture else [(getattr(layer, "mlp", None), _MLP)]),
        ):
            if part is None:
                return "a layer lacks self_attn or mlp"
            others = {
                name for name, child in part.named_children()
                if not isinstance(child, torch.nn.Dropout) and type(child).__name__ not in KNOWN_ACTIVATIONS
            } - known  # fmt: skip
            if others:
                return f"a layer has {', '.join(sorted(others))}"
        if not mixture and not activation_of(layer.mlp):
            return "another activation"
    return ""


def _few_experts(config: Any) -> dict[str, Any]:
    """The options of a twin's mixture: four experts, two for each row, in layers as in the model's first two."""
    return {
        "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "num_local_experts": 4, "num_experts": 4,
        "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_k": 2, "moe_num_experts": 4, "n_group": 1,
        "topk_group": 1, "num_expert_group": 1,
        "first_k_dense_replace": min(getattr(config, "first_k_dense_replace", 0) or 0, 1),
    }  # fmt: skip


def _twin_differs(model: Any) -> str:
    """Compare a tiny model of the same class, in f32, with the executor made from it."""
    import torch

    from weightwright.executor.linear import pack

    config = copy.deepcopy(model.config)
    heads = 4
    kv_heads = heads if config.num_key_value_heads == config.num_attention_heads else 2
    tiny: dict[str, Any] = {
        "vocab_size": 64, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "num_hidden_layers": 2, "head_dim": 16, "pad_token_id": None,
        "bos_token_id": 0, "eos_token_id": 0, "quantization_config": None,
    }  # fmt: skip
    tiny |= _few_experts(config)
    for name, value in tiny.items():
        if hasattr(config, name) and (value is not None or getattr(config, name) is not None):
            setattr(config, name, value)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[0], config.layer_types[-1]]
    if getattr(config, "sliding_window", None):
        config.sliding_window = 5
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config._attn_implementation = "eager"
        twin = type(model)(config).float().eval()
        for parameter in twin.parameters():
            parameter.data = (
                torch.rand_like(parameter) * 0.5 + 0.75
                if parameter.ndim == 1
                else torch.randn_like(parameter) * 0.3
            )
        ids = torch.randint(64, (12,))
    with torch.inference_mode():
        expected = twin(input_ids=ids[None], use_cache=False).logits[0]
    fused = FusedDecoder(twin, lambda _, weight, bias: pack(weight, bias, "f32"))
    cache = PagedCache(fused.shapes, 1, torch.float32)
    places = torch.arange(12)
    step = Step(cache, places, 12, torch.zeros(12, 1, dtype=torch.int32), places + 1, native=True)
    got, _ = fused.forward(ids, places, step, places)
    error = float((got - expected).abs().max() / expected.abs().max())
    return "" if error < 1e-4 else f"a small twin of it gives other logits (by {error:.1e})"
