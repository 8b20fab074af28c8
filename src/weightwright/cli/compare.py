"""`weightwright compare`: which arm is better on your questions, by how much, how sure, at what cost."""

import inspect
import sys
from functools import partial
from pathlib import Path
from typing import Any

from weightwright.cli.flags import Outcome, verb
from weightwright.compare.settings import CompareSettings


def _run(folder: Path, settings: CompareSettings) -> Outcome:
    from rich.console import Group

    from weightwright.cli.progress import bar
    from weightwright.compare import report
    from weightwright.compare.run import REPORT
    from weightwright.compare.run import compare as run

    placed = settings.placed(folder)
    comparison = run(placed, bar=bar, say=lambda line: print(line, file=sys.stderr))
    file = placed.out / REPORT
    view = Group(report.table(comparison), "", *report.lines(comparison), f"report: {file}")
    return Outcome(comparison.data() | {"report": str(file)}, view)


def _command(folder: Path) -> Any:
    run = partial(_run, folder)
    run.__name__, run.__doc__, run.__module__ = "compare", None, __name__  # type: ignore[attr-defined]
    return verb(CompareSettings, section="compare")(run)


def compare(**given: Any) -> None:
    """Ask every arm the same questions, and say which is better, by how much, how sure, at what cost.

    Paths in the settings file are relative to that file, flags to where you stand.
    """
    file = given.get("config")
    here = {name: value if name == "config" else _from_here(value) for name, value in given.items()}
    _command(file.parent if file else Path())(**here)


compare.__signature__ = inspect.signature(_command(Path()))  # type: ignore[attr-defined]


def _from_here(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_here(each) for each in value]
    if isinstance(value, Path):
        return value.expanduser().absolute()
    if isinstance(value, str) and value.startswith(("./", "../")):
        return str(Path(value).absolute())
    return value
