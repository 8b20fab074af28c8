"""What all packed linear layers have in common."""

import torch
from torch import Tensor


class PackedLinear(torch.nn.Module):  # type: ignore[misc]
    """x [..., in] any float -> x W^T + bias [..., out] in x's dtype.

    `form` names how the weight is held, `weight_bytes` what it takes with its scales.
    """

    form: str
    in_features: int
    out_features: int
    weight_bytes: int

    def __init__(self, form: str, in_features: int, out_features: int, weight_bytes: int) -> None:
        super().__init__()
        self.form, self.in_features, self.out_features = form, in_features, out_features
        self.weight_bytes = weight_bytes

    def at(self, rows: int) -> "PackedLinear":
        """The layer that works on so many rows: this one, unless it is a mixture."""
        return self

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"in_features={self.in_features}, out_features={self.out_features}, form={self.form}"

    def _rows(self, x: Tensor) -> Tensor:
        """Contiguous rows [n, in] of x."""
        if x.shape[-1] != self.in_features:
            raise ValueError(f"the last size of x must be {self.in_features}, got {tuple(x.shape)}")
        return x.reshape(-1, self.in_features).contiguous()
