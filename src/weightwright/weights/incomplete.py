"""Files that lack weights of their architecture: which, in one line."""

import re
from collections import defaultdict
from pathlib import Path

from weightwright.errors import ModelError
from weightwright.hub import gguf_reader, weight_files

_EXPERT = re.compile(r"(.*\.experts\.)(\d+)(\..*)")


def incomplete(path: Path, missing: list[str]) -> ModelError:
    """The error for files at `path` that lack these weights, or have them in another shape."""
    return ModelError(f"{path} lacks {len(missing):,} weights of its architecture (first {missing[0]}); "
                      "pull or copy the model again")  # fmt: skip


def missing_experts(path: Path) -> list[str]:
    """The matrices of experts that a folder or GGUF file lacks or has in another shape than most of their kind.

    transformers joins such matrices while it loads, and does not say which one it could not join, or (in a GGUF
    file) that there was only one of two.
    """
    return _lone_stacks(path) if path.is_file() else _odd_experts(path)


def _odd_experts(folder: Path) -> list[str]:
    shapes: dict[tuple[str, str], dict[int, tuple[int, ...]]] = defaultdict(dict)
    for file in weight_files.weight_files(folder):
        for name, tensor in weight_files.safetensors_header(file).items():
            if match := _EXPERT.fullmatch(name):
                shapes[match[1], match[3]][int(match[2])] = tensor.shape
    numbers = {number for stack in shapes.values() for number in stack}
    missing = []
    for (layer, matrix), stack in shapes.items():
        have = list(stack.values())
        usual = max(have, key=have.count)
        missing += [f"{layer}{number}{matrix}" for number in numbers if stack.get(number) != usual]
    return sorted(missing)


def _lone_stacks(file: Path) -> list[str]:
    names = {tensor.name for _, tensor in gguf_reader.tensors(file)}
    gates = {name for name in names if "ffn_gate_exps" in name}
    ups = {name.replace("ffn_up_exps", "ffn_gate_exps") for name in names if "ffn_up_exps" in name}
    if not (gates and ups):  # of one matrix by design
        return []
    return sorted([*(ups - gates), *(name.replace("ffn_gate_exps", "ffn_up_exps") for name in gates - ups)])
