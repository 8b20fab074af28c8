"""An adapter's weights added into its base model's: one model that answers like the two.

Quantised base models are de-quantised by loading, and the template that the adapter was trained with goes with the
merged model.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from weightwright.address.models import ModelAddress, parse_model
from weightwright.errors import ModelError
from weightwright.export.adapted import check_adapter, merged, tokenizer_of
from weightwright.hub import gguf_reader, quantized, weight_files
from weightwright.ports import Progress, Tokenizer, silent
from weightwright.weights.origin import differences

Precision = Literal["keep", "f32", "bf16", "f16"]
Stored = Literal["f32", "bf16", "f16", "quantised"]

_DTYPES: dict[str, Stored] = {"F64": "f32", "F32": "f32", "BF16": "bf16", "F16": "f16"}


@dataclass(frozen=True)
class Whole:
    """A model in memory with nothing left to apply, and how it came about.

    `own_tokenizer` says that the tokenizer or its template is no longer that of the files at `path`. `notes` are
    meant for the user.
    """

    model: Any
    tokenizer: Tokenizer
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
    path = files_at(base, progress)
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
        tokenizer, changed = tokenizer_of(loaded, asked.adapter, notes)
        notes += differences(asked.adapter, loaded.fingerprint, tokenizer.chat_template)
        model = merged(loaded, asked.adapter, notes)
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
        for _, tensor in gguf_reader.tensors(path):
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


def _beyond_f16(weight: Any) -> bool:
    return bool((weight.abs() > 65504).any())


def files_at(base: ModelAddress, progress: Progress) -> Path:
    """Where the base model's files are, pulled first if need be."""
    from weightwright.weights.load import files_of

    return files_of(base, progress)


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
