"""Every recipe is a file of settings that a run takes, with rows that it reads."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from weightwright import config
from weightwright.cli.app import main
from weightwright.tune import dataset
from weightwright.tune.recipes import recipe, recipes
from weightwright.tune.run import tune
from weightwright.tune.settings import TuneSettings

NAMES = sorted(recipes())
SHOWS_TOOLS = (
    "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content }}{% for call in m.tool_calls or [] %}<call>{{ call.function.name }}"
    "{{ call.function.arguments | tojson }}</call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose chat template shows tools, and with room for their descriptions."""
    folder = tmp_path_factory.mktemp("models") / "tools"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").write_text(SHOWS_TOOLS, encoding="utf-8")
    config_file = folder / "config.json"
    values = json.loads(config_file.read_text(encoding="utf-8"))
    config_file.write_text(json.dumps(values | {"max_position_embeddings": 4096}), encoding="utf-8")
    return folder


def settings_of(name: str, model: Path, folder: Path, **changes: object) -> TuneSettings:
    """The file with what is required filled in as its comment says, and the rows that stand in it."""
    text = recipe(name)
    rows = [line.removeprefix("#: ") for line in text.splitlines() if line.startswith("#: ")]
    assert len(rows) >= 2
    data = folder / "rows.jsonl"
    data.write_text("\n".join(rows) + "\n", encoding="utf-8")
    required = re.findall(r"^# (\w+): .*\(required\)$", text, flags=re.MULTILINE)
    assert required == ["model", "data"]
    file = folder / f"{name}.yaml"
    file.write_text(text + f"\nmodel: {model}\ndata: {data}\n", encoding="utf-8")
    flags = {(key,): value for key, value in changes.items()}
    return config.load(TuneSettings, section="tune", file=file, environment={}, flags=flags)


def test_there_is_one_for_each_thing_that_people_tune_for() -> None:
    assert {"chat", "domain", "style", "classification", "tools", "dpo"} <= set(NAMES)
    assert all(about and "For `" not in about and not about.endswith(".") for about in recipes().values())


@pytest.mark.parametrize("name", NAMES)
def test_it_says_each_setting_once_and_why(name: str) -> None:
    lines = [line for line in recipe(name).splitlines() if line and not line.startswith("#")]
    given = yaml.safe_load(recipe(name))
    assert len(lines) == len(given)
    assert given.keys() <= TuneSettings.model_fields.keys()
    assert given["out"] == f"runs/{name}"


@pytest.mark.parametrize("name", NAMES)
def test_a_run_takes_its_settings_and_its_rows(name: str, model: Path, tmp_path: Path) -> None:
    settings = settings_of(name, model, tmp_path, out=tmp_path / "run", max_steps=1, precision="f32", show=0)
    assert len(dataset.Rows(settings, dataset.learnt(settings))) == recipe(name).count("\n#: ")
    result = tune(settings)
    assert result.steps == 1
    assert result.adapter is not None


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_that_it_names_are_ours(name: str) -> None:
    for verb, rest in re.findall(r"`?weightwright (\w+)([^`\n]*)", recipe(name)):
        sub = re.match(r" (check|show|add)\b", rest)
        assert main([verb, *([sub[1]] if sub else []), "--help"]) == 0


def test_it_is_written_for_a_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    assert main(["init", "tune", "--recipe", "dpo", "--out", str(file)]) == 0
    assert file.read_text(encoding="utf-8") == recipe("dpo")
    assert main(["init", "tune", "--recipe", "dpoo", "--out", str(tmp_path / "other.yaml")]) == 2
    assert "did you mean dpo" in capsys.readouterr().err
    assert main(["init", "serve", "--recipe", "dpo", "--out", str(tmp_path / "other.yaml")]) == 2
    assert not (tmp_path / "other.yaml").exists()
    assert main(["init"]) == 0
    assert all(
        f"--recipe {name} " in capsys_out for capsys_out in [capsys.readouterr().out] for name in NAMES
    )
