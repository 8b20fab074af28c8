"""Another trainer's values with the line of each, taken one by one as what they must be; LLaMA-Factory's file."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from weightwright.config import nearest
from weightwright.errors import SettingsError
from weightwright.tune import llamafactory_keys as keys

_NAMED_FOR_V1 = {"model", "peft_config", "quant_config", "dist_config", "train_dataset", "micro_batch_size"}
_TRUTHS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_NOTHING = (None, "", "null", "none", "None")


class Reading:
    """Another trainer's values while they are taken one by one; what is left at the end is unknown.

    `where` they stand and the `lines` of the keys are for errors; `tables` know the keys that become no settings.
    `processes` is on how many GPUs the values were meant to run.
    """

    def __init__(
        self,
        where: str,
        values: Mapping[str, Any],
        lines: Mapping[str, int],
        tables: keys.Tables,
        processes: int = 1,
    ) -> None:
        self.settings: dict[str, Any] = {}
        self.notes: list[str] = []
        self.unmapped: list[str] = []
        self.processes = processes
        self._where, self._tables = where, tables
        self._values = {tables.old_names.get(key, key): value for key, value in values.items()}
        self._lines = {tables.old_names.get(key, key): line for key, line in lines.items()}

    def holds(self, key: str) -> bool:
        """Whether the file says anything of it."""
        return self._values.get(key) not in _NOTHING

    def text(self, key: str, default: str | None = None) -> str | None:
        """A name; a list of names is joined by commas. Absent and "none" give the default."""
        value = self._take(key)
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return ",".join(value)
        if value in _NOTHING:
            return default
        if not isinstance(value, str):
            raise self.wrong(key, value, "must be a name")
        return value.strip()

    def number(self, key: str, default: float | None = None) -> float | None:
        """A number; YAML reads `1e-4` as a text, which is one here."""
        value = self._take(key)
        if value in _NOTHING:
            return default
        try:
            if isinstance(value, bool):
                raise ValueError(value)
            parsed_number = float(value)
        except (ValueError, TypeError) as error:
            raise self.wrong(key, value, "must be a number") from error
        if not math.isfinite(parsed_number):
            raise self.wrong(key, value, "must be a number")
        return parsed_number

    def whole(self, key: str, default: int | None = None) -> int | None:
        """A whole number."""
        number = self.number(key)
        if number is None:
            return default
        if not number.is_integer():
            raise self.wrong(key, number, "must be a whole number")
        return int(number)

    def steps_or_share(self, key: str) -> float | None:
        """A number of steps, or below 1 a share of the run; None for 0 and less."""
        number = self.number(key)
        if number is None or number <= 0:
            return None
        if number > 1 and not number.is_integer():
            raise self.wrong(key, number, "must be a whole number, or below 1 a share of the steps")
        return int(number) if number >= 1 else number

    def said(self, key: str) -> str:
        """What stands there, as text, without taking it."""
        return str(self._values.get(key, ""))

    def flag(self, key: str, *, default: bool = False) -> bool:
        """A truth value."""
        value = self._take(key)
        if value in _NOTHING:
            return default
        truth = _TRUTHS.get(str(value).lower())
        if truth is None:
            raise self.wrong(key, value, "must be true or false")
        return truth

    def choice(self, key: str, known: Mapping[str, str], default: str) -> str | None:
        """One of their names as ours; None, and the key listed, where ours has no such thing."""
        value = self.text(key, default)
        assert value is not None
        if value not in known:
            self.unmapped.append(
                f"{key}: {value} is not offered here; there is {', '.join(sorted(set(known.values())))}"
            )
            return None
        return known[value]

    def list_key(self, key: str, why: str) -> None:
        """Say that a key has no counterpart."""
        self._values.pop(key, None)
        self.unmapped.append(f"{key}: {why}")

    def wrong(self, key: str, value: Any, expected: str) -> SettingsError:
        """The error that names file, line, value and what was expected."""
        line = self._lines.get(key)
        place = f"{self._where}, line {line}" if line else self._where
        return SettingsError(f"{place}: {key}={value!r} {expected}")

    def _take(self, key: str) -> Any:
        return self._values.pop(key, None)

    def list_rest(self) -> None:
        """What no part has taken: without need here, without counterpart, or unknown."""
        tables = self._tables
        needless = [key for key in self._values if key in tables.needless]
        if needless:
            self.notes.append(f"not needed here: {', '.join(needless)}")
        for key, value in self._values.items():
            harmless, why = tables.none_here.get(key, ((), ""))
            if key in tables.needless or (why and (value in _NOTHING or value in harmless)):
                continue
            self.unmapped.append(f"{key}: {why}" if why else f"{key}: unknown key{_nearest(key, tables)}")
        self._values.clear()


def _nearest(key: str, tables: keys.Tables) -> str:
    """`; did you mean ...?`, or nothing: a list of all their keys helps nobody."""
    hint = nearest(key, tables.all)
    return hint if "did you mean" in hint else ""


def parsed(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The values of the file, and the line of each key. Raises SettingsError with the line of a mistake."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from error
    values, lines = (_json if path.suffix.lower() == ".json" else _yaml)(path, text)
    if not isinstance(values, dict) or not values:
        raise SettingsError(f"{path}, line 1: expected `key: value` lines, found {type(values).__name__}")
    if "model_name_or_path" not in values and _NAMED_FOR_V1 & values.keys():
        raise SettingsError(f"{path} is in LLaMA-Factory's v1 schema (USE_V1=1: model, peft_config, train_dataset), "
                            "which is not read here; the usual one begins with model_name_or_path")  # fmt: skip
    return {str(key): value for key, value in values.items()}, lines


def _yaml(path: Path, text: str) -> tuple[Any, dict[str, int]]:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).split("\n", maxsplit=1)[0]
        raise SettingsError(f"{path}{line}: not valid YAML: {problem}") from error
    lines: dict[str, int] = {}
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        line_number = key.start_mark.line + 1
        if key.value in lines:
            raise SettingsError(f"{path}, line {line_number}: {key.value} stands twice, first in line "
                                f"{lines[key.value]}; remove one")  # fmt: skip
        lines[key.value] = line_number
    return values, lines


def _json(path: Path, text: str) -> tuple[Any, dict[str, int]]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}") from error
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        for match in re.finditer(r'"([^"]+)"\s*:', line):
            lines.setdefault(match[1], number)
    return values, lines
