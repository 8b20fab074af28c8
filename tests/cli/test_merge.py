"""The verbs merge and export: results, exit statuses, one clear line for what is wrong, and nothing half-written."""

import json
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from weightwright.cli.app import main

SPM = Path(__file__).parents[1] / "export" / "test_gguf_export.py"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a tokenizer that has merges."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("helper_gguf_export", SPM)
    assert spec is not None
    assert spec.loader is not None
    helper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helper)
    return helper.model_folder("qwen2", tmp_path_factory.mktemp("models") / "qwen2")


@pytest.fixture(scope="module")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapters") / "adapter"
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
        get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(folder)
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    out = capsys.readouterr()
    return status, out.out, out.err


def test_merge(capsys: pytest.CaptureFixture[str], model: Path, adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    status, said, err = run(capsys, "merge", f"{model}+{adapter}", "--out", out, "--json")
    assert status == 0, err
    found = json.loads(said)
    assert set(found) == {"model", "precision", "bytes", "notes"}
    assert (found["model"], found["precision"], found["notes"]) == (str(out), "f32", [])
    assert found["bytes"] == sum(file.stat().st_size for file in out.iterdir())
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in out.iterdir()}
    status, said, err = run(capsys, "merge", f"{model}+{adapter}", "--out", out)
    assert (status, said) == (1, "")
    assert err.splitlines()[-1] == f"error: {out} exists; choose another --out, or remove it first"


def test_export_to_gguf_with_a_modelfile(
    capsys: pytest.CaptureFixture[str], model: Path, adapter: Path, tmp_path: Path
) -> None:
    out = tmp_path / "made" / "model-q8_0.gguf"
    command = ("export", f"{model}+{adapter}", "--out", out, "--quantize", "q8_0")
    status, said, err = run(capsys, *command, "--json")
    assert status == 0, err
    found = json.loads(said)
    assert set(found) == {"file", "format", "architecture", "quantization", "bytes", "modelfile", "notes"}
    assert (found["architecture"], found["quantization"]) == ("qwen2", "q8_0")
    beside = Path(found["modelfile"])
    assert beside == tmp_path / "made" / "model-q8_0.Modelfile"
    assert beside.read_text().startswith("FROM ./model-q8_0.gguf\nTEMPLATE ")
    assert sorted(file.name for file in out.parent.iterdir()) == [beside.name, out.name]
    status, said, err = run(capsys, "show", out, "--json")
    assert json.loads(said)["weights_type"] == "Q8_0"
    assert run(capsys, *command)[0] == 1  # nothing is written over


def test_export_says_how_to_go_on(capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path) -> None:
    status, said, _ = run(capsys, "export", model, "--out", tmp_path / "m.gguf")
    assert status == 0
    assert f"try it: weightwright chat {tmp_path / 'm.gguf'}" in said
    assert f"ollama create NAME -f {tmp_path / 'm.Modelfile'}" in said
    status, said, _ = run(capsys, "export", model, "--out", tmp_path / "n.gguf", "--no-modelfile", "--json")
    assert status == 0
    assert json.loads(said)["modelfile"] is None
    assert not (tmp_path / "n.Modelfile").exists()


def test_export_to_safetensors(capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path) -> None:
    out = tmp_path / "folder"
    command = ("export", model, "--format", "safetensors", "--out", out)
    status, said, _ = run(capsys, *command, "--quantize", "bf16", "--json")
    assert status == 0
    assert json.loads(said)["quantization"] == "bf16"
    status, said, _ = run(capsys, "show", out, "--json")
    assert json.loads(said)["weights_type"] == "BF16"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["merge", "{model}", "--out", "{out}"], 2, "names no adapter; write MODEL+./path/to/adapter"),
        (["merge", "{model}+./absent", "--out", "{out}"], 1, "absent holds no adapter_config.json"),
        (["merge", "--out", "{out}"], 2, "model is required"),
        (["export", "{model}", "--out", "{out}"], 1, "must end in .gguf"),
        (["export", "{model}", "--out", "{out}", "--format", "safetensors", "--quantize", "q8_0"], 1,
         "quantize=q8_0 is a form of GGUF files"),
        (["export", "./absent", "--out", "{out}.gguf"], 1, "there is no "),
        (["export", "{model}", "--out", "{out}.gguf", "--quantize", "q2_k"], 2, "q2_k"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_clear_line(
    capsys: pytest.CaptureFixture[str],
    model: Path,
    tmp_path: Path,
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    given = [argument.format(model=model, out=tmp_path / "out") for argument in arguments]
    found = run(capsys, *given)
    assert found[0] == status
    assert found[1] == ""
    assert message in found[2].splitlines()[-1]
    assert found[2].splitlines()[-1].startswith("error: ")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 400 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("verb", ["merge", "export"])
def test_a_full_disk_is_said_before_anything_is_written(
    preloaded: Path, small_disk: Path, model: Path, adapter: Path, verb: str
) -> None:
    out = small_disk / ("merged" if verb == "merge" else "model.gguf")
    command = [str(preloaded), "-m", "weightwright", verb, f"{model}+{adapter}", "--out", str(out)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert shown.returncode == 1, shown.stderr
    last = shown.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error: {out}: needs 0.0"), last
    assert "GB are free; free some space and run the same command again" in last
    assert list(small_disk.iterdir()) == []
    assert shutil.disk_usage(small_disk).used == 0
