"""Adapters of single experts, trained when transformers had a layer for each of them (before 5), into today's stacks.

peft 0.21 converts such adapters, too, but by a wrong factor for rsLoRA, and not where only some matrices of an expert
are adapted.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weightwright.errors import ModelError
from weightwright.hub import weight_files
from weightwright.weights.adapter import Adapter, adapter_of
from weightwright.weights.adapter_config import WEIGHTS_FILE, read_config, start_of

_EXPERT = re.compile(r"\.experts\.(\d+)\.")
_STARTS = ("true", "false", "gaussian", "orthogonal", "eva")  # those that leave the base weights alone


def has_single_experts(model: Any, folder: Path) -> bool:
    """Whether the adapter names experts by number and the model has them in one stack."""
    stored = [key for key in weight_files.safetensors_header(folder / WEIGHTS_FILE) if _EXPERT.search(key)]
    return bool(stored) and not any(_EXPERT.search(f"{name}.") for name, _ in model.named_modules())


def add_single_experts(model: Any, folder: Path) -> None:
    """Add the adapter's products to the model's weights. Raises ModelError for all but plain matrices that fit."""
    import torch

    adapter, place = _read(folder), _places(model)
    weights = {path: place(path) for path in adapter.modules}
    for path, low_rank in adapter.modules.items():
        have, want = weights[path], [len(low_rank.b), low_rank.a.shape[1]]
        if have is None or list(have.shape) != want:
            why = "has no such layer" if have is None else f"has {list(have.shape)} there"
            raise ModelError(
                f"the adapter at {folder} does not fit this model: {path} {want}, the model {why}"
            )
    for path, low_rank in adapter.modules.items():
        with torch.no_grad():
            weights[path].add_(low_rank.scale * (low_rank.b.float() @ low_rank.a.float()))


def _read(folder: Path) -> Adapter:
    from safetensors.torch import load_file

    name = f"the adapter at {folder}"
    config, tensors = read_config(name, folder), load_file(folder / WEIGHTS_FILE)
    other = next((key for key in tensors if not key.endswith((".lora_A.weight", ".lora_B.weight"))), None)
    if start_of(config) not in _STARTS:
        other = f"init_lora_weights={start_of(config)!r}"
    if other:
        raise ModelError(f"{name} changes single experts, which are one stack today, and has {other}; only low-rank "
                         "matrices are merged together with them: merge it with transformers 4, which it was "
                         "trained with")  # fmt: skip
    return adapter_of(name, folder, tensors, config)


def _places(model: Any) -> Callable[[str], Any]:
    """Where in the model a layer of then is: its weight [out, in], perhaps a part of a stack; None if nowhere."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    known = get_model_conversion_mapping(model)
    renamings = [one for one in known if isinstance(one, WeightRenaming)]
    converters = [one for one in known if isinstance(one, WeightConverter)]
    parts = {source: one.source_patterns for one in converters for source in one.source_patterns}
    weights = dict(model.named_parameters())

    def place(path: str) -> Any:
        name, source = rename_source_key(f"{path}.weight", renamings, converters)
        weight, expert = weights.get(name), _EXPERT.search(path)
        if weight is None or expert is None or source is None:
            return weight
        if (number := int(expert[1])) >= len(weight):
            return None
        matrices = parts[source]  # gate and up stand in one matrix, one below the other
        return weight[number].chunk(len(matrices))[matrices.index(source)]

    return place
