"""A model whose linear layers have no weights yet, for `source.WeightSource` to supply them one at a time."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightwright.weights.experts import stacked_names
from weightwright.weights.families import is_paged, model_class
from weightwright.weights.incomplete import incomplete
from weightwright.weights.quiet import quiet

if TYPE_CHECKING:
    import torch

    from weightwright.weights.source import WeightSource


def empty(config: Any, dtype: "torch.dtype") -> Any:
    """The model of a transformers config with all parameters on the meta device; its buffers are real."""
    from accelerate import init_empty_weights

    if getattr(config, "quantization_config", None) is not None:
        del config.quantization_config  # what is read from the files is plain
    with quiet(), init_empty_weights(include_buffers=False):
        return model_class(config).from_config(config, dtype=dtype).eval()


def fill(model: Any, source: "WeightSource", path: Path, *, defer: bool) -> None:
    """Read the weights of an `empty` model, with `defer` all but those of its linear layers and experts.

    Raises ModelError where the source lacks some or has them in another shape.
    """
    import torch

    wanted, missing = _wanted(model), lacking(model, source)
    if missing:
        raise incomplete(path, missing)
    later = _linear_weights(model) | stacked_names(model) if defer else set()
    whole = re.compile(
        "|".join(rf"(^|\.){part}($|\.)" for part in model._keep_in_fp32_modules_strict or ("$^",))
    )
    tensors = {
        name: source.read(name, torch.float32 if whole.search(name) else None)
        for name in wanted
        if name not in later
    }
    model.load_state_dict(tensors, strict=False, assign=True)
    model.tie_weights()


def fill_experts(model: Any, source: "WeightSource") -> None:
    """Read the stacked matrices of experts that `fill` left to be packed, for a model that keeps them whole."""
    tensors = {name: source.read(name) for name in stacked_names(model)}
    model.load_state_dict(tensors, strict=False, assign=True)


def place(model: Any, device: str) -> Any:
    """Move what a model has to a device; weights that are to come stay on the meta device."""
    if not any(weight.is_meta for weight in model.parameters()):
        return model.to(device)
    return model._apply(lambda tensor: tensor if tensor.is_meta else tensor.to(device))


def lacking(model: Any, source: "WeightSource") -> list[str]:
    """The weights that the source lacks or has in another shape."""
    wanted = _wanted(model)
    return sorted(name for name in wanted if source.shape(name) != tuple(wanted[name].shape))


def deferrable(model: Any) -> bool:
    """Whether `fill` gives `model` what transformers' own loading would.

    Not a mixture whose experts transformers computes in a way of its own, and not a model that is tried before it is
    packed.
    """
    if not is_paged(model.config):
        return False
    stacked = stacked_names(model)
    return all(weight.ndim < 3 or name in stacked for name, weight in model.named_parameters())


def _wanted(model: Any) -> dict[str, "torch.Tensor"]:
    """What the files must hold: not what is tied to another weight, nor what may be missing."""
    optional = [re.compile(pattern) for pattern in model._keys_to_ignore_on_load_missing or ()]
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name not in model.all_tied_weights_keys and not any(o.search(name) for o in optional)
    }


def _linear_weights(model: Any) -> set[str]:
    """The weights that packed layers are made from; a weight that another is tied to is read at once."""
    import torch
    from transformers.pytorch_utils import Conv1D

    tied = set(model.all_tied_weights_keys.values())
    return {
        f"{path}.weight"
        for path, module in model.named_modules()
        if type(module) in (torch.nn.Linear, Conv1D) and f"{path}.weight" not in tied
    }
