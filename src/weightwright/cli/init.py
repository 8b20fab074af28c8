"""`weightwright init`: a commented settings file to start from, made from the settings themselves."""

from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from weightwright.cli.flags import Outcome, verb
from weightwright.config import Settings, nearest
from weightwright.errors import SettingsError, UsageError
from weightwright.files import write_whole
from weightwright.settings_file import template
from weightwright.tune.recipes import recipe, recipes

# what each file configures: where its settings stand, and the command that reads it
TEMPLATES: dict[str, str] = {
    "tune": "weightwright.tune.settings:TuneSettings",
    "compare": "weightwright.compare.settings:CompareSettings",
    "serve": "weightwright.serve.settings:ServeSettings",
}


class InitSettings(Settings):
    """Which file to write."""

    what: Literal["", "tune", "compare", "serve", "schema"] = Field(
        "",
        description="tune, compare or serve; `schema NAME` prints the JSON Schema of one of them; empty: a list",
    )
    name: Literal["", "tune", "compare", "serve"] = Field("", description="whose schema, after `schema`")
    recipe: str = Field("", description="for tune: chat, domain, style, classification, tools or dpo")
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
    text = _recipe(settings) if settings.recipe else template(settings_type(settings.what), settings.what)
    if file.exists():
        raise SettingsError(f"{file} exists already; choose another name with --out")
    write_whole(file, text)
    return Outcome(
        {"file": str(file)}, f"wrote {file}; edit it, then: weightwright {settings.what} --config {file}"
    )


def _recipe(settings: InitSettings) -> str:
    known = recipes()
    if settings.what != "tune":
        raise UsageError(f"--recipe is for init tune, not for init {settings.what}")
    if settings.recipe not in known:
        raise UsageError(
            f"--recipe {settings.recipe}: unknown{nearest(settings.recipe, known)}; there are {', '.join(known)}"
        )
    return recipe(settings.recipe)


def _choice() -> Outcome:
    made = {name: f"weightwright init {name}" for name in TEMPLATES}
    lines = [
        f"{command:26}  settings of weightwright {name}, in {name}.yaml" for name, command in made.items()
    ]
    lines += [f"  --recipe {name:17}{about}" for name, about in recipes().items()]
    lines.append("weightwright init schema NAME   the JSON Schema of one of them")
    return Outcome({"files": made, "recipes": recipes()}, "\n".join(lines))


def settings_type(name: str) -> type[BaseModel]:
    """The settings model behind a template."""
    module, _, attribute = TEMPLATES[name].partition(":")
    settings: type[BaseModel] = getattr(import_module(module), attribute)
    return settings


def _as_json(schema: dict[str, Any]) -> str:
    import json

    return json.dumps(schema, indent=2, ensure_ascii=False)
