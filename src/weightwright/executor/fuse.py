"""The quick executor for models built like Llama: few large products, and one kernel between each two.

A layer is recognised by its structure (which parts it has), never by copying a model file, and a small twin of
the model (same class, same options, tiny sizes, random weights) must give transformers' own logits before the
executor is used. Qwen2/2.5/3, Llama, Mistral, Yi, SmolLM and Phi-3 pass, and so do Mixtral and Qwen3-MoE, whose
mixtures of experts stay the model's own modules (`fits`); others run through `execute.Transformers`. A pass over
few rows would take as long to launch as to compute: it is recorded once and run again (`recorded`).
"""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from weightwright.executor.attention import attend_segment, segments_by_kernel
from weightwright.executor.execute import Packer, pack_and_wrap
from weightwright.executor.layers import Dense, Layer, Mixture, Product, activation_of, eps_of, is_mixture
from weightwright.executor.recorded import Inputs, RecordedPasses
from weightwright.kernels import elementwise, segments
from weightwright.kernels.attend import attend
from weightwright.kernels.cache import LayerShape
from weightwright.kernels.elementwise import Rows, Stored
from weightwright.kernels.step import Rules, Step

if TYPE_CHECKING:
    from torch import Tensor

    from weightwright.executor.lora import AdapterBank, BatchRows
    from weightwright.weights.source import WeightSource

log = logging.getLogger(__name__)


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
        self._eps = eps_of(inner.norm)
        mixtures = tuple(
            f"model.layers.{i}.mlp." for i, layer in enumerate(inner.layers) if is_mixture(layer.mlp)
        )
        dense = next((layer.mlp for layer in inner.layers if not is_mixture(layer.mlp)), None)
        self._activation = elementwise.ACTIVATIONS[activation_of(dense)] if dense is not None else 0
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
        self._check_mixtures()
        self._passes = RecordedPasses(self._all_of)

    def _check_mixtures(self) -> None:
        """Where the first mixture by kernels differs from its module, all go by their modules."""
        import torch

        mixtures = [layer.mlp for layer in self._layers if isinstance(layer.mlp, Mixture)]
        with torch.inference_mode():
            if mixtures and mixtures[0].differs():
                log.info(
                    "mixtures are computed by their own modules: kernels for their router give something else"
                )
                for mixture in mixtures:
                    mixture.router = None

    def _in_f32(self, layers: Any) -> Any:
        """Put what is not packed of mixtures into f32; the dtype."""
        import torch

        for layer in layers:
            if is_mixture(layer.mlp):
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
            mlp=Mixture.of(mlp)
            if is_mixture(mlp)
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
            head_eps=eps_of(q_norm) if q_norm is not None else 0.0,
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
        inputs = Inputs(self._embedding(ids).float(), *self._angles(positions), step)
        every = len(wanted) == len(ids) and not step.segments and wanted.tolist() == list(range(len(ids)))
        if every and step.native and self._adapters("tokens") is None:
            return self._passes(inputs)
        return self._through(inputs, wanted)

    def _all_of(self, inputs: Inputs, turn: Callable[[], None] | None) -> "tuple[Rows, Tensor | None]":
        """See `RecordedPasses`."""
        _, y, bias = self._through(inputs, None, turn)
        return y, bias

    def _through(
        self, inputs: Inputs, wanted: "Tensor | None", turn: Callable[[], None] | None = None
    ) -> "tuple[Tensor, Rows, Tensor | None]":
        """See `_run`; `wanted` None are all. With `turn`, which is called at each layer, by kernels alone."""
        stream, cos, sin, step = inputs
        y: Rows | None = None
        bias: Tensor | None = None
        adapters = self._adapters("tokens")
        for index, layer in enumerate(self._layers):
            if turn is not None:
                turn()
            x, plain = self._norm_for(layer.qkv, stream, y, bias, layer.norms[0], adapters)
            qkv, bias = layer.qkv(x, plain, adapters)
            mixed = self._attend(index, layer, qkv, bias, cos, sin, step)
            if layer is self._layers[-1] and wanted is not None:
                stream, mixed, adapters = stream[wanted], mixed[wanted], self._adapters("wanted")
            n = len(mixed)
            plain = self._unquantized(layer.out, n, mixed.shape[1], adapters)
            x = elementwise.put(mixed, layer.out.wants(n), plain)
            y, bias = layer.out(x, plain, adapters)
            mlp = layer.mlp
            if not isinstance(mlp, Dense):
                x = elementwise.add_norm(stream, y, bias, layer.norms[1], self._eps, Stored(self._mixed))
                y, bias = Rows(mlp(x.data, by_kernels=turn is not None)), None
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
            return attend(step, index, queries, rules, scaled=True).flatten(1)
        out = segments.attend(step, index, queries, rules) if by_kernel else torch.empty_like(queries)
        if step.singles:
            out[: step.singles] = attend(step, index, queries[: step.singles], rules, scaled=True)
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
