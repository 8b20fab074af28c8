"""A settings file to start from, made from the settings: descriptions as comments, defaults as values."""

from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from weightwright import config

_COMMENT_COLUMN = 34


def template(settings: type[BaseModel], name: str) -> str:
    """The settings as YAML: descriptions as comments, defaults as values, required ones commented out."""
    head = [
        f"# Settings of `weightwright {name} --config FILE`.",
        f"# Flags (--key) and the environment (WEIGHTWRIGHT_{name.upper()}__KEY) go before this file.",
        "# Lines marked (required) have no default: take the # before the key away and fill them in.",
        "",
    ]
    return "\n".join([*head, *_lines(settings, None, 0)]) + "\n"


def _lines(settings: type[BaseModel], defaults: BaseModel | None, depth: int) -> list[str]:
    """One line a field; `defaults`: what the field above puts here, which may differ from the model's own."""
    plain: list[str] = []
    opened: list[str] = []
    indent = "  " * depth
    for name, field in settings.model_fields.items():
        default = _default(field) if defaults is None else getattr(defaults, name)
        nested = config.nested_settings(field.annotation)
        if nested is None:
            plain.append(_line(indent, field.alias or name, field, default))
        else:
            inner = default if isinstance(default, BaseModel) else None
            opened += ["", f"{indent}{name}:", *_lines(nested, inner, depth + 1)]
    return plain + opened


def _default(field: FieldInfo) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _line(indent: str, name: str, field: FieldInfo, default: Any) -> str:
    comment = f"# {field.description}" if field.description else ""
    choices = _choices(field.annotation)
    if choices and not all(choice in comment for choice in choices):
        comment = f"{comment or '#'} ({' | '.join(choices)})"
    if field.is_required():
        entry = f"{indent}# {name}:"
        comment = f"{comment} (required)" if comment else "# required"
    else:
        entry = f"{indent}{name}: {_value(default)}"
    return f"{entry:<{_COMMENT_COLUMN}} {comment}".rstrip()


def _value(default: Any) -> str:
    """A default as YAML on one line."""
    if isinstance(default, Path):
        default = str(default)
    if isinstance(default, tuple):
        default = [str(item) if isinstance(item, Path) else item for item in default]
    text = yaml.safe_dump(default, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _choices(annotation: Any) -> list[str]:
    choices = []
    for candidate in (annotation, *get_args(annotation)):
        if getattr(candidate, "__origin__", None) is Literal:
            choices += [str(choice) for choice in get_args(candidate) if choice != ""]
    return choices
