"""A LoRA or DoRA adapter on disk: PEFT's `adapter_config.json` and `adapter_model.safetensors`, read and checked.

The file of weights itself says which modules an adapter changes (whatever `target_modules`, a regular
expression, `all-linear` or `layers_to_transform` chose in training); the configuration gives each its scale.
Nothing of peft or of the model is needed to read it.
"""

import hashlib
import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from weightwright.errors import ModelError
from weightwright.weights.adapter_config import PLAIN, PREFIX, WEIGHTS_FILE, peft_name, read_config, start_of

_BASE = "__base__"  # peft's name for "no adapter" in a mixed batch
_TENSOR = re.compile(
    r"(?P<path>.+)\.lora_((?P<which>[AB])\.(?P<kind>weight|bias)|(?P<magnitude>magnitude_vector)(\.weight)?)"
)
_SAVED_BASE = ".base_layer.weight"  # peft saves a targeted lm_head's own matrix too
_MERGE = (
    "merge it into its base model (weightwright merge MODEL+ADAPTER) and give the merged folder as the model"
)
_MERGED = {
    "modules_to_save": "whole copies of modules beside its low-rank matrices",
    "target_parameters": "parameters rather than layers, such as the stacked experts of a mixture",
    "trainable_token_indices": "trained embeddings of single tokens",
    "use_bdlora": "block-diagonal LoRA",
    "kasa_config": "KaSA truncates the base weights",
    "monteclora_config": "MonteCLoRA samples around its matrices",
}  # fields of peft 0.21's LoraConfig that change what the forward pass computes
_CHANGES_BASE = ("pissa", "olora")  # these starts subtract from the base weights, the same each time


@dataclass(frozen=True, slots=True)
class LoraWeights:
    """What an adapter adds to one module: `scale * (b @ a @ x + bias)` (arXiv 2106.09685, §4.1).

    With a magnitude it is DoRA, see `dora`.
    """

    a: Tensor  # [rank, in]
    b: Tensor  # [out, rank]
    scale: float  # alpha / rank, or alpha / sqrt(rank) (rsLoRA, arXiv 2312.03732)
    bias: Tensor | None = None  # [out]
    magnitude: Tensor | None = None  # [out]

    @property
    def rank(self) -> int:
        """Rows of `a`."""
        return len(self.a)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A whole adapter: its weights by module path (`model.layers.0.self_attn.q_proj`) and their hash."""

    name: str
    folder: Path
    modules: Mapping[str, LoraWeights]
    saved_base: Mapping[str, tuple[int, ...]]  # shapes of base matrices that the file repeats, by module path
    digest: bytes  # 32 bytes over paths, scales and weights: equal only for adapters that compute the same

    def misfit(self, why: str) -> ModelError:
        """The error that says why this adapter cannot be applied to a model."""
        return ModelError(f"adapter {self.name!r} (LORA) at {self.folder} does not fit this model: {why}")


def refuse_experts(name: str, what: str) -> NoReturn:
    """Raise the one ModelError for adapters of a mixture's expert matrices."""
    raise ModelError(
        f"adapter {name!r} changes the experts of a mixture ({what}); adapters of expert matrices are not "
        f"applied here: train without them (attention and shared layers only), or {_MERGE}"
    )


def read_adapter(name: str, folder: Path) -> Adapter:
    """Read a LoRA adapter in PEFT's format. Raises ModelError when it is another kind or cannot be used."""
    config = _read_config(name, folder)
    return adapter_of(name, folder, _read_tensors(name, folder / WEIGHTS_FILE), config)


def adapter_of(name: str, folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Adapter:
    """The adapter of tensors by peft's names and peft's configuration. Raises ModelError as `read_adapter` does."""
    pairs: dict[str, dict[str, Tensor]] = {}
    saved_base: dict[str, tuple[int, ...]] = {}
    for key, tensor in sorted(tensors.items()):
        path = peft_name(key).removeprefix(PREFIX)
        match = _TENSOR.fullmatch(path)
        if match:
            part = match["magnitude"] or ("bias" if match["kind"] == "bias" else match["which"])
            pairs.setdefault(match["path"], {})[part] = tensor
        elif path.endswith(_SAVED_BASE) and "lora_" not in path:
            saved_base[path.removesuffix(_SAVED_BASE)] = tuple(tensor.shape)
        else:
            _refuse_tensor(name, key)
    if not pairs:
        raise ModelError(f"adapter {name!r}: {folder}/adapter_model.safetensors holds no LoRA matrices")
    modules = {path: _weights(name, path, parts, config) for path, parts in pairs.items()}
    return Adapter(name, folder, modules, saved_base, _digest(modules))


def _read_config(name: str, folder: Path) -> dict[str, Any]:
    """The adapter's configuration, after looking at what would fail later with a worse message."""
    config = read_config(f"adapter {name!r}", folder)
    if not name or "." in name or name == _BASE:
        raise ModelError(f"adapter name {name!r} cannot be used; choose one without dots")
    for field, meaning in _MERGED.items():
        if config.get(field):
            value = json.dumps(config[field])
            raise ModelError(
                f"adapter {name!r} has {field}={value} ({meaning}); only LoRA and DoRA are applied here: {_MERGE}"
            )
    if config.get("bias", "none") != "none":
        raise ModelError(
            f"adapter {name!r} has bias={config['bias']!r}: it changes the base model's own biases; {_MERGE}"
        )
    if start_of(config).startswith(_CHANGES_BASE):
        raise ModelError(
            f"adapter {name!r} has init_lora_weights={start_of(config)!r}, which changes the base weights; {PLAIN}, "
            f"or {_MERGE}"
        )
    return config


def _read_tensors(name: str, file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"adapter {name!r}: {file} cannot be read ({error}); copy it again") from error
    return tensors


def _refuse_tensor(name: str, key: str) -> NoReturn:
    if "embed" in key:  # `lora_embedding_A` or a table of another size
        raise ModelError(
            f"adapter {name!r} changes the input embeddings ({key}); adapters of embeddings are not applied "
            f"here: train with other target_modules, or {_MERGE}"
        )
    if ".experts." in key:
        refuse_experts(name, key)
    if key.endswith(".weight") and "lora_" not in key:
        raise ModelError(
            f"adapter {name!r} holds a whole matrix ({key}), as those with added tokens do; {_MERGE}"
        )
    raise ModelError(f"adapter {name!r} holds a tensor that is no part of LoRA or DoRA: {key}; {_MERGE}")


def _weights(name: str, path: str, parts: Mapping[str, Tensor], config: Mapping[str, Any]) -> LoraWeights:
    """One module's matrices with the scale that the configuration gives them."""
    missing = [f"lora_{which}" for which in "AB" if which not in parts]
    if missing:
        raise ModelError(f"adapter {name!r} lacks {missing[0]} of {path}; save it again")
    a, b, bias, magnitude = parts["A"], parts["B"], parts.get("bias"), parts.get("magnitude_vector")
    if not all(tensor.is_floating_point() for tensor in parts.values()):
        raise ModelError(f"adapter {name!r}: {path} is {a.dtype}, not f32, bf16 or f16")
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] or 0 in a.shape:
        raise ModelError(
            f"adapter {name!r}: {path} has lora_A {list(a.shape)} and lora_B {list(b.shape)}, which are not "
            "[rank, in] and [out, rank]"
        )
    for what, vector in (("bias", bias), ("magnitude", magnitude)):
        if vector is not None and vector.shape != b.shape[:1]:
            raise ModelError(
                f"adapter {name!r}: {path} has a {what} {list(vector.shape)} for {b.shape[0]} outputs"
            )
    if (magnitude is not None) != bool(config.get("use_dora")):
        stored = "a magnitude" if magnitude is not None else "no magnitude"
        raise ModelError(
            f"adapter {name!r}: {path} has {stored} in the weights and use_dora={json.dumps(config.get('use_dora'))} "
            "in adapter_config.json; the two files are not of one adapter"
        )
    try:
        rank = int(_of_pattern(config.get("rank_pattern"), path, config.get("r", 8)))
        alpha = float(_of_pattern(config.get("alpha_pattern"), path, config.get("lora_alpha", 8)))
    except (ValueError, TypeError, AttributeError, re.error) as error:
        raise ModelError(f"adapter {name!r}: its rank and alpha of {path} cannot be read: {error}") from error
    if rank != a.shape[0]:
        raise ModelError(
            f"adapter {name!r}: {path} has rank {a.shape[0]} in the weights and {rank} in "
            "adapter_config.json; the two files are not of one adapter"
        )
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return LoraWeights(a, b, scale, bias, magnitude)


def _of_pattern(pattern: Mapping[str, Any] | None, path: str, default: Any) -> Any:
    """The first value whose key matches the end of the path, as peft looks it up."""
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", path):
            return value
    return default


def _digest(modules: Mapping[str, LoraWeights]) -> bytes:
    digest = hashlib.blake2b(digest_size=32)
    for path in sorted(modules):
        weights = modules[path]
        digest.update(struct.pack("<qd", len(path), weights.scale) + path.encode())
        for tensor in (weights.a, weights.b, weights.bias, weights.magnitude):
            if tensor is None:
                digest.update(b"-")
            else:
                digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
                digest.update(tensor.contiguous().view(torch.uint8).numpy())
    return digest.digest()
