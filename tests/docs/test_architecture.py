"""docs/architecture.md names what is there: every folder, file, class and function, in the order in which they may import."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "src" / "weightwright"
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
REFERENCES = sorted(set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)(?:: ([A-Za-z_.]+))?`", PAGE)))
FOLDERS = sorted(set(re.findall(r"`((?:[a-z_]+/)+)`", PAGE)))
ROWS = re.findall(r"^\| ((?:`[a-z_]+(?:/|\.py)` ?)+)\|", PAGE, re.MULTILINE)
LISTED = [name.strip("`").removesuffix(".py").strip("/") for row in ROWS for name in row.split()]


def defined(file: Path, name: str) -> bool:
    """Whether a class, a function, a method `Class.method` or a constant stands in a file."""
    body: list[ast.stmt] = ast.parse(file.read_text(encoding="utf-8")).body
    for part in name.split("."):
        names: dict[str, list[ast.stmt]] = {}
        for node in body:
            if isinstance(node, ast.ClassDef):
                names[node.name] = node.body
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names[node.name] = []
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                names[getattr(target, "id", "")] = []
        if part not in names:
            return False
        body = names[part]
    return True


@pytest.mark.parametrize(("file", "name"), REFERENCES)
def test_what_the_page_names_is_there(file: str, name: str) -> None:
    """A bare `store.py` is an example; every other file is one of the package."""
    path = PACKAGE / file if (PACKAGE / file).is_file() else REPOSITORY / "examples" / "extend" / file
    assert path.is_file()
    assert not name or defined(path, name)


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_that_the_page_names_are_there(folder: str) -> None:
    assert (PACKAGE / folder).is_dir() or (REPOSITORY / folder).is_dir()


def test_every_room_has_its_line() -> None:
    rooms = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert set(LISTED) == rooms - {"__init__", "__main__"}
    assert len(LISTED) == len(set(LISTED))


def test_the_page_has_the_order_of_the_linter() -> None:
    """Rooms as the page lists them, checked against the layers from the ground up; `testing` stands beside all."""
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    floor = {
        room.strip(" ()"): -number for number, layer in enumerate(layers) for room in re.split(r"[|:]", layer)
    }
    order = [floor[room] for room in LISTED if room != "testing"]
    assert order == sorted(order)
