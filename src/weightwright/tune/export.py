"""Write what a run has learnt: an adapter folder in PEFT's own format, or a whole model."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from weightwright.files import full_disk, sync_tree
from weightwright.weights.origin import ORIGIN_FILE, TEMPLATE_FILE, template_hash


def save_adapter(
    whole: Any,
    tokenizer: Any,
    target: Path,
    *,
    base_fingerprint: str,
    weights: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write the adapter of a peft model to `target`, with the chat template that it was trained with.

    Its `weights` are those that stand in the model, unless they are given.
    `weightwright.json` beside it holds the template's hash and the base model's fingerprint, so that
    whoever loads the adapter can see whether it stands on the same ground.
    """
    beside = _fresh(target)
    with full_disk(target):
        whole.save_pretrained(str(beside), save_embedding_layers=False, state_dict=weights)
    (beside / "README.md").unlink(missing_ok=True)
    template = tokenizer.chat_template or ""
    (beside / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    origin = {
        "template_sha256": template_hash(template),
        "base_fingerprint": base_fingerprint,
    }
    (beside / ORIGIN_FILE).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
    return _put(beside, target)


def save_model(model: Any, tokenizer: Any, target: Path, weights: Mapping[str, Tensor] | None = None) -> Path:
    """Write a whole model with its tokenizer to `target`, with other `weights` where they are given."""
    beside = _fresh(target)
    with full_disk(target):
        model.save_pretrained(str(beside), state_dict=weights)
    tokenizer.save_pretrained(str(beside))
    return _put(beside, target)


def _fresh(target: Path) -> Path:
    beside = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    return beside


def _put(beside: Path, target: Path) -> Path:
    usual = next(beside.glob("*.json")).stat().st_mode
    for file in beside.glob("*.safetensors"):
        file.chmod(usual)  # safetensors lets nobody but the owner read its files
    sync_tree(beside)
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)
    return target
