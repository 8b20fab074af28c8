"""Chat templates: which one a model's conversations are written in; a folder's, as transformers keeps them."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from weightwright.address.models import ModelAddress
from weightwright.data.chat_templates import chosen_template
from weightwright.errors import SettingsError
from weightwright.hub import weight_files

log = logging.getLogger(__name__)

TEMPLATE_FILE = "chat_template.jinja"
NAMED_FOLDER = "additional_chat_templates"
_NEW_CLASSES = ("TokenizersBackend",)
Template = str | Mapping[str, str]


def with_known_template(tokenizer: Any, address: ModelAddress, asked: str | None = None) -> Any:
    """The tokenizer of the model at `address` with the chat template that its conversations are written in.

    That is the one `asked` for, else the one that the user gave the name, else the model's own, else what is known by
    its name, which is said. Raises SettingsError for one that was chosen and cannot be followed.
    """
    asked = asked or address.template
    if asked:
        return chosen_template(asked, tokenizer)
    usual = address.usual_template
    if tokenizer.chat_template or not usual:
        return tokenizer
    try:
        chosen = chosen_template(usual, tokenizer)
    except SettingsError:  # a tokenizer without what the format needs is none of that family
        return tokenizer
    log.warning("%s has no chat template of its own; by its name its conversations are written as %s's "
                "(--template takes another)", replace(address, adapter=None), usual)  # fmt: skip
    return chosen


def read_template(folder: Path) -> Template | None:
    """The chat template in a folder's files, several by name where there are; None where there is none."""
    file = folder / TEMPLATE_FILE
    config = folder / "tokenizer_config.json"
    if file.is_file():
        known: Any = file.read_text(encoding="utf-8")
    else:
        known = weight_files.read_json(config).get("chat_template") if config.is_file() else None
    if isinstance(known, list):
        known = {str(one["name"]): str(one["template"]) for one in known}
    named = {
        one.stem: one.read_text(encoding="utf-8") for one in sorted((folder / NAMED_FOLDER).glob("*.jinja"))
    }
    if not named:
        return known or None
    default = {"default": known} if isinstance(known, str) and known else known or {}
    return {**default, **named}


def write_template(folder: Path, template: Template | None) -> None:
    """Write a tokenizer's chat template into a folder, an empty file where it has none."""
    named = {"default": template or ""} if isinstance(template, str | None) else dict(template)
    if "default" in named:
        (folder / TEMPLATE_FILE).write_text(named.pop("default"), encoding="utf-8")
    for name, text in named.items():
        (folder / NAMED_FOLDER).mkdir(exist_ok=True)
        (folder / NAMED_FOLDER / f"{name}.jinja").write_text(text, encoding="utf-8")


def template_hash(template: Template | None) -> str:
    """By which a chat template is known."""
    text = template or "" if isinstance(template, str | None) else json.dumps(dict(template), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def default_template(template: Template | None) -> str:
    """The template for conversations without tools; "" where there is none."""
    if isinstance(template, str | None):
        return template or ""
    return str(template.get("default") or next(iter(template.values()), ""))


def name_known_class(folder: Path) -> None:
    """Let a folder's tokenizer_config.json be read by transformers 4 as well, whose names version 5 has changed."""
    file = folder / "tokenizer_config.json"
    config = weight_files.read_json(file) if file.is_file() else {}
    changed = dict(config)
    if config.get("tokenizer_class") in _NEW_CLASSES:
        changed["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):
        changed["additional_special_tokens"] = changed.pop("extra_special_tokens")
    if changed != config:
        file.write_text(json.dumps(changed, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
