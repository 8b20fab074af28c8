"""From a loaded model to what the engine runs: packed layers, adapters' places, an executor and a KV cache."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightwright.engine.settings import EngineSettings
from weightwright.errors import ModelError, SettingsError
from weightwright.executor.execute import Executor, Transformers
from weightwright.executor.own import OwnCaches
from weightwright.kernels.cache import BLOCK_TOKENS, PagedCache, block_bytes
from weightwright.options import Precision, parse_bytes
from weightwright.weights.families import is_paged, transformers_types
from weightwright.weights.quiet import quiet
from weightwright.weights.rope import steady_tokens

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from weightwright.executor.linear import PackedLinear
    from weightwright.executor.lora import AdapterBank
    from weightwright.executor.precision import Choice
    from weightwright.weights.load import Loaded
    from weightwright.weights.source import Weight

log = logging.getLogger(__name__)

_WEIGHTS_SHARE = 0.5  # of the free memory, which the weights in two forms may take
_WHAT_MODELS_RAISE = (ValueError, TypeError, KeyError, AttributeError, RuntimeError, IndexError, ModelError)
# of the memory that is free once the weights are there, where nothing is said; a card has no other use for it
_KV_SHARE = {"cpu": 0.3, "mps": 0.3, "cuda": 0.8, "xpu": 0.8}


@dataclass
class Parts:
    """A model ready to run."""

    executor: Executor
    bank: "AdapterBank"
    cache: PagedCache
    native: bool  # kernels attend single tokens, without gathering the cache
    device: "torch.device"
    vocab_tokens: int
    context_tokens: int
    generation_config: Any
    held: str  # how the weights are held: equal for equal products
    block_tokens: int = BLOCK_TOKENS
    stateful: bool = False  # what it keeps of a sequence cannot be shared or cut


def assemble(loaded: "Loaded", settings: EngineSettings, *, shared: bool = False) -> Parts:
    """Take a loaded model apart and put it together for speed. Its weights move; `loaded.model` is of no use after.

    With `shared` linear layers multiply with the model's own tensors, which others go on using.

    Raises ModelError where the engine cannot run it, SettingsError for settings that do not fit.
    """
    import torch

    from weightwright.executor import fits, fuse, precision
    from weightwright.executor.lora import AdapterBank
    from weightwright.kernels import pool
    from weightwright.kernels.attend import supported
    from weightwright.kernels.int8 import int8_kernel
    from weightwright.machine.memory import free_bytes
    from weightwright.weights.empty import fill_experts
    from weightwright.weights.experts import experts_of

    model = loaded.model
    device = model.device
    compute = next(model.parameters()).dtype
    steady = steady_tokens(model.config)
    context = min(loaded.context_tokens, settings.max_context or loaded.context_tokens, steady)
    if context == steady < loaded.context_tokens:
        log.warning("%s computes sequences of more than %s tokens with another rotary embedding; sequences share a "
                    "batch here, so the context ends there and not at %s",
                    loaded.name, f"{steady:,}", f"{loaded.context_tokens:,}")  # fmt: skip
    vocab, generation_config = model.get_output_embeddings().weight.shape[0], model.generation_config
    plain: Precision = "f32" if compute == torch.float32 else "bf16"
    choice = precision.choose(
        _shapes(model),
        plain if shared else _possible(model, loaded.precision, plain),
        device=str(device),
        deterministic=settings.deterministic,
        room_bytes=free_bytes(device.type) * _WEIGHTS_SHARE,
    )
    log.info("%s: weights in %s", loaded.name, choice)

    mixture = choice.few in ("int8", "int4") and bool(experts_of(model))
    if not mixture and loaded.source is not None:
        fill_experts(model, loaded.source)
    packing = Packing(choice, plain if shared else "", mixture)
    packed, experts = packing.linear, packing.expert if mixture else None
    bank = AdapterBank(compute, device)
    kind = {torch.float32: "f32", torch.bfloat16: "bf16"}.get(compute, "")
    why_not, dtype = fits.fits(model, kind), torch.int8 if settings.kv_precision == "int8" else compute
    native, state_bytes = not why_not, 0
    if not why_not:
        executor: Executor = fuse.FusedDecoder(model, packed, bank, loaded.source, experts)
    elif runs_paged(model):
        log.info("%s runs through transformers' own layers: %s", loaded.name, why_not)
        executor = Transformers(model, packed, bank, loaded.source, experts)
        native = device.type == "cpu" and pool.available() and all(
            supported(s.key_width, s.value_width, kind) for s in executor.shapes
        )  # fmt: skip
    else:
        executor = own_caches(model, packed, bank, settings, shared=shared, experts=experts)
        state_bytes = executor.state_bytes
    size = (
        executor.block_bytes
        if isinstance(executor, OwnCaches)
        else block_bytes(executor.shapes, dtype.itemsize, scaled=dtype == torch.int8)
    )
    blocks = cache_blocks(size, context, settings, device.type, state_bytes)
    cache = PagedCache(executor.shapes, blocks, dtype, device)
    levels = f"{int8_kernel().levels} levels" if "int8" in choice.forms and choice.device == "cpu" else ""
    held = " ".join([*choice.forms, levels, str(compute), "" if choice.device == "cpu" else "weight only"])
    stateful = isinstance(executor, OwnCaches)
    return Parts(
        executor, bank, cache, native, device, vocab, context, generation_config, held, stateful=stateful
    )


class Packing:
    """Makes packed layers in the form that was chosen; with `plain` they keep the tensors given, in that form.

    Of a `mixture` the experts alone are held in 4 bits: all else is a small part of it, and loses more.
    """

    def __init__(self, choice: "Choice", plain: str, mixture: bool) -> None:
        from weightwright.machine.heap import Trimmer

        self._choice, self._plain, self._mixture, self._trimmer = choice, plain, mixture, Trimmer()

    def linear(self, path: str, weight: "Tensor | Weight", bias: "Tensor | None") -> "PackedLinear":
        """See `execute.Packer`."""
        import torch

        from weightwright.executor.linear import DenseLinear

        if self._plain and isinstance(weight, torch.Tensor):
            return DenseLinear(weight, bias, self._plain, shared=True)
        finer = path == "lm_head" or self._mixture
        return self._packed(self._choice.head if finer else self._choice, weight, bias)

    def expert(self, path: str, weight: "Tensor | Weight", bias: "Tensor | None") -> "PackedLinear":
        """Likewise, for a matrix of one expert."""
        return self._packed(self._choice.expert, weight, bias)

    def _packed(self, choice: "Choice", weight: "Tensor | Weight", bias: "Tensor | None") -> "PackedLinear":
        from weightwright.kernels.elementwise import BLOCKS
        from weightwright.weights.quantize import rotation_block

        layer = choice.pack(weight, bias, rotated=rotation_block(weight.shape[1]) in BLOCKS)
        self._trimmer.packed(layer.weight_bytes)
        return layer


def runs_paged(model: Any) -> bool:
    """Whether a model attends through the paged cache and then computes what it does by itself.

    Families that the tests hold to transformers' logits are not tried, nor a model whose weights are not there yet.
    """
    from weightwright.executor import trial
    from weightwright.executor.execute import paged_shapes

    known = is_paged(model.config)
    if known and model.config is model.config.get_text_config(decoder=True):
        return True
    # masks of other families are not known: they may begin far behind
    if not known and model.config.model_type in transformers_types():
        return False
    try:
        return trial.agrees(model, paged_shapes(model))
    except _WHAT_MODELS_RAISE:
        return False


def own_caches(
    model: Any,
    packed: Any,
    bank: "AdapterBank",
    settings: EngineSettings,
    *,
    shared: bool,
    experts: Any = None,
) -> OwnCaches:
    """The executor of a model that keeps its own caches. Raises ModelError where it gives other logits with one."""
    from weightwright.executor import trial

    name = type(model).__name__
    if shared:
        raise ModelError(
            f"{name} cannot answer while it is tuned: it does not attend through the paged cache"
        )
    if settings.kv_precision == "int8":
        raise SettingsError(f"{name} keeps keys and values in a cache of its own, which is not held in int8; "
                            "leave kv_precision as it is")  # fmt: skip
    try:
        for singles in (False, True):
            with quiet():  # transformers tells of kernels that only some cards have
                right = trial.agrees(model, None, trial.SINGLES if singles else trial.PARTS)
            if right:
                together = _runs_together(model)
                log.warning("%s keeps what it has read in a way of its own: %s, and prompts share no beginning", name,
                            "sequences are computed together once their prompts are read" if together
                            else "each sequence is computed alone")  # fmt: skip
                return OwnCaches(model, packed, bank, experts, singles=singles, together=together)
        why = "with a cache its logits are not those without one"
    except _WHAT_MODELS_RAISE as error:
        why = f"{type(error).__name__}: {error}".split("\n", maxsplit=1)[0]
    raise ModelError(
        f"{name} cannot be run by this engine ({why}); serve it with another engine and use its http:// address"
    )


def _runs_together(model: Any) -> bool:
    """Whether single tokens of several sequences can share a pass."""
    from weightwright.executor import trial

    try:
        with quiet():
            return trial.agrees_together(model)
    except _WHAT_MODELS_RAISE:
        return False


def _possible(model: Any, wanted: Precision, plain: Precision) -> Precision:
    """`wanted`, or `plain` for `auto` on a mixture whose experts' matrices are held in a way of its own.

    Raises ModelError for int8 and int4 of such a mixture: most of its weights would silently stay as they are.
    """
    from weightwright.weights.experts import stacked_names

    other = next(
        (f"{path}.{name}" for path, module in model.named_modules() for name, weight in
         module.named_parameters(recurse=False) if weight.ndim == 3 and f"{path}.{name}" not in stacked_names(model)
         and ("expert" in path or "Expert" in type(module).__name__)), None
    )  # fmt: skip
    if other is None or wanted in ("f32", "bf16"):
        return wanted
    if wanted == "auto":
        return plain
    raise ModelError(
        f"{type(model).__name__} is a mixture of experts ({other}), whose matrices cannot be held in {wanted}; "
        f"use --precision {plain}"
    )


def _shapes(model: Any) -> list[tuple[int, int]]:
    """(out, in) of every linear layer, and of each expert."""
    import torch
    from transformers.pytorch_utils import Conv1D

    from weightwright.weights.experts import experts_of

    shapes = []
    for module in model.modules():
        if isinstance(module, Conv1D):
            shapes.append((module.weight.shape[1], module.weight.shape[0]))
        elif isinstance(module, torch.nn.Linear):
            shapes.append((module.weight.shape[0], module.weight.shape[1]))
    for experts in experts_of(model).values():
        for stacked in (weight for weight in experts.parameters(recurse=False) if weight.ndim == 3):
            outputs, inputs = stacked.shape[:0:-1] if experts.is_transposed else stacked.shape[1:]
            shapes += [(outputs, inputs)] * len(stacked)
    return shapes


def cache_blocks(
    size: int,
    context_tokens: int,
    settings: EngineSettings,
    device: str = "cpu",
    state_bytes: int = 0,
) -> int:
    """Blocks of `size` bytes: enough for max_sequences at full context, within kv_memory or a share of free memory.

    Of that each sequence takes `state_bytes` beside its blocks. Raises SettingsError where not even one sequence of
    16 tokens fits.
    """
    from weightwright.machine.memory import free_bytes

    useful = settings.max_sequences * -(-context_tokens // BLOCK_TOKENS)
    states = state_bytes * settings.max_sequences
    if settings.kv_memory is not None:
        budget = parse_bytes(settings.kv_memory) - states
        if budget < size:
            raise SettingsError(
                f"kv_memory={settings.kv_memory} holds no block of {BLOCK_TOKENS} tokens ({size:,} bytes"
                + (f", beside states of {states:,})" if states else ")")
                + "; give more"
            )
    else:
        budget = max(size, int(free_bytes(device) * _KV_SHARE[device]) - states)
    return min(useful, budget // size) if size else useful
