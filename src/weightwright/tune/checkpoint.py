"""Checkpoints: all that a run needs to go on exactly where it stood, written whole or not at all.

A checkpoint is a folder `step-N` with `state.safetensors` (trainable weights, the optimizer's state, the
random generator) and `state.json` (step, history). It is written beside, synced and renamed, so a
folder with that name is complete whenever the process was killed.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightwright.errors import TuneError
from weightwright.files import sync_folder, write_synced

UNFINISHED = ".unfinished"


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a run stood: steps done, and the notes that were saved with it."""

    step: int
    notes: dict[str, Any]


def save(
    folder: Path,
    step: int,
    weights: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    random_state: Mapping[str, Tensor],
    notes: Mapping[str, Any],
    keep: int,
) -> Path:
    """Write checkpoint `step` under `folder`, then remove all but the last `keep`."""
    from safetensors.torch import save as to_bytes

    tensors = {f"weight.{name}": weight.detach().contiguous() for name, weight in weights.items()}
    for name, weight in weights.items():
        state = optimizer.state.get(weight, {})
        tensors |= {f"{kind}.{name}": x.contiguous() for kind, x in state.items() if isinstance(x, Tensor)}
    tensors |= {f"random.{name}": state for name, state in random_state.items()}
    target = folder / f"step-{step:08d}"
    if target.is_dir():
        return target  # the same step of the same run: the same content
    unfinished = folder / f"{UNFINISHED}-{step}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    write_synced(unfinished / "state.safetensors", to_bytes({k: v.cpu() for k, v in tensors.items()}))
    write_synced(unfinished / "state.json", json.dumps({"step": step, "notes": notes}).encode())
    sync_folder(unfinished)
    unfinished.rename(target)
    sync_folder(folder)
    for old in checkpoints(folder)[:-keep]:
        doomed = folder / f"{UNFINISHED}-{old.name}"  # a folder half removed must not look complete
        shutil.rmtree(doomed, ignore_errors=True)
        old.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    return target


def restore(
    folder: Path, weights: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
) -> tuple[Restored, dict[str, Tensor]] | None:
    """Load the last checkpoint into weights and optimizer; its notes and random state, None if none.

    Raises TuneError when it does not belong to these weights.
    """
    from safetensors.torch import load_file

    found = checkpoints(folder)
    if not found:
        return None
    tensors = load_file(found[-1] / "state.safetensors")
    state = json.loads((found[-1] / "state.json").read_text(encoding="utf-8"))
    names = {name.removeprefix("weight.") for name in tensors if name.startswith("weight.")}
    if names != set(weights):
        raise TuneError(f"{found[-1]} holds other weights than this run trains; choose another --out")
    kinds = {name.partition(".")[0] for name in tensors} - {"weight", "random"}
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(tensors[f"weight.{name}"])
            kept = {kind: tensors[f"{kind}.{name}"] for kind in kinds if f"{kind}.{name}" in tensors}
            if kept:
                optimizer.state[weight] = {
                    kind: value if kind == "step" else value.to(weight.device) for kind, value in kept.items()
                }
    random = {name.removeprefix("random."): t for name, t in tensors.items() if name.startswith("random.")}
    return Restored(int(state["step"]), state["notes"]), random


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
