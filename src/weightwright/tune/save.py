"""Write what a run has learnt: an adapter folder in PEFT's own format, or a whole model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from weightwright.files import whole_folder
from weightwright.ports import Tokenizer
from weightwright.weights.ends import write_turn_ends
from weightwright.weights.origin import ORIGIN_FILE
from weightwright.weights.templates import name_known_class, template_hash, write_template


def save_adapter(
    whole: Any,
    tokenizer: Tokenizer,
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
    template = tokenizer.chat_template
    origin = {"template_sha256": template_hash(template), "base_fingerprint": base_fingerprint}
    with whole_folder(target) as beside:
        whole.save_pretrained(str(beside), save_embedding_layers=False, state_dict=weights)
        (beside / "README.md").unlink(missing_ok=True)
        write_template(beside, template)
        (beside / ORIGIN_FILE).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
    return target


def save_model(
    model: Any, tokenizer: Tokenizer, target: Path, weights: Mapping[str, Tensor] | None = None
) -> Path:
    """Write a whole model with its tokenizer to `target`, with other `weights` where they are given."""
    with whole_folder(target) as beside:
        model.save_pretrained(str(beside), state_dict=weights)
        tokenizer.save_pretrained(str(beside))
        write_turn_ends(beside, tokenizer)
        name_known_class(beside)
    return target
