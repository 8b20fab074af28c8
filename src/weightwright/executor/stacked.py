"""Caches of several sequences as one, for passes of one token of each.

States of fixed size (convolutions, recurrences) stand one behind the other; keys and values end at the right, with
padding before those of shorter sequences, as transformers has it in batches.
"""

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_GROWING = ("keys", "values")  # [rows, heads, tokens, width]
_FIXED = ("conv_states", "recurrent_states")  # by number, [rows, …]
_COUNT = "cumulative_length"  # of layers that keep a window


class Stack:
    """One of transformers' caches with a row for each of several sequences; row i has `lengths[i]` tokens.

    `states` are the sequences' caches or rows of other stacks, which stay as they are. Raises TypeError for layers
    that keep anything else.
    """

    def __init__(self, states: "Sequence[Any | Row]", lengths: Sequence[int]) -> None:
        self.lengths = list(lengths)
        caches = [_part_of(state) if isinstance(state, Row) else state for state in states]
        self.cache = _with_layers(
            caches[0],
            [_stacked(layers, max(lengths)) for layers in zip(*(one.layers for one in caches), strict=True)],
        )
        self._attends = any(hasattr(layer, _GROWING[0]) for layer in self.cache.layers)

    def rows(self) -> "list[Row]":
        """What each sequence keeps of it."""
        return [Row(self, at) for at in range(len(self.lengths))]

    def holds(self, states: Sequence[Any]) -> bool:
        """Whether these are its rows, all of them and in their order."""
        return len(states) == len(self.lengths) and all(
            isinstance(state, Row) and state.stack is self and state.at == at
            for at, state in enumerate(states)
        )

    def mask(self, device: Any) -> "Tensor | None":
        """Which of the tokens with the next one are no padding, [rows, tokens]; None where all are."""
        import torch

        longest = max(self.lengths)
        if not self._attends or min(self.lengths) == longest:
            return None
        first = torch.tensor([longest - length for length in self.lengths], device=device)
        return (torch.arange(longest + 1, device=device) >= first[:, None]).long()

    def grown(self) -> None:
        """Each row has read a token."""
        self.lengths = [length + 1 for length in self.lengths]


class Row:
    """A sequence's part of a stack; a copy of it is a cache of its own."""

    def __init__(self, stack: Stack, at: int) -> None:
        self.stack, self.at = stack, at

    def alone(self) -> Any:
        """A cache with this row alone, which shares no memory with the stack."""
        part = _part_of(self)
        for layer in part.layers:
            for name in _GROWING:
                if getattr(layer, name, None) is not None:
                    setattr(layer, name, getattr(layer, name).clone())
            for name in _FIXED:
                if hasattr(layer, name):
                    values = getattr(layer, name)
                    setattr(
                        layer, name, {i: one if one is None else one.clone() for i, one in values.items()}
                    )
        return part

    def __deepcopy__(self, _memo: Any) -> Any:
        return self.alone()


def _part_of(row: Row) -> Any:
    """A row as a cache that looks into its stack."""
    at, length = row.at, row.stack.lengths[row.at]
    layers = []
    for layer in row.stack.cache.layers:
        part = _copied(layer)
        for name in _GROWING:
            whole = getattr(layer, name, None)
            if whole is not None:
                kept = min(length, whole.shape[-2])
                setattr(part, name, whole[at : at + 1, :, whole.shape[-2] - kept :])
        for name in _FIXED:
            if hasattr(layer, name):
                values = getattr(layer, name)
                setattr(
                    part, name, {i: one if one is None else one[at : at + 1] for i, one in values.items()}
                )
        if hasattr(layer, _COUNT):
            setattr(part, _COUNT, length)
        layers.append(part)
    return _with_layers(row.stack.cache, layers)


def _stacked(layers: Sequence[Any], longest: int) -> Any:
    """One layer of several sequences' caches as one."""
    import torch

    made = _copied(layers[0])
    for name, value in vars(layers[0]).items():
        if name in _FIXED:
            joined = {
                i: one if one is None else torch.cat([getattr(layer, name)[i] for layer in layers])
                for i, one in value.items()
            }
            setattr(made, name, joined)
        elif not isinstance(value, torch.Tensor) or not value.ndim:
            continue
        elif name in _GROWING:
            setattr(made, name, _right_aligned([getattr(layer, name) for layer in layers]))
        else:
            raise TypeError(f"{type(made).__name__} keeps {name}, too")
    if hasattr(made, _COUNT):
        setattr(made, _COUNT, longest)
    return made


def _right_aligned(parts: "Sequence[Tensor]") -> "Tensor":
    """[1, heads, tokens, width] of several lengths -> [parts, heads, longest, width], zeros before shorter ones."""
    longest = max(part.shape[-2] for part in parts)
    first = parts[0]
    out = first.new_zeros(len(parts), first.shape[1], longest, first.shape[-1])
    for row, part in zip(out, parts, strict=True):
        row[:, longest - part.shape[-2] :] = part[0]
    return out


def _copied(layer: Any) -> Any:
    """A layer with dictionaries of its own, and the same tensors."""
    made = copy(layer)
    for name, value in vars(layer).items():
        if isinstance(value, dict):
            setattr(made, name, dict(value))
    return made


def _with_layers(cache: Any, layers: list[Any]) -> Any:
    made = copy(cache)
    made.layers = layers
    return made
