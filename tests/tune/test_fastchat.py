"""The flags of FastChat's trainers: each becomes a setting or is said, from flags, a command, or a script."""

from pathlib import Path
from typing import Any

import pytest

from weightwright.cli.app import main
from weightwright.errors import SettingsError
from weightwright.tune.fastchat import read_fastchat
from weightwright.tune.settings import TuneSettings

FULL = """\
# fine-tunes everything
torchrun --nproc_per_node=4 --master_port=20001 fastchat/train/train_mem.py \\
    --model_name_or_path ~/weights/base-7b  \\
    --data_path ~/rows.json \\
    --bf16 True \\
    --output_dir out_7b \\
    --num_train_epochs 3 \\
    --per_device_train_batch_size 2 \\
    --per_device_eval_batch_size 16 \\
    --gradient_accumulation_steps 16 \\
    --evaluation_strategy "steps" \\
    --eval_steps 1500 \\
    --save_strategy "steps" \\
    --save_steps 1500 \\
    --save_total_limit 8 \\
    --learning_rate 2e-5 \\
    --weight_decay 0. \\
    --warmup_ratio 0.04 \\
    --lr_scheduler_type "cosine" \\
    --logging_steps 1 \\
    --fsdp "full_shard auto_wrap" \\
    --fsdp_transformer_layer_cls_to_wrap 'LlamaDecoderLayer' \\
    --tf32 True \\
    --model_max_length 2048 \\
    --gradient_checkpointing True \\
    --lazy_preprocess True
"""
BASE = "--model_name_or_path a/b --data_path rows.json --output_dir out"


def settings(flags: str) -> dict[str, Any]:
    return read_fastchat(f"{BASE} {flags}")[0]


def test_the_usual_script_of_full_tuning(tmp_path: Path) -> None:
    (tmp_path / "train.sh").write_text(FULL)
    for text in (FULL, str(tmp_path / "train.sh")):
        found, notes, unmapped = read_fastchat(text)
        assert found == {
            "model": str(Path.home() / "weights/base-7b"), "data": str(Path.home() / "rows.json"), "out": "out_7b",
            "method": "full", "max_length": 2048, "too_long": "truncate", "batch": 128, "micro_batch": 2, "epochs": 3,
            "learning_rate": 2e-5, "schedule": "cosine", "warmup_ratio": 0.04, "weight_decay": 0.0,
            "max_grad_norm": 1.0, "seed": 42, "optimizer": "adamw", "precision": "bf16", "tf32": True,
            "save_every": 1500, "keep": 8, "eval_every": 1500, "gradient_checkpointing": True,
        }  # fmt: skip
        TuneSettings(**found)
        assert unmapped == ("fsdp: several GPUs: start the same command under torchrun with --fsdp",)
        said = " | ".join(notes)
        assert "every weight is trained, as train.py does" in said
        assert "a step has 128 rows, those of 4 processes together" in said
        assert "rows longer than 2,048 tokens are cut as there, but counted" in said
        assert "fsdp_transformer_layer_cls_to_wrap, lazy_preprocess" in said


def test_what_a_command_leaves_out_has_their_default() -> None:
    expected = {"method": "full", "max_length": 512, "batch": 8, "epochs": 3, "learning_rate": 5e-5,
                "schedule": "linear", "gradient_checkpointing": False}  # fmt: skip
    assert expected.items() <= settings("").items()
    expected = {"method": "lora", "rank": 8, "alpha": 16, "dropout": 0.05, "targets": "q_proj,v_proj"}
    assert expected.items() <= settings("--lora_r 8").items()
    lora = read_fastchat(f"deepspeed fastchat/train/train_lora.py {BASE}")[0]
    assert expected.items() <= lora.items()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--q_lora True --lora_r 16", {"method": "qlora", "rank": 16}),
        ("--q_lora False", {"method": "lora"}),
        ("--lora-target-modules q_proj k_proj v_proj", {"targets": "q_proj,k_proj,v_proj"}),
        ("--lora_alpha=32 --lora_dropout 0", {"alpha": 32.0, "dropout": 0.0}),
        ("--eval_data_path held.json", {"eval_data": "held.json"}),
        ("--bf16 --gradient_checkpointing", {"precision": "bf16", "gradient_checkpointing": True}),
        ("--max_steps 10", {"max_steps": 10}),
        ("--max_steps -1", {"epochs": 3}),
        ("--warmup_steps 7", {"warmup_steps": 7}),
        (
            "--save_steps 0.2 --evaluation_strategy steps --eval_steps 0.5",
            {"save_every": 0.2, "eval_every": 0.5},
        ),
        ("--learning_rate 1e-5 --learning_rate 2e-5", {"learning_rate": 2e-5}),
        ("--report_to tensorboard", {"tensorboard": True}),
        ("--optim adamw_torch_fused", {"optimizer": "adamw"}),
    ],
)
def test_flags_that_map(flags: str, expected: dict[str, Any]) -> None:
    found = settings(flags)
    assert expected.items() <= found.items()
    TuneSettings(**found)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--fp16 True", "fp16: half precision is bf16 here"),
        ("--deepspeed z2.json", "deepspeed: several GPUs: start the same command under torchrun with --fsdp"),
        (
            "--fsdp 'full_shard auto_wrap'",
            "fsdp: several GPUs: start the same command under torchrun with --fsdp",
        ),
        ("--lora_bias all", "lora_bias: biases are not trained beside an adapter"),
        ("--lora_weight_path old", "lora_weight_path: continue from an adapter: merge it first"),
        ("--preprocessed_path p.json", "preprocessed_path: a flag of the T5 trainer"),
        ("--report_to wandb", "report_to: nothing is written for wandb"),
        ("--optim lion_8bit", "optim: lion_8bit is not offered here; there is adamw, adamw8bit, sgd"),
        ("--adam_beta2 0.95", "adam_beta2: AdamW's second beta is 0.999"),
        ("--model_max_lenght 4", "model_max_lenght: unknown key; did you mean model_max_length?"),
    ],
)
def test_flags_without_a_counterpart_are_said(flags: str, line: str) -> None:
    found, _, unmapped = read_fastchat(f"{BASE} {flags}")
    assert [said.startswith(line) for said in unmapped] == [True], unmapped
    TuneSettings(**found)


@pytest.mark.parametrize(
    "flags",
    ["--lora_bias none", "--fp16 False", "--num_data -1", "--adam_beta1 0.9", "--flash_attn True", "--cache_dir x",
     "--padding_side right", "--label_smoothing_factor 0", "--evaluation_strategy no", "--lora_weight_path ''"],
)  # fmt: skip
def test_values_that_change_nothing_are_not_listed(flags: str) -> None:
    assert read_fastchat(f"{BASE} {flags}")[2] == ()


def test_under_torchrun_fsdp_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    found, _, unmapped = read_fastchat(
        f"{BASE} --fsdp 'full_shard auto_wrap' --per_device_train_batch_size 4"
    )
    assert (found["fsdp"], found["batch"], found["micro_batch"], unmapped) == (True, 8, 4, ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--lora_r 8.5", "--fastchat: lora_r=8.5 must be a whole number"),
        ("--lora_r eight", "--fastchat: lora_r='eight' must be a number"),
        ("rows.json --lora_r 8", "--fastchat: 'rows.json' stands before any flag"),
        ('--data_path "rows.json', "--fastchat: the command cannot be divided into words"),
        ("--data_path --lora_r 8", "--fastchat: data_path=True must be a name"),
        ("--bf16 perhaps", "--fastchat: bf16='perhaps' must be true or false"),
    ],
)
def test_what_is_wrong_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read_fastchat(text)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_the_verb_takes_the_flags_in_quotes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = (
        f"--model_name_or_path smollm2-135m --data_path {tmp_path}/absent.json --output_dir {tmp_path}/out"
    )
    assert main(["tune", "--fastchat", f"{flags} --lora_r 4", "--batch", "2"]) == 1
    said = capsys.readouterr().err
    assert f"error: {tmp_path}/absent.json does not exist" in said
    assert "rows longer than 512 tokens are cut as there" in said


@pytest.mark.parametrize(
    ("name", "template"),
    [("vicuna_v1.1", "vicuna"), ("llama-2", "llama2"), ("alpaca", "alpaca"), ("qwen-7b-chat", "chatml")],
)
@pytest.mark.parametrize("flag", ["--conv-template", "--conv_template"])
def test_a_conversation_template_that_we_have_is_taken(flag: str, name: str, template: str) -> None:
    found, notes, unmapped = read_fastchat(f"{BASE} {flag} {name}")
    assert TuneSettings(**found).template == template
    assert unmapped == ()
    assert f"conv_template={name}: --template {template}, with the rows' system messages" in notes


@pytest.mark.parametrize("name", ["chatglm3", "mistral", "zephyr", "baichuan-chat"])
def test_a_conversation_template_that_we_have_not_is_said(name: str) -> None:
    found, notes, unmapped = read_fastchat(f"{BASE} --conv-template {name}")
    assert "template" not in found
    assert unmapped == ()
    said = next(note for note in notes if note.startswith(f"conv_template={name} is not used: "))
    assert "the model's own chat template" in said
    assert "--template chatml, llama2, vicuna, alpaca or a Jinja file" in said
