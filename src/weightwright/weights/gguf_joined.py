"""Weights that GGUF files hold in several tensors, and transformers in one; both ways.

The experts of a mixture: their gates and their other halves stand in two stacks. DeepSeek's keys and values: new
files hold two stacks of matrices, one for each head, keys on their side.
"""

import re
from collections.abc import Callable, Collection
from itertools import count, takewhile
from typing import Any

import torch
from torch import Tensor

ARCHITECTURES = frozenset({"qwen2moe", "qwen3moe", "deepseek2"})
Joins = dict[str, Callable[..., Tensor]]  # by transformers' name
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.*)")


def _one_below_the_other(gate: Tensor, up: Tensor) -> Tensor:
    return torch.cat((gate, up), dim=1)  # [experts, 2 * width, hidden]


def _keys_and_values(keys: Tensor, values: Tensor) -> Tensor:
    """Keys [heads, latent, width], values [heads, width, latent] -> [heads * both widths, latent]."""
    return torch.cat((keys.transpose(1, 2), values), dim=1).flatten(0, 1)


def _row(gate: Tensor) -> Tensor:
    return gate.reshape(1, -1)


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


# what gguf's table of names does not have: transformers' name in a layer, GGUF's tensors, how they are joined
_IN_LAYER: dict[str, tuple[tuple[str, ...], Callable[..., Tensor]]] = {
    "mlp.experts.gate_up_proj": (("ffn_gate_exps.weight", "ffn_up_exps.weight"), _one_below_the_other),
    "mlp.experts.down_proj": (("ffn_down_exps.weight",), _as_it_is),
    "mlp.gate.weight": (("ffn_gate_inp.weight",), _as_it_is),
    "mlp.gate.e_score_correction_bias": (("exp_probs_b.bias",), _as_it_is),
    "mlp.shared_expert_gate.weight": (("ffn_gate_inp_shexp.weight",), _row),
    "self_attn.kv_b_proj.weight": (("attn_k_b.weight", "attn_v_b.weight"), _keys_and_values),
}


def split(path: str, weight: Tensor) -> dict[str, Tensor]:
    """GGUF's tensors, by name, of one of transformers' weights of a mixture; {} for a weight of another kind."""
    layer = _LAYER.fullmatch(path)
    if layer is None or layer[2] not in _IN_LAYER or not layer[2].startswith("mlp."):
        return {}
    theirs = [f"blk.{layer[1]}.{name}" for name in _IN_LAYER[layer[2]][0]]
    if layer[2] == "mlp.shared_expert_gate.weight":
        weight = weight.flatten()
    return dict(zip(theirs, weight.chunk(len(theirs), dim=1) if len(theirs) > 1 else [weight], strict=True))


def _one_by_one(stack: str, there: Collection[str]) -> list[str]:
    """The tensors of a stack in files from before llama.cpp had stacks: `blk.0.ffn_gate.3.weight` of each expert."""
    before, _, after = stack.partition("_exps.")
    found = takewhile(lambda name: name in there, (f"{before}.{expert}.{after}" for expert in count()))
    return list(found)


def _stacked(parts: int) -> Callable[..., Tensor]:
    """Puts matrices, those of all experts' first parts first, on a stack, the parts of each below each other."""

    def stacked(*matrices: Tensor) -> Tensor:
        experts = len(matrices) // parts
        return torch.stack([torch.cat(matrices[expert::experts]) for expert in range(experts)])

    return stacked


def names(model: Any, architecture: str, there: Collection[str]) -> tuple[dict[str, tuple[str, ...]], Joins]:
    """GGUF's tensors of each of the model's weights, of those that are there, and how several become one."""
    import gguf

    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    table = gguf.get_tensor_name_map(kinds[architecture], model.config.num_hidden_layers)
    found: dict[str, tuple[str, ...]] = {}
    joins: Joins = {}
    for ours in model.state_dict():
        layer = _LAYER.fullmatch(ours)
        theirs, join = _IN_LAYER.get(layer[2], ((), _as_it_is)) if layer else ((), _as_it_is)
        parts = tuple(f"blk.{layer[1]}.{one}" for one in theirs) if layer else ()
        single = tuple(one for part in parts if "_exps." in part for one in _one_by_one(part, there))
        if parts and all(one in there for one in parts):
            found[ours], joins[ours] = parts, join
        elif single:
            found[ours], joins[ours] = single, _stacked(len(parts))
        elif (plain := table.get_name(ours, try_suffixes=(".weight", ".bias"))) in there:
            found[ours] = (plain,)
    return found, joins
