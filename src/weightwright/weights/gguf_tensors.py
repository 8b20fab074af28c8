"""The weights of a GGUF file, one tensor at a time, under the names and in the layout of transformers.

Names and layout are transformers' own: its table of names and its tensor processors (llama's rows in another
order, Gemma's norms off by one, GPT-2's matrices on their side) are called, not repeated here. Weights that files
hold in several tensors (a mixture's experts, DeepSeek's keys and values) are joined by `gguf_joined`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from weightwright.errors import ModelError
from weightwright.hub import gguf_reader
from weightwright.weights import gguf_header, gguf_joined
from weightwright.weights.empty import lacking
from weightwright.weights.quantize import GROUP, INT4_MIDDLE
from weightwright.weights.source import Groups, Weight

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SLICE_ELEMENTS = 1 << 22  # what is de-quantised at once: 16 MB of f32
# processors that work on one tensor at a time
_SINGLE = ("TensorProcessor", "LlamaTensorProcessor", "GPT2TensorProcessor", "Gemma2TensorProcessor",
           "NemotronTensorProcessor")  # fmt: skip
_ROWS_ONLY = ("TensorProcessor", "LlamaTensorProcessor")  # rows change place, columns stay


@dataclass(frozen=True)
class _Stored:
    """Where a tensor lies: in which file, or part of one, and where there."""

    file: Path
    name: str
    shape: tuple[int, ...]
    kind: Any  # GGMLQuantizationType
    offset: int
    size_bytes: int


class GgufWeights:
    """See `source.WeightSource` and `experts.ExpertSource`."""

    def __init__(
        self,
        processor: Any,
        tensors: dict[str, tuple[_Stored, ...]],
        joins: gguf_joined.Joins,
        dtype: torch.dtype,
    ) -> None:
        self.dtype = dtype
        self._processor, self._tensors, self._joins = processor, tensors, joins

    @classmethod
    def open(cls, file: Path, model: Any, dtype: torch.dtype) -> "GgufWeights | None":
        """The weights for `model`, which needs none yet.

        None where transformers splits or joins tensors in a way that is not known here, and for the few
        architectures that it reads without tensor processors: those files are loaded whole. Raises ModelError where
        the file holds tensors that the model has no place for.
        """
        from transformers import modeling_gguf_pytorch_utils as reading
        from transformers.integrations.gguf import is_gguf_arch_supported

        reader = gguf_reader.reader(file)
        kind = str(reader.fields["general.architecture"].contents())
        processor_type = reading.TENSOR_PROCESSORS.get(kind, reading.TensorProcessor)
        joined = kind in gguf_joined.ARCHITECTURES or model.config.model_type == "mixtral"
        if is_gguf_arch_supported(kind) or (processor_type.__name__ not in _SINGLE and not joined):
            return None
        if joined and kind != "llama":
            processor_type = reading.TensorProcessor
        processor = processor_type(config=model.config.to_dict())
        stored = {
            tensor.name: _Stored(
                part, tensor.name, tuple(int(n) for n in reversed(tensor.shape)), tensor.tensor_type,
                int(tensor.data_offset), int(tensor.n_bytes),
            )
            for part, tensor in gguf_reader.tensors(file)
        }  # fmt: skip
        if joined:
            names, joins = gguf_joined.names(model, kind, stored)
        else:
            with gguf_header.quick_reader():
                found = reading.get_gguf_hf_weights_map(model, processor)
            names, joins = {ours: (theirs,) for theirs, ours in found.items() if theirs in stored}, {}
        parts = {ours: tuple(stored[one] for one in theirs) for ours, theirs in names.items()}
        source = cls(processor, parts, joins, dtype)
        if not lacking(model, source):  # else that is said
            _refuse_left(file, stored, names, model)
        return source

    def shape(self, name: str) -> tuple[int, ...] | None:
        """See `WeightSource`."""
        stored = self._tensors.get(name)
        if stored is None:
            return None
        if name in self._joins:
            stand_ins = [torch.empty(one.shape, device="meta") for one in stored]
            return tuple(self._joins[name](*stand_ins).shape)
        return tuple(self._process(stored[0], _stand_in(stored[0].shape)).shape)

    def grouped(self, name: str) -> bool:
        """See `WeightSource`."""
        if name in self._joins:
            return False
        (stored,) = self._tensors[name]
        return len(stored.shape) == 2 and stored.kind.name in _GROUPS and (
            type(self._processor).__name__ in _ROWS_ONLY or self._untouched(stored)
        )  # fmt: skip

    def read(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """See `WeightSource`."""
        dtype = dtype or self.dtype
        if name in self._joins:
            return self._joins[name](*(self._dense(one, dtype) for one in self._tensors[name])).contiguous()
        (stored,) = self._tensors[name]
        if self._untouched(stored):
            return self._dense(stored, dtype)
        whole = self._process(stored, self._dense(stored, torch.float32).numpy())
        return torch.from_numpy(np.ascontiguousarray(whole)).to(dtype)

    def read_groups(self, name: str) -> Groups:
        """See `WeightSource`."""
        (stored,) = self._tensors[name]
        parts = _GROUPS[stored.kind.name](self._bytes(stored, 0, stored.shape[0]))
        moved = (np.ascontiguousarray(self._process(stored, part)) for part in parts)
        return Groups(*(torch.from_numpy(part) for part in moved))

    def expert(self, name: str, index: int) -> Weight:
        """See `experts.ExpertSource`."""
        stored = self._tensors[name]
        if len(stored[0].shape) == 2:  # each expert by itself, the gates of all first
            experts = len(stored) // (2 if "gate" in name else 1)
            parts = list(stored[_within(index, experts, name) :: experts])
        else:
            parts = [_slice(stack, index) for stack in stored]
        return Weight(
            self, [self._named(part) for part in parts], [part.shape[0] for part in parts], parts[0].shape[1]
        )

    def _named(self, part: _Stored) -> str:
        """Make a part of a stack a tensor of its own; its name."""
        name = f"{part.name} at {part.offset}"
        self._tensors[name] = (part,)
        return name

    def _dense(self, stored: _Stored, dtype: torch.dtype) -> Tensor:
        """The tensor as the file has it, de-quantised a slice of rows after the other."""
        from gguf import dequantize

        columns = stored.shape[-1] if stored.shape else 1
        out = torch.empty(math.prod(stored.shape) // columns, columns, dtype=dtype)
        step = max(1, _SLICE_ELEMENTS // columns)
        for start in range(0, len(out), step):
            end = min(start + step, len(out))
            try:
                values = dequantize(self._bytes(stored, start, end), stored.kind)
            except (NotImplementedError, ValueError) as error:
                raise ModelError(f"{stored.file} holds {stored.name} as {stored.kind.name}, which cannot be read "
                                 f"({error}); take another form of the model") from error  # fmt: skip
            out[start:end] = torch.from_numpy(values.reshape(-1, columns))
        return out.view(stored.shape)

    def _bytes(self, stored: _Stored, start: int, end: int) -> "NDArray[np.uint8]":
        """Rows start to end as bytes [rows, bytes]. Read, not mapped: mapped pages would count as memory."""
        rows = math.prod(stored.shape[:-1])
        width = stored.size_bytes // rows
        with stored.file.open("rb") as stream:
            stream.seek(stored.offset + start * width)
            data = np.fromfile(stream, np.uint8, (end - start) * width)
        if len(data) != (end - start) * width:
            raise ModelError(f"{stored.file} ends within {stored.name}; get it again")
        return data.reshape(end - start, width)

    def _process(self, stored: _Stored, values: "NDArray[Any]") -> "NDArray[Any]":
        # GPT-2's processor puts its head there instead of naming it
        aside: dict[str, Any] = {"tensors": {}}
        processed: NDArray[Any] = self._processor.process(
            weights=values, name=stored.name, tensor_key_mapping={}, parsed_parameters=aside
        ).weights
        return processed

    def _untouched(self, stored: _Stored) -> bool:
        stand_in = _stand_in(stored.shape)
        return self._process(stored, stand_in) is stand_in


def _slice(stack: _Stored, index: int) -> _Stored:
    """One matrix of a stack [n, out, in]."""
    size = stack.size_bytes // stack.shape[0]
    offset = stack.offset + _within(index, stack.shape[0], stack.name) * size
    return replace(stack, shape=stack.shape[1:], offset=offset, size_bytes=size)


def _within(index: int, count: int, name: str) -> int:
    if not 0 <= index < count:
        raise IndexError(f"{name} holds {count} matrices, not {index + 1}")
    return index


def _refuse_left(
    file: Path, stored: Mapping[str, _Stored], names: Mapping[str, tuple[str, ...]], model: Any
) -> None:
    """Raise ModelError where tensors of the file would be left out: the model would compute something else."""
    used = {one for theirs in names.values() for one in theirs}
    layers = model.config.get_text_config().num_hidden_layers
    left = [name for name in stored if name not in used and not _without_effect(name, layers)]
    if left:
        raise ModelError(f"{file} holds {len(left):,} tensors that {model.config.model_type} has no place for "
                         f"(first {left[0]}), so it would not be the model; use its safetensors")  # fmt: skip


def _without_effect(name: str, layers: int) -> bool:
    """Rotary factors are in the config (old files repeat them in each layer); further layers predict ahead."""
    block = re.match(r"blk\.(\d+)\.", name)
    further = block is not None and int(block[1]) >= layers
    return name.startswith("rope_") or "rot_embd" in name or ".nextn." in name or further


def _stand_in(shape: tuple[int, ...]) -> "NDArray[np.float32]":
    """An array of that shape in no memory."""
    return np.broadcast_to(np.float32(0), shape)


# -- blocks of ggml whose weights are 4-bit codes times a scale plus an offset, per 32 inputs ------------------
# each: bytes [out, bytes of a row] -> codes u8 [out, in], scale and zero f32 [out, in / 32] (see Groups)


def _q4_0(data: "NDArray[np.uint8]") -> "tuple[NDArray[Any], ...]":
    blocks = data.reshape(len(data), -1, 18)  # scale f16, 32 codes: weight = scale · (code - 8)
    scale = _half(blocks, 0)
    return _nibbles(blocks[..., 2:]).reshape(len(data), -1), scale, np.zeros_like(scale)


def _q4_1(data: "NDArray[np.uint8]") -> "tuple[NDArray[Any], ...]":
    blocks = data.reshape(len(data), -1, 20)  # scale f16, least f16, 32 codes: weight = scale · code + least
    scale, least = _half(blocks, 0), _half(blocks, 2)
    return _nibbles(blocks[..., 4:]).reshape(len(data), -1), scale, least + INT4_MIDDLE * scale


def _q4_k(data: "NDArray[np.uint8]") -> "tuple[NDArray[Any], ...]":
    # 256 weights: scale of scales f16, scale of minima f16, 12 bytes of eight 6-bit scales and minima, 128 of codes
    blocks = data.reshape(len(data), -1, 144)
    low, high, rest = blocks[..., 4:8], blocks[..., 8:12], blocks[..., 12:16]
    scales = np.concatenate((low & 63, (rest & 15) | (low >> 6) << 4), -1)
    minima = np.concatenate((high & 63, (rest >> 4) | (high >> 6) << 4), -1)
    scale = _half(blocks, 0)[..., None] * scales.astype(np.float32)
    least = _half(blocks, 2)[..., None] * minima.astype(np.float32)
    codes = _nibbles(blocks[..., 16:].reshape(len(data), -1, 4, GROUP))
    return tuple(
        part.reshape(len(data), -1) for part in (codes, scale, INT4_MIDDLE * scale - least)
    )  # weight = scale · code - least


_GROUPS = {"Q4_0": _q4_0, "Q4_1": _q4_1, "Q4_K": _q4_k}


def _half(blocks: "NDArray[np.uint8]", start: int) -> "NDArray[np.float32]":
    """The f16 at byte `start` of each block."""
    return np.ascontiguousarray(blocks[..., start : start + 2]).view("<f2")[..., 0].astype(np.float32)


def _nibbles(data: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    """[..., n] bytes -> [..., 2n] codes: the low halves first, then the high ones."""
    return np.concatenate((data & 15, data >> 4), -1)
