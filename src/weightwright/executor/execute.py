"""A model as the engine runs it: packed tokens over the paged cache in, logits out.

`Transformers` goes through transformers' own forward pass with our attention function; `executor.fuse` offers a
quicker one for the families whose layers it knows.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from weightwright.errors import ModelError
from weightwright.executor import attention
from weightwright.executor.attention import Probe
from weightwright.kernels.cache import LayerShape
from weightwright.kernels.step import Step

if TYPE_CHECKING:
    from torch import Tensor

    from weightwright.executor.linear import PackedLinear
    from weightwright.executor.lora import AdapterBank
    from weightwright.weights.source import Weight, WeightSource

UNPACKED = {"dt_proj"}  # of state-space layers, small
Packer = Callable[
    [str, "Tensor | Weight", "Tensor | None"], "PackedLinear"
]  # module path, weight [out, in], bias [out]


class Executor(Protocol):
    """Runs a forward pass over the tokens of a step."""

    shapes: list[LayerShape]

    def forward(
        self, ids: "Tensor", positions: "Tensor", step: Step, rows: "Tensor", states: "Tensor | None" = None
    ) -> "tuple[Tensor, Tensor | None]":
        """Logits [rows, vocab] f32 after the tokens at `rows` [rows] i64, and the last hidden states
        [states, hidden] f32, after the final norm, of those at `states` [states] i64; ids and positions [tokens] i64.
        """
        ...


class Transformers:
    """Any transformers causal language model whose attention goes through the attention interface.

    Raises ModelError where it does not: the model's own attention would not see the paged cache. Linear layers
    without a weight get it from `source`. `experts` packs the matrices of a mixture's experts; without it they stay.
    """

    def __init__(
        self,
        model: Any,
        pack: Packer,
        bank: "AdapterBank",
        source: "WeightSource | None" = None,
        experts: Packer | None = None,
    ) -> None:
        self.model, self._bank = model, bank
        self._chooses = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.shapes = paged_shapes(model)
        pack_and_wrap(model, pack, bank, source, experts)

    def forward(
        self, ids: "Tensor", positions: "Tensor", step: Step, rows: "Tensor", states: "Tensor | None" = None
    ) -> "tuple[Tensor, Tensor | None]":
        """See `Executor`."""
        import torch

        inner, seen = self.model.base_model, list[Any]()
        hook = None
        if states is not None:
            hook = inner.register_forward_hook(lambda _module, _inputs, output: seen.append(output[0][0]))
        if not self._chooses:  # its head sees all rows
            self._bank.head_rows = self._bank.rows
        try:
            with torch.inference_mode(), attention.using(step):
                chosen = {"logits_to_keep": rows} if self._chooses else {}
                output = self.model(
                    input_ids=ids[None], position_ids=positions[None], use_cache=False, **chosen
                )
        finally:
            if hook is not None:
                hook.remove()
        logits = output.logits[0] if self._chooses else output.logits[0, rows]
        return logits.float(), None if states is None else seen[0][states].float()


def paged_shapes(model: Any) -> list[LayerShape]:
    """Let a model attend through the paged cache: what each of its layers keeps. Raises ModelError if it does not."""
    try:
        attention.use(model)
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelError(_refusal(model, str(error).split("\n", maxsplit=1)[0])) from error
    return _probe(model)


def pack_and_wrap(
    model: Any,
    pack: Packer,
    bank: "AdapterBank | None",
    source: "WeightSource | None" = None,
    experts: Packer | None = None,
    keep: Callable[[str], bool] | None = None,
) -> None:
    """Pack a model's linear layers and make places for adapters; those behind its layers see wanted rows alone.

    Of layers and experts whose path `keep` accepts; without a bank there are no places.
    """
    from weightwright.executor.experts import pack_experts
    from weightwright.executor.lora import LoraLinear, wrap
    from weightwright.weights.experts import experts_of

    if experts is not None:
        for path, module in experts_of(model).items():
            if keep is None or keep(path):
                model.set_submodule(path, pack_experts(path, module, experts, source))
    _pack_linears(model, pack, source, keep)
    if bank is None:
        return
    wrap(model, bank, keep)
    head, inside = model.get_output_embeddings(), {id(module) for module in model.base_model.modules()}
    for module in model.modules():
        if isinstance(module, LoraLinear) and (module is head or id(module) not in inside):
            module.at_head = True


def _pack_linears(
    model: Any, pack: Packer, source: "WeightSource | None", keep: Callable[[str], bool] | None = None
) -> None:
    """Replace linear layers by packed ones; a head that shares its weight with the embedding gets its own.

    Layers of subclasses stay, and so do those whose weight a model's code reads itself (`UNPACKED`).
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    from weightwright.weights.source import take

    linears = [
        (path, m) for path, m in model.named_modules()
        if type(m) in (torch.nn.Linear, Conv1D) and path.rpartition(".")[2] not in UNPACKED
        and (keep is None or keep(path))
    ]  # fmt: skip
    # the largest first: what its packing takes beside is free again when the others come
    for path, module in sorted(linears, key=lambda linear: -linear[1].weight.numel()):
        weight = take([(path, module)], source)
        if isinstance(module, Conv1D):
            weight = (weight if isinstance(weight, torch.Tensor) else weight.dense()).t()
        model.set_submodule(path, pack(path, weight, module.bias))


def _probe(model: Any) -> list[LayerShape]:
    """Run one token through the model to learn what each layer keeps, and whether it asks us at all.

    Weights that are not there yet count as zero. The head, the largest of them, is left out.
    """
    import torch

    probe, inner = Probe(), model.base_model
    ids = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    zeros = {
        name: torch.zeros((), dtype=weight.dtype, device=model.device).expand(weight.shape)
        for name, weight in inner.named_parameters() if weight.is_meta
    }  # fmt: skip
    with torch.inference_mode(), attention.using(probe), _experts_one_by_one(model):
        torch.func.functional_call(
            inner, zeros, kwargs={"input_ids": ids, "position_ids": ids, "use_cache": False}
        )
    layers = getattr(model.config.get_text_config(), "num_hidden_layers", len(probe.shapes))
    if sorted(probe.shapes) != list(range(layers)):
        asked = f"{len(probe.shapes)} of {layers} layers" if probe.shapes else "no layer"
        raise ModelError(_refusal(model, f"{asked} asked for it"))
    return [probe.shapes[layer] for layer in range(layers)]


@contextlib.contextmanager
def _experts_one_by_one(model: Any) -> Iterator[None]:
    """Let a mixture multiply with each expert by itself: its other ways take no expanded zeros."""
    from weightwright.weights.experts import experts_of

    configs = [module.config for module in experts_of(model).values()]
    before = [config._experts_implementation for config in configs]
    for config in configs:
        config._experts_implementation = "eager"
    try:
        yield
    finally:
        for config, value in zip(configs, before, strict=True):
            config._experts_implementation = value


def _refusal(model: Any, why: str) -> str:
    return (
        f"{type(model).__name__} does not compute its attention through transformers' attention interface "
        f"({why}), so this engine cannot run it; serve it with another engine and use its http:// address"
    )
