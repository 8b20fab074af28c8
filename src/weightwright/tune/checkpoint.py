"""Checkpoints: all that a run needs to go on exactly where it stood, written whole or not at all.

A checkpoint is a folder `step-N` with `state.safetensors` (trainable weights, the optimizer's state, the
random generator) and `state.json` (step, history). A folder with that name is complete whenever the process was
killed (`files.whole_folder`).
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightwright.errors import TuneError
from weightwright.files import remove_whole, whole_folder
from weightwright.tune.ranks import SingleProcess

_TENSORS, _NOTES = "state.safetensors", "state.json"


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a run stood: steps done, and the notes that were saved with it."""

    step: int
    notes: dict[str, Any]


def state_of(
    weights: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, random_state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by the names that they have in it."""
    tensors = {f"weight.{name}": weight for name, weight in weights.items()}
    for name, weight in weights.items():
        state = optimizer.state.get(weight, {})
        tensors |= {f"{kind}.{name}": x for kind, x in state.items() if isinstance(x, Tensor)}
    return tensors | {f"random.{name}": state for name, state in random_state.items()}


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], notes: Mapping[str, Any], keep: int) -> Path:
    """Write checkpoint `step` under `folder`, straight from memory, then remove all but the last `keep`."""
    from safetensors.torch import save_file

    target = folder / f"step-{step:08d}"
    if target.is_dir():
        return target  # the same step of the same run: the same content
    with whole_folder(target) as beside:
        plain = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
        save_file(plain, beside / _TENSORS)
        (beside / _NOTES).write_text(json.dumps({"step": step, "notes": notes}), encoding="utf-8")
    for old in checkpoints(folder)[:-keep]:
        remove_whole(old)
    return target


def restore(
    folder: Path, weights: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, ranks: SingleProcess
) -> tuple[Restored, dict[str, Tensor]] | None:
    """Load the last checkpoint into weights and optimizer; its notes and random state, None if none.

    The first process reads, one tensor after the other. Raises TuneError when it does not belong to these weights.
    """
    from safetensors import safe_open

    last = ranks.broadcast(lambda: _last(folder))
    if last is None:
        return None
    path, names, beside = last
    if {name.removeprefix("weight.") for name in names if name.startswith("weight.")} != set(weights):
        raise TuneError(f"{path} holds other weights than this run trains; choose another --out")
    kinds = sorted({name.partition(".")[0] for name in names} - {"weight", "random"})
    with ExitStack() as stack, torch.no_grad():
        read = _nothing
        if ranks.is_first:
            read = stack.enter_context(safe_open(path / _TENSORS, framework="pt")).get_tensor
        for name, weight in weights.items():
            weight.copy_(ranks.distribute(read, f"weight.{name}", weight))
            kept = [kind for kind in kinds if f"{kind}.{name}" in names]
            if kept:
                like = {kind: None if kind == "step" else weight for kind in kept}  # that one is a scalar
                state = {kind: ranks.distribute(read, f"{kind}.{name}", like[kind]) for kind in kept}
                optimizer.state[weight] = {kind: value.to(weight.device) for kind, value in state.items()}
        random = [name for name in sorted(names) if name.startswith("random.")]
        states = {name.removeprefix("random."): ranks.distribute(read, name, None) for name in random}
    return Restored(int(beside["step"]), beside["notes"]), states


def _last(folder: Path) -> tuple[Path, set[str], dict[str, Any]] | None:
    """The last checkpoint, the names of its tensors, and what is beside them."""
    from safetensors import safe_open

    saved = checkpoints(folder)
    if not saved:
        return None
    with safe_open(saved[-1] / _TENSORS, framework="pt") as file:
        names = set(file.keys())
    return saved[-1], names, json.loads((saved[-1] / _NOTES).read_text(encoding="utf-8"))


def _nothing(name: str) -> Tensor:
    raise AssertionError(f"only the first process reads {name}")


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's random generators."""
    state = {"cpu": torch.random.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Put the generators back to where they were."""
    torch.random.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
