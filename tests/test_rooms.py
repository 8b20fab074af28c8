"""The rooms of docs/architecture.md: what each hands out is what others take, no more and no less."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"
PACKAGE = SOURCE / "weightwright"
FOLDERS = sorted(init.parent for init in PACKAGE.rglob("__init__.py"))
LONGEST_SHARE = 0.2  # of all lines, of the largest room
INNER = [PACKAGE / "rag" / "readers"]  # a room in another: neither takes anything else of it than `__all__`


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def is_module(name: str) -> bool:
    path = SOURCE / Path(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@cache
def imports(file: Path) -> frozenset[str]:
    """What a file takes from the package, each as a module's or a name's full dotted name."""

    def taken() -> Iterator[str]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("weightwright"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name.startswith("weightwright."))
            elif isinstance(node, ast.Constant) and str(node.value).startswith("weightwright."):
                module = str(node.value).partition(":")[
                    0
                ]  # lazy tables: "weightwright.plan.settings:PlanSettings"
                if is_module(module):
                    yield module

    return frozenset(taken())


def handed_out(folder: Path) -> set[str]:
    """What files outside a folder take from it: its modules, or names of its own `__init__`."""
    prefix = dotted(folder) + "."
    return {
        name.removeprefix(prefix).split(".")[0]
        for file in PACKAGE.rglob("*.py")
        if folder not in file.parents
        for name in imports(file)
        if name.startswith(prefix)
    }


def exported(folder: Path) -> list[str]:
    """The folder's `__all__`, read without an import."""
    for node in ast.parse((folder / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


@pytest.mark.parametrize("folder", FOLDERS, ids=dotted)
def test_a_room_exports_what_others_take(folder: Path) -> None:
    """`__all__` is exact: the modules (or names, where `__init__` holds them) that other rooms import."""
    names = exported(folder)
    assert names == sorted(names)
    if folder in (
        PACKAGE,
        PACKAGE / "ports",
        PACKAGE / "testing",
    ):  # for users, too: more than we take ourselves
        assert handed_out(folder) - {p.stem for p in folder.iterdir()} <= set(names)
    else:
        assert set(names) == handed_out(folder)


def test_no_room_is_over_a_fifth_of_the_lines() -> None:
    rooms = [folder for folder in PACKAGE.iterdir() if folder.is_dir()] + INNER
    lines = dict.fromkeys(rooms, 0)
    for file in PACKAGE.rglob("*/*.py"):
        room = next(folder for folder in reversed(rooms) if folder in file.parents)
        lines[room] += len(file.read_text(encoding="utf-8").splitlines())
    largest = max(lines, key=lambda folder: lines[folder])
    assert lines[largest] <= LONGEST_SHARE * sum(lines.values()), largest
