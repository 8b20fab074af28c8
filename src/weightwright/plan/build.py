"""The layers of a model from its family and its config."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weightwright.errors import ModelError
from weightwright.plan.families import Family, Mixture
from weightwright.plan.parts import Experts, Layer, Linear


@dataclass(frozen=True, slots=True)
class Shape:
    """A config read through its family: sizes by Llama's names, what is not said as the family means it."""

    family: Family
    config: Mapping[str, Any]

    def size(self, name: str) -> int:
        """A positive whole number of the config. Raises ModelError naming the key."""
        key = self.family.keys.get(name, name)
        value = self.config.get(key)
        if isinstance(value, list) and value:  # a number a layer
            value = max(value)
        if not isinstance(value, int) or value <= 0:
            raise ModelError(
                f"the model's config must hold {key} as a positive whole number, found {value!r}"
            )
        return value

    def optional(self, name: str) -> Any:
        """A value that the config need not say, None where it does not."""
        return self.config.get(self.family.keys.get(name, name))

    def biased(self, fact: bool | str) -> bool:
        """A fact of the family: true, false, or as the config's key says."""
        return fact if isinstance(fact, bool) else bool(self.config.get(fact))

    def name(self, llama: str) -> str:
        """What a linear layer is called here."""
        return self.family.names.get(llama, llama)

    @property
    def hidden(self) -> int:
        """Numbers in the residual stream of a token."""
        return self.size("hidden_size")

    @property
    def heads(self) -> int:
        """Query heads."""
        return self.size("num_attention_heads")

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values; as many as query heads where the config is silent."""
        return int(self.optional("num_key_value_heads") or self.heads)

    @property
    def width(self) -> int:
        """Numbers in a head."""
        return int(self.optional("head_dim") or self.hidden // self.heads)

    @property
    def inner(self) -> int:
        """Width of a dense MLP; 4 x hidden where the config is silent and the MLP has no gate."""
        if self.family.mlp == "plain" and self.optional("intermediate_size") is None:
            return 4 * self.hidden
        return self.size("intermediate_size")

    @property
    def norm(self) -> int:
        """Numbers in a norm of the hidden size."""
        if self.config.get("layer_norm_elementwise_affine") is False:
            return 0
        return self.hidden * (2 if self.family.norm_bias else 1)


@dataclass(frozen=True, slots=True)
class _Attention:
    linears: tuple[Linear, ...]
    other_weights: int
    queries: int
    keys: int
    values: int
    kv_heads: int
    state: int = 0
    qk_norm: bool = False


@dataclass(frozen=True, slots=True)
class _Mlp:
    linears: tuple[Linear, ...]
    inner: int
    other_weights: int = 0
    experts: Experts | None = None


def layers_of(shape: Shape) -> tuple[Layer, ...]:
    """All layers, those that are alike together, in order of their first."""
    kinds = Counter(
        (_is_linear_attention(shape, i), _is_mixture(shape, i))
        for i in range(shape.size("num_hidden_layers"))
    )
    return tuple(_layer(shape, count, *kind) for kind, count in kinds.items())


def _layer(shape: Shape, count: int, linear_attention: bool, mixture: bool) -> Layer:
    if linear_attention:
        attention = _delta_net(shape)
    elif shape.family.attention == "latent":
        attention = _latent(shape)
    else:
        attention = _attention(shape)
    experts = shape.family.mixture
    mlp = _mixture(shape, experts) if mixture and experts else _Mlp(_mlp(shape, shape.inner), shape.inner)
    return Layer(
        count=count,
        linears=attention.linears + mlp.linears,
        other_weights=attention.other_weights + mlp.other_weights + shape.family.norms * shape.norm,
        queries=attention.queries,
        keys=attention.keys,
        values=attention.values,
        kv_heads=attention.kv_heads,
        inner=mlp.inner,
        gated=shape.family.mlp != "plain",
        experts=mlp.experts,
        qk_norm=attention.qk_norm,
        state=attention.state,
    )


def _is_linear_attention(shape: Shape, index: int) -> bool:
    if shape.family.attention != "hybrid":
        return False
    kinds = shape.config.get("layer_types")
    if kinds:
        return str(kinds[index]) == "linear_attention"
    return (index + 1) % shape.size("full_attention_interval") != 0


def _is_mixture(shape: Shape, index: int) -> bool:
    mixture, config = shape.family.mixture, shape.config
    if mixture is None:
        return False
    if mixture.layers == "after-first":
        return index >= int(config.get("first_k_dense_replace") or 0)
    if mixture.layers == "every":
        dense = config.get("mlp_only_layers") or ()
        return index not in dense and (index + 1) % shape.size("decoder_sparse_step") == 0
    if mixture.layers == "between":
        last = int(config["moe_layer_end_index"])
        last = shape.size("num_hidden_layers") - 1 if last == -1 else last
        chosen = (index + 1) % shape.size("moe_layer_interval") == 0
        return chosen and int(config["moe_layer_start_index"]) <= index <= last
    if mixture.layers == "listed":
        kinds = config.get("mlp_layer_types")
        return str(kinds[index]) == "sparse" if kinds else index > 0
    return True


def _attention(shape: Shape) -> _Attention:
    family, hidden, heads = shape.family, shape.hidden, shape.heads
    queries, keys = heads * shape.width, shape.kv_heads * shape.width
    qkv_bias, out_bias = shape.biased(family.qkv_bias), shape.biased(family.out_bias)
    linears: tuple[Linear, ...]
    if family.attention == "fused":
        linears = (Linear(shape.name("qkv_proj"), hidden, queries + 2 * keys, qkv_bias),)
    else:
        doubled = 2 if family.attention == "hybrid" else 1  # queries and the gates of what they find
        linears = (
            Linear("q_proj", hidden, doubled * queries, qkv_bias),
            Linear("k_proj", hidden, keys, qkv_bias),
            Linear("v_proj", hidden, keys, qkv_bias),
        )
    linears += (Linear(shape.name("o_proj"), queries, hidden, out_bias),)
    other = heads if family.sinks else 0
    qk_norm = bool(family.qk_norm and (not family.qk_norm_if or shape.config.get(family.qk_norm_if)))
    if qk_norm:
        normed = 2 * shape.width if family.qk_norm == "head" else queries + keys
        other += normed * (2 if family.norm_bias else 1)
    return _Attention(linears, other, queries, keys, keys, shape.kv_heads, qk_norm=qk_norm)


def _latent(shape: Shape) -> _Attention:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, §2.1), keys and values expanded."""
    hidden, heads, rank = shape.hidden, shape.heads, shape.size("kv_lora_rank")
    rotary, value = shape.size("qk_rope_head_dim"), shape.size("v_head_dim")
    plain = shape.size("qk_nope_head_dim")
    bias = bool(shape.config.get("attention_bias"))
    queries, other = heads * (plain + rotary), rank
    linears: tuple[Linear, ...]
    if shape.config.get("q_lora_rank"):
        low = shape.size("q_lora_rank")
        linears = (Linear("q_a_proj", hidden, low, bias), Linear("q_b_proj", low, queries))
        other += low
    else:
        linears = (Linear("q_proj", hidden, queries),)
    linears += (
        Linear("kv_a_proj_with_mqa", hidden, rank + rotary, bias),
        Linear("kv_b_proj", rank, heads * (plain + value)),
        Linear("o_proj", heads * value, hidden, bias),
    )
    return _Attention(linears, other, queries, queries, heads * value, heads)


def _delta_net(shape: Shape) -> _Attention:
    """Linear attention by the gated delta rule (arXiv 2412.06464): a state a sequence instead of a cache."""
    hidden, key, value = shape.hidden, shape.size("linear_key_head_dim"), shape.size("linear_value_head_dim")
    heads, kernel = shape.size("linear_num_value_heads"), shape.size("linear_conv_kernel_dim")
    keys, values = shape.size("linear_num_key_heads") * key, heads * value
    mixed = 2 * keys + values
    linears: tuple[Linear, ...]
    if shape.family.split_gates:
        linears = (
            Linear("in_proj_qkv", hidden, mixed),
            Linear("in_proj_z", hidden, values),
            Linear("in_proj_b", hidden, heads),
            Linear("in_proj_a", hidden, heads),
        )
    else:
        linears = (Linear("in_proj_qkvz", hidden, mixed + values), Linear("in_proj_ba", hidden, 2 * heads))
    linears += (Linear("out_proj", values, hidden),)
    # the convolution, the decay and its bias a head, the norm of a head
    other = mixed * kernel + 2 * heads + value
    state = heads * key * value + mixed * kernel
    return _Attention(linears, other, keys, keys, values, 0, state)


def _mlp(shape: Shape, inner: int) -> tuple[Linear, ...]:
    hidden, bias = shape.hidden, shape.biased(shape.family.mlp_bias)
    down = Linear(shape.name("down_proj"), inner, hidden, bias)
    if shape.family.mlp == "fused":
        return (Linear(shape.name("gate_up_proj"), hidden, 2 * inner, bias), down)
    up = Linear(shape.name("up_proj"), hidden, inner, bias)
    if shape.family.mlp == "plain":
        return (up, down)
    return (Linear(shape.name("gate_proj"), hidden, inner, bias), up, down)


def _mixture(shape: Shape, mixture: Mixture) -> _Mlp:
    hidden = shape.hidden
    key = next((key for key in mixture.count if shape.config.get(key)), mixture.count[-1])
    count, active, inner = shape.size(key), shape.size(mixture.active), shape.size(mixture.inner)
    expert = 3 * hidden * inner + (2 * inner + hidden if mixture.bias else 0)
    shared = 0
    if mixture.shared_inner:
        shared = shape.size(mixture.shared_inner)
    elif mixture.shared_count:
        shared = inner * int(shape.config.get(mixture.shared_count) or 0)
    linears = _mlp(shape, shared) if shared else ()
    if mixture.shared_gate:
        linears += (Linear("shared_expert_gate", hidden, 1),)
    other = count * hidden + (count if mixture.bias else 0) + (count if mixture.correction else 0)
    if mixture.router:
        linears += (Linear(mixture.router, hidden, count),)
        other -= count * hidden
    return _Mlp(linears, active * inner + shared, other, Experts(count, active, expert))
