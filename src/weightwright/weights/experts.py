"""The experts of a mixture in a folder's files: transformers stacks them, most files hold each matrix by itself."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from weightwright.weights.source import Groups, Weight, WeightSource

if TYPE_CHECKING:
    from weightwright.weights.safetensors import QuantizedWeights, SafetensorsWeights


def experts_of(model: Any) -> dict[str, Any]:
    """The modules of a model, by path, that hold stacked matrices of experts as transformers' functions take them."""
    return {
        path: module for path, module in model.named_modules()
        if hasattr(module, "has_gate") and hasattr(module, "is_transposed") and hasattr(module, "num_experts")
    }  # fmt: skip


def stacked_names(model: Any) -> set[str]:
    """The names of those matrices."""
    return {
        f"{path}.{name}" for path, module in experts_of(model).items()
        for name, weight in module.named_parameters(recurse=False) if weight.ndim == 3
    }  # fmt: skip


@runtime_checkable
class ExpertSource(WeightSource, Protocol):
    """A source that gives the experts' matrices one by one."""

    def expert(self, name: str, index: int) -> Weight:
        """The matrix of one expert of a stack, in the files' layout."""
        ...


@dataclass(frozen=True)
class ExpertWeights:
    """See `ExpertSource`; `parts` has for each stack the files' names of each expert's matrices, to be joined."""

    plain: "SafetensorsWeights | QuantizedWeights"
    names: Mapping[str, str]  # transformers' name -> the files'
    parts: Mapping[str, Sequence[Sequence[str]]]

    @classmethod
    def open(cls, plain: "SafetensorsWeights | QuantizedWeights", model: Any) -> "ExpertWeights | None":
        """For `model`, which needs no weights yet. None where its files are laid out in a way that is not known here.

        transformers' own table of names is asked for each tensor.
        """
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, WeightRenaming, apply_renamings

        transforms = get_model_conversion_mapping(model)
        renamings = [t for t in transforms if isinstance(t, WeightRenaming)]
        converters = [t for t in transforms if isinstance(t, WeightConverter)]
        if len(renamings) + len(converters) != len(transforms):
            return None
        wanted = model.state_dict()
        names: dict[str, str] = {}
        parts: dict[str, dict[tuple[int, int], str]] = {}
        for name in plain.names():
            renamed = apply_renamings(name, renamings)
            for converter in converters:
                target, pattern = converter.rename_source_key(renamed)
                if pattern is None:
                    continue
                if not _stacks(converter):
                    return None
                place = re.search(re.escape(pattern.replace("\\", "")).replace(r"\*", r"(\d+)"), renamed)
                if place is None:
                    return None
                which = int(place[1]), converter.source_patterns.index(pattern)
                parts.setdefault(_known(target, model, wanted), {})[which] = name
                break
            else:
                names[_known(renamed, model, wanted)] = name
        transposed = {path for path, module in experts_of(model).items() if module.is_transposed}
        stacks = {stack: _in_order(found) for stack, found in parts.items()}
        for stack in stacked_names(model) - set(stacks):  # which the files stack, too
            if stack.rpartition(".")[0] in transposed or stack not in names:
                return None
            plain, slices = plain.sliced(names.pop(stack))
            stacks[stack] = [[name] for name in slices]
        return cls(plain, names, stacks)

    @property
    def dtype(self) -> torch.dtype:
        """See `WeightSource`."""
        return self.plain.dtype

    def shape(self, name: str) -> tuple[int, ...] | None:
        """See `WeightSource`."""
        if name not in self.parts:
            return self.plain.shape(self.names[name]) if name in self.names else None
        each = {self.expert(name, index).shape for index in range(len(self.parts[name]))}
        return (len(self.parts[name]), *each.pop()) if len(each) == 1 else None

    def grouped(self, name: str) -> bool:
        """See `WeightSource`."""
        return name in self.names and self.plain.grouped(self.names[name])

    def read(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """See `WeightSource`."""
        if name not in self.parts:
            return self.plain.read(self.names[name], dtype)
        experts = [self.expert(name, index) for index in range(len(self.parts[name]))]
        out = torch.empty(len(experts), *experts[0].shape, dtype=dtype or self.dtype)
        for into, expert in zip(out, experts, strict=True):
            into.copy_(expert.dense())
        return out

    def read_groups(self, name: str) -> Groups:
        """See `WeightSource`."""
        return self.plain.read_groups(self.names[name])

    def expert(self, name: str, index: int) -> Weight:
        """See `ExpertSource`."""
        files = self.parts[name][index]
        shapes = [self.plain.shape(file) or (0, 0) for file in files]
        return Weight(self.plain, files, [shape[0] for shape in shapes], shapes[0][1])


def _stacks(converter: Any) -> bool:
    """Whether a conversion puts the matrices of an expert below each other, and the experts on a stack; no more."""
    kinds = [(type(operation).__name__, operation.dim) for operation in converter.operations
             if hasattr(operation, "dim")]  # fmt: skip
    known = [("MergeModulelist", 0), ("Concatenate", 1)]
    return len(kinds) == len(converter.operations) and kinds == known[: len(kinds)]


def _known(name: str, model: Any, wanted: Mapping[str, Any]) -> str:
    """The model's own name: some files leave the base model's prefix out, some have one too many."""
    if name in wanted:
        return name
    longer, shorter = f"{model.base_model_prefix}.{name}", name.removeprefix(f"{model.base_model_prefix}.")
    return longer if longer in wanted else shorter if shorter in wanted else name


def _in_order(found: Mapping[tuple[int, int], str]) -> list[list[str]]:
    """File names by expert, each expert's in the order in which they are put together."""
    experts: dict[int, list[str]] = {}
    for expert, _ in sorted(found):
        experts.setdefault(expert, [])
    for (expert, _), name in sorted(found.items()):
        experts[expert].append(name)
    return [experts[expert] for expert in sorted(experts)]
