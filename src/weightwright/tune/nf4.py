"""QLoRA's base: linear layers in 4-bit NormalFloat, doubly quantised (Dettmers et al. 2023, arXiv 2305.14314, §3).

bitsandbytes holds and multiplies them, on GPUs and on CPUs. Each matrix is quantised as it is read, so the base never
stands in memory whole; the output head, embeddings and norms stay as they are.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from weightwright.errors import TuneError
from weightwright.extras import require
from weightwright.machine.heap import Trimmer

if TYPE_CHECKING:
    from weightwright.weights.load import Loaded
    from weightwright.weights.source import WeightSource


def load_nf4(address: str, precision: Any, device: str) -> "Loaded":
    """The model at an address with its linear layers in NF4, on `device`. Raises MissingExtraError, ModelError."""
    from dataclasses import replace

    from weightwright.machine.device import default_precision, pick_device
    from weightwright.weights.load import load

    require("bitsandbytes", extra="qlora")
    placed = pick_device(device)
    compute = default_precision(placed) if precision == "auto" else precision
    loaded = load(address, precision=compute, device="cpu", deferred=True)
    to_nf4(loaded.model, loaded.source, torch.device(placed))
    return replace(loaded, model=loaded.model.to(placed).eval(), source=None)


def to_nf4(model: Any, source: "WeightSource | None", device: torch.device) -> None:
    """Replace each linear layer but the head by one in NF4 on `device`; `source` has the weights still to be read.

    Raises TuneError for a model without linear layers that could be held so.
    """
    layers: Any = require("bitsandbytes", extra="qlora").nn
    head = model.get_output_embeddings()
    linears = [(path, module) for path, module in model.named_modules() if type(module) is nn.Linear]
    if all(module is head for _, module in linears):
        raise TuneError(f"{type(model).__name__} has no linear layers to hold in 4 bits; use --method lora")
    trimmer = Trimmer()
    for path, module in linears:
        weight = module.weight.detach()
        if weight.is_meta:
            assert source is not None
            weight = source.read(f"{path}.weight")
        if module is head:
            module.weight = nn.Parameter(weight, requires_grad=False)
            continue
        layer = layers.Linear4bit(
            module.in_features, module.out_features, bias=False, compute_dtype=weight.dtype,
            compress_statistics=True, quant_type="nf4", device="meta",
        )  # fmt: skip
        layer.weight = layers.Params4bit(
            weight, requires_grad=False, quant_type="nf4", compress_statistics=True, module=layer
        )
        layer.bias = module.bias
        layer.support_avx512bf16_for_cpu = (
            False  # else an evaluation repacks weights, and no gradient passes them
        )
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, layer.to(device))
        trimmer.packed(weight.nbytes)
    model.is_loaded_in_4bit = True  # by which peft knows such layers
