"""`weightwright doctor`: what this machine has, and what will be fast on it."""

from collections.abc import Iterator
from typing import Any

from weightwright.cli.flags import Outcome, verb
from weightwright.config import Settings


@verb(Settings, section="doctor")
def doctor(settings: Settings) -> Outcome:
    """Say what this machine has and what will be fast on it."""
    del settings
    from weightwright.hub.store import disk
    from weightwright.machine.facts import facts

    data = facts() | {"home": disk()}
    return Outcome(data, _table(data))


def _table(data: dict[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None)
    for name, text in _rows(data):
        table.add_row(name, Text(text))  # Text: the [brackets] of an extra are no markup
    return table


def _rows(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    cpu, memory, hub, home = data["cpu"], data["memory"], data["hub"], data["home"]
    yield "CPU", f"{cpu['name']}, {cpu['threads']} threads usable"
    yield "features", _features(cpu["features"], cpu["own_features"])
    yield "memory", f"{_gb(memory['available_bytes'])} free of {_gb(memory['total_bytes'])}"
    yield "device", _device(data["device"])
    for kind, why in data["device"]["unused"].items():
        yield f"no {kind}", why
    yield "fast here", _fast(data["fast"])
    yield "versions", ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    for name, extra in data["extras"].items():
        yield (
            f"extra {name}",
            "installed" if extra["installed"] else f"not installed; run: {extra['install']}",
        )
    yield "hub", f"{hub['endpoint']}, token {hub['token']}, proxy {hub['proxy']}{_offline(hub)}"
    models = f"{home['models']} models, {_gb(home['models_bytes'])}"
    yield "home", f"{home['path']}: {models}; {_gb(home['free_bytes'])} free"


def _features(used: list[str], own: list[str]) -> str:
    words = " ".join(used) or "none that matter here"
    unused = " ".join(name for name in own if name not in used)
    return f"{words} (WEIGHTWRIGHT_CPU keeps from use: {unused})" if unused else words


def _device(device: dict[str, Any]) -> str:
    names = [f"{gpu['name']} ({_gb(gpu['memory_bytes'])})" for gpu in device["accelerators"]]
    return f"{device['chosen']}: {', '.join(names)}" if names else str(device["chosen"])


def _fast(fast: dict[str, Any]) -> str:
    if "f32_gflops" not in fast:
        return str(fast["precision"])
    native = "has" if fast["bf16_native"] else "has no"
    rates = f"bf16 {fast['bf16_gflops']:.0f}, f32 {fast['f32_gflops']:.0f} GFLOP/s"
    measured = f"measured with {fast['torch_threads']} threads: {rates}"
    return f"{fast['precision']}; {measured}; the CPU {native} bf16 instructions"


def _offline(hub: dict[str, Any]) -> str:
    return "; HF_HUB_OFFLINE is set: nothing is downloaded" if hub["offline"] else ""


def _gb(bytes_: int) -> str:
    return f"{bytes_ / 1e9:.1f} GB"
