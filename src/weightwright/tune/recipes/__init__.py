"""Recipes: a file of settings for each thing that people tune for, explained, with the rows that it takes.

To add one: NAME.yaml beside this file. Its first line is `# Recipe NAME: what it is for.`; lines that begin with `#:`
are rows as they stand in a file; options without a default are commented out and marked `(required)`.
"""

from importlib.resources import files

__all__ = ["recipe", "recipes"]


def recipes() -> dict[str, str]:
    """Names of all recipes, and what each is for."""
    found = sorted(file.name for file in files(__package__).iterdir() if file.name.endswith(".yaml"))
    heads = {name.removesuffix(".yaml"): _text(name).partition("\n")[0] for name in found}
    return {
        name: head.removeprefix(f"# Recipe {name}: ").partition(". For `")[0] for name, head in heads.items()
    }


def recipe(name: str) -> str:
    """The text of one. Raises FileNotFoundError for an unknown name."""
    return _text(f"{name}.yaml")


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
