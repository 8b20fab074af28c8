"""An adapter's `adapter_config.json`: read, and refused where neither the engine nor a merge computes what it says.

What the engine alone cannot apply, and a merge can, stands in `adapter`.
"""

import json
import re
from pathlib import Path
from typing import Any

from weightwright.errors import ModelError

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # what peft puts before the model's own names
_MLX_FILE = "adapters.safetensors"
# what torch.compile, FSDP, recomputing and DDP put into names, and what peft leaves out of a file: its adapter's name
_WRAPPERS = re.compile(r"_orig_mod\.|_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.|^module\.")
_NAMED = re.compile(r"(\.lora_(?:embedding_)?(?:A|B)|\.lora_magnitude_vector)\.default(?=\.|$)")
# fields of peft 0.21's LoraConfig after which no weight can be added to the base model's once and for all
_NEVER_MERGED = {
    "layer_replication": "layers of the base model repeated; write the longer model first (mergekit's passthrough) "
                         "and train on that",
    "alora_invocation_tokens": "activated LoRA begins in the middle of a prompt; serve it with vLLM",
    "use_qalora": "QA-LoRA pools its input; use it in peft",
    "arrow_config": "Arrow routes tokens between adapters; use it in peft",
}  # fmt: skip
# These starts take a part of the base weights away, and not the same part each time; OLoRA and exact PiSSA do
_NOT_REPEATED = ("pissa_niter", "corda", "loftq", "lora_ga")
PLAIN = "save it as plain LoRA (peft's save_pretrained with path_initial_model_for_weight_conversion)"


def read_config(adapter: str, folder: Path) -> dict[str, Any]:
    """The configuration of the LoRA adapter in `folder`, which errors call `adapter`.

    Raises ModelError where the folder holds no LoRA adapter, or one that neither the engine nor a merge can use.
    """
    file = folder / CONFIG_FILE
    if not file.is_file():
        inside = folder / "adapter"  # of a run
        hint = f"; take {inside}" if (inside / CONFIG_FILE).is_file() else ""
        raise ModelError(f"{adapter}: {folder} holds no {CONFIG_FILE} (PEFT's format){hint}")
    if (folder / _MLX_FILE).is_file() and not (folder / WEIGHTS_FILE).is_file():
        raise ModelError(f"{adapter}: {folder} holds an adapter in MLX's format ({_MLX_FILE}); fuse it there "
                         "(mlx_lm.fuse) and give the fused folder as the model")  # fmt: skip
    if not (folder / WEIGHTS_FILE).is_file():
        raise ModelError(f"{adapter}: {folder} holds no {WEIGHTS_FILE}; pickled weights are not read, save it with "
                         "safe_serialization=True")  # fmt: skip
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        kind = str(config["peft_type"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{adapter}: {file} is not PEFT's {CONFIG_FILE}") from error
    if kind != "LORA":
        raise ModelError(
            f"{adapter} is of kind {kind}; LoRA adapters (rsLoRA and DoRA among them) are used here"
        )
    for field, why in _NEVER_MERGED.items():
        if config.get(field):
            raise ModelError(f"{adapter} has {field}={json.dumps(config[field])}, which is neither applied nor "
                             f"merged here: {why}")  # fmt: skip
    if start_of(config).startswith(_NOT_REPEATED):
        raise ModelError(f"{adapter} has init_lora_weights={start_of(config)!r}, which changes the base weights, "
                         f"differently each time; {PLAIN}")  # fmt: skip
    return config


def peft_name(key: str) -> str:
    """A tensor's name as peft writes it, where a trainer saved a wrapped model's `state_dict` instead."""
    path = _NAMED.sub(r"\1", _WRAPPERS.sub("", key))
    while path.startswith(PREFIX):
        path = path.removeprefix(PREFIX)
    return PREFIX + path


def start_of(config: dict[str, Any]) -> str:
    """How the matrices were begun (`init_lora_weights`), in small letters."""
    return str(config.get("init_lora_weights", True)).lower()
