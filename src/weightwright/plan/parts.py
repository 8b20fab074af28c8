"""What a model is made of, as far as counting and planning go: matrices, experts, layers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix [outputs, inputs], with a bias or without."""

    name: str
    inputs: int
    outputs: int
    bias: bool = False

    @property
    def weights(self) -> int:
        """Numbers in the matrix and its bias."""
        return self.inputs * self.outputs + (self.outputs if self.bias else 0)


@dataclass(frozen=True, slots=True)
class Experts:
    """The experts of one layer, `active` of which work on a token.

    transformers stacks their matrices into parameters [count, …, …] that are no linear layers: neither adapters
    nor packed precisions reach them.
    """

    count: int
    active: int
    weights: int  # of one expert, biases included

    @property
    def total_weights(self) -> int:
        """Numbers in all experts of the layer."""
        return self.count * self.weights

    @property
    def idle_weights(self) -> int:
        """Numbers that a token does not meet."""
        return (self.count - self.active) * self.weights


@dataclass(frozen=True, slots=True)
class Layer:
    """One kind of decoder layer, of which the model has `count`; widths are numbers a token."""

    count: int
    linears: tuple[Linear, ...]
    other_weights: int  # norms, routers, sinks: what no adapter reaches
    queries: int
    keys: int
    values: int
    kv_heads: int
    inner: int  # of the MLP; of a mixture: of all experts that work on a token
    gated: bool = True  # the MLP multiplies a gate with another projection
    experts: Experts | None = None
    qk_norm: bool = False  # queries and keys are normed
    state: int = 0  # numbers kept for a sequence instead of keys and values (linear attention)

    @property
    def linear_weights(self) -> int:
        """Numbers in the linear layers."""
        return sum(linear.weights for linear in self.linears)

    @property
    def weights(self) -> int:
        """All numbers of one such layer."""
        experts = self.experts.total_weights if self.experts else 0
        return self.linear_weights + self.other_weights + experts
