"""LLaMA-Factory's training files: known keys become our settings, what differs is said, the rest listed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from weightwright.errors import SettingsError
from weightwright.tune.llamafactory import read_llamafactory
from weightwright.tune.settings import TuneSettings

USUAL = """\
### model
model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct
trust_remote_code: true
### method
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 16
lora_target: q_proj,v_proj
### dataset
dataset: identity,alpaca_en_demo
template: qwen
cutoff_len: 1024
max_samples: 1000
overwrite_cache: true
preprocessing_num_workers: 16
### output
output_dir: saves/qwen/lora/sft
logging_steps: 10
save_steps: 500
save_total_limit: 3
plot_loss: true
overwrite_output_dir: true
report_to: none
### train
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
learning_rate: 1e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
val_size: 0.1
evaluation_strategy: steps
eval_steps: 250
"""


def read(
    folder: Path, text: str, name: str = "run.yaml"
) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return read_llamafactory(file)


def settings(folder: Path, **values: Any) -> dict[str, Any]:
    base = {"model_name_or_path": "a/b", "dataset": "rows", "output_dir": "out"}
    return read(folder, yaml.safe_dump(base | values))[0]


def test_a_usual_file(tmp_path: Path) -> None:
    found, notes, unmapped = read(tmp_path, USUAL)
    assert found == {
        "model": "Qwen/Qwen2.5-0.5B-Instruct", "out": "saves/qwen/lora/sft", "data": "data:identity,alpaca_en_demo",
        "method": "lora", "rank": 16, "dropout": 0.0, "targets": "q_proj,v_proj", "objective": "sft",
        "train_on": "answers", "max_length": 1024, "too_long": "truncate", "batch": 16, "micro_batch": 2, "epochs": 3,
        "learning_rate": 1e-4, "schedule": "cosine", "warmup_ratio": 0.1, "weight_decay": 0.0, "max_grad_norm": 1.0,
        "seed": 42, "optimizer": "adamw", "precision": "bf16", "gradient_checkpointing": "auto", "save_every": 500,
        "keep": 3, "eval_every": 250,
    }  # fmt: skip
    TuneSettings(**found)
    assert [line.partition(":")[0] for line in unmapped] == [
        "val_size", "trust_remote_code", "max_samples", "overwrite_output_dir"
    ]  # fmt: skip
    said = " | ".join(notes)
    assert "template=qwen is not used" in said
    assert "longer than 1,024 tokens are cut as there, but counted" in said
    assert "activations are recomputed where the memory asks for it" in said
    assert "not needed here: do_train, overwrite_cache, preprocessing_num_workers, logging_steps" in said


@pytest.mark.parametrize("name", ["llama2", "vicuna", "alpaca", "chatml"])
def test_a_template_that_we_have_is_taken(tmp_path: Path, name: str) -> None:
    assert settings(tmp_path, template=name)["template"] == name
    assert "template" not in settings(tmp_path, template="gemma")


def test_what_a_file_leaves_out_has_their_default(tmp_path: Path) -> None:
    found = settings(tmp_path)
    expected = {
        "method": "lora", "rank": 8, "targets": "all-linear", "objective": "sft", "max_length": 2048, "batch": 8,
        "micro_batch": 8, "epochs": 3, "learning_rate": 5e-5, "schedule": "linear", "warmup_steps": 0,
        "weight_decay": 0.0, "seed": 42, "gradient_checkpointing": "auto", "train_on": "answers",
    }  # fmt: skip
    assert expected.items() <= found.items()
    assert "precision" not in found
    assert TuneSettings(**found).lora_alpha == 16


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"finetuning_type": "full", "pure_bf16": True}, {"method": "full", "precision": "bf16"}),
        ({"quantization_bit": 4, "quantization_method": "bnb"}, {"method": "qlora"}),
        ({"lora_alpha": 32, "lora_dropout": 0.05}, {"alpha": 32.0, "dropout": 0.05}),
        ({"lora_target": "all,lm_head"}, {"targets": "all-linear,lm_head"}),
        ({"lora_target": ["q_proj", "k_proj"]}, {"targets": "q_proj,k_proj"}),
        ({"use_dora": True, "use_rslora": "true"}, {"dora": True, "rslora": True}),
        ({"stage": "pt"}, {"objective": "pretrain"}),
        ({"stage": "dpo", "pref_beta": 0.2, "dpo_label_smoothing": 0.1},
         {"objective": "dpo", "beta": 0.2, "label_smoothing": 0.1}),
        ({"stage": "dpo", "pref_loss": "orpo"}, {"objective": "orpo", "beta": 0.1}),
        ({"stage": "dpo", "pref_loss": "simpo"}, {"objective": "simpo", "beta": 0.1, "gamma": 0.5}),
        ({"stage": "kto", "kto_rejected_weight": 2}, {"objective": "kto", "undesirable_weight": 2.0}),
        ({"train_on_prompt": True}, {"train_on": "all"}),
        ({"mask_history": True}, {"train_on": "last"}),
        ({"packing": True}, {"packing": True}),
        ({"neat_packing": True}, {"packing": True}),
        ({"dataset_dir": "my/data", "eval_dataset": "held, out"}, {"data": "my/data:rows",
                                                                   "eval_data": "my/data:held,out"}),
        ({"max_steps": 50}, {"max_steps": 50, "epochs": 50}),
        ({"num_train_epochs": 1.5}, {"epochs": 2}),
        ({"warmup_steps": 20}, {"warmup_steps": 20}),
        ({"warmup_steps": 0.05}, {"warmup_ratio": 0.05}),
        ({"lr_scheduler_type": "constant_with_warmup"}, {"schedule": "constant"}),
        ({"optim": "paged_adamw_8bit"}, {"optimizer": "adamw8bit"}),
        ({"optim": "sgd"}, {"optimizer": "sgd"}),
        ({"optim": "paged_adamw_32bit"}, {"optimizer": "adamw"}),
        ({"save_steps": 0.1}, {"save_every": 0.1}),
        ({"eval_strategy": "steps", "eval_steps": 0.25}, {"eval_every": 0.25}),
        ({"eval_strategy": "steps", "eval_steps": 50.0}, {"eval_every": 50}),
        ({"disable_gradient_checkpointing": True}, {"gradient_checkpointing": False}),
        ({"disable_gradient_checkpointing": False}, {"gradient_checkpointing": True}),
        ({"disable_gradient_checkpointing": None}, {"gradient_checkpointing": "auto"}),
        ({"use_cpu": True}, {"device": "cpu"}),
        ({"tf32": True}, {"tf32": True}),
        ({"report_to": "tensorboard"}, {"tensorboard": True}),
        ({"report_to": ["tensorboard"]}, {"tensorboard": True}),
        ({"learning_rate": "2.0e-5", "seed": "7"}, {"learning_rate": 2e-5, "seed": 7}),
    ],
    ids=str,
)  # fmt: skip
def test_keys_that_map(tmp_path: Path, given: dict[str, Any], expected: dict[str, Any]) -> None:
    found = settings(tmp_path, **given)
    assert expected.items() <= found.items()
    TuneSettings(**found)  # every value is one that a run accepts


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"stage": "rm"}, "stage: rm is not offered here; there is dpo, kto, pretrain, sft"),
        ({"stage": "ppo"}, "stage: ppo is not offered"),
        ({"finetuning_type": "freeze"}, "finetuning_type: freeze is not offered here; there is full, lora"),
        ({"finetuning_type": "oft"}, "finetuning_type: oft"),
        (
            {"stage": "dpo", "pref_loss": "ipo"},
            "pref_loss: ipo is not offered here; there is dpo, orpo, simpo",
        ),
        ({"quantization_bit": 8}, "quantization_bit: 8 bits"),
        ({"quantization_bit": 4, "quantization_type": "fp4"}, "quantization_type: 4 bits are NF4"),
        ({"quantization_method": "hqq"}, "quantization_method: 4 bits come from bitsandbytes"),
        (
            {"adapter_name_or_path": "saves/x"},
            "adapter_name_or_path: continue from an adapter: merge it first",
        ),
        ({"optim": "lion"}, "optim: lion is not offered here; there is adamw, adamw8bit, sgd"),
        ({"lr_scheduler_type": "polynomial"}, "lr_scheduler_type: polynomial"),
        (
            {"deepspeed": "z3.json"},
            "deepspeed: several GPUs: start the same command under torchrun with --fsdp",
        ),
        (
            {"report_to": ["tensorboard", "wandb"]},
            "report_to: nothing is written for wandb; curves are written",
        ),
        ({"logging_dir": "logs"}, "logging_dir: TensorBoard's files are in the folder tensorboard"),
        ({"fp16": True}, "fp16: half precision is bf16 here"),
        ({"dataset_dir": "ONLINE"}, "dataset: dataset_dir=ONLINE takes rows from a hub"),
        ({"export_dir": "x"}, "export_dir: weightwright merge"),
        (
            {"temperature": 0.7},
            "temperature: not of tuning: weightwright chat and weightwright serve read it with --llamafactory FILE",
        ),
        (
            {"freeze_vision_tower": False},
            "freeze_vision_tower: rows are text: the language model alone learns",
        ),
        ({"freeze_language_model": True}, "freeze_language_model: rows are text: the language model alone"),
        ({"lora_rnk": 8}, "lora_rnk: unknown key; did you mean lora_rank?"),
        ({"zzzz": 8}, "zzzz: unknown key"),
    ],
    ids=str,
)
def test_keys_without_a_counterpart_are_listed_with_the_reason(
    tmp_path: Path, given: dict[str, Any], why: str
) -> None:
    base = {"model_name_or_path": "a/b", "dataset": "rows", "output_dir": "out"}
    found, _, unmapped = read(tmp_path, yaml.safe_dump(base | given))
    assert any(line.startswith(why) for line in unmapped), unmapped
    assert len(unmapped) == 1
    assert "known:" not in unmapped[0]
    if "dataset_dir" not in given:
        TuneSettings(**found)


HARMLESS = {
    "trust_remote_code": False, "create_new_adapter": False, "pissa_init": False, "quantization_type": "nf4",
    "double_quantization": True, "fp16": False, "report_to": "none", "overwrite_output_dir": False, "pref_ftx": 0.0,
    "streaming": False, "eval_strategy": "no", "default_system": None, "deepspeed": None, "compute_accuracy": False,
    "predict_with_generate": False, "save_only_model": False, "resume_from_checkpoint": None, "val_size": 0,
    "freeze_vision_tower": True, "freeze_multi_modal_projector": True, "freeze_language_model": False,
}  # fmt: skip


def test_values_that_change_nothing_are_not_listed(tmp_path: Path) -> None:
    base = {"model_name_or_path": "a/b", "dataset": "rows", "output_dir": "out"}
    assert read(tmp_path, yaml.safe_dump(base | HARMLESS))[2] == ()


# the keys of LLaMA-Factory's own options that a training file may hold, by the rows of our notes on them
ROWS = [
    "model_name_or_path", "adapter_name_or_path", "trust_remote_code", "stage", "do_train", "do_eval",
    "do_predict", "finetuning_type", "lora_rank", "lora_alpha", "lora_dropout", "lora_target",
    "additional_target", "use_dora", "use_rslora", "loraplus_lr_ratio", "pissa_init", "create_new_adapter",
    "quantization_bit", "quantization_method", "double_quantization", "quantization_type", "dataset",
    "eval_dataset", "dataset_dir", "media_dir", "template", "default_system", "tool_format",
    "enable_thinking", "preserve_thinking", "cutoff_len", "max_samples", "packing", "neat_packing",
    "train_on_prompt", "mask_history", "val_size", "eval_strategy", "eval_steps",
    "per_device_eval_batch_size", "compute_accuracy", "predict_with_generate",
    "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate", "num_train_epochs",
    "max_steps", "lr_scheduler_type", "warmup_ratio", "warmup_steps", "weight_decay", "max_grad_norm",
    "optim", "seed", "bf16", "fp16", "pure_bf16", "fp8", "flash_attn", "enable_liger_kernel", "use_unsloth",
    "rope_scaling", "disable_gradient_checkpointing", "output_dir", "logging_steps", "save_steps",
    "save_total_limit", "save_only_model", "plot_loss", "report_to", "run_name", "overwrite_output_dir",
    "resume_from_checkpoint", "early_stopping_steps", "deepspeed", "ddp_timeout",
    "preprocessing_num_workers", "dataloader_num_workers", "overwrite_cache", "tokenized_path", "streaming",
    "buffer_size", "mix_strategy", "interleave_probs", "pref_beta", "pref_loss", "pref_ftx", "simpo_gamma",
    "dpo_label_smoothing", "ref_model", "ref_model_adapters", "kto_chosen_weight", "kto_rejected_weight",
    "reward_model", "reward_model_type", "export_dir", "export_size", "export_device",
    "export_quantization_bit", "export_quantization_dataset", "export_hub_model_id", "infer_backend",
    "infer_dtype", "vllm_maxlen", "vllm_gpu_util", "temperature", "top_p", "top_k", "max_new_tokens",
    "repetition_penalty", "evaluation_strategy", "new_special_tokens",
]  # fmt: skip


@pytest.mark.parametrize("key", ROWS)
def test_every_key_of_theirs_is_known(tmp_path: Path, key: str) -> None:
    text = (tmp_path / "run.yaml").name
    (tmp_path / text).write_text(
        f"model_name_or_path: a/b\n{key}: 1\n" if key != "model_name_or_path" else f"{key}: a/b\n"
    )
    try:
        _, _, unmapped = read_llamafactory(tmp_path / text)
    except SettingsError as error:
        assert re.search(r"line 2: \w+=1 must be a name", str(error)), error  # noqa: PT017
        return
    assert not any("unknown key" in line for line in unmapped), unmapped


def test_states_that_are_not_paged_are_said(tmp_path: Path) -> None:
    _, notes, _ = read(tmp_path, "model_name_or_path: a/b\noptim: paged_adamw_32bit\n")
    assert any(
        note.startswith("optim=paged_adamw_32bit became optimizer=adamw: the same steps") for note in notes
    )
    _, notes, _ = read(tmp_path, "model_name_or_path: a/b\noptim: adamw_torch\n")
    assert not any("paged" in note for note in notes)


def test_packing_alone_is_explained(tmp_path: Path) -> None:
    _, notes, _ = read(tmp_path, "model_name_or_path: a/b\npacking: true\n")
    assert any("packed rows do not see each other here; there they do" in note for note in notes)


def test_a_local_model_gets_the_mark_of_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    assert settings(tmp_path, model_name_or_path="models/mine")["model"] == "./models/mine"
    assert settings(tmp_path, model_name_or_path="owner/name")["model"] == "owner/name"


def test_json_is_read_too(tmp_path: Path) -> None:
    text = json.dumps({"model_name_or_path": "a/b", "lora_rank": 4}, indent="\t")
    assert read(tmp_path, text, "run.json")[0]["rank"] == 4


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.yaml", "model_name_or_path: a/b\nlora_rank: [8\n", "run.yaml, line 3: not valid YAML: "),
        ("run.yaml", "model_name_or_path: a/b\n  lora_rank: 8\n", "run.yaml, line 2: not valid YAML: "),
        ("run.yaml", "model_name_or_path: a/b\n\nlora_rank: eight\n",
         "run.yaml, line 3: lora_rank='eight' must be a number"),
        ("run.yaml", "model_name_or_path: a/b\nlora_rank: 8.5\n", "line 2: lora_rank=8.5 must be a whole number"),
        ("run.yaml", "model_name_or_path: a/b\nlora_dropout: true\n", "line 2: lora_dropout=True must be a number"),
        ("run.yaml", "model_name_or_path: a/b\nbf16: perhaps\n", "line 2: bf16='perhaps' must be true or false"),
        ("run.yaml", "train_on_prompt: true\nmask_history: true\n",
         "line 2: mask_history=True cannot stand beside train_on_prompt=True"),
        ("run.yaml", "save_steps: 1.5\n", "line 1: save_steps=1.5 must be a whole number, or below 1 a share"),
        ("run.yaml", "model_name_or_path: 7\n", "line 1: model_name_or_path=7 must be a name"),
        ("run.yaml", "lora_rank: 8\nstage: sft\nlora_rank: 9\n", "line 3: lora_rank stands twice, first in line 1"),
        ("run.yaml", "- a\n- b\n", "run.yaml, line 1: expected `key: value` lines, found list"),
        ("run.yaml", "", "run.yaml, line 1: expected `key: value` lines, found NoneType"),
        ("run.yaml", "model: a/b\npeft_config: {name: lora}\n", "is in LLaMA-Factory's v1 schema"),
        ("run.json", '{"lora_rank": 8,\n "stage" "sft"}', "run.json, line 2: not valid JSON: "),
        ("run.json", '{\n"lora_rank": "x"}', "run.json, line 2: lora_rank='x' must be a number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_and_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, text, name)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read .*absent\.yaml"):
        read_llamafactory(tmp_path / "absent.yaml")
