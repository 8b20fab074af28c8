"""Memory of serving and training: bytes by part for each phase; the peak is the largest phase."""

import os
import shutil
import subprocess

from weightwright.errors import SettingsError
from weightwright.options import Precision
from weightwright.plan.params import active_params, count_params
from weightwright.plan.phases import Estimate, Phase
from weightwright.plan.serving import kv_bytes, served_weight_bytes, serving_phases
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import ModelSpec
from weightwright.plan.training import trained_params, training_phases, weight_bytes

__all__ = ["Estimate", "Phase", "estimate", "kv_bytes", "machine_bytes", "memory_limit", "resolved",
           "served_weight_bytes", "weight_bytes"]  # fmt: skip


def estimate(spec: ModelSpec, settings: PlanSettings) -> Estimate:
    """Memory of a task. Raises SettingsError for what the model cannot be held in."""
    serving = settings.task == "serve"
    return Estimate(
        parameters=count_params(spec),
        trainable_parameters=0 if serving else trained_params(spec, settings),
        phases=serving_phases(spec, settings) if serving else training_phases(spec, settings),
        notes=tuple(_notes(spec, settings)),
        active_parameters=active_params(spec),
    )


def resolved(settings: PlanSettings) -> Precision:
    """The precision that `auto` stands for."""
    return settings.resolved_precision


def memory_limit(settings: PlanSettings) -> int:
    """The memory to fit into, in bytes; 0 where the machine does not say.

    Raises SettingsError for a card that is not here and whose memory was not given.
    """
    if settings.device_bytes is not None:
        return settings.device_bytes
    if settings.on_cpu:
        return machine_bytes()
    found = card_bytes() if settings.device == "cuda" else machine_bytes() if settings.device == "mps" else 0
    if not found:
        raise SettingsError(
            f"device={settings.device}: no such card answers here; say how much memory it has: --device-memory 24GB"
        )
    return found


def machine_bytes() -> int:
    """All memory of the machine; 0 where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # a system that does not say
        return 0


def card_bytes() -> int:
    """Memory of the first NVIDIA card, as its driver's own tool says it; 0 where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    command = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return int(shown.stdout.split()[0]) * 1024**2
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):  # a tool without a driver
        return 0


def _notes(spec: ModelSpec, settings: PlanSettings) -> list[str]:
    """What the user should know about an estimate."""
    notes = []
    if spec.expert_weights and settings.task in ("lora", "qlora"):
        held = ", which stay in bf16" if settings.task == "qlora" else ""
        notes.append(
            f"adapters do not reach the experts{held}: their matrices are stacked, not linear layers"
        )
        beside = {linear.name for one in spec.kinds for linear in one.linears} & set(spec.taken)
        if beside:
            notes.append(
                f"nor {', '.join(sorted(beside))} beside them, whose names peft takes for the experts"
            )
    if settings.task == "qlora" and not spec.expert_weights:
        kept = count_params(spec) - spec.linear_weights
        notes.append(
            f"4 bits hold the layers' matrices; {kept:,} weights of embedding, head and norms stay in bf16"
        )
    return notes
