"""A base model with its adapter's weights added by peft, and what peft leaves to its callers.

An adapter on a head that shares its matrix with the embedding would change both, so the two are parted first, unless
the adapter itself keeps one matrix for both. A larger vocabulary is made before its rows are loaded.
"""

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from weightwright.address.models import ModelAddress
from weightwright.errors import ModelError
from weightwright.export.experts import add_single_experts, has_single_experts
from weightwright.hub import weight_files
from weightwright.weights.adapter_config import CONFIG_FILE, PREFIX, WEIGHTS_FILE, peft_name, read_config
from weightwright.weights.templates import read_template

if TYPE_CHECKING:
    from weightwright.weights.load import Loaded

_TOKENIZER_MARKS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
_WHOLE = (".base_layer.weight", ".token_adapter.base_layer.weight", ".original_module.weight")
_COPIED = (
    ".weight",
    ".modules_to_save.weight",
)  # in the place of the base model's, which may be another's, too
_SHOWN = 3


def check_adapter(folder: Path) -> None:
    """Raise ModelError where `folder` holds no LoRA adapter that can be merged, with the reason."""
    read_config(f"the adapter at {folder}", folder)
    from safetensors import SafetensorError, safe_open

    file = folder / WEIGHTS_FILE
    try:
        with safe_open(file, framework="pt") as tensors:
            broken = next((name for name in tensors.keys() if not _finite(tensors.get_tensor(name))), None)  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} cannot be read ({error}); copy the adapter again") from error
    if broken:
        raise ModelError(f"the adapter at {folder} holds values that are no numbers (first in {broken}); "
                         "take an earlier checkpoint of its run")  # fmt: skip


def tokenizer_of(loaded: "Loaded", folder: Path, notes: list[str]) -> tuple[Any, bool]:
    """The tokenizer that goes with the adapter, and whether it differs from the base model's."""
    from weightwright.weights.load import load_tokenizer

    tokenizer, changed = loaded.tokenizer, False
    if any((folder / name).is_file() for name in _TOKENIZER_MARKS):
        own = load_tokenizer(ModelAddress("folder", str(folder)))
        added = own.get_vocab().keys() - tokenizer.get_vocab().keys()
        if added:
            notes.append(f"the adapter brings {len(added)} tokens of its own; its tokenizer is written")
            own.chat_template = own.chat_template or tokenizer.chat_template
            tokenizer, changed = own, True
    template = read_template(folder)
    if template and template != tokenizer.chat_template:
        notes.append("the adapter was trained with another chat template than the base model's; the adapter's "
                     "is written")  # fmt: skip
        tokenizer.chat_template, changed = template, True
    return tokenizer, changed


def merged(loaded: "Loaded", folder: Path, notes: list[str]) -> Any:
    """The transformers model with the adapter's weights in its own. Raises ModelError where they do not fit."""
    if all(key == peft_name(key) for key in weight_files.safetensors_header(folder / WEIGHTS_FILE)):
        return _merged(loaded, folder, notes)
    with TemporaryDirectory() as temporary:
        copy = _renamed(folder, Path(temporary) / "adapter")
        try:
            return _merged(loaded, copy, notes)
        except ModelError as error:
            raise ModelError(str(error).replace(str(copy), str(folder))) from error


def _renamed(folder: Path, copy: Path) -> Path:
    """A copy of an adapter with peft's names for its tensors, which peft would pass over otherwise."""
    from safetensors.torch import load_file, save_file

    copy.mkdir()
    shutil.copy(folder / CONFIG_FILE, copy)
    save_file(
        {peft_name(key): tensor for key, tensor in load_file(folder / WEIGHTS_FILE).items()},
        copy / WEIGHTS_FILE,
    )
    return copy


def _merged(loaded: "Loaded", folder: Path, notes: list[str]) -> Any:
    from peft import PeftModel

    model = loaded.model
    if has_single_experts(model, folder):
        add_single_experts(model, folder)
        return model
    _fit_vocabulary(model, folder, notes)
    tied = _one_matrix(model)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # tied heads, which are parted below; missing keys, which are looked for
        try:
            adapted = PeftModel.from_pretrained(model, str(folder), torch_device="cpu")
            _check_fit(model, adapted, folder)
            _part_embeddings(model)
            _merge_tokens(model)
            model = adapted.merge_and_unload()
        except (
            ValueError, RuntimeError, KeyError, TypeError, AttributeError, NotImplementedError, IndexError,
        ) as error:  # fmt: skip
            first = str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__
            raise ModelError(
                f"the adapter at {folder} cannot be merged into {loaded.name}: {first}"
            ) from error
    if tied:
        model.config.tie_word_embeddings = _one_matrix(model)
        if not model.config.tie_word_embeddings:
            notes.append("the adapter changes the output head or the embedding by itself, which shared one "
                         "matrix; they are two now (tie_word_embeddings is false)")  # fmt: skip
    return model


def _finite(tensor: Any) -> bool:
    return bool(tensor.isfinite().all())


# -- whether it fits --------------------------------------------------------------------------------


def _check_fit(model: Any, adapted: Any, folder: Path) -> None:
    """Raise ModelError where adapter and model differ in their layers, which peft would pass over."""
    from peft import get_peft_model_state_dict

    stored = weight_files.safetensors_header(folder / WEIGHTS_FILE).keys()
    wanted = get_peft_model_state_dict(adapted, save_embedding_layers=False).keys()
    embeddings = (model.get_input_embeddings(), model.get_output_embeddings())
    repeated = tuple(f"{PREFIX}{name}." for name, module in model.named_modules() if module in embeddings)
    foreign = sorted(
        {_module(key) for key in stored - wanted if not (key.startswith(repeated) and "lora_" not in key)}
    )
    if foreign:
        raise ModelError(
            f"the adapter at {folder} does not fit this model: it has no layer {_first(foreign)}"
        )
    missing = sorted(key.removeprefix(PREFIX) for key in wanted - stored)
    if missing:
        raise ModelError(f"the adapter at {folder} lacks {_first(missing)}; save it again")
    biased = sorted(
        path for path, module in model.named_modules()
        if any(getattr(module, "lora_bias", {}).values()) and module.get_base_layer().bias is None
    )  # fmt: skip
    if biased:
        raise ModelError(f"the adapter at {folder} adds a bias (lora_bias) to layers without one ({_first(biased)}), "
                         "for which a merged model has no place; serve it as an adapter")  # fmt: skip


def _module(key: str) -> str:
    """The path of the module that a stored tensor belongs to."""
    return key.removeprefix(PREFIX).partition(".lora_")[0].removesuffix(".weight")


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


# -- embedding and head -----------------------------------------------------------------------------


def _one_matrix(model: Any) -> bool:
    """Whether head and embedding share their weight."""
    outputs = model.get_output_embeddings()
    return outputs is not None and outputs.weight is model.get_input_embeddings().weight


def _part_embeddings(model: Any) -> None:
    """Give the head a matrix of its own where an adapter changes head or embedding in place and the two share one.

    peft adds a product in place: a shared matrix would change as embedding and as head, and twice where both are
    adapted. Rows of tokens that the adapter keeps for both at once may stay shared.
    """
    from torch import nn

    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    if outputs is None or (inner_out := _inner(outputs)).weight is not _inner(inputs).weight:
        return
    tokens_in, tokens_out = (getattr(one, "token_adapter", None) for one in (inputs, outputs))
    together = tokens_in is not None and tokens_out is not None and tokens_out.tied_adapter is tokens_in
    in_place = any(hasattr(one, "base_layer") or hasattr(one, "token_adapter") for one in (inputs, outputs))
    if in_place and not together:
        inner_out.weight = nn.Parameter(inner_out.weight.detach().clone(), requires_grad=False)


def _inner(module: Any) -> Any:
    """The base model's own layer inside peft's wrappers."""
    while inner := next(
        (vars(module)["_modules"].get(name) for name in ("base_layer", "original_module", "token_adapter")
         if vars(module)["_modules"].get(name) is not None), None,
    ):  # fmt: skip
        module = inner
    return module


def _merge_tokens(model: Any) -> None:
    """Merge rows of single tokens that stand inside a LoRA layer: peft adds the layer's product to a copy of them."""
    for module in list(model.modules()):
        inside = vars(module)["_modules"].get("base_layer")
        if hasattr(inside, "token_adapter"):
            module.base_layer = inside.unload_and_optionally_merge_module(True, False, None)


def _fit_vocabulary(model: Any, folder: Path, notes: list[str]) -> None:
    """Resize the embeddings to the rows that the adapter was trained with. Raises ModelError without their values."""
    shapes = {
        name.removeprefix(PREFIX): tensor.shape
        for name, tensor in weight_files.safetensors_header(folder / WEIGHTS_FILE).items()
    }
    names = {id(module): name for name, module in model.named_modules()}
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    sides = (names[id(inputs)], names.get(id(outputs), "lm_head"))
    have, tied = len(inputs.weight), _one_matrix(model)
    tokens = [_trained_tokens(folder, name, is_head=name == sides[1]) for name in sides]
    rows = {
        count
        for name in sides
        for count in (*_rows(shapes, name, _WHOLE + _COPIED), *_factor_rows(shapes, name))
    }
    if max(tokens[0], default=0) >= max([have, *rows]):
        rows.add(max(tokens[0]) + 1)
    if not rows - {have}:
        return
    wanted = max(rows)
    new = set(range(have, wanted))
    known = [
        bool(_rows(shapes, name, _WHOLE + _COPIED)) or own >= new
        for name, own in zip(sides, tokens, strict=True)
    ]
    shared = tied and (known[0] or _rows(shapes, sides[1], _WHOLE))
    if len(rows) > 1 or not (shared or all(known)):
        raise ModelError(f"the adapter at {folder} was trained with {wanted:,} embeddings and the base model has "
                         f"{have:,}; save it with its embeddings (save_embedding_layers=True), or give the base "
                         "model that it was trained on")  # fmt: skip
    model.resize_token_embeddings(wanted, mean_resizing=False)
    notes.append(
        f"the embeddings have {wanted:,} rows now, as the adapter's have; the base model's had {have:,}"
    )


def _trained_tokens(folder: Path, name: str, *, is_head: bool) -> set[int]:
    """The tokens of which the adapter keeps rows of its own for the embedding or the head at `name`."""
    indices = weight_files.read_json(folder / CONFIG_FILE).get("trainable_token_indices") or []
    if isinstance(indices, list):
        return set() if is_head else set(indices)
    return {token for key, own in indices.items() if f".{name}".endswith(f".{key}") for token in own}


def _factor_rows(shapes: Mapping[str, tuple[int, ...]], name: str) -> list[int]:
    """How many rows of the vocabulary the adapter's low-rank matrices of a module have."""
    embedding, head = f"{name}.lora_embedding_A", f"{name}.lora_B.weight"
    return [*(shapes[key][at] for key, at in ((embedding, 1), (head, 0)) if key in shapes)]


def _rows(shapes: Mapping[str, tuple[int, ...]], name: str, forms: tuple[str, ...]) -> list[int]:
    """How many rows the adapter's file holds of a module's whole matrix, in each form that it holds it in."""
    return [shapes[name + form][0] for form in forms if name + form in shapes]
