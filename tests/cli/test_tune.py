"""The verbs plan, tune and data show: results, exit statuses, one clear line for what is wrong."""

import io
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
        "parameters", "trainable_parameters", "peak_bytes", "breakdown", "fits", "advice", "memory", "time"
    }  # fmt: skip
    assert sum(found["breakdown"].values()) == found["peak_bytes"]
    assert found["fits"]
    assert all(set(one) == {"setting", "value", "why"} for one in found["advice"])


def test_plan_says_what_does_not_fit(capsys, tiny_model):
    status, out, _ = run(
        capsys,
        "plan",
        tiny_model / "config.json",
        "--task",
        "full",
        "--max-length",
        512,
        "--device-memory",
        "1MB",
    )
    assert status == 0
    assert "does not fit into 0.0 GB" in out
    assert "fewer activations at once" in out


def test_plan_of_a_model_that_is_not_here(capsys):
    status, out, err = run(capsys, "plan", "no/such-model")
    assert (status, out) == (1, "")
    assert err.startswith("error: no/such-model is not on this machine; run: weightwright pull")


def test_tune_and_run_it_again(capsys, tiny_model, rows, tmp_path):
    command = ("tune", tiny_model, "--data", rows, "--out", tmp_path / "run", "--max-steps", 2)
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


def test_a_folder_of_mixed_files_goes_from_check_to_an_adapter(capsys, tiny_model, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    row = {"instruction": "Count", "output": "one two"}
    turns = [{"from": "human", "value": "Count to 2"}, {"from": "gpt", "value": "one two"}]
    (folder / "a.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"input": "to 2"}) + "\n")
    (folder / "b.json").write_text(json.dumps([{"conversations": turns}]))
    (folder / "test.csv").write_text("question,response\nCount to 1,one\n")
    (folder / "README.md").write_text("counting")
    left = [f"left out: {folder}/README.md: it tells about the rows",
            f"left out: {folder}/test.csv: it is of a test split, which --eval-data {folder} reads"]  # fmt: skip
    status, out, _ = run(capsys, "data", "check", folder)
    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("left out")] == left

    common = ("--model", f"{tiny_model}:f32", "--show", 0, "--no-general", "--batch", 3)
    status, out, _ = run(
        capsys, "tune", *common, "--data", folder, "--eval-data", folder, "--out", tmp_path / "a", "--json"
    )
    assert status == 0
    notes = json.loads(out)["notes"]
    assert notes[:3] == [f"3 rows: {folder}/a.jsonl 2, {folder}/b.json 1", *left]
    assert len((tmp_path / "a" / "held_out.jsonl").read_text().splitlines()) == 1
    assert "3 rows of `mixed`" in (tmp_path / "a" / "adapter" / "README.md").read_text()

    files = ("--data", folder / "a.jsonl", "--data", folder / "b.json")  # the same rows, named one by one
    status, _, _ = run(capsys, "tune", *common, *files, "--out", tmp_path / "b")
    assert status == 0
    first, second = (tmp_path / name / "adapter" / "adapter_model.safetensors" for name in "ab")
    assert first.read_bytes() == second.read_bytes()

    # files of which one calls itself a test split: learnt from, as they were named, and said
    files = ("--data", folder / "a.jsonl", "--data", folder / "test.csv")
    status, out, _ = run(capsys, "tune", *common, *files, "--out", tmp_path / "c", "--json")
    assert f"{folder}/test.csv calls itself a test split, and is learnt from" in json.loads(out)["notes"][1]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--data", "absent.jsonl"), 1, "error: absent.jsonl does not exist\n"),
        (("--data", "src/weightwright/cli"), 1, "is a directory without rows to read"),
        (("--rnak", 4), 2, "rnak"),
        ((), 2, "data is required"),
        (("--data", "x", "--fsdp"), 1, "error: fsdp=true needs several GPUs under torchrun"),
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
    options += ["--save-every", "1000000"]  # no checkpoint but that of the interruption
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        assert any("tokens/s" in line for line in child.stderr)  # it is in the middle of its steps
        child.send_signal(signal.SIGINT)
        last = child.stderr.read()
    assert child.returncode == 130, last
    assert "Traceback" not in last
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert {path.name for path in checkpoint.iterdir()} == {"state.json", "state.safetensors"}
    assert not (tmp_path / "run" / "adapter").exists()


def test_it_ends_with_what_the_model_says_before_and_after(capsys, tiny_model, rows, tmp_path):
    status, out, _ = run(
        capsys, "tune", "--model", f"{tiny_model}:f32", "--data", rows, "--eval-data", rows,
        "--out", tmp_path / "run", "--epochs", 40, "--batch", 8, "--learning-rate", 0.02, "--show", 2, "--json",
    )  # fmt: skip
    assert status == 0
    shown = json.loads(out)["shown"]
    assert [one["question"] for one in shown] == ["Count to 0", "Count to 1"]
    assert all(one["wanted"] == "one two" == one["after"] for one in shown)
    assert all(one["before"] != one["after"] for one in shown)


def test_watching_a_run(capsys, tiny_model, rows, tmp_path):
    folder = tmp_path / "run"
    run(capsys, "tune", "--model", tiny_model, "--data", rows, "--out", folder, "--batch", 2)
    status, out, _ = run(capsys, "tune", "watch", folder, "--json")
    found = json.loads(out)
    assert status == 0
    assert (found["done"], found["steps"], found["finished"]) == (4, 4, True)
    assert len(found["losses"]) == 4
    _, out, _ = run(capsys, "tune", "watch", folder)
    assert "4/4 steps" in out
    assert "finished" in out
    (folder / "result.json").unlink()  # as while it runs
    _, out, _ = run(capsys, "tune", "watch", folder, "--once")
    assert "finished" not in out
    status, _, err = run(capsys, "tune", "watch", tmp_path)
    assert status == 1
    assert "is no folder of a tuning run" in err


def test_llamafactory_s_settings_are_read_and_flags_go_before_them(capsys, tiny_model, rows, tmp_path):
    (tmp_path / "dataset_info.json").write_text(
        json.dumps({"mine": {"file_name": rows.name}}), encoding="utf-8"
    )
    file = tmp_path / "sft.yaml"
    file.write_text(
        f"model_name_or_path: {tiny_model}\nstage: sft\nfinetuning_type: lora\nlora_rank: 4\ndataset: mine\n"
        f"dataset_dir: {tmp_path}\noutput_dir: {tmp_path / 'theirs'}\nper_device_train_batch_size: 2\n"
        "gradient_accumulation_steps: 2\nmax_steps: 9\nflash_attn: auto\n",
        encoding="utf-8",
    )
    status, out, err = run(
        capsys, "tune", "--llamafactory", file, "--out", tmp_path / "ours", "--max-steps", 2, "--json"
    )
    assert status == 0, err
    assert json.loads(out)["steps"] == 2
    settings = (tmp_path / "ours" / "settings.yaml").read_text()
    assert "rank: 4" in settings
    assert "batch: 4" in settings
    assert not (tmp_path / "theirs").exists()


def test_what_cannot_fit_is_refused_before_it_is_loaded(capsys, tiny_model, rows, tmp_path, monkeypatch):
    from weightwright.machine import memory
    from weightwright.weights import load

    monkeypatch.setattr(memory, "free_bytes", lambda _: 1_000_000)
    monkeypatch.setattr(load, "load", None)  # would fail if it were called
    status, _, err = run(capsys, "tune", "--model", tiny_model, "--data", rows, "--out", tmp_path / "run")
    assert status == 1
    assert "error: lora needs" in err
    assert "0.0 GB are free" in err
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr("sys.stdin", io.StringIO("hello"))
    status, _, err = run(capsys, "chat", f"{tiny_model}:int8")
    assert status == 1
    assert "serve needs" in err


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
