"""What a run will need, as `plan` has it, against what is free."""

from pathlib import Path

from weightwright.errors import ModelError
from weightwright.plan.fits import Decision, decide, require_room
from weightwright.plan.measured import PASS_TOKENS
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import from_file
from weightwright.tune.ranks import SingleProcess
from weightwright.tune.settings import TuneSettings

_AT_LEAST = PASS_TOKENS["cpu"]  # tokens of a pass, whatever the rows are like


def plan_settings(settings: TuneSettings, *, longest: int) -> PlanSettings:
    """The plan of a run whose longest row has `longest` tokens."""
    return PlanSettings(
        model=settings.model,
        task=settings.method,
        objective=settings.objective,
        precision=settings.precision if settings.method != "qlora" else "auto",
        max_length=max(2, longest),
        batch=settings.batch,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        packing=settings.packing,
        micro_batch=settings.micro_batch,
        group_size=settings.grpo.group_size,
        gradient_checkpointing=settings.gradient_checkpointing,
        optimizer=settings.optimizer,
        momentum=settings.momentum,
        rank=settings.rank,
        targets=settings.targets,
        dropout=settings.dropout,
        dora=settings.dora,
        int8_forward=settings.int8_forward,
        device=settings.device,
    )


def check_before_loading(path: Path, settings: TuneSettings, ranks: SingleProcess) -> None:
    """Refuse what cannot fit however short the rows are. Raises MemoryLimitError.

    What several processes share may fill the memory of all of them.
    """
    from weightwright.machine.device import pick_device
    from weightwright.machine.memory import free_bytes

    planned = plan_settings(settings, longest=min(settings.max_length, _AT_LEAST))
    device = pick_device(settings.device)
    require_room(path, planned, free_bytes(device) * ranks.memories(device))


def check_rows(path: Path, settings: TuneSettings, longest: int, ranks: SingleProcess) -> None:
    """Refuse rows that are too long for the memory, before the first step. Raises MemoryLimitError."""
    if longest > _AT_LEAST:
        require_room(path, plan_settings(settings, longest=longest), _available_bytes(settings, ranks))


def decide_checkpointing(
    path: Path, settings: TuneSettings, longest: int, ranks: SingleProcess
) -> tuple[TuneSettings, tuple[str, ...]]:
    """The settings with `gradient_checkpointing` decided, alike in all processes; a note where `auto` chose."""
    available_bytes, processes = _available_bytes(settings, ranks), int(ranks.all_sum(1))
    planned = plan_settings(settings, longest=longest)
    decision = ranks.broadcast(lambda: _decision(path, planned, available_bytes, processes))
    on = decision.settings.gradient_checkpointing
    what = "gate and up are" if on == "mlp" else "activations are"
    note = f"{what} recomputed (gradient_checkpointing=auto): {decision.why}"
    decided = settings.model_copy(
        update={"gradient_checkpointing": on if decision.settings.recomputes else False}
    )
    return decided, (note,) if decision.why else ()


def _decision(path: Path, planned: PlanSettings, room_bytes: int, processes: int) -> Decision:
    try:
        spec = from_file(path)
    except ModelError:  # a family that cannot be planned for
        return Decision(planned)
    return decide(spec, planned, room_bytes, processes=processes)


def _available_bytes(settings: TuneSettings, ranks: SingleProcess) -> int:
    """The free bytes and those that this run holds already, over all processes."""
    import psutil

    from weightwright.machine.device import pick_device
    from weightwright.machine.memory import free_bytes

    device = pick_device(settings.device)
    mine = psutil.Process().memory_info().rss if device == "cpu" else _allocated(device)
    return free_bytes(device) * ranks.memories(device) + int(ranks.all_sum(mine))


def _allocated(device: str) -> int:
    import torch

    return int(torch.cuda.memory_reserved(device)) if device.startswith("cuda") else 0
