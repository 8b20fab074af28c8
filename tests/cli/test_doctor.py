"""doctor and init from the command line."""

import json
from pathlib import Path

import pytest
import yaml
from pydantic import Field

from weightwright import config, settings_file
from weightwright.cli import init
from weightwright.cli.app import main
from weightwright.config import Settings
from weightwright.machine import facts


def test_doctor_says_what_is_here(capsys: pytest.CaptureFixture[str], own_home: Path) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    import torch

    assert found["versions"]["torch"] == torch.__version__
    assert found["home"]["path"] == str(own_home)
    assert found["home"]["free_bytes"] > 0
    assert found["memory"]["total_bytes"] >= found["memory"]["available_bytes"] > 0
    assert found["extras"]["modelscope"]["install"] == "pip install 'weightwright[modelscope]'"
    assert found["fast"]["precision"] in ("f32", "bf16")
    assert found["hub"]["offline"] is True


def test_doctor_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "fast here" in out
    assert "HF_HUB_OFFLINE is set" in " ".join(out.split())


def test_doctor_keeps_secrets(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_topsecret")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:topsecret@proxy:3128")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:topsecret@mirror.example")
    for argv in (["doctor"], ["doctor", "--json"]):
        assert main(argv) == 0
        out = capsys.readouterr().out
        assert "topsecret" not in out
        assert "proxy:3128" in out
        assert "https://mirror.example" in out
    monkeypatch.delenv("HF_TOKEN")
    assert facts.hub_settings({})["token"] == "not set"


def test_a_missing_extra_shows_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_version", lambda package: None)
    assert facts.extras()["modelscope"]["installed"] is False


REQUIRED = {
    "tune": {"model": "smollm2-135m", "data": "rows.jsonl", "out": "runs/first"},
    "compare": {"model": "smollm2-135m", "questions": "q.jsonl", "documents": ["docs"]},
    "serve": {"model": "smollm2-135m"},
}


@pytest.mark.parametrize("name", init.TEMPLATES)
def test_a_template_loads_and_says_the_defaults(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.yaml"
    assert main(["init", name, "--out", str(file)]) == 0
    settings_type = init.settings_type(name)
    flags = {(key,): value for key, value in REQUIRED[name].items()}
    loaded = config.load(settings_type, section=name, file=file, environment={}, flags=flags)
    assert loaded == settings_type.model_validate(REQUIRED[name])


@pytest.mark.parametrize("name", init.TEMPLATES)
def test_a_template_holds_every_option_and_its_description(name: str, tmp_path: Path) -> None:
    text = settings_file.template(init.settings_type(name), name)
    for leaf in config.leaves(init.settings_type(name)):
        assert f"{leaf.path[-1]}:" in text
        if leaf.field.description:
            assert leaf.field.description in text
    filled = text
    for key in REQUIRED[name]:
        if f"# {key}:" in filled:
            filled = filled.replace(f"# {key}: ", f"{key}: x ", 1)
    assert set(REQUIRED[name]) <= set(yaml.safe_load(filled))


def test_a_template_takes_nested_defaults_from_above() -> None:
    class Inner(Settings):
        size: int = Field(1, description="inner size")

    class Outer(Settings):
        inner: Inner = Inner(size=7)
        last: str = Field("x: y", description="text")

    assert yaml.safe_load(settings_file.template(Outer, "outer")) == {"inner": {"size": 7}, "last": "x: y"}


def test_nothing_is_overwritten(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("mine")
    assert main(["init", "tune", "--out", str(file)]) == 1
    assert f"{file} exists already; choose another name with --out" in capsys.readouterr().err
    assert file.read_text() == "mine"


@pytest.mark.parametrize("name", init.TEMPLATES)
def test_schema(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["init", "schema", name]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["model"]["description"]
    assert "model" in schema["required"]
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["init", "schema"], "needs a name: tune, compare, serve"),
        (["init", "tune", "serve"], "takes no second word"),
        (["init", "chat"], "chat"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], argv: list[str], says: str) -> None:
    assert main(argv) == 2
    assert says in capsys.readouterr().err
