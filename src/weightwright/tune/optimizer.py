"""The optimizers, and what each of them needs."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from weightwright.errors import TuneError
from weightwright.extras import require
from weightwright.tune.settings import TuneSettings


def optimizer_of(
    settings: TuneSettings, weights: Iterable[nn.Parameter], device: torch.device
) -> torch.optim.Optimizer:
    """AdamW (arXiv 1711.05101), SGD with momentum, or AdamW with its state in 8 bits (arXiv 2110.02861).

    Raises TuneError for the last one without a GPU.
    """
    rate, decay = settings.peak_learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        fused = not settings.fsdp  # torch has no fused step of it for divided weights
        return torch.optim.SGD(weights, lr=rate, momentum=settings.momentum, weight_decay=decay, fused=fused)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(weights, lr=rate, weight_decay=decay, fused=True)
    assert settings.optimizer == "adamw8bit", "options.Optimizer names no other"
    if device.type not in ("cuda", "xpu"):
        raise TuneError(
            f"optimizer=adamw8bit needs a GPU, this run is on {device.type}; use --optimizer adamw, or sgd to save "
            "memory"
        )
    optimizers: Any = require("bitsandbytes", extra="qlora").optim
    kind = optimizers.PagedAdamW8bit if device.type == "cuda" else optimizers.AdamW8bit
    made: torch.optim.Optimizer = kind(weights, lr=rate, weight_decay=decay)
    return made
