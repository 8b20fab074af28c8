"""What a machine reaches in each kind of work that a model is made of: measured by `probe`, or from known peaks."""

from dataclasses import dataclass

_UNDISTURBED = 0.85  # share of the cores; less is said


@dataclass(frozen=True, slots=True)
class Rates:
    """Operations and bytes a second. A product of [n, k] and [k, m] is 2·n·k·m operations (FLOP)."""

    source: str  # where they are from, in words
    forward: float  # FLOP/s of x·Wᵀ in the shapes of the model's layers
    backward: float  # FLOP/s of grad·W and gradᵀ·x
    head: float  # FLOP/s of the products with the vocabulary, there and back
    adapters: float  # FLOP/s of products with the thin matrices of an adapter
    attention: (
        float  # FLOP/s of attention over whole squares; a kernel that leaves out the future seems faster
    )
    elements: float  # B/s of what is done number by number: norms, activations, copies
    memory: float  # B/s that weights are read with
    call_s: float  # seconds to start one operation
    share: float = 1.0  # of the cores' time that the measurement got: less where other work runs

    @property
    def disturbed(self) -> bool:
        """Whether other work ran beside the measurement."""
        return self.share < _UNDISTURBED

    def to_json(self) -> dict[str, float | str]:
        """With units in the names."""
        return {
            "source": self.source,
            "forward_flops_per_s": self.forward,
            "backward_flops_per_s": self.backward,
            "head_flops_per_s": self.head,
            "adapter_flops_per_s": self.adapters,
            "attention_flops_per_s": self.attention,
            "element_bytes_per_s": self.elements,
            "memory_bytes_per_s": self.memory,
            "call_s": self.call_s,
            "share_of_cores": round(self.share, 3),
        }
