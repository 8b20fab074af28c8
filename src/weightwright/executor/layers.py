"""The parts of a decoder layer built like Llama's: products, and what stands behind attention."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightwright.executor.experts import KNOWN_ACTIVATIONS, PackedExperts
from weightwright.kernels.elementwise import Rows, Stored
from weightwright.kernels.route import Router
from weightwright.kernels.step import Rules

if TYPE_CHECKING:
    from typing import TypeGuard

    from torch import Tensor

    from weightwright.executor.linear import Int4Linear, PackedLinear
    from weightwright.executor.lora import BatchRows, LoraSite

_DIFFERENCE = 1e-3  # of the largest number, between sums in another order


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
        return Stored(torch.float32 if linear.form == "f32" or _by_groups(linear) else torch.bfloat16)

    def __call__(
        self, x: Rows, plain: "Tensor | None" = None, adapters: "BatchRows | None" = None
    ) -> "tuple[Rows, Tensor | None]":
        """X W^T as rows, and the bias that is still to be added. `plain` is x unquantised, for the adapters."""
        linear = self.linear.at(x.data.shape[0])
        if _by_groups(linear):
            y, bias = Rows(linear.product(x.data).contiguous()), linear.bias
        elif x.scales is None:
            y, bias = Rows(linear(x.data)), None
        else:
            y, bias = Rows(linear.product(x.data), x.scales), linear.bias
        if plain is None or self.site is None or adapters is None:
            return y, bias
        return Rows(self.site.add_(y.data, plain, adapters, y.scales, bias)), None


def _by_groups(linear: "PackedLinear") -> "TypeGuard[Int4Linear]":
    """Whether it multiplies f32 rows by our int4 kernels."""
    return linear.form == "int4" and getattr(linear, "packed", None) is not None


@dataclass(slots=True)
class Dense:
    """What stands behind attention: gate and up beside each other, then down."""

    gate_up: Product
    down: Product


@dataclass(slots=True)
class Mixture:
    """Experts behind attention: the model's module; its router and experts apart where kernels do all of it."""

    module: Any
    router: Router | None = None
    experts: PackedExperts | None = None

    @classmethod
    def of(cls, module: Any) -> "Mixture":
        """Of a model's module."""
        parts = dict(module.named_children())
        router, experts = parts.get("gate"), parts.get("experts")
        if (
            len(parts) > 2
            or router is None
            or not isinstance(experts, PackedExperts)
            or not experts.by_kernels
        ):
            return cls(module)
        k, names = getattr(router, "top_k", None), [name for name, _ in router.named_parameters()]
        if names != ["weight"] or router.weight.dtype.itemsize != 4 or not k:
            return cls(module)
        normalised = bool(getattr(router, "norm_topk_prob", True))
        return cls(module, Router(router.weight.detach().contiguous(), k, normalised), experts)

    def __call__(self, x: "Tensor", *, by_kernels: bool) -> "Tensor":
        """Rows [n, width] -> [n, width]."""
        if by_kernels and self.router is not None and self.experts is not None:
            return self.experts.few(x, self.router)
        return _first(self.module(x[None])).view(len(x), -1)

    def differs(self) -> bool:
        """Whether kernels give something else than the module."""
        import torch

        if self.router is None:
            return False
        x = torch.randn(4, self.router.weight.shape[1], generator=torch.Generator().manual_seed(0))
        expected = self(x, by_kernels=False)
        error = (self(x.clone(), by_kernels=True) - expected).abs().max() / expected.abs().max()
        return not float(error) < _DIFFERENCE


@dataclass(slots=True)
class Layer:
    """One decoder layer."""

    qkv: Product
    out: Product
    mlp: Dense | Mixture
    norms: "tuple[Tensor, Tensor]"
    head_norms: "tuple[Tensor | None, Tensor | None]"
    head_eps: float
    rules: Rules


def is_mixture(mlp: Any) -> bool:
    """Whether it has experts, packed or not; else it is gate, up and down."""
    return mlp is not None and any(
        isinstance(module, PackedExperts) or hasattr(module, "is_transposed") for module in mlp.modules()
    )


def activation_of(mlp: Any) -> str:
    """The kernels' name of what stands between gate and up, empty where they have none."""
    for name in ("act_fn", "activation_fn"):
        if hasattr(mlp, name):
            return KNOWN_ACTIVATIONS.get(type(getattr(mlp, name)).__name__, "")
    return ""


def eps_of(norm: Any) -> float:
    """What an RMS norm adds under its root."""
    return float(getattr(norm, "variance_epsilon", None) or norm.eps)


def _first(output: Any) -> "Tensor":
    """The hidden states that a mixture gives, some with their router's logits behind."""
    return output[0] if isinstance(output, tuple) else output
