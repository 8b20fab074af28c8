"""An adapter's weights added into its base model's: one model that answers like the two, in one folder.

peft adds them; around it stands what it leaves to its callers. An adapter on a head that shares its matrix with
the embedding would change both, so the two are parted first. A larger vocabulary is made before its rows are
loaded. Quantised base models are de-quantised by loading, and the template that the adapter was trained with
goes with the merged model.
"""

import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from weightwright.address.models import ModelAddress, parse_model
from weightwright.errors import ModelError
from weightwright.hub import weight_files
from weightwright.ports import Progress, silent
from weightwright.weights import gguf_header, quantized
from weightwright.weights.origin import differences
from weightwright.weights.templates import read_template

if TYPE_CHECKING:
    from weightwright.weights.load import Loaded

Precision = Literal["keep", "f32", "bf16", "f16"]
Stored = Literal["f32", "bf16", "f16", "quantised"]

_ADAPTER_WEIGHTS, _ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
_DTYPES: dict[str, Stored] = {"F64": "f32", "F32": "f32", "BF16": "bf16", "F16": "f16"}
_TOKENIZER_MARKS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Whole:
    """A model in memory with nothing left to apply, and how it came about.

    `own_tokenizer` says that the tokenizer or its template is no longer that of the files at `path`. `notes` are
    meant for the user.
    """

    model: Any
    tokenizer: Any
    name: str
    path: Path
    precision: Literal["f32", "bf16", "f16"]
    own_tokenizer: bool = False
    notes: tuple[str, ...] = ()


def whole(
    address: str | ModelAddress,
    *,
    precision: Precision = "keep",
    exact: bool = False,
    progress: Progress = silent,
) -> Whole:
    """Load a model on the CPU and add its adapter, if the address names one (`MODEL+ADAPTER`).

    `precision` is that of the result; "keep" is what the base model's files hold, bf16 where these are quantised.
    The sums are made in f32 and rounded once; `exact` leaves them in f32 where they were rounded else. Raises
    ModelError where the model or its adapter cannot be loaded or do not fit each other.
    """
    import torch

    from weightwright.weights.load import load

    asked = parse_model(address) if isinstance(address, str) else address
    base = replace(asked, adapter=None)
    if asked.adapter is not None:
        check_adapter(asked.adapter)  # before minutes of loading
    progress(1, 3, "loading")
    path = _path(base, progress)
    stored, kind = stored_precision(path)
    chosen = _chosen(base, precision, stored)
    if exact and (asked.adapter is not None or stored == "quantised"):
        chosen = "f32"
    # bf16 plus an f32 product is rounded once by torch; f16 cannot be loaded as such
    computed: Literal["f32", "bf16"] = "bf16" if stored == chosen == "bf16" else "f32"
    local = ModelAddress("gguf" if path.is_file() else "folder", str(path))
    loaded = replace(load(local, precision=computed, device="cpu"), name=str(base))
    notes = [f"the base model's weights are {kind}; they were de-quantised first"] * (stored == "quantised")
    _forget_quantization(loaded.model)
    model, tokenizer, changed = loaded.model, loaded.tokenizer, False
    if asked.adapter is not None:
        progress(2, 3, "merging")
        tokenizer, changed = _tokenizer(loaded, asked.adapter, notes)
        notes += differences(asked.adapter, loaded.fingerprint, tokenizer.chat_template)
        model = _merged(loaded, asked.adapter, notes)
    rows = len(model.get_input_embeddings().weight)
    if tokenizer is not loaded.tokenizer and len(tokenizer) > rows:
        raise ModelError(f"the adapter's tokenizer has {len(tokenizer):,} tokens and the model {rows:,} embeddings; "
                         "save the adapter with its embeddings (save_embedding_layers=True)")  # fmt: skip
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[chosen]
    large = (
        [] if chosen != "f16" else [name for name, weight in model.named_parameters() if _beyond_f16(weight)]
    )
    if large:
        raise ModelError(f"{large[0]} holds values beyond what f16 can hold (65,504); take bf16 or f32")
    return Whole(model.to(dtype).eval(), tokenizer, loaded.name, path, chosen, changed, tuple(notes))


def stored_precision(path: Path) -> tuple[Stored, str]:
    """In which precision a model's files hold their weights, and its name in the files' own words."""
    if path.is_file():
        sizes: Counter[str] = Counter()
        for tensor in gguf_header.reader(path).tensors:
            if len(tensor.shape) > 1:
                sizes[tensor.tensor_type.name] += int(tensor.n_elements)
        most = sizes.most_common(1)[0][0] if sizes else "F32"
        packed = [name for name, _ in sizes.most_common() if name not in _DTYPES]
        return ("quantised", f"quantised as {packed[0]}") if packed else (_DTYPES[most], most)
    said = quantized.quantization(path)
    if said:
        return "quantised", f"quantised with {quantized.scheme(said) or quantized.method(said)}"
    sizes = Counter()
    for file in weight_files.weight_files(path):
        for tensor in weight_files.safetensors_header(file).values():
            sizes[tensor.dtype] += tensor.elements
    most = sizes.most_common(1)[0][0] if sizes else "F32"
    return (_DTYPES[most], most) if most in _DTYPES else ("quantised", f"stored as {most}")


def check_adapter(folder: Path) -> None:
    """Raise ModelError where `folder` holds no LoRA adapter that can be merged, with the reason."""
    if not (folder / _ADAPTER_CONFIG).is_file():
        raise ModelError(f"{folder} holds no {_ADAPTER_CONFIG}; an adapter is a folder in PEFT's format")
    if not (folder / _ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"{folder} holds no {_ADAPTER_WEIGHTS}; pickled weights are not read, save the adapter "
                         "with safe_serialization=True")  # fmt: skip
    kind = str(weight_files.read_json(folder / _ADAPTER_CONFIG).get("peft_type", "unnamed"))
    if kind != "LORA":
        raise ModelError(f"the adapter at {folder} is of kind {kind}; LoRA adapters (rsLoRA and DoRA among them) "
                         "can be merged")  # fmt: skip
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / _ADAPTER_WEIGHTS, framework="pt") as tensors:
            broken = next((name for name in tensors.keys() if not _finite(tensors.get_tensor(name))), None)  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{folder / _ADAPTER_WEIGHTS} cannot be read ({error}); copy the adapter again"
        ) from error
    if broken:
        raise ModelError(f"the adapter at {folder} holds values that are no numbers (first in {broken}); "
                         "take an earlier checkpoint of its run")  # fmt: skip


def _beyond_f16(weight: Any) -> bool:
    return bool((weight.abs() > 65504).any())


def _finite(tensor: Any) -> bool:
    return bool(tensor.isfinite().all())


def _path(base: ModelAddress, progress: Progress) -> Path:
    """Where the base model's files are, pulled first if need be."""
    from weightwright.hub.pull import pull
    from weightwright.hub.store import locate

    path = locate(base) or (pull(base, progress=progress) if base.hub_id else None)
    if path is None:
        raise ModelError(f"there is no {base}; a hub model is written OWNER/NAME without ./")
    return path


def _chosen(base: ModelAddress, precision: Precision, stored: Stored) -> Literal["f32", "bf16", "f16"]:
    """The precision of the result: what is asked for, in the address or beside it, or that of the files."""
    if base.precision in ("int4", "int8"):
        raise ModelError(
            f"{base}: weights that are packed at load cannot be written; leave out :{base.precision}"
        )
    if precision != "keep":
        return precision
    if base.precision is not None:
        return "f32" if base.precision == "f32" else "bf16"
    return "bf16" if stored == "quantised" else stored


def _forget_quantization(model: Any) -> None:
    """Plain weights are written as such: nothing of the base's quantisation stays in the config."""
    for owner, name in (
        (model, "hf_quantizer"), (model, "quantization_method"),
        (model.config, "quantization_config"),
    ):  # fmt: skip
        if name in vars(owner):
            delattr(owner, name)
    model.is_quantized = False


# -- the adapter ------------------------------------------------------------------------------------


def _tokenizer(loaded: "Loaded", folder: Path, notes: list[str]) -> tuple[Any, bool]:
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


def _merged(loaded: "Loaded", folder: Path, notes: list[str]) -> Any:
    """The transformers model with the adapter's weights in its own."""
    from peft import PeftModel

    model = loaded.model
    _fit_vocabulary(model, folder, notes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tied heads, which are parted below; names about to change
        warnings.filterwarnings("error", message=".*Found missing adapter keys")
        try:
            adapted = PeftModel.from_pretrained(model, str(folder), torch_device="cpu")
            if _part_embeddings(model):
                notes.append("the adapter changes the output head or the embedding by itself, which shared one "
                             "matrix; they are two now (tie_word_embeddings is false)")  # fmt: skip
            return adapted.merge_and_unload()
        except (
            ValueError,
            RuntimeError,
            KeyError,
            TypeError,
            AttributeError,
            NotImplementedError,
            Warning,
        ) as error:
            first = str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__
            raise ModelError(
                f"the adapter at {folder} cannot be merged into {loaded.name}: {first}"
            ) from error


def _part_embeddings(model: Any) -> bool:
    """Give an adapted head or embedding a matrix of its own where the two share one; whether that was so.

    peft adds a product in place: a shared matrix would change as embedding and as head, and twice where both are
    adapted. A whole copy in its place (`modules_to_save`) leaves the other with what they shared.
    """
    from torch import nn

    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    if outputs is None:
        return False
    adapted = [
        hasattr(module, "base_layer") or hasattr(module, "modules_to_save") for module in (inputs, outputs)
    ]
    inner_in, inner_out = _inner(inputs), _inner(outputs)
    if not any(adapted) or inner_in.weight is not inner_out.weight:
        return False
    inner_out.weight = nn.Parameter(inner_out.weight.detach().clone(), requires_grad=False)
    model.config.tie_word_embeddings = False
    return True


def _inner(module: Any) -> Any:
    """The base model's own layer inside peft's wrappers."""
    for name in ("base_layer", "original_module"):
        while (inner := vars(module)["_modules"].get(name)) is not None:
            module = inner
    return module


def _fit_vocabulary(model: Any, folder: Path, notes: list[str]) -> None:
    """Resize the embeddings to the rows that the adapter was trained with. Raises ModelError without their values."""
    shapes = {
        name.removeprefix(_PREFIX): tensor.shape
        for name, tensor in weight_files.safetensors_header(folder / _ADAPTER_WEIGHTS).items()
    }
    names = {id(module): name for name, module in model.named_modules()}
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    whole_rows = [_rows(shapes, names[id(inputs)]), _rows(shapes, names.get(id(outputs), "lm_head"))]
    part_rows = [
        shapes.get(f"{names[id(inputs)]}.lora_embedding_A", (0, 0))[1],
        shapes.get(f"{names.get(id(outputs), 'lm_head')}.lora_B.weight", (0,))[0],
    ]
    rows = {count for count in (*whole_rows, *part_rows) if count}
    have = len(inputs.weight)
    if not rows - {have}:
        return
    wanted = max(rows)
    tied = outputs is not None and outputs.weight is inputs.weight
    if len(rows) > 1 or not whole_rows[0] or not (whole_rows[1] or tied):
        raise ModelError(f"the adapter at {folder} was trained with {wanted:,} embeddings and the base model has "
                         f"{have:,}; save it with its embeddings (save_embedding_layers=True), or give the base "
                         "model that it was trained on")  # fmt: skip
    model.resize_token_embeddings(wanted, mean_resizing=False)
    notes.append(
        f"the embeddings have {wanted:,} rows now, as the adapter's have; the base model's had {have:,}"
    )


def _rows(shapes: dict[str, tuple[int, ...]], name: str) -> int:
    """How many rows the adapter's file holds of a module's whole matrix; 0 where it holds none."""
    shape = shapes.get(f"{name}.weight") or shapes.get(f"{name}.base_layer.weight")
    return shape[0] if shape else 0
