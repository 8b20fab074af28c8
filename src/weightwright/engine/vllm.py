"""vLLM in this engine's place, for a model over several devices: its command line, and whether it can be started.

It lives in an environment of its own, whose Python `--engine-python` names; `remote.process` starts it. Its words:
https://docs.vllm.ai/en/latest/cli/serve.html.
"""

import json
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightwright.address import names
from weightwright.address.models import ModelAddress
from weightwright.engine.settings import EngineSettings
from weightwright.errors import ModelError, SettingsError
from weightwright.files import write_whole
from weightwright.home import cache
from weightwright.options import parse_bytes
from weightwright.weights.adapter_config import read_config
from weightwright.weights.templates import Template, default_template, template_hash

# the first works in any release; `vllm serve` is the same
_SERVER = ("-m", "vllm.entrypoints.openai.api_server")
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that --max-lora-rank takes
_DTYPES = {"f32": "float32", "bf16": "bfloat16"}
_LOOK_S = 300
_LOOK = """
import importlib.util, json
import torch
kind = torch.accelerator.current_accelerator(check_available=True)
print(json.dumps({"vllm": importlib.util.find_spec("vllm") is not None, "kind": kind.type if kind else "cpu",
                  "count": torch.accelerator.device_count() if kind else 0}))
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """The devices that vLLM's environment sees: `cuda`, `xpu`, `npu`, …, or none and `cpu`."""

    kind: str
    count: int


def arguments(address: ModelAddress, adapters: Mapping[str, Path], settings: EngineSettings) -> list[str]:
    """What vLLM's server is told beside the model.

    Raises SettingsError for settings that it has no word for, ModelError for adapters that it cannot apply.
    """
    given: list[str] = []
    if settings.tensor_parallel_size > 1:
        given += ["--tensor-parallel-size", str(settings.tensor_parallel_size)]
    precision = address.precision or settings.precision
    if precision in ("int8", "int4"):
        raise SettingsError(
            f"precision={precision} is this engine's own; for vLLM take a checkpoint that is quantised already "
            "(AWQ, GPTQ, FP8), or precision=bf16"
        )
    if precision in _DTYPES:
        given += ["--dtype", _DTYPES[precision]]
    if adapters:
        rank = max(_rank(adapter, folder) for adapter, folder in adapters.items())
        given += ["--enable-lora", "--max-lora-rank", str(rank), "--lora-modules"]
        given += [f"{adapter}={folder}" for adapter, folder in adapters.items()]
    return given + _options(settings)


def _options(settings: EngineSettings) -> list[str]:
    """The settings that were given, in vLLM's words; its own defaults stay."""
    given: list[str] = []
    usual = EngineSettings()
    if settings.max_context is not None:
        given += ["--max-model-len", str(settings.max_context)]
    if settings.max_sequences != usual.max_sequences:
        given += ["--max-num-seqs", str(settings.max_sequences)]
    if settings.step_tokens != usual.step_tokens:
        given += ["--max-num-batched-tokens", str(settings.step_tokens)]
    if settings.kv_memory is not None:
        given += ["--kv-cache-memory-bytes", str(parse_bytes(settings.kv_memory))]
    if settings.speculate:
        guesses = {"method": "ngram", "num_speculative_tokens": settings.speculate, "prompt_lookup_max": 4}
        given += ["--speculative-config", json.dumps(guesses)]
    if not settings.share_prefixes:
        given += ["--no-enable-prefix-caching"]
    if settings.trust_remote_code:
        given += ["--trust-remote-code"]
    refused = [
        name for name in ("deterministic", "kv_precision") if getattr(settings, name) not in (False, "auto")
    ]
    if refused:
        raise SettingsError(f"vLLM has no {' and no '.join(refused)} as this engine means it; leave it out, or run "
                            "the model here, without engine_python")  # fmt: skip
    return given


def _rank(name: str, folder: Path) -> int:
    """What --max-lora-rank must be for an adapter."""
    config = read_config(name, folder)
    if config.get("use_dora"):
        raise ModelError(f"{name} is a DoRA adapter, which vLLM does not apply; merge it: weightwright merge")
    rank = max([int(config.get("r", 8)), *(int(r) for r in (config.get("rank_pattern") or {}).values())])
    if rank > _RANKS[-1]:
        raise ModelError(
            f"{name} has rank {rank}, and vLLM takes up to {_RANKS[-1]}; merge it: weightwright merge"
        )
    return next(allowed for allowed in _RANKS if allowed >= rank)


def source_of(address: ModelAddress) -> str:
    """What vLLM is to be given for an address: a hub id or a folder.

    Raises ModelError for GGUF files and packed weights, which are read here alone.
    """
    original = names.NAMES[address.base].hub_id if address.base in names.NAMES else address.hub_id
    if address.kind == "gguf" or address.quantization or address.precision in ("int8", "int4"):
        short = f"{address.base}:bf16" if address.kind == "short" else ""
        instead = short or original or "the folder of its safetensors"
        raise ModelError(f"{address} is read by this engine alone; for vLLM give the original: {instead}")
    return original or str(address.path)


def command(python: Path, model: Path, name: str, told: list[str]) -> list[str]:
    """The command line of vLLM's server for the model in a folder, which it is to call `name`."""
    return [str(python), *_SERVER, "--model", str(model), "--served-model-name", name, *told]


def template_arguments(template: Template | None) -> list[str]:
    """What vLLM is told of a chat template, which it reads from a file."""
    text = default_template(template)
    if not text:
        return []
    file = cache() / "templates" / f"{template_hash(text)}.jinja"
    write_whole(file, text)
    return ["--chat-template", str(file)]


def no_python(
    address: ModelAddress, adapters: Mapping[str, Path], settings: EngineSettings, here: Seen
) -> str:
    """What to say where several devices are asked for and no vLLM is named: the commands that would do it."""
    size, source = settings.tensor_parallel_size, source_of(address)
    started = shlex.join(["vllm", "serve", source, *arguments(address, adapters, settings)])
    name = next(iter(adapters), "")
    seen = f"{here.count} {here.kind}" if here.count else "no"
    return (
        f"tensor_parallel_size={size}: this engine runs a model on one device (torch sees {seen} "
        f"device{'' if here.count == 1 else 's'} here), vLLM on several. Install it and name its "
        "Python: python3 -m venv vllm && vllm/bin/pip install vllm, then add --engine-python vllm/bin/python. Or "
        f"start it yourself: {started}, and give http://127.0.0.1:8000/v1{'#' + name if name else ''} as the model"
    )


def look(python: Path) -> Seen:
    """What the Python of vLLM's environment sees. Raises SettingsError where it has no vLLM, or cannot be started."""
    try:
        shown = subprocess.run(
            [str(python), "-c", _LOOK], capture_output=True, text=True, check=False, timeout=_LOOK_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SettingsError(f"engine_python={python} cannot be started: {error}") from error
    try:
        found: dict[str, Any] = json.loads(shown.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        lines = shown.stderr.strip().splitlines() or ["it printed nothing"]
        raise SettingsError(
            f"engine_python={python} is no Python with vLLM: {lines[-1]}; install it: {python} -m pip install vllm"
        ) from error
    if not found["vllm"]:
        raise SettingsError(f"engine_python={python} has no vLLM; install it: {python} -m pip install vllm")
    return Seen(str(found["kind"]), int(found["count"]))


def require_devices(seen: Seen, settings: EngineSettings) -> None:
    """Raise SettingsError where vLLM sees fewer devices than are asked for, or others."""
    size, wanted = settings.tensor_parallel_size, settings.device
    if wanted not in ("auto", seen.kind):
        raise SettingsError(
            f"device={wanted}: the environment of engine_python sees {seen.count or 'no'} {seen.kind} devices; leave "
            f"device out, or install the vLLM for {wanted} there"
        )
    if size > max(1, seen.count) and wanted != "cpu":  # which vLLM divides by its memory's nodes
        raise SettingsError(
            f"tensor_parallel_size={size}: engine_python sees {seen.count} "
            f"{'GPUs' if seen.kind == 'cpu' else seen.kind + ' devices'}; give {max(1, seen.count)} or fewer"
        )
