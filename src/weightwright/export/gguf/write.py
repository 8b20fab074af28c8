"""Write a model as one GGUF file, a tensor at a time, with gguf's own writer and quantisation."""

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from weightwright.errors import ModelError, SettingsError
from weightwright.export.folder import refuse_existing, refuse_full
from weightwright.export.gguf.architectures import (  # fmt: skip
    Family,
    add_settings,
    differences,
    family_of,
    laid_out,
    rope_factors,
)
from weightwright.export.gguf.vocabulary import add_vocabulary
from weightwright.export.merge import Whole
from weightwright.files import whole_file
from weightwright.ports import Progress, silent
from weightwright.weights import gguf_joined

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Quantization = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]
BLOCK = 32  # weights that share a scale in Q8_0 and Q4_0
SPARE_BYTES = 30_000_000  # tokenizer and header
_FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0",
               "q4_0": "MOSTLY_Q4_0"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Written:
    """A GGUF file that was written: its architecture in GGUF's words, its size, and notes for the user."""

    file: Path
    architecture: str
    size_bytes: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """One tensor: its name and form in the file, and where it comes from."""

    name: str
    form: Any  # gguf.GGMLQuantizationType
    weight: torch.Tensor

    @property
    def bytes_shape(self) -> tuple[int, ...]:
        """[rows, bytes of a row]."""
        from gguf import quant_shape_to_byte_shape

        shape: tuple[int, ...] = quant_shape_to_byte_shape(tuple(self.weight.shape), self.form)
        return shape

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return math.prod(self.bytes_shape)


def write_gguf(
    model: Whole, out: Path, quantization: Quantization = "f16", *, progress: Progress = silent
) -> Written:
    """Write `model` to the new file `out`, its matrices in `quantization`, vectors in f32.

    In q4_0 embedding and head are q8_0, where 4 bits cost most. A matrix whose rows no block of 32 fits is f16.
    Raises ModelError for an architecture or tokenizer that cannot be written, SettingsError where `out` exists,
    OSError where the disk is full: then nothing is left of it.
    """
    from gguf import GGML_QUANT_VERSION, GGUFWriter, LlamaFileType

    check_name(out)
    refuse_existing(out)
    config = model.model.config
    family = family_of(config)
    planned = list(_plan(model, family, quantization))
    size = sum(tensor.size for tensor in planned)
    refuse_full(out, size + SPARE_BYTES)
    with whole_file(out, shared=False) as beside, closing(GGUFWriter(beside, family.name)) as writer:
        writer.add_type("model")
        writer.add_name(_name(model))
        writer.add_file_type(LlamaFileType[_FILE_TYPES[quantization]])
        writer.add_quantization_version(GGML_QUANT_VERSION)
        add_settings(writer, config, len(model.model.get_input_embeddings().weight))
        notes = [*model.notes, *differences(config), *add_vocabulary(writer, model)]
        put(writer, planned, family, config, progress)
    return Written(out, family.name, out.stat().st_size, tuple(notes))


def check_name(out: Path) -> None:
    """Raise SettingsError where `out` is no name for a GGUF file."""
    if out.suffix != ".gguf":
        raise SettingsError(f"out={str(out)!r}: a GGUF file's name must end in .gguf")
    if out.is_dir():
        raise SettingsError(f"{out} is a folder; --format gguf writes one file, such as {out / 'model.gguf'}")


def _plan(model: Whole, family: Family, quantization: Quantization) -> Iterator[Planned]:
    """Every tensor of the file in its form, in the model's order."""
    import gguf

    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[family.name], model.model.config.num_hidden_layers)
    whole = model.model
    head, embedding = whole.get_output_embeddings(), whole.get_input_embeddings()
    shared = head is not None and head.weight.data_ptr() == embedding.weight.data_ptr()
    form = gguf.GGMLQuantizationType[quantization.upper()]
    for path, weight in whole.state_dict().items():
        if shared and path == "lm_head.weight":
            continue
        experts = gguf_joined.split(path, weight) if family.experts else {}
        for name, part in experts.items():
            yield Planned(name, form_of(name, part, form), part)
        if experts:
            continue
        name = names.get_name(path, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise ModelError(f"{path} of this model has no place in a GGUF file of the architecture {family.name}; "
                             "write --format safetensors")  # fmt: skip
        yield Planned(name, form_of(name, weight, form), weight)
    for name, factors in rope_factors(whole.config).items():
        yield Planned(name, gguf.GGMLQuantizationType.F32, torch.from_numpy(factors))


def form_of(name: str, weight: torch.Tensor, form: Any) -> Any:
    """The gguf.GGMLQuantizationType in which a tensor is written where `form` is asked for."""
    from gguf import GGMLQuantizationType as Form

    if weight.ndim < 2 or "ffn_gate_inp" in name:  # routers stay whole
        return Form.F32
    if form == Form.Q4_0 and name in ("token_embd.weight", "output.weight"):
        form = Form.Q8_0
    return Form.F16 if form in (Form.Q8_0, Form.Q4_0) and weight.shape[-1] % BLOCK else form


def put(writer: Any, planned: list[Planned], family: Family, config: Any, progress: Progress) -> None:
    """Header first, which says where each tensor will lie, then the tensors, one in memory at a time."""
    import numpy as np

    for tensor in planned:
        writer.add_tensor_info(tensor.name, tensor.bytes_shape, np.dtype(np.uint8), tensor.size, tensor.form)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for done, tensor in enumerate(planned, 1):
        values = laid_out(family, config, tensor.name, tensor.weight.detach().float().numpy())
        writer.write_tensor_data(_packed(values, tensor))
        progress(done, len(planned), "writing")


def _packed(values: "NDArray[np.float32]", tensor: Planned) -> "NDArray[np.uint8]":
    import numpy as np
    from gguf import GGMLQuantizationType, quantize

    with np.errstate(over="ignore"):
        packed = quantize(np.ascontiguousarray(values), tensor.form)
    if tensor.form == GGMLQuantizationType.F16 and np.isinf(packed).any():
        raise ModelError(
            f"{tensor.name} holds values beyond what f16 can hold (65,504); write --quantize bf16"
        )
    result: NDArray[np.uint8] = np.ascontiguousarray(packed).view(np.uint8).reshape(tensor.bytes_shape)
    return result


def _name(model: Whole) -> str:
    """The model's name without the path to it: what is written travels."""
    return Path(model.name.rpartition("/")[2]).name or model.name
