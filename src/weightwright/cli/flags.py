"""Flags made from settings models: `verb(TuneSettings)` turns a function of settings into a command."""

import inspect
import io
import json as json_module
import keyword
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, TypeVar, get_args, get_origin

from cyclopts import Group, Parameter
from pydantic import BaseModel

from weightwright import config
from weightwright.cli import logs
from weightwright.options import Device

S = TypeVar("S", bound=BaseModel)
_logger = logging.getLogger(__name__)

ARGUMENTS = Group("Subject", sort_key=1)
OPTIONS = Group("Options", sort_key=2)
EVERYWHERE = Group("Everywhere", sort_key=9)
_LOG_WIDTH = 140
LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a verb found out: `data` is printed by --json, `view` (text or a rich renderable) otherwise."""

    data: Mapping[str, Any]
    view: Any = ""


Found = Outcome | Iterable[Outcome] | None


@dataclass(frozen=True, slots=True)
class Reader:
    """A flag that takes another program's settings: how they are read, the help, and whether it is a file or text."""

    read: Callable[[Any], Mapping[str, Any]]
    help: str
    kind: type[Path] | type[str] = Path


def said(where: str, read: tuple[dict[str, Any], Sequence[str], Sequence[str]]) -> dict[str, Any]:
    """The settings that were read, once what differs here and what has no counterpart is logged."""
    values, notes, unknown = read
    for line in (*notes, *unknown):
        _logger.warning("%s: %s", where, line)
    return values


def verb(
    settings_type: type[S],
    *,
    section: str,
    positional: Sequence[str] = (),
    readers: Mapping[str, Reader] | None = None,
) -> Callable[[Callable[[S], Found]], Callable[..., None]]:
    """Make a command whose flags are the fields of `settings_type`; of several outcomes each is shown when it comes.

    `positional` names fields that may stand without a flag; a last one that is a tuple takes the rest. `readers`
    are flags that take another program's settings.
    """
    readers = readers or {}

    def decorate(function: Callable[[S], Found]) -> Callable[..., None]:
        leaves = list(config.leaves(settings_type))
        names = {_identifier(leaf): leaf for leaf in leaves}

        def command(*rest: Any, **given: Any) -> None:
            common = {p.name: given.pop(p.name, p.default) for p in _common_parameters()}
            logs.configure(common["log_level"])
            told = {name: given.pop(name, None) for name in readers}
            foreign = {
                str(what) if readers[name].kind is Path else f"--{name}": readers[name].read(what)
                for name, what in told.items()
                if what is not None
            }
            flags = {names[name].path: value for name, value in given.items() if value is not None}
            flags |= _positional_values(rest, positional)
            if common["device"] is not None:
                devices = [leaf.path for leaf in leaves if leaf.path[-1] == "device"]
                flags = dict.fromkeys(devices, common["device"]) | flags
            settings = config.load(
                settings_type, section=section, file=common["config"], flags=flags, foreign=foreign
            )
            outcomes = function(settings)
            for outcome in [outcomes] if isinstance(outcomes, Outcome) else outcomes or ():
                show(outcome, as_json=bool(common["json"]))
                sys.stdout.flush()

        command.__name__ = function.__name__
        command.__doc__ = function.__doc__
        command.__module__ = function.__module__
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [*_parameters(leaves, positional), *_file_parameters(readers), *_common_parameters()]
        )
        return command

    return decorate


def _positional_values(values: tuple[Any, ...], names: Sequence[str]) -> dict[tuple[str, ...], Any]:
    """What stood without a flag, by the field it is for."""
    return {(name,): value for name, value in zip(names, values, strict=False) if value is not None}


def show(outcome: Outcome, *, as_json: bool) -> None:
    """Print a result to stdout: one JSON document, or the view for people."""
    if as_json:
        sys.stdout.write(_json(outcome.data, sys.stdout.encoding or "utf-8") + "\n")
        return
    if isinstance(outcome.view, str):
        if outcome.view:
            sys.stdout.write(outcome.view.rstrip("\n") + "\n")
        return
    from rich.console import Console

    # a log has no width of its own: wide enough for the widest table
    Console(width=None if sys.stdout.isatty() else _LOG_WIDTH).print(outcome.view)


def as_text(renderable: Any) -> str:
    """A table as plain text, to stand above lines that are as long as they are."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=None if sys.stdout.isatty() else _LOG_WIDTH)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def _json(data: Mapping[str, Any], encoding: str) -> str:
    """The data as JSON, every character as it is unless the output's encoding lacks one."""
    text = json_module.dumps(data, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json_module.dumps(data)
    return text


def _parameters(leaves: list[config.Leaf], positional: Sequence[str]) -> list[inspect.Parameter]:
    """One parameter for each option, positional ones first (as they must stand in a signature)."""
    tails = Counter(leaf.path[-1] for leaf in leaves)
    common = {parameter.name for parameter in _common_parameters()}
    by_name = {leaf.key: leaf for leaf in leaves}
    parameters = [_positional(by_name[name]) for name in positional]
    for leaf in leaves:
        if leaf.key in positional or leaf.key == "device":  # --device stands among the common flags
            continue
        unique = tails[leaf.path[-1]] == 1 and leaf.path[-1] not in common
        flag = "--" + (leaf.path[-1] if unique else leaf.key).replace("_", "-")
        parameters.append(
            inspect.Parameter(
                _identifier(leaf),
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[
                    Optional[_flag_type(leaf.field.annotation)],
                    Parameter(
                        name=flag,
                        help=_help(leaf),
                        show_default=False,
                        negative_iterable="",
                        consume_multiple=not positional or _takes_several(leaf),
                        group=_group(leaf),
                    ),
                ],
            )
        )
    return parameters


def _takes_several(leaf: config.Leaf) -> bool:
    """Whether words after the flag are all its values; elsewhere the next one may be the subject."""
    extra = leaf.field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("several"))


def _positional(leaf: config.Leaf) -> inspect.Parameter:
    annotation = leaf.field.annotation
    help_text = Parameter(help=_help(leaf), show_default=False, negative_iterable="", group=ARGUMENTS)
    return inspect.Parameter(
        _identifier(leaf),
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=None,
        annotation=Annotated[Optional[_flag_type(annotation)], help_text],
    )


def _file_parameters(readers: Mapping[str, Reader]) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                Optional[reader.kind],
                Parameter(
                    help=reader.help,
                    show_default=False,
                    group=EVERYWHERE,
                    allow_leading_hyphen=reader.kind is str,
                ),
            ],
        )
        for name, reader in readers.items()
    ]


def _common_parameters() -> list[inspect.Parameter]:
    """The flags that every verb has."""

    def parameter(name: str, annotation: Any, help_text: str, default: Any = None) -> inspect.Parameter:
        described = Annotated[
            annotation, Parameter(help=help_text, group=EVERYWHERE, negative="", show_default=False)
        ]
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=described)

    return [
        parameter("config", Optional[Path], "read settings from this YAML file"),
        parameter("json", bool, "print the result as one JSON document", False),
        parameter("device", Optional[Device], "auto (default), cpu, cuda, mps or xpu"),
        parameter("log_level", Optional[LogLevel], "how much to log to stderr [default: warning]"),
        parameter("debug", bool, "show the traceback of an error", False),
    ]


def _identifier(leaf: config.Leaf) -> str:
    name = "__".join(leaf.path)
    return f"{name}_" if keyword.iskeyword(name) else name


def _flag_type(annotation: Any) -> Any:
    """The type of a flag: `X | None` is a flag of X; a tuple is a list that may be repeated.

    Limits are left to the settings, which name the option and its value where one is broken.
    """
    args = [a for a in get_args(annotation) if a is not type(None)]
    if type(None) in get_args(annotation) and len(args) == 1:
        annotation = args[0]
    if get_origin(annotation) is tuple:
        return list[get_args(annotation)[0]]  # type: ignore[misc]
    return _flag_type(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def _help(leaf: config.Leaf) -> str:
    text = leaf.field.description or ""
    default = leaf.field.get_default(call_default_factory=True) if not leaf.field.is_required() else None
    if default in (None, (), "", {}) or isinstance(default, BaseModel):
        return text
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{text} [default: {shown}]"


def _group(leaf: config.Leaf) -> Group:
    if len(leaf.path) == 1:
        return OPTIONS
    return _nested_group(leaf.path[0].replace("_", " ").capitalize())


@cache
def _nested_group(name: str) -> Group:
    return Group(name, sort_key=3)
