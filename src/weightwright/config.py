"""Settings from one definition: a pydantic model ⇄ YAML file ⇄ environment ⇄ flags.

Flags beat the environment, which beats the file. Unknown keys are refused with the nearest known
name. This file is mechanism only; each part defines its own settings.
"""

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Optional, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from weightwright.errors import SettingsError, UsageError

PREFIX = "WEIGHTWRIGHT_"


class Settings(BaseModel):
    """The base of every settings model: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One option: its path in the settings (`("engine", "precision")`) and its definition."""

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def key(self) -> str:
        """The dotted name, as in error messages and flags."""
        return ".".join(self.path)


def leaves(settings_type: type[BaseModel], parents: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every option of a settings model, nested models opened, in order of definition.

    An alias (`from`, which Python does not allow as a field's name) stands for the field everywhere outside.
    """
    for name, field in settings_type.model_fields.items():
        nested = nested_settings(field.annotation)
        if nested is None:
            yield Leaf((*parents, field.alias or name), field)
        else:
            yield from leaves(nested, (*parents, name))


def nested_settings(annotation: Any) -> type[BaseModel] | None:
    """The settings model that `annotation` (or `annotation | None`) is, if it is one."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Settings):
            return candidate if set(get_args(annotation)) <= {candidate, type(None)} else None
    return None


def partial(settings_type: type[BaseModel], names: Iterable[str]) -> type[Settings]:
    """A settings model of some options of another, all left out by default; limits and help are the other's."""
    fields: dict[str, Any] = {}
    for name in names:
        field = settings_type.model_fields[name]
        annotation = field.annotation
        for limit in field.metadata:
            annotation = Annotated[annotation, limit]  # type: ignore[assignment]
        fields[name] = (Optional[annotation], Field(None, description=field.description))
    return create_model(f"Some{settings_type.__name__}", __base__=Settings, **fields)


def load(
    settings_type: type[S],
    *,
    section: str,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[tuple[str, ...], Any] | None = None,
    foreign: Mapping[str, Mapping[str, Any]] | None = None,
) -> S:
    """Settings of `section` (`tune`, `kb_add`, ...) from all sources.

    `foreign` has those of other programs, by where they stand.

    Raises SettingsError naming the key, where it came from and what was expected, and UsageError
    when a required value is given nowhere.
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for other, values in (foreign or {}).items():
        _lay(merged, origin, _flatten(dict(values)), lambda _, name=other: name)  # type: ignore[misc]
    if file is not None:
        _lay(merged, origin, _flatten(read_yaml(file)), lambda _: str(file))
    variables = os.environ if environment is None else environment
    _lay(
        merged,
        origin,
        from_environment(settings_type, section, variables),
        lambda path: _variable(section, path),
    )
    _lay(merged, origin, flags or {}, lambda path: "--" + ".".join(path).replace("_", "-"))
    try:
        return settings_type.model_validate(merged)
    except ValidationError as error:
        raise explain(error, settings_type, origin) from error


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises SettingsError with the line where it cannot be read."""
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"cannot read settings from {file}: it is no UTF-8 text (byte {error.start + 1}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise SettingsError(f"cannot read settings from {file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{file} is not valid YAML: {_of_yaml(error)}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"{file} must hold `key: value` lines, found {type(values).__name__}")
    return values


def from_environment(
    settings_type: type[BaseModel], section: str, environment: Mapping[str, str]
) -> dict[tuple[str, ...], Any]:
    """Values of `WEIGHTWRIGHT_SECTION__KEY=value` variables, read as YAML scalars."""
    start = f"{PREFIX}{section.upper()}__"
    known = {_variable(section, leaf.path): leaf.path for leaf in leaves(settings_type)}
    values: dict[tuple[str, ...], Any] = {}
    for name, text in environment.items():
        if not name.startswith(start):
            continue
        if name not in known:
            raise SettingsError(f"unknown environment variable {name}{nearest(name, known)}")
        try:
            values[known[name]] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SettingsError(f"{name}={text!r} cannot be read: {error}") from error
    return values


def explain(
    error: ValidationError, settings_type: type[BaseModel], origin: Mapping[str, str] | None = None
) -> SettingsError:
    """A pydantic error as one clear line a problem: where from, which key, what was expected."""
    lines: list[str] = []
    missing: list[str] = []
    wrong_usage = 0  # what stood on the command line, or had to
    for problem in error.errors(include_url=False):
        path = tuple(str(part) for part in problem["loc"])
        key = ".".join(path)
        source = next((o for k, o in (origin or {}).items() if k == key or k.startswith(key + ".")), "")
        wrong_usage += source.startswith("--") and problem["type"] != "missing"
        prefix = f"{source}: " if source and not source.startswith("--") else ""
        if problem["type"] == "missing":
            missing.append(key)
            wrong_usage += 1
            lines.append(f"{key} is required{_described(settings_type, path)}")
            continue
        if problem["type"] == "extra_forbidden":
            lines.append(f"{prefix}unknown key {key!r}{nearest(path[-1], _names(settings_type, path))}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            value = f"{key}={problem['input']!r}: " if key else ""
            lines.append(f"{prefix}{value}{message}")
    text = "; ".join(lines)
    return UsageError(text, tuple(missing)) if wrong_usage == len(lines) else SettingsError(text)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` with the nearest known name, or the list of them."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known: {', '.join(sorted(names))}" if names else ""


def to_yaml(settings: BaseModel) -> str:
    """The settings as YAML that `load` reads back."""
    values = settings.model_dump(mode="json", by_alias=True)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _described(settings_type: type[BaseModel], path: tuple[str, ...]) -> str:
    field = next((leaf.field for leaf in leaves(settings_type) if leaf.path == path), None)
    return f" ({field.description})" if field and field.description else ""


def _of_yaml(error: yaml.YAMLError) -> str:
    """What is wrong and where, on one line."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', None) or 'cannot be read'}"


def _names(settings_type: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """The keys known at the level where `path` went wrong."""
    current: type[BaseModel] | None = settings_type
    for part in path[:-1]:
        field = current.model_fields.get(part) if current else None
        current = nested_settings(field.annotation) if field else None
    return list(current.model_fields) if current else []


def _variable(section: str, path: tuple[str, ...]) -> str:
    return f"{PREFIX}{section.upper()}__{'__'.join(path).upper()}"


def _flatten(values: Mapping[str, Any], parents: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    flat: dict[tuple[str, ...], Any] = {}
    for key, value in values.items():
        path = (*parents, str(key))
        if isinstance(value, Mapping) and value:
            flat.update(_flatten(value, path))
        else:
            flat[path] = value
    return flat


def _lay(
    merged: dict[str, Any],
    origin: dict[str, str],
    values: Mapping[tuple[str, ...], Any],
    name: Callable[[tuple[str, ...]], str],
) -> None:
    """Lay `values` over `merged`, noting where each came from."""
    for path, value in values.items():
        level = merged
        for part in path[:-1]:
            inner = level.get(part)
            if not isinstance(inner, dict):
                inner = level[part] = {}
            level = inner
        level[path[-1]] = value
        origin[".".join(path)] = name(path)
