"""`weightwright init`: a commented settings file to start from, made from the settings themselves."""

from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from weightwright import config
from weightwright.cli.flags import Outcome, verb
from weightwright.config import Settings
from weightwright.errors import SettingsError, UsageError
from weightwright.files import write_whole

# what each file configures: where its settings stand, and the command that reads it
TEMPLATES: dict[str, str] = {
    "tune": "weightwright.tune.settings:TuneSettings",
    "compare": "weightwright.compare.settings:CompareSettings",
    "serve": "weightwright.serve.settings:ServeSettings",
}
_COMMENT_COLUMN = 34


class InitSettings(Settings):
    """Which file to write."""

    what: Literal["", "tune", "compare", "serve", "schema"] = Field(
        "",
        description="tune, compare or serve; `schema NAME` prints the JSON Schema of one of them; empty: a list",
    )
    name: Literal["", "tune", "compare", "serve"] = Field("", description="whose schema, after `schema`")
    out: Path | None = Field(None, description="file to write [default: tune.yaml and so on]")


@verb(InitSettings, section="init", positional=("what", "name"))
def init(settings: InitSettings) -> Outcome:
    """Write a commented YAML file to start from, or print a JSON Schema."""
    if not settings.what:
        return _choice()
    if settings.what == "schema":
        if not settings.name:
            raise UsageError(f"init schema needs a name: {', '.join(TEMPLATES)}")
        schema = settings_type(settings.name).model_json_schema(by_alias=True)
        return Outcome(schema, _as_json(schema))
    if settings.name:
        raise UsageError(f"init {settings.what} takes no second word, got {settings.name!r}")
    file = settings.out or Path(f"{settings.what}.yaml")
    text = template(settings_type(settings.what), settings.what)
    if file.exists():
        raise SettingsError(f"{file} exists already; choose another name with --out")
    write_whole(file, text)
    return Outcome(
        {"file": str(file)}, f"wrote {file}; edit it, then: weightwright {settings.what} --config {file}"
    )


def _choice() -> Outcome:
    made = {name: f"weightwright init {name}" for name in TEMPLATES}
    lines = [
        f"{command:26}  settings of weightwright {name}, in {name}.yaml" for name, command in made.items()
    ]
    return Outcome(
        {"files": made}, "\n".join([*lines, "weightwright init schema NAME   the JSON Schema of one of them"])
    )


def settings_type(name: str) -> type[BaseModel]:
    """The settings model behind a template."""
    module, _, attribute = TEMPLATES[name].partition(":")
    found: type[BaseModel] = getattr(import_module(module), attribute)
    return found


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
    found = []
    for candidate in (annotation, *get_args(annotation)):
        if getattr(candidate, "__origin__", None) is Literal:
            found += [str(choice) for choice in get_args(candidate) if choice != ""]
    return found


def _as_json(schema: dict[str, Any]) -> str:
    import json

    return json.dumps(schema, indent=2, ensure_ascii=False)
