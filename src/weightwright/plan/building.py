"""The child process that builds a model without memory and says what it is made of: its config on stdin, JSON out.

It imports torch and transformers, which `plan` otherwise does without, and a config may take any time to build.
"""

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from weightwright.plan.parts import Experts, Layer, Linear

# what configs call the number of experts that work on a token, and the width of a state
_ACTIVE = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "moe_topk",
    "moe_k",
    "top_k_experts",
    "num_selected_experts",
)
_STATES = ("ssm_state_size", "state_size", "mamba_d_state")


def main() -> int:
    """0 where the family is known and could be built."""
    import transformers

    transformers.logging.set_verbosity_error()
    config = json.load(sys.stdin)
    if config["model_type"] not in transformers.CONFIG_MAPPING:
        print(json.dumps({"error": "it is not known"}))
        return 1
    try:
        print(json.dumps(described(config)))
    except Exception as error:  # noqa: BLE001 - transformers' configs and models raise what they like
        print(json.dumps({"error": " ".join(str(error).split()) or type(error).__name__}))
        return 1
    return 0


def described(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `ModelSpec`, counted from the modules that transformers makes."""
    from torch import nn

    model = build(config)
    text, decoder = model.config.get_text_config(decoder=True), model.get_decoder()
    if decoder is model.get_output_embeddings():  # ModernBERT's decoder calls its head so
        decoder = model.base_model
    text.allow_global_per_layer_attribute_access = (
        True  # what differs from layer to layer is read off the modules
    )
    layers = _layers(decoder)
    inside = {id(module) for layer in layers for module in layer.modules()}
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    kinds = Counter(_layer(layer, text) for layer in layers)
    around = [
        (name, module)
        for name, module in decoder.named_modules()
        if id(module) not in inside and module is not embedding and module is not head
    ]
    embedded = _size(embedding) + sum(_size(m) for _, m in around if isinstance(m, nn.Embedding))
    outer = [linear for name, module in around for linear in _linear(name, module)]
    tied = head.weight is embedding.weight or _ties(model.config, text)
    own_head = (head.bias.numel() if head.bias is not None else 0) + (0 if tied else head.weight.numel())
    everything = _size(model)
    if tied and head.weight is not embedding.weight:
        everything -= head.weight.numel()
    known = embedded + own_head + sum(map(_size, layers)) + sum(linear.weights for linear in outer)
    name = next(name for name, module in model.named_modules() if module is head).rpartition(".")[2]
    return {
        "vocabulary": head.out_features,
        "hidden": text.hidden_size,
        "heads": _heads(text)[0],
        "kinds": [asdict(kind) | {"count": count} for kind, count in kinds.items()],
        "context": int(getattr(text, "max_position_embeddings", 0) or 0),
        "embedding_weights": embedded,
        "final_norm_weights": everything - known,
        "head": asdict(Linear(name, head.in_features, head.out_features, head.bias is not None)),
        "tied": tied,
        "outer": [asdict(linear) for linear in outer],
    }


def _ties(*configs: Any) -> bool:
    return bool(
        next((said for one in configs if (said := getattr(one, "tie_word_embeddings", None)) is not None), 0)
    )


def build(config: Mapping[str, Any]) -> Any:
    """The model of a config on the meta device: the one that generates text, with what it sees with."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    values = {
        key: value
        for key, value in config.items()
        if key not in ("model_type", "auto_map", "quantization_config")
    }
    read = AutoConfig.for_model(str(config["model_type"]), **_floats(values))
    with torch.device("meta"):
        for kind in (AutoModelForCausalLM, AutoModelForImageTextToText):
            if type(read) in kind._model_mapping:
                with contextlib.suppress(ImportError):  # what it sees with needs a package that is not here
                    return kind.from_config(read)
        return AutoModelForCausalLM.from_config(read.get_text_config(decoder=True))


def _floats(value: Any) -> Any:
    """A config's values, with numbers such as Infinity as transformers writes them into JSON."""
    if isinstance(value, Mapping):
        if set(value) == {"__float__"}:
            return float(value["__float__"])
        return {key: _floats(one) for key, one in value.items()}
    return [_floats(one) for one in value] if isinstance(value, list) else value


def _layers(decoder: Any) -> list[Any]:
    """The decoder's layers: its longest list of modules, of those the heaviest."""
    from torch import nn

    lists = [list(module) for module in decoder.modules() if isinstance(module, nn.ModuleList)]
    outer = [one for one in lists if not any(one is not other and _within(one[:1], other) for other in lists)]
    return max(outer, key=lambda one: (len(one), sum(map(_size, one))))


def _layer(layer: Any, config: Any) -> Layer:
    """What one decoder layer is made of, with a count of 1."""
    linears, experts = tuple(_linears(layer)), _experts(layer, config)
    held = sum(linear.weights for linear in linears) + (experts.total_weights if experts else 0)
    heads, width = _heads(config)
    attention = next((m for m in layer.modules() if _attends(m)), None)
    kv_heads = 0
    if attention is not None:
        width = int(attention.head_dim)
        kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    outputs = {linear.name: linear.outputs for linear in linears} if attention is not None else {}
    names = {name.rpartition(".")[2] for name, _ in layer.named_modules()}
    inner, gated = _mlp(linears, layer, config, experts)
    return Layer(
        count=1,
        linears=linears,
        other_weights=_size(layer) - held,
        queries=outputs.get("q_proj", heads * width),
        keys=outputs.get("k_proj", kv_heads * width),
        values=outputs.get("v_proj", kv_heads * width),
        kv_heads=kv_heads,
        inner=inner,
        gated=gated,
        experts=experts,
        qk_norm="q_norm" in names,
        state=0 if attention is not None else _state(layer, config),
    )


def _attends(module: Any) -> bool:
    """Whether this computes attention over what was kept of all tokens."""
    return type(module).__name__.endswith("Attention") and hasattr(module, "head_dim")


def _experts(layer: Any, config: Any) -> Experts | None:
    stacks = [*_stacks(layer)]
    if not stacks:
        return None
    count = int(stacks[0].shape[0])
    active = next((int(value) for key in _ACTIVE if (value := getattr(config, key, None))), count)
    owners = [m for m in layer.modules() if any(p is q for p in m.parameters(recurse=False) for q in stacks)]
    held = {id(p): p for owner in owners for p in owner.parameters(recurse=False) if p.shape[0] == count}
    return Experts(count, min(active, count), sum(p.numel() for p in held.values()) // count)


def _mlp(linears: Sequence[Linear], layer: Any, config: Any, experts: Experts | None) -> tuple[int, bool]:
    """The width between the matrices of an MLP, over all experts that work on a token; whether it has a gate."""
    hidden = int(config.hidden_size)
    mlp = [linear for linear in linears if linear.name not in ("q_proj", "k_proj", "v_proj", "o_proj")]
    downs = [linear.inputs for linear in mlp if linear.outputs == hidden]
    ups = [linear.outputs for linear in mlp if linear.inputs == hidden]
    dense = max((down for down in downs if down in ups or 2 * down in ups), default=0)
    gated = ups.count(dense) > 1 or 2 * dense in ups
    if experts is None:
        return dense or max(downs, default=hidden), gated
    widths = [size for stack in _stacks(layer) for size in stack.shape[1:] if size != hidden]
    return experts.active * min(widths, default=hidden) + dense, True


def _heads(config: Any) -> tuple[int, int]:
    heads = int(getattr(config, "num_attention_heads", 1) or 1)
    return heads, int(getattr(config, "head_dim", None) or config.hidden_size // heads)


def _linears(layer: Any) -> Iterator[Linear]:
    for name, module in layer.named_modules():
        yield from _linear(name, module)


def _linear(path: str, module: Any) -> Iterator[Linear]:
    """The matrix of a module, where it is a linear layer."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    name = path.rpartition(".")[2]
    if isinstance(module, nn.Linear):
        yield Linear(name, module.in_features, module.out_features, module.bias is not None)
    elif isinstance(module, Conv1D):
        inputs, outputs = module.weight.shape
        yield Linear(name, int(inputs), int(outputs), True)


def _stacks(layer: Any) -> Iterator[Any]:
    """The stacked matrices of experts."""
    return (p for name, p in layer.named_parameters() if "expert" in name and p.dim() == 3)


def _state(layer: Any, config: Any) -> int:
    """Numbers that a layer without attention keeps for a sequence: its convolution's and its state's."""
    total = 0
    for name, weight in layer.named_parameters():
        if "conv" in name and weight.dim() == 3:
            total += weight.numel()
        if name.endswith("A_log"):
            width = next((int(value) for key in _STATES if (value := getattr(config, key, None))), 1)
            inner = max(weight.shape) if weight.dim() == 2 else 2 * int(config.hidden_size)
            total += inner * width
    return total


def _within(some: list[Any], others: list[Any]) -> bool:
    return any(module is one for module in some for other in others for one in other.modules())


def _size(module: Any) -> int:
    return sum(p.numel() for p in {id(p): p for p in module.parameters()}.values())


if __name__ == "__main__":
    sys.exit(main())
