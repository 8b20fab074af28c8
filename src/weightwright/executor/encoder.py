"""An encoder's forward pass (BERT's layers) over many texts at once, without padding, in int8, bf16 or f32.

Texts stand one behind the other; only attention knows where one ends. Linear layers are the engine's, so is the
rotation that keeps int8 close to f32 (`weights.quantize`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightwright.executor.linear import Form, Int8Linear, PackedLinear, pack
from weightwright.kernels import encode
from weightwright.kernels.elementwise import Rows, Stored, put
from weightwright.kernels.int8 import INT8_LEVELS, int8_kernel, int8_supported
from weightwright.machine.cpu import BF16_FEATURES, features

_PASS_TOKENS = 1024  # of one pass: more leave the second cache, fewer leave a product without enough rows
_NORM = "LayerNorm"
_PLAIN = Stored(torch.float32)


_MORE_EXACT = 3  # last layers that may be kept in a better form than int8: what they lose nothing makes good


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer: projections of the tokens, of what attention mixes, up and down, their inputs' form, two norms."""

    qkv: PackedLinear
    qkv_bias: Tensor
    out: PackedLinear
    out_bias: Tensor
    up: PackedLinear
    up_bias: Tensor
    down: PackedLinear
    down_bias: Tensor
    stored: Stored
    stored_inner: Stored
    norms: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def candidates(layers: int) -> list[tuple[Form, ...]]:
    """The forms of each layer that are fast on this CPU, fastest first; f32 is always the last one."""
    plain: list[Form] = ["f32"]
    if any(name in BF16_FEATURES for name in features()):
        plain.insert(0, "bf16")
    found: list[tuple[Form, ...]] = [(form,) * layers for form in plain]
    if int8_supported() and int8_kernel().levels == INT8_LEVELS:  # 7 bits lose too much
        rounded: Form = "int8"
        last = range(min(_MORE_EXACT + 1, layers))
        found[:0] = [(rounded,) * (layers - n) + (plain[0],) * n for n in last]
    return found


class Encoder:
    """BERT's layers with post-norms and gelu, each in one form. Not for several threads at a time."""

    def __init__(
        self, weights: Mapping[str, NDArray[np.float32]], *, heads: int, eps: float, forms: Sequence[Form]
    ) -> None:
        """From tensors by BERT's names; the table of words is shared, the layers' weights are laid out anew."""
        self._heads, self._eps = heads, eps
        self._words = weights[
            "embeddings.word_embeddings.weight"
        ]  # as it lies in the file: few rows are used
        self._places = _tensor(
            weights["embeddings.position_embeddings.weight"]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = _norm_of(weights, "embeddings.")
        self._layers = [_layer(weights, f"encoder.layer.{n}.", form) for n, form in enumerate(forms)]

    def states(self, rows: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        """The last layer's states [tokens, width] f32 of each text, given as its token ids with the marks."""
        for some in _passes([len(ids) for ids in rows]):
            lengths = [len(rows[i]) for i in some]
            yield from self._pass([token for i in some for token in rows[i]], lengths).split(lengths)

    def _pass(self, ids: list[int], lengths: list[int]) -> Tensor:
        """The states [tokens, width] f32 of texts that stand one behind the other."""
        places = torch.cat([torch.arange(n) for n in lengths])
        starts = torch.tensor([0, *np.cumsum(lengths).tolist()])
        hidden = torch.from_numpy(self._words[ids]) + self._places[places]
        width = hidden.shape[1]
        hidden = torch.nn.functional.layer_norm(hidden, (width,), *self._norm, self._eps)
        x = put(hidden.clone(), self._layers[0].stored)
        following = [layer.stored for layer in self._layers[1:]] + [_PLAIN]
        for layer, then in zip(self._layers, following, strict=True):
            qkv = _product(layer.qkv, x)
            mixed = encode.attend(qkv, layer.qkv_bias, starts, max(lengths), self._heads)
            y = _product(layer.out, put(mixed, layer.stored))
            x = encode.add_norm(hidden, y, layer.out_bias, layer.norms[0], self._eps, layer.stored)
            inner = encode.gelu(_product(layer.up, x), layer.up_bias, layer.stored_inner)
            y = _product(layer.down, inner)
            x = encode.add_norm(hidden, y, layer.down_bias, layer.norms[1], self._eps, then)
        return hidden


def _passes(lengths: Sequence[int]) -> list[list[int]]:
    """Which texts go through the layers together."""
    passes: list[list[int]] = []
    held = _PASS_TOKENS
    for i, tokens in enumerate(lengths):
        if held + tokens > _PASS_TOKENS:
            passes.append([])
            held = 0
        passes[-1].append(i)
        held += tokens
    return passes


def _product(layer: PackedLinear, x: Rows) -> Rows:
    """Rows through a layer, without its bias; int8 rows keep their scales for whoever reads the result."""
    if isinstance(layer, Int8Linear):
        return Rows(layer.product(x.data), x.scales)
    return Rows(layer(x.data))


def _stored(form: Form, layer: PackedLinear) -> Stored:
    if isinstance(layer, Int8Linear):
        return Stored(layer.activation_dtype, layer.block)
    return Stored(torch.bfloat16) if form == "bf16" else _PLAIN


def _layer(weights: Mapping[str, NDArray[np.float32]], at: str, form: Form) -> _Layer:
    def packed(*names: str) -> tuple[PackedLinear, Tensor]:
        matrix = torch.cat([_tensor(weights[f"{at}{name}.weight"]) for name in names])
        bias = torch.cat([_tensor(weights[f"{at}{name}.bias"]) for name in names])
        return pack(matrix, None, form, rotated=True), bias

    qkv = packed(*(f"attention.self.{name}" for name in ("query", "key", "value")))
    out, up, down = (
        packed(name) for name in ("attention.output.dense", "intermediate.dense", "output.dense")
    )
    norms = _norm_of(weights, f"{at}attention.output."), _norm_of(weights, f"{at}output.")
    stored = _stored(form, qkv[0]), _stored(form, down[0])
    return _Layer(*qkv, *out, *up, *down, *stored, norms)


def _norm_of(weights: Mapping[str, NDArray[np.float32]], at: str) -> tuple[Tensor, Tensor]:
    return _tensor(weights[f"{at}{_NORM}.weight"]), _tensor(weights[f"{at}{_NORM}.bias"])


def _tensor(array: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))
