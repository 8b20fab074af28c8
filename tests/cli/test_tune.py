"""The verbs plan, tune and data show: results, exit statuses, one clear line for what is wrong."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from weightwright.cli.app import main


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    lines = [{"instruction": f"Count to {n}", "output": "one two"} for n in range(8)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    out = capsys.readouterr()
    return status, out.out, out.err


def test_plan_prints_the_promised_json(capsys, tiny_model):
    status, out, _ = run(capsys, "plan", tiny_model, "--task", "lora", "--rank", 4, "--json")
    found = json.loads(out)
    assert status == 0
    assert set(found) == {
        "parameters", "trainable_parameters", "peak_bytes", "breakdown", "fits", "advice"
    }  # fmt: skip
    assert sum(found["breakdown"].values()) == found["peak_bytes"]
    assert found["fits"]
    assert all(set(one) == {"setting", "value", "why"} for one in found["advice"])


def test_plan_says_what_does_not_fit(capsys, tiny_model):
    status, out, _ = run(
        capsys, "plan", tiny_model / "config.json", "--task", "full", "--device-memory", "1MB"
    )
    assert status == 0
    assert "does not fit into 0.0 GB" in out
    assert "gradient_checkpointing" in out


def test_plan_of_a_model_that_is_not_here(capsys):
    status, out, err = run(capsys, "plan", "no/such-model")
    assert (status, out) == (1, "")
    assert err.startswith("error: no/such-model is not on this machine; run: weightwright pull")


def test_tune_and_run_it_again(capsys, tiny_model, rows, tmp_path):
    command = ("tune", "--model", tiny_model, "--data", rows, "--out", tmp_path / "run", "--max-steps", 2)
    status, out, err = run(capsys, *command, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["steps"] == 2
    assert Path(found["adapter"], "adapter_model.safetensors").is_file()
    assert "tokens/s" in err
    status, out, _ = run(capsys, *command)
    assert status == 0
    assert "already finished" in out
    assert "weightwright chat" in out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--data", "absent.jsonl"), 1, "error: absent.jsonl does not exist\n"),
        (("--data", "."), 1, "error: . is a directory; give one .json or .jsonl file\n"),
        (("--rnak", 4), 2, "rnak"),
        ((), 2, "data is required"),
        (("--data", "x", "--method", "qlora"), 1, "error: method=qlora needs the extra"),
    ],
)
def test_what_is_wrong_is_one_clear_line(capsys, tiny_model, tmp_path, arguments, status, message):
    found = run(capsys, "tune", "--model", tiny_model, "--out", tmp_path / "run", *arguments)
    assert found[0] == status
    assert found[1] == ""
    assert message in found[2]
    assert found[2].count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_ctrl_c_writes_a_checkpoint_and_exits_130(tiny_model, rows, tmp_path):
    command = [sys.executable, "-m", "weightwright", "tune", "--model", str(tiny_model), "--data", str(rows)]
    options = ["--out", str(tmp_path / "run"), "--epochs", "100000", "--batch", "8"]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        assert "tokens/s" in child.stderr.readline()  # it is in the middle of its steps
        child.send_signal(signal.SIGINT)
        last = child.stderr.read()
    assert child.returncode == 130, last
    assert "Traceback" not in last
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert {path.name for path in checkpoint.iterdir()} == {"state.json", "state.safetensors"}
    assert not (tmp_path / "run" / "adapter").exists()


def test_data_show_marks_the_answers(capsys, tiny_model, rows):
    status, out, _ = run(capsys, "data", "show", rows, "--model", tiny_model, "--count", 1, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["rows"] == 8
    (shown,) = found["shown"]
    assert [part["text"] for part in shown["parts"] if part["labelled"]] == ["one two<|im_end|>"]
    assert shown["labelled_tokens"] == len("one two") + 1
    status, out, _ = run(capsys, "data", "show", rows, "--model", tiny_model, "--first", 8)
    assert "line 8" in out
    assert "line 7" not in out


def test_plan_and_the_settings_import_no_torch():
    code = "import sys, weightwright.cli.plan, weightwright.cli.tune, weightwright.cli.data; " \
           "import weightwright.plan.memory, weightwright.data.formats, weightwright.data.pack; " \
           "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)"  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})
