"""The experts of a mixture in few bits: matrices are packed one by one, and a step goes through those in use.

Only what transformers' own experts compute is computed here: which rows go to which expert with what weight is the
model's business (its router), and so is what it does with gate and up where that is not a plain activation.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from weightwright.executor.linear import Int4Linear, Int8Linear, PackedLinear
from weightwright.kernels import elementwise, int4, pool
from weightwright.kernels.elementwise import ACTIVATIONS, Rows, Stored
from weightwright.kernels.route import Route, Router, combine, gather
from weightwright.kernels.skinny import MOST_ROWS, Several
from weightwright.weights.experts import ExpertSource

if TYPE_CHECKING:
    from weightwright.executor.execute import Packer
    from weightwright.weights.source import Weight, WeightSource

# what transformers calls the activations that kernels know, by their names
KNOWN_ACTIVATIONS = {"SiLUActivation": "silu", "SiLU": "silu", "GELUTanh": "gelu_tanh"}


class PackedExperts(torch.nn.Module):  # type: ignore[misc]
    """Hidden [n, width], experts' numbers [n, k] i64 and weights [n, k] of each row -> [n, width] in hidden's dtype.

    `first` are the matrices into the experts' inner width (gate and up beside each other), `second` those out of it.
    """

    def __init__(self, experts: Any, first: Sequence[PackedLinear], second: Sequence[PackedLinear]) -> None:
        super().__init__()
        self.first, self.second = list(first), list(second)  # lists, so that nobody packs or wraps them again
        self.num_experts = len(self.first)
        self.weight_bytes = sum(linear.weight_bytes for linear in [*self.first, *self.second])
        self._inner = experts._apply_gate if experts.has_gate else experts.act_fn
        self._activation = _activation(experts)
        self._after = experts.post_expert_norm if experts.has_post_expert_norm else None
        self._int4 = all(isinstance(one, Int4Linear) and one.packed is not None for one in (*first, *second))
        self._int8 = all(isinstance(one, Int8Linear) for one in (*first, *second))
        self._tables = [_table(part) for part in (self.first, self.second)]

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """See the class."""
        n, k = top_k_index.shape
        if not n:
            return torch.empty_like(hidden_states)
        route = Route.of(top_k_index.reshape(-1), self.num_experts)
        through = self._through_int4 if self._int4 else self._through_int8 if self._int8 else self._through
        y = through(hidden_states, route, k)
        if self._after is not None:
            y = self._after(y)
        # a product of two vectors for each row and output: the weighted sum over a row's experts
        return torch.bmm(top_k_weights.float()[:, None], y.view(n, k, -1))[:, 0].to(hidden_states.dtype)

    @property
    def by_kernels(self) -> bool:
        """Whether `few` is there: between the products stands a plain activation and nothing else."""
        first, second = self.first[0], self.second[0]
        if self._activation is None or self._after is not None or not first.bias is None is second.bias:
            return False
        if self._int8:
            return isinstance(self._tables[0], Several) and first.offset > 0
        return self._int4 and first.packed.outputs == first.out_features

    def few(self, hidden: Tensor, router: Router) -> Tensor:
        """Hidden [n, width] f32, which is overwritten, through the experts that `router` chooses, by kernels alone.

        It is for few rows: in int8 an expert is quick up to `skinny.MOST_ROWS` of them.
        """
        (route, weights), width = router(hidden), self.second[0].out_features
        assert self._activation is not None
        if self._int4:
            inner = int4.gate(self._tables[0](int4.put(hidden), route, router.k), self._activation)
            return combine(Rows(self._tables[1](inner, route)), weights, width)
        x = gather(elementwise.put(hidden, _wants(self.first[0])), route, router.k)
        gates = Rows(self._tables[0](x.data, route), x.scales)
        x = elementwise.gate(gates, None, self._activation, _wants(self.second[0]))
        return combine(Rows(self._tables[1](x.data, route), x.scales), weights, width, route.order)

    def _through_int4(self, hidden: Tensor, route: Route, k: int) -> Tensor:
        """What each expert of each row gives, f32 [n k, width]."""
        y = self._tables[0](int4.put(hidden), route, k)
        y = y if y.shape[1] == self.first[0].out_features else y[:, : self.first[0].out_features].contiguous()
        if self._activation is not None and self.first[0].bias is None:
            x = int4.gate(y, self._activation)
        else:
            x = int4.put(self._inner(self._with_bias(y, self.first, route)).contiguous())
        y = self._tables[1](x, route)[:, : self.second[0].out_features]
        return self._with_bias(y, self.second, route)

    def _with_bias(self, y: Tensor, linears: Sequence[PackedLinear], route: Route) -> Tensor:
        if linears[0].bias is not None:
            for expert, start, end in route.parts():
                y[route.order[start:end].long()] += linears[expert].bias
        return y

    def _through_int8(self, hidden: Tensor, route: Route, k: int) -> Tensor:
        """Likewise, over rows sorted by expert."""
        order, parts = route.order.long(), route.parts()
        x = _stored(hidden.float() if hidden.dtype != torch.float32 else hidden.clone(), self.first[0])
        assert x.scales is not None
        rows = torch.div(order, k, rounding_mode="floor")
        gates = Rows(self._products(0, x.data[rows], route, parts), x.scales[rows])
        if self._activation is not None and self.first[0].bias is None:
            x = elementwise.gate(gates, None, self._activation, _wants(self.second[0]))
        else:
            x = _stored(self._inner(_scaled(gates, self.first, parts)).contiguous(), self.second[0])
        y = _scaled(Rows(self._products(1, x.data, route, parts), x.scales), self.second, parts)
        return torch.empty_like(y).index_copy_(0, order, y)

    def _products(
        self, which: int, codes: Tensor, route: Route, parts: Sequence[tuple[int, int, int]]
    ) -> Tensor:
        """Codes [n k, in] in the order of the route times their experts' matrices, without the rows' scales."""
        table = self._tables[which]
        if isinstance(table, Several) and max(end - start for _, start, end in parts) <= MOST_ROWS:
            return table(codes, route)
        linears = (self.first, self.second)[which]
        out = torch.empty(len(codes), linears[0].out_features)
        for expert, start, end in parts:
            out[start:end] = linears[expert].product(codes[start:end])
        return out

    def _through(self, hidden: Tensor, route: Route, k: int) -> Tensor:
        """Likewise, an expert after the other: on any machine, in any form."""
        out = torch.empty(len(route.order), self.second[0].out_features, device=hidden.device)
        for expert, start, end in route.parts():
            rows = route.order[start:end].long()
            x = hidden[torch.div(rows, k, rounding_mode="floor")]
            out[rows] = self.second[expert](self._inner(self.first[expert](x))).float()
        return out


def pack_experts(
    path: str, module: Any, pack: "Packer", source: "WeightSource | None" = None
) -> PackedExperts:
    """Pack the matrices of `module` one after the other; those of a model without weights come from `source`."""
    names = ("gate_up_proj" if module.has_gate else "up_proj", "down_proj")
    made: list[list[PackedLinear]] = []
    for name in names:
        stacked, bias = getattr(module, name), getattr(module, f"{name}_bias", None)
        linears = []
        for expert in range(module.num_experts):
            weight = _expert(f"{path}.{name}", stacked, expert, module.is_transposed, source)
            linears.append(
                pack(f"{path}.{name}.{expert}", weight, None if bias is None else bias[expert].detach())
            )
        made.append(linears)
        setattr(module, name, None)
    return PackedExperts(module, *made)


def _expert(
    path: str, stacked: Tensor, expert: int, transposed: bool, source: "WeightSource | None"
) -> "Tensor | Weight":
    """The matrix [out, in] of one expert."""
    if stacked.is_meta:
        assert isinstance(source, ExpertSource), f"nothing has the weights of {path}"
        return source.expert(path, expert)
    weight = stacked[expert].detach()
    return weight.t().contiguous() if transposed else weight


def _table(linears: Sequence[PackedLinear]) -> Any:
    """What the kernels look the experts up in; None where they go one by one."""
    if all(isinstance(one, Int4Linear) and one.packed is not None for one in linears):
        return int4.Several([one.packed for one in linears])
    if all(isinstance(one, Int8Linear) and one.skinny is not None for one in linears):
        return Several([one.skinny for one in linears], [one.scale for one in linears])
    return None


def _activation(experts: Any) -> int | None:
    """The kernels' number of what stands between the products, None where it is something else."""
    from transformers.integrations.moe import _default_apply_gate

    plain = experts.has_gate and getattr(type(experts), "_apply_gate", None) is _default_apply_gate
    name = KNOWN_ACTIVATIONS.get(type(experts.act_fn).__name__) if plain else None
    return ACTIVATIONS[name] if name is not None and pool.available() else None


def _wants(linear: Any) -> Stored:
    return Stored(linear.activation_dtype, linear.block)


def _stored(x: Tensor, linear: Any) -> Rows:
    """Rows x [n, in] f32, which are overwritten, as an int8 layer multiplies them."""
    if pool.available():
        return elementwise.put(x, _wants(linear))
    from weightwright.weights.quantize import quantize_rows

    codes, scales = quantize_rows(x, linear.offset, linear.block)
    return Rows(codes, scales[:, 0])


def _scaled(rows: Rows, linears: Sequence[PackedLinear], parts: Sequence[tuple[int, int, int]]) -> Tensor:
    """Rows sorted by expert times their scales, with the experts' biases."""
    assert rows.scales is not None
    out = rows.data.mul_(rows.scales[:, None])
    if linears[0].bias is not None:
        for expert, start, end in parts:
            out[start:end] += linears[expert].bias
    return out
