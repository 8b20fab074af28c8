"""The verb: what it prints as text and as JSON, its chart, its search, its errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from weightwright.cli.app import main
from weightwright.plan import limit

MIXTRAL = {"model_type": "mixtral", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
           "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
           "max_position_embeddings": 32768}  # fmt: skip
LLAMA = {"model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
         "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 4096}  # fmt: skip
PROMISED = {"parameters", "trainable_parameters", "peak_bytes", "breakdown", "fits", "advice"}


@pytest.fixture
def plan(capsys, tmp_path):
    def run(config: dict, *options: object, status: int = 0) -> str:
        file = tmp_path / "config.json"
        file.write_text(json.dumps(config), encoding="utf-8")
        assert main(["plan", str(file), "--no-probe", *map(str, options)]) == status
        shown = capsys.readouterr()
        return shown.out if status == 0 else shown.err

    return run


def as_json(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_promised_keys_are_always_there_and_others_where_they_apply(plan):
    dense = as_json(plan(LLAMA, "--task", "full", "--device-memory", "500GB", "--json"))
    assert set(dense) == PROMISED | {"published"}
    mixture = as_json(
        plan(MIXTRAL, "--task", "lora", "--search", "batch", "--device-memory", "120GB", "--json")
    )
    assert set(mixture) == PROMISED | {"active_parameters", "published", "search"}
    assert mixture["parameters"] == 46_702_792_704
    assert mixture["active_parameters"] == 12_879_925_248
    assert mixture["trainable_parameters"] == 32 * 8 * (2 * 8192 + 2 * 5120)
    assert sum(mixture["breakdown"].values()) == mixture["peak_bytes"]
    assert all(set(one) == {"figure", "published", "ours", "why"} for one in mixture["published"])
    assert set(mixture["search"]) == {"setting", "value", "peak_bytes", "why"}
    assert mixture["search"]["value"] > 0


def test_the_text_says_counts_peak_phases_figures_and_advice(plan):
    shown = plan(LLAMA, "--task", "lora", "--rows", 52_000, "--task-kinds", 3, "--device-memory", "24GB")
    assert "6,738,415,616 parameters, 19,988,480 trained (0.30%)" in shown
    assert "does not fit into 24.0 GB" in shown or "fits into 24.0 GB" in shown
    for word in (
        "together",
        "(loading)",
        "(evaluation)",
        "16.42 GB",
        "-33% memory",
        "all-linear",
        "0.0003",
        "128",
    ):
        assert word in shown, word
    mixture = plan(MIXTRAL, "--task", "lora", "--device-memory", "200GB")
    assert "12,879,925,248 of them for a token" in mixture
    assert "adapters do not reach the experts" in mixture


def test_auto_checkpointing_is_decided_by_the_memory_and_said(plan):
    options = ("--task", "lora", "--max-length", 512, "--device-memory", "17GB", "--json")
    found = as_json(plan(LLAMA, *options))
    assert found["fits"]
    (said,) = [one for one in found["advice"] if one["setting"] == "gradient_checkpointing"]
    assert said["value"] is True
    assert said["why"].startswith("auto turns it on: ")
    assert found["peak_bytes"] == as_json(plan(LLAMA, *options, "--gradient-checkpointing"))["peak_bytes"]
    without = as_json(plan(LLAMA, *options, "--no-gradient-checkpointing"))
    assert not without["fits"]
    assert f"{without['peak_bytes'] / 1e9:.2f} GB would be needed without" in said["why"]


@pytest.mark.parametrize("flag", ["--gradient-checkpointing", "--gradient-checkpointing=true"])
def test_a_flag_that_may_stand_alone_leaves_the_next_word_alone(capsys, tmp_path, flag):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA), encoding="utf-8")
    peaks = []
    for before, after in (([flag], []), ([], [flag]), ([], ["--gradient-checkpointing", "true"])):
        assert main(["plan", *before, str(file), "--task", "lora", "--no-probe", "--json", *after]) == 0
        peaks.append(as_json(capsys.readouterr().out)["peak_bytes"])
    assert peaks[0] == peaks[1] == peaks[2]


@pytest.mark.parametrize("between", [" ", "="])
def test_a_flag_that_may_stand_alone_takes_each_of_its_values(capsys, tmp_path, between):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA), encoding="utf-8")
    peaks = {}
    for value in ("false", "mlp", "true", "auto"):
        flag = f"--gradient-checkpointing{between}{value}".split(" ")
        assert main(["plan", *flag, str(file), "--task", "lora", "--no-probe", "--json"]) == 0
        peaks[value] = as_json(capsys.readouterr().out)["peak_bytes"]
    assert peaks["false"] > peaks["mlp"] > peaks["true"]
    assert peaks["auto"] in [peaks[value] for value in ("false", "mlp", "true")]


def test_a_search_says_the_value_and_what_one_more_would_need(plan):
    options = ("--task", "serve", "--sequences", 1, "--search", "context", "--device-memory", "8GB")
    found = as_json(plan(LLAMA, *options, "--json"))["search"]
    assert f"largest context that fits: {found['value']:,}" in plan(LLAMA, *options)
    assert 0 < found["value"] < 4096
    assert found["peak_bytes"] <= 8_000_000_000
    assert "would need 8." in found["why"]


def test_a_plot_is_written_whole(plan, tmp_path):
    file = tmp_path / "charts" / "memory.png"
    plan(LLAMA, "--task", "qlora", "--objective", "dpo", "--plot", file)
    assert file.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in file.parent.iterdir()] == ["memory.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--plot", "memory.jpg"), "expected a file that ends in .png"),
        (("--task", "lora", "--search", "context"), "search=context means nothing for task=lora"),
        (("--task", "lora", "--targets", "qproj"), "targets: the model has no layer 'qproj'"),
    ],
)
def test_what_is_wrong_is_one_clear_line(plan, options: tuple, message: str):
    shown = plan(LLAMA, *options, status=1)
    assert shown.startswith("error: ")
    assert message in shown
    assert shown.count("\n") == 1


def test_a_precision_in_the_address_is_planned(tmp_path: Path, capsys, tiny_model):
    peaks = []
    for address in (f"{tiny_model}:f32", f"{tiny_model}:int8"):
        assert main(["plan", address, "--no-probe", "--json"]) == 0
        peaks.append(json.loads(capsys.readouterr().out)["breakdown"]["weights"])
    assert peaks[0] > 2 * peaks[1]


def test_a_card_without_its_memory_is_asked_for(plan, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert "--device-memory 24GB" in plan(LLAMA, "--device", "cuda", status=1)


def test_a_file_is_planned_for_however_its_path_is_written(capsys, tmp_path, monkeypatch):
    (tmp_path / "cfg" / "m").mkdir(parents=True)
    for name in ("x.json", "cfg/x.json", "cfg/m/config.json"):
        (tmp_path / name).write_text(json.dumps(LLAMA), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in ("x.json", "cfg/x.json", "./cfg/x.json", str(tmp_path / "x.json"), "./cfg/m"):
        assert main(["plan", name, "--no-probe", "--json"]) == 0, name
        assert as_json(capsys.readouterr().out)["parameters"] == 6_738_415_616
    assert main(["plan", "cfg/m"]) == 1
    assert "for the folder cfg/m write ./cfg/m" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["http://localhost:8000/v1#m", "extract"])
def test_what_has_no_weights_here_cannot_be_planned_for(capsys, address):
    assert main(["plan", address]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: {address} has no weights here to plan for")
    assert "pull" not in err


def test_free_and_all_memory_are_said(plan, monkeypatch):
    monkeypatch.setattr(limit, "machine", lambda: limit.Limit(9_000_000_000, 64_000_000_000))
    shown = plan(LLAMA, "--task", "serve", "--precision", "bf16")
    assert (
        "does not fit into 9.0 GB, which are free now, of 64.0 GB; with nothing else running it would"
        in shown
    )
    found = as_json(plan(LLAMA, "--task", "serve", "--precision", "bf16", "--json"))
    assert found["memory"] == {"free_bytes": 9_000_000_000, "total_bytes": 64_000_000_000}
    assert not found["fits"]
    assert "free now" not in plan(LLAMA, "--task", "serve", "--device-memory", "9GB")


def test_fewer_bits_are_advised_on_a_card_as_here(plan):
    options = ("--task", "serve", "--device-memory", "14GB", "--json")
    for more in (("--device", "cuda"), ("--precision", "bf16")):
        advice = as_json(plan(LLAMA, *options, *more))["advice"]
        assert ("precision", "int8") in {(one["setting"], one["value"]) for one in advice}
    packed = as_json(plan(LLAMA, *options, "--device", "cuda", "--precision", "int8"))
    whole = as_json(plan(LLAMA, *options, "--device", "cuda"))
    assert whole["peak_bytes"] - packed["peak_bytes"] > 6e9


def test_rank_and_alpha_of_one_table_go_together(plan):
    for options in ((), ("--rank", 16), ("--rank", 4, "--alpha", 32), ("--task-kinds", 6)):
        found = as_json(plan(LLAMA, "--task", "lora", *options, "--json"))["advice"]
        advised = {one["setting"]: one["value"] for one in found}
        assert advised["alpha"] == 2 * advised["rank"], options


def test_what_could_not_be_loaded_is_not_said_to_fit(plan, tmp_path, capsys):
    said = plan(
        LLAMA | {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, status=1
    )
    assert "quantised with bitsandbytes, which cannot be read here; take the original model" in said
    old = plan(LLAMA | {"quantization_config": {"load_in_8bit": True}}, status=1)
    assert "quantised with bitsandbytes" in old
    plan(LLAMA | {"quantization_config": {"quant_method": "awq", "bits": 4}})
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    assert main(["plan", str(adapter)]) == 1
    assert "holds no config.json" in capsys.readouterr().err
    (adapter / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "base_model_name_or_path": "owner/base"}'
    )
    assert main(["plan", str(adapter)]) == 1
    assert "is a LoRA adapter, whose base model is planned for: plan owner/base" in capsys.readouterr().err
