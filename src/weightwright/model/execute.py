"""A model as the engine runs it: packed tokens over the paged cache in, logits out.

`Transformers` goes through transformers' own forward pass with our attention function; `model.fuse` offers a
quicker one for the families whose layers it knows.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from weightwright.errors import ModelError
from weightwright.model import attention
from weightwright.model.attention import Probe, Step
from weightwright.model.cache import LayerShape

if TYPE_CHECKING:
    from torch import Tensor

    from weightwright.model.linear import PackedLinear
    from weightwright.model.lora import AdapterBank

Packer = Callable[
    [str, "Tensor", "Tensor | None"], "PackedLinear"
]  # module path, weight [out, in], bias [out]


class Executor(Protocol):
    """Runs a forward pass over the tokens of a step."""

    shapes: list[LayerShape]

    def logits(self, ids: "Tensor", positions: "Tensor", step: Step, rows: "Tensor") -> "Tensor":
        """Logits [rows, vocab] f32 after the tokens at `rows` [rows] i64; ids and positions [tokens] i64."""
        ...

    def hidden(self, ids: "Tensor", positions: "Tensor", step: Step) -> "Tensor":
        """The last hidden states [tokens, hidden] f32, after the final norm."""
        ...


class Transformers:
    """Any transformers causal language model whose attention goes through the attention interface.

    Raises ModelError where it does not: the model's own attention would not see the paged cache.
    """

    def __init__(self, model: Any, pack: Packer, bank: "AdapterBank") -> None:
        from weightwright.model.lora import wrap

        attention.register()
        try:
            model.set_attn_implementation(attention.NAME)
        except (ValueError, KeyError, AttributeError) as error:
            raise ModelError(_refusal(model, str(error).split("\n", maxsplit=1)[0])) from error
        self.model = model
        self.shapes = _probe(model)
        _pack_linears(model, pack)
        wrap(model, bank)
        head = model.get_output_embeddings()
        if hasattr(head, "at_head"):
            head.at_head = True

    def logits(self, ids: "Tensor", positions: "Tensor", step: Step, rows: "Tensor") -> "Tensor":
        """See `Executor`."""
        import torch

        with torch.inference_mode(), attention.using(step):
            output = self.model(
                input_ids=ids[None], position_ids=positions[None], use_cache=False, logits_to_keep=rows
            )
        return output.logits[0].float()

    def hidden(self, ids: "Tensor", positions: "Tensor", step: Step) -> "Tensor":
        """See `Executor`."""
        import torch

        with torch.inference_mode(), attention.using(step):
            output = self.model.base_model(input_ids=ids[None], position_ids=positions[None], use_cache=False)
        return output.last_hidden_state[0].float()


def _pack_linears(model: Any, pack: Packer) -> None:
    """Replace every linear layer by a packed one; a head that shares its weight with the embedding gets its own."""
    import torch
    from transformers.pytorch_utils import Conv1D

    for path, module in list(model.named_modules()):
        if isinstance(module, Conv1D):
            model.set_submodule(path, pack(path, module.weight.detach().t(), module.bias))
        elif type(module) is torch.nn.Linear:
            model.set_submodule(path, pack(path, module.weight.detach(), module.bias))


def _probe(model: Any) -> list[LayerShape]:
    """Run one token through the model to learn what each layer keeps, and whether it asks us at all."""
    import torch

    probe = Probe()
    ids = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    with torch.inference_mode(), attention.using(probe):
        model(input_ids=ids, position_ids=ids, use_cache=False, logits_to_keep=1)
    layers = getattr(model.config.get_text_config(), "num_hidden_layers", len(probe.shapes))
    if sorted(probe.shapes) != list(range(layers)):
        asked = f"{len(probe.shapes)} of {layers} layers" if probe.shapes else "no layer"
        raise ModelError(_refusal(model, f"{asked} asked for it"))
    return [probe.shapes[layer] for layer in range(layers)]


def _refusal(model: Any, why: str) -> str:
    return (
        f"{type(model).__name__} does not compute its attention through transformers' attention interface "
        f"({why}), so this engine cannot run it; serve it with another engine and use its http:// address"
    )
