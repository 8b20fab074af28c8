"""Put a LoRA adapter into a model, and take it out again: peft injects and writes."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from weightwright.config import nearest
from weightwright.errors import SettingsError
from weightwright.plan.spec import out_of_reach
from weightwright.tune.fused import fuse
from weightwright.tune.settings import TuneSettings

ALL_LINEAR = "all-linear"


@dataclass(frozen=True, slots=True)
class Adapted:
    """A model ready to train: `whole` is the peft model (or the model itself for full tuning)."""

    model: Any  # the transformers model, whose layers were exchanged in place
    whole: Any
    trainable: dict[str, nn.Parameter]


@contextmanager
def adapted(model: Any, settings: TuneSettings, base_name: str) -> Iterator[Adapted]:
    """The model made trainable as `settings` say; LoRA layers are taken out again at the end."""
    if settings.method == "full":
        model.float().requires_grad_(True)  # small steps are lost in bf16 weights
        undo = fuse(model)
        try:
            yield Adapted(model, model, dict(_trainable(model)))
        finally:
            undo()
        return
    logging.getLogger("bitsandbytes").setLevel(
        logging.ERROR
    )  # peft imports it where it is, and it asks for more
    from peft import LoraConfig, get_peft_model

    targets = target_names(model, settings.targets)
    paths = language_paths(model, targets)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.dropout,
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        target_modules=paths or targets,
        fan_in_fan_out=_transposed(model, targets),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():  # peft asks transformers for a name that it is about to rename
        warnings.simplefilter("ignore", FutureWarning)
        # an adapter on a tied head is kept apart from the embedding; merging it is what needs care
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
        whole = get_peft_model(model, config)  # adapter weights are f32, whatever the base is
    whole.peft_config["default"].base_model_name_or_path = base_name  # peft puts the folder's name here
    whole.peft_config["default"].target_modules = sorted(config.target_modules)  # the same file each time
    undo = fuse(model)
    try:
        yield Adapted(model, whole, dict(_trainable(whole)))
    finally:
        undo()
        whole.unload()


def target_names(model: Any, targets: str) -> list[str]:
    """The names of the layers that `targets` means (`q_proj,v_proj`, `all-linear`, `all-linear,lm_head`).

    Raises SettingsError naming the layers that there are.
    """
    from transformers.pytorch_utils import Conv1D

    head, language = model.get_output_embeddings(), _language(model)
    linear = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and language(path)
    }
    known = {name.rpartition(".")[2] for name in linear}
    inner = {name.rpartition(".")[2] for name, module in linear.items() if module is not head}
    taken = set(out_of_reach(model.config.get_text_config().model_type))
    known, inner = known - taken, inner - taken
    chosen: set[str] = set()
    for target in filter(None, (part.strip() for part in targets.split(","))):
        if target == ALL_LINEAR:
            chosen |= inner
        elif target in known:
            chosen.add(target)
        else:
            raise SettingsError(f"targets: the model has no layer {target!r}{nearest(target, known)}")
    if not chosen:
        raise SettingsError(f"targets={targets!r} names no layer; known: {', '.join(sorted(known))}")
    return sorted(chosen)


def language_paths(model: Any, names: list[str]) -> list[str]:
    """The paths of the language model's linear layers of these names, where other modules have such names, too.

    Rows are text: adapters of a vision or audio tower would never learn; and layers of a list are called by numbers.
    Empty where the names mean those layers alone.
    """
    from transformers.pytorch_utils import Conv1D

    language = _language(model)
    named = {path: module for path, module in model.named_modules() if path.rpartition(".")[2] in names}
    own = [
        path for path, module in named.items() if isinstance(module, (nn.Linear, Conv1D)) and language(path)
    ]
    return own if len(own) < len(named) else []


def _language(model: Any) -> Callable[[str], bool]:
    """Whether the module at a path is part of the language model: its layers, or around them the head."""
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    if decoder is head:  # ModernBERT's decoder calls its head so
        decoder = model.base_model
    start = next((path for path, module in model.named_modules() if module is decoder), "")
    return lambda path: (
        path == start or not start or path.startswith(f"{start}.") or model.get_submodule(path) is head
    )


def _transposed(model: Any, targets: list[str]) -> bool:
    """Whether the layers of these names hold their matrices as [inputs, outputs], as GPT-2's do."""
    from transformers.pytorch_utils import Conv1D

    return any(
        isinstance(m, Conv1D) for name, m in model.named_modules() if name.rpartition(".")[2] in targets
    )


def _trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)
