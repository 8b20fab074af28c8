"""The paged key/value cache: blocks of 16 tokens for every layer, addressed through block tables.

Kwon et al., PagedAttention (arXiv 2309.06180, §4.1). Keys lie transposed within a block
([kv_heads, width, 16]) so that a vector of 16 tokens meets one query number; values lie as they come
([kv_heads, 16, width]). In int8 each token of each head has its own scale, and four numbers that a dot product
adds up lie together: keys [kv_heads, width / 4, 16, 4] as unsigned bytes around 128, values
[kv_heads, 4, width, 4] (token t at [t // 4, :, t % 4]) as signed ones.
"""

import contextlib
import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BLOCK_TOKENS = 16
_ZERO = 128  # the unsigned byte that stands for 0
# memory of this process alone, which can come in large pages (Windows has no such choice)
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What one layer keeps of a token: `kv_heads` keys of `key_width` and values of `value_width` numbers."""

    kv_heads: int
    key_width: int
    value_width: int

    def token_bytes(self, item_bytes: int, *, scaled: bool) -> int:
        """Bytes of one token in this layer."""
        if scaled:
            return self.kv_heads * (4 * _fours(self.key_width) + self.value_width + 8)
        return self.kv_heads * (self.key_width + self.value_width) * item_bytes


class PagedCache:
    """Keys and values of all layers; `blocks` blocks of `BLOCK_TOKENS` tokens each.

    A *slot* is block x BLOCK_TOKENS + offset: the place of one token.
    """

    def __init__(
        self,
        shapes: Sequence[LayerShape],
        blocks: int,
        dtype: "torch.dtype",
        device: "torch.device | str" = "cpu",
    ) -> None:
        import torch

        self.shapes, self.blocks, self.dtype = tuple(shapes), blocks, dtype
        self.scaled = dtype == torch.int8

        def zeros(*size: int, kind: "torch.dtype" = dtype) -> "Tensor":
            if str(device) != "cpu":
                return torch.zeros(size, dtype=kind, device=device)
            return torch.frombuffer(_pages(math.prod(size) * kind.itemsize), dtype=kind).view(size)

        scales = shapes if self.scaled else ()
        if self.scaled:
            self.keys = [
                zeros(blocks, s.kv_heads, _fours(s.key_width), BLOCK_TOKENS, 4, kind=torch.uint8)
                for s in shapes
            ]
            self.values = [zeros(blocks, s.kv_heads, BLOCK_TOKENS // 4, s.value_width, 4) for s in shapes]
        else:
            self.keys = [zeros(blocks, s.kv_heads, s.key_width, BLOCK_TOKENS) for s in shapes]
            self.values = [zeros(blocks, s.kv_heads, BLOCK_TOKENS, s.value_width) for s in shapes]
        self.key_scales = [zeros(blocks, s.kv_heads, BLOCK_TOKENS, kind=torch.float32) for s in scales]
        self.value_scales = [zeros(blocks, s.kv_heads, BLOCK_TOKENS, kind=torch.float32) for s in scales]

    @property
    def kind(self) -> str:
        """f32, bf16 or int8, as the kernels call it (other types have none)."""
        return {"torch.float32": "f32", "torch.bfloat16": "bf16", "torch.int8": "int8"}.get(
            str(self.dtype), ""
        )

    def write(self, layer: int, keys: "Tensor", values: "Tensor", slots: "Tensor") -> None:
        """Put keys [tokens, kv_heads, key_width] and values [tokens, kv_heads, value_width] into slots [tokens]."""
        import torch

        block, offset = slots // BLOCK_TOKENS, slots % BLOCK_TOKENS
        if self.scaled:
            keys, scales = _to_int8(keys)
            self.key_scales[layer][block, :, offset] = scales
            keys = torch.nn.functional.pad(keys, (0, -keys.shape[-1] % 4)).unflatten(-1, (-1, 4))
            self.keys[layer][block, :, :, offset] = (keys + _ZERO).to(torch.uint8)
            values, scales = _to_int8(values)
            self.value_scales[layer][block, :, offset] = scales
            self.values[layer][block, :, offset // 4, :, offset % 4] = values.to(self.dtype)
            return
        self.keys[layer][block, :, :, offset] = keys.to(self.dtype)
        self.values[layer][block, :, offset] = values.to(self.dtype)

    def read(self, layer: int, tables: "Tensor", dtype: "torch.dtype") -> "tuple[Tensor, Tensor]":
        """Gather block tables [rows, width] i64: keys and values [rows, kv_heads, width x 16, …] in `dtype`."""
        rows, width = tables.shape
        shape = self.shapes[layer]
        keys, values = self.keys[layer][tables], self.values[layer][tables]
        if self.scaled:
            keys = (keys.to(dtype) - _ZERO).transpose(3, 4).flatten(-2)[..., : shape.key_width]
            keys = (keys * self.key_scales[layer][tables][..., None].to(dtype)).transpose(3, 4)
            values = values.to(dtype).transpose(4, 5).flatten(3, 4)
            values = values * self.value_scales[layer][tables][..., None].to(dtype)
        keys = keys.permute(0, 2, 1, 4, 3).reshape(rows, shape.kv_heads, width * BLOCK_TOKENS, -1)
        values = values.permute(0, 2, 1, 3, 4).reshape(rows, shape.kv_heads, width * BLOCK_TOKENS, -1)
        return keys.to(dtype), values.to(dtype)

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy whole blocks (source, destination) in every layer."""
        import torch

        if not pairs or not self.shapes:
            return
        source, destination = torch.tensor(pairs, device=self.keys[0].device).unbind(1)
        for tensors in (self.keys, self.values, self.key_scales, self.value_scales):
            for tensor in tensors:
                tensor[destination] = tensor[source]


def block_bytes(shapes: Sequence[LayerShape], item_bytes: int, *, scaled: bool = False) -> int:
    """Bytes that one block takes over all layers."""
    return BLOCK_TOKENS * sum(shape.token_bytes(item_bytes, scaled=scaled) for shape in shapes)


def _fours(width: int) -> int:
    """Groups of four that hold so many numbers."""
    return -(-width // 4)


def _pages(size: int) -> mmap.mmap:
    """Zeros that take memory when they are first written, in large pages where the system has them.

    Blocks lie anywhere, so with small pages a step waits as long for addresses as for keys and values.
    """
    pages = mmap.mmap(-1, size, **_PRIVATE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


def _to_int8(x: "Tensor") -> "tuple[Tensor, Tensor]":
    """Symmetric int8 per token and head: x [..., width] -> numbers and scales [...]."""
    x = x.float()
    scales: Any = x.abs().amax(-1) / 127
    return (x / scales.clamp(min=1e-20)[..., None]).round(), scales
