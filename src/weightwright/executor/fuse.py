"""The quick executor for models built like Llama: few large products, and one kernel between each two.

A layer is recognised by its structure (which parts it has), never by copying a model file, and a small twin of
the model (same class, same options, tiny sizes, random weights) must give transformers' own logits before the
executor is used. Qwen2/2.5/3, Llama, Mistral, Yi, SmolLM and Phi-3 pass, and so do Mixtral and Qwen3-MoE, whose
mixtures of experts stay the model's own modules; others run through `execute.Transformers`.
"""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from weightwright.executor.attention import attend_segment, segments_by_kernel
from weightwright.executor.execute import Packer, pack_and_wrap
from weightwright.executor.experts import PackedExperts
from weightwright.kernels import elementwise, pool, segments
from weightwright.kernels.attend import attend, supported
from weightwright.kernels.cache import LayerShape, PagedCache
from weightwright.kernels.elementwise import Rows, Stored
from weightwright.kernels.step import Rules, Step
from weightwright.weights.rope import CHANGING

if TYPE_CHECKING:
    from torch import Tensor

    from weightwright.executor.linear import PackedLinear
    from weightwright.executor.lora import AdapterBank, BatchRows, LoraSite
    from weightwright.weights.source import WeightSource

log = logging.getLogger(__name__)

_LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_ATTENTION = {"q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "q_norm", "k_norm"}
_MLP = {"gate_proj", "up_proj", "gate_up_proj", "down_proj"}
_ACTIVATIONS = {"SiLUActivation": "silu", "SiLU": "silu", "GELUTanh": "gelu_tanh"}


@dataclass(slots=True)
class Product:
    """A matrix product of a layer, with the adapters' part of it."""

    linear: "PackedLinear"
    site: "LoraSite | None" = None

    def wants(self, n: int) -> Stored:
        """How `n` rows must be stored."""
        import torch

        linear = self.linear.at(n)
        if linear.form == "int8":
            return Stored(linear.activation_dtype, linear.block)
        return Stored(torch.float32 if linear.form == "f32" else torch.bfloat16)

    def __call__(
        self, x: Rows, plain: "Tensor | None" = None, adapters: "BatchRows | None" = None
    ) -> "tuple[Rows, Tensor | None]":
        """X W^T as rows, and the bias that is still to be added. `plain` is x unquantised, for the adapters."""
        linear = self.linear.at(x.data.shape[0])
        if x.scales is None:
            y, bias = Rows(linear(x.data)), None
        else:
            y, bias = Rows(linear.product(x.data), x.scales), linear.bias
        if plain is None or self.site is None or adapters is None:
            return y, bias
        return Rows(self.site.add_(y.data, plain, adapters, y.scales, bias)), None


@dataclass(slots=True)
class Dense:
    """What stands behind attention: gate and up beside each other, then down."""

    gate_up: Product
    down: Product


@dataclass(slots=True)
class Layer:
    """One decoder layer."""

    qkv: Product
    out: Product
    mlp: "Dense | Any"  # a mixture of experts is a module of the model
    norms: "tuple[Tensor, Tensor]"
    head_norms: "tuple[Tensor | None, Tensor | None]"
    head_eps: float
    rules: Rules


class FusedDecoder:
    """See `execute.Executor`. Takes the weights out of `model` as it packs them; the model is of no use after.

    Linear layers without a weight get it from `source`. `experts` packs a mixture's experts; without it they stay.
    """

    def __init__(
        self,
        model: Any,
        pack: Packer,
        bank: "AdapterBank | None" = None,
        source: "WeightSource | None" = None,
        experts: Packer | None = None,
    ) -> None:
        inner, config = model.model, model.config
        self._source = source
        first = inner.layers[0].self_attn
        self._bank = bank
        self._heads = config.num_attention_heads
        self._kv_heads = config.num_key_value_heads
        self._width = first.head_dim
        self._eps = _eps(inner.norm)
        mixtures = tuple(
            f"model.layers.{i}.mlp." for i, layer in enumerate(inner.layers) if _is_mixture(layer.mlp)
        )
        dense = next((layer.mlp for layer in inner.layers if not _is_mixture(layer.mlp)), None)
        self._activation = elementwise.ACTIVATIONS[_activation(dense)] if dense is not None else 0
        self._mixed = inner.embed_tokens.weight.dtype  # what a mixture reads
        self._embedding = inner.embed_tokens
        self._rotary = inner.rotary_emb
        self._table: tuple[Tensor, Tensor] | None = None
        self._norm = inner.norm.weight.detach().float()
        self.shapes = [LayerShape(self._kv_heads, self._width, self._width)] * len(inner.layers)
        tied = model.lm_head.weight is inner.embed_tokens.weight
        # the largest first: what its packing takes beside is free again when the layers come
        self._head = self._product(pack, [("lm_head", model.lm_head)], keep=tied)
        if mixtures:
            pack_and_wrap(model, pack, bank, source, experts, keep=lambda path: path.startswith(mixtures))
            if (
                experts is not None
            ):  # all that is left is a router, whose products are quicker in f32 than in bf16
                self._mixed = self._in_f32(inner.layers)
        self._layers = [self._layer(pack, f"model.layers.{i}", layer) for i, layer in enumerate(inner.layers)]

    def _in_f32(self, layers: Any) -> Any:
        """Put what is not packed of mixtures into f32; the dtype."""
        import torch

        for layer in layers:
            if _is_mixture(layer.mlp):
                layer.mlp.float()
        return torch.float32

    def _layer(self, pack: Packer, path: str, layer: Any) -> Layer:
        attention, mlp = layer.self_attn, layer.mlp
        q_norm, k_norm = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)

        def product(part: str, module: Any, *names: str) -> Product:
            return self._product(pack, [(f"{path}.{part}.{name}", getattr(module, name)) for name in names])

        window = getattr(attention, "sliding_window", getattr(attention.config, "sliding_window", None))
        merged = hasattr(attention, "qkv_proj")
        return Layer(
            qkv=product(
                "self_attn", attention, *(("qkv_proj",) if merged else ("q_proj", "k_proj", "v_proj"))
            ),
            out=product("self_attn", attention, "o_proj"),
            mlp=mlp
            if _is_mixture(mlp)
            else Dense(
                product(
                    "mlp",
                    mlp,
                    *(("gate_up_proj",) if hasattr(mlp, "gate_up_proj") else ("gate_proj", "up_proj")),
                ),
                product("mlp", mlp, "down_proj"),
            ),
            norms=(
                layer.input_layernorm.weight.detach().float(),
                layer.post_attention_layernorm.weight.detach().float(),
            ),
            head_norms=tuple(n.weight.detach().float() if n is not None else None for n in (q_norm, k_norm)),  # type: ignore[arg-type]
            head_eps=_eps(q_norm) if q_norm is not None else 0.0,
            rules=Rules(attention.scaling, window or 0),
        )

    def _product(self, pack: Packer, parts: Sequence[tuple[str, Any]], *, keep: bool = False) -> Product:
        import torch

        from weightwright.weights.source import take

        with torch.no_grad():
            weight = take(parts, self._source)
            sizes = [(name, len(module.weight)) for name, module in parts]
            bias = None
            if any(module.bias is not None for _, module in parts):
                bias = torch.cat([torch.zeros(size) if module.bias is None else module.bias.detach().float()
                                  for (_, size), (_, module) in zip(sizes, parts, strict=True)])  # fmt: skip
        if not keep:
            for _, module in parts:
                module.weight = None
        linear = pack(parts[0][0] if len(parts) == 1 else "+".join(name for name, _ in parts), weight, bias)
        return Product(
            linear, self._bank.site(sizes, weight.shape[1], linear) if self._bank is not None else None
        )

    # -- a forward pass ----------------------------------------------------------------------------

    def forward(
        self, ids: "Tensor", positions: "Tensor", step: Step, rows: "Tensor", states: "Tensor | None" = None
    ) -> "tuple[Tensor, Tensor | None]":
        """See `execute.Executor`."""
        import torch

        with torch.inference_mode():
            wanted, count = rows if states is None else torch.cat([rows, states]), len(rows)
            stream, y, bias = self._run(ids, positions, step, wanted)
            if states is None:
                return self._logits(stream, y, bias), None
            first, last = ((stream[part], y.part(part)) for part in (slice(count), slice(count, None)))
            hidden = elementwise.add_norm(*last, bias, self._norm, self._eps, Stored(torch.float32)).data
            return self._logits(*first, bias), hidden

    def _logits(self, stream: "Tensor", y: Rows, bias: "Tensor | None") -> "Tensor":
        """The head's output [rows, vocab] f32 of the rows of a stream to which y is still to be added."""
        adapters = self._adapters("head")
        x, plain = self._norm_for(self._head, stream, y, bias, self._norm, adapters)
        if plain is None and x.scales is not None:
            kept: Tensor = self._head.linear.at(len(stream)).logits(x.data, x.scales)
            return kept
        logits, bias = self._head(x, plain, adapters)
        data = logits.data.float()
        if logits.scales is not None:
            data.mul_(logits.scales[:, None])
        return data if bias is None else data.add_(bias)

    def _run(
        self, ids: "Tensor", positions: "Tensor", step: Step, wanted: "Tensor"
    ) -> "tuple[Tensor, Rows, Tensor | None]":
        """The residual stream [wanted, hidden] f32 before the last addition, and what is to be added.

        Of the rows `wanted`: behind the last layer's attention nobody asks for the others.
        """
        stream = self._embedding(ids).float()
        cos, sin = self._angles(positions)
        y: Rows | None = None
        bias: Tensor | None = None
        adapters = self._adapters("tokens")
        for index, layer in enumerate(self._layers):
            x, plain = self._norm_for(layer.qkv, stream, y, bias, layer.norms[0], adapters)
            qkv, bias = layer.qkv(x, plain, adapters)
            mixed = self._attend(index, layer, qkv, bias, cos, sin, step)
            if layer is self._layers[-1]:
                stream, mixed, adapters = stream[wanted], mixed[wanted], self._adapters("wanted")
            n = len(mixed)
            plain = self._unquantized(layer.out, n, mixed.shape[1], adapters)
            x = elementwise.put(mixed, layer.out.wants(n), plain)
            y, bias = layer.out(x, plain, adapters)
            mlp = layer.mlp
            if not isinstance(mlp, Dense):
                x = elementwise.add_norm(stream, y, bias, layer.norms[1], self._eps, Stored(self._mixed))
                y, bias = Rows(_first(mlp(x.data[None])).view(n, -1)), None
                continue
            x, plain = self._norm_for(mlp.gate_up, stream, y, bias, layer.norms[1], adapters)
            y, bias = mlp.gate_up(x, plain, adapters)
            plain = self._unquantized(mlp.down, n, y.data.shape[1] // 2, adapters)
            x = elementwise.gate(y, bias, self._activation, mlp.down.wants(n), plain)
            y, bias = mlp.down(x, plain, adapters)
        assert y is not None
        return stream, y, bias

    def _angles(self, positions: "Tensor") -> "tuple[Tensor, Tensor]":
        """Cos and sin of the rotary embedding at `positions`, [tokens, rotary width] f32 each, from a table."""
        import torch

        last = int(positions.max())
        if self._table is None or last >= len(self._table[0]):
            places = torch.arange(max(2048, 1 << last.bit_length()))
            cos, sin = self._rotary(torch.empty(1), places[None])
            self._table = cos[0].float().contiguous(), sin[0].float().contiguous()
        return self._table[0][positions], self._table[1][positions]

    def _attend(
        self,
        index: int,
        layer: Layer,
        qkv: Rows,
        bias: "Tensor | None",
        cos: "Tensor",
        sin: "Tensor",
        step: Step,
    ) -> "Tensor":
        """From q|k|v to what the heads saw, [tokens, heads x width] f32."""
        import torch

        cache, n = step.cache, qkv.data.shape[0]
        rules = Rules(1.0, layer.rules.window)
        kept = cache.dtype if not cache.scaled else torch.bfloat16
        fresh = None
        by_kernel = segments_by_kernel(step, index, rules)
        if step.segments and not by_kernel:
            fresh = (torch.empty(n, self._kv_heads, self._width, dtype=kept), torch.empty(
                n, self._kv_heads, self._width, dtype=kept))  # fmt: skip
        scales = (cache.key_scales[index], cache.value_scales[index]) if cache.scaled else (None, None)
        queries = elementwise.rope(
            qkv, bias, cos, sin, self._heads, self._kv_heads, self._width, norms=layer.head_norms,
            eps=layer.head_eps, scale=layer.rules.scale, slots=step.slots,
            pages=(cache.keys[index], cache.values[index], *scales), fresh=fresh,
        )  # fmt: skip
        if not step.segments:
            return attend(step, index, queries, rules).flatten(1)
        out = segments.attend(step, index, queries, rules) if by_kernel else torch.empty_like(queries)
        if step.singles:
            out[: step.singles] = attend(step, index, queries[: step.singles], rules)
        for segment in step.segments if fresh is not None else ():
            assert fresh is not None
            where = slice(segment.start, segment.start + segment.count)
            out[where] = attend_segment(
                step, index, segment, queries[where].to(kept), fresh[0][where], fresh[1][where], rules
            )
        return out.flatten(1)

    def _norm_for(
        self,
        product: Product,
        stream: "Tensor",
        y: Rows | None,
        bias: "Tensor | None",
        weight: "Tensor",
        adapters: "BatchRows | None",
    ) -> "tuple[Rows, Tensor | None]":
        plain = self._unquantized(product, len(stream), stream.shape[1], adapters)
        x = elementwise.add_norm(stream, y, bias, weight, self._eps, product.wants(len(stream)), plain)
        return x, plain

    def _adapters(self, of: Literal["tokens", "wanted", "head"]) -> "BatchRows | None":
        """The adapters of the rows of this pass, None where no row has one."""
        if self._bank is None:
            return None
        bank = self._bank
        rows = {"tokens": bank.rows, "wanted": bank.wanted_rows, "head": bank.head_rows}[of]
        return rows if rows is not None and rows.active else None

    def _unquantized(
        self, product: Product, n: int, width: int, adapters: "BatchRows | None"
    ) -> "Tensor | None":
        """Where the rows go unquantised, if adapters of this step need them."""
        import torch

        if adapters is None or self._bank is None or product.site is None or product.site.a is None:
            return None
        return torch.empty(n, width, dtype=self._bank.dtype)


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
        mixture = _is_mixture(getattr(layer, "mlp", None))
        for part, known in (
            (layer, _LAYER),
            (getattr(layer, "self_attn", None), _ATTENTION),
            *([] if mixture else [(getattr(layer, "mlp", None), _MLP)]),
        ):
            if part is None:
                return "a layer lacks self_attn or mlp"
            others = {
                name for name, child in part.named_children()
                if not isinstance(child, torch.nn.Dropout) and type(child).__name__ not in _ACTIVATIONS
            } - known  # fmt: skip
            if others:
                return f"a layer has {', '.join(sorted(others))}"
        if not mixture and not _activation(layer.mlp):
            return "another activation"
    return ""


def _is_mixture(mlp: Any) -> bool:
    """Whether it has experts, packed or not; else it is gate, up and down."""
    return mlp is not None and any(
        isinstance(module, PackedExperts) or hasattr(module, "is_transposed") for module in mlp.modules()
    )


def _first(output: Any) -> "Tensor":
    """The hidden states that a mixture gives, some with their router's logits behind."""
    return output[0] if isinstance(output, tuple) else output


def _activation(mlp: Any) -> str:
    for name in ("act_fn", "activation_fn"):
        if hasattr(mlp, name):
            return _ACTIVATIONS.get(type(getattr(mlp, name)).__name__, "")
    return ""


def _eps(norm: Any) -> float:
    return float(getattr(norm, "variance_epsilon", None) or norm.eps)


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
