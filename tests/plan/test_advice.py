"""The rules: a batch that leaves steps, a short warm-up, the rank by kinds of task, and what to change to fit."""

import pytest

from weightwright.plan.advice import advise, batch_rows, epochs_for, fewer_rows, lora_rank, warmup_steps
from weightwright.plan.memory import estimate
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import from_config

SPEC = from_config({
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 4096,
})  # fmt: skip


def by_setting(settings: PlanSettings) -> dict:
    return {one.setting: one for one in advise(settings, peak_bytes=1, memory_bytes=10)}


def to_fit(settings: PlanSettings, memory_bytes: int) -> list:
    """What is said only because it does not fit."""
    peak = estimate(SPEC, settings).peak.total_bytes
    assert peak > memory_bytes
    usual = advise(settings, peak, 0, SPEC)
    return advise(settings, peak, memory_bytes, SPEC)[len(usual) :]


@pytest.mark.parametrize(
    ("rows", "epochs", "batch"), [(52_000, 3, 128), (12_800, 1, 128), (800, 1, 8), (200, 3, 6), (91, 1, 1)]
)
def test_batch_grows_only_while_100_steps_remain(rows: int, epochs: int, batch: int):
    assert batch_rows(rows, epochs) == batch
    assert batch == 1 or rows * epochs // batch >= 100


def test_warmup_is_a_tenth_or_what_is_asked_for():
    assert warmup_steps(1000) == 100
    assert warmup_steps(1000, asked=40) == 40
    assert warmup_steps(1000, asked=400) == 400
    assert warmup_steps(1000, share=0.03) == 30
    assert warmup_steps(1000, share=0.5) == 500
    assert warmup_steps(10, share=0.03) == 1  # rounded up, as transformers does
    assert warmup_steps(9) == 0


@pytest.mark.parametrize(
    ("kinds", "rank"), [(1, 8), (2, 16), (4, 16), (5, 32), (16, 64), (32, 128), (33, 256), (1000, 256)]
)
def test_the_rank_grows_with_the_kinds_of_task(kinds: int, rank: int):
    assert lora_rank(kinds) == rank
    advice = by_setting(PlanSettings(model="x", task="lora", task_kinds=kinds))
    assert (advice["rank"].value, advice["alpha"].value) == (rank, 2 * rank)


@pytest.mark.parametrize(("rows", "epochs"), [(100_000, 1), (800, 1), (799, 2), (91, 9), (5, 20)])
def test_one_epoch_unless_rows_are_few(rows: int, epochs: int):
    assert epochs_for(rows) == epochs
    advice = by_setting(PlanSettings(model="x", task="lora", rows=rows))
    assert advice["epochs"].value == epochs
    if rows * epochs >= 800:
        assert advice["batch"].value >= 8
        assert rows * epochs // advice["batch"].value >= 100


def test_advice_names_setting_value_and_reason():
    settings = PlanSettings(model="x", task="lora", rank=16, rows=800)
    advice = by_setting(settings)
    assert (advice["rank"].value, advice["alpha"].value) == (8, 16)
    assert "with rank 16: 32" in advice["alpha"].why
    assert advice["batch"].value == 8
    assert advice["warmup_steps"].value == 10
    assert advice["targets"].value == "all-linear"
    assert (advice["learning_rate"].value, advice["weight_decay"].value) == (3e-4, 0.01)
    assert all(one.why for one in advice.values())
    assert "gradient_checkpointing" not in advice


def test_epochs_that_were_said_are_kept_for_the_batch():
    advice = by_setting(PlanSettings(model="x", task="lora", rows=800, epochs=4))
    assert advice["epochs"].value == 1
    assert advice["batch"].value == 32


@pytest.mark.parametrize(
    ("values", "rate"),
    [
        ({"task": "lora"}, 3e-4), ({"task": "full"}, 2e-5), ({"task": "qlora", "objective": "dpo"}, 3e-5),
        ({"task": "full", "objective": "simpo"}, 2e-6), ({"task": "full", "optimizer": "sgd"}, 0.1),
    ],
)  # fmt: skip
def test_the_learning_rate_is_the_one_that_tuning_takes(values: dict, rate: float, tmp_path):
    from weightwright.tune.settings import TuneSettings

    found = by_setting(PlanSettings(model="x", **values))["learning_rate"].value
    assert found == pytest.approx(rate)
    method = values["task"]
    rest = {key: value for key, value in values.items() if key != "task"}
    tuning = TuneSettings(model="x", data=tmp_path, out=tmp_path, method=method, **rest)
    assert tuning.peak_learning_rate == pytest.approx(rate)


def test_sgd_comes_with_momentum_and_no_decay():
    advice = by_setting(PlanSettings(model="x", task="full", optimizer="sgd"))
    assert advice["momentum"].value == 0.9
    assert "weight_decay" not in advice


def test_settings_far_from_the_advice_are_told_so():
    far = PlanSettings(model="x", task="lora", learning_rate=3e-3, rank=8, alpha=64)
    advice = by_setting(far)
    assert "0.003 is 10 times that" in advice["learning_rate"].why
    assert "64 scales the adapter by 8" in advice["alpha"].why
    near = by_setting(PlanSettings(model="x", task="lora", learning_rate=2e-4, rank=8, alpha=16))
    assert "times that" not in near["learning_rate"].why
    assert "scales" not in near["alpha"].why.partition(";")[2]


def test_qlora_says_what_it_costs():
    why = by_setting(PlanSettings(model="x", task="qlora"))["task"].why
    assert "33%" in why
    assert "39%" in why


def test_what_does_not_fit_is_told_how_it_could():
    settings = PlanSettings(model="x", task="lora")
    assert {"micro_batch", "gradient_checkpointing", "task"} <= {
        one.setting for one in advise(settings, peak_bytes=20, memory_bytes=10)
    }
    served = PlanSettings(model="x", task="serve")
    assert "sequences" in {one.setting for one in advise(served, peak_bytes=20, memory_bytes=10)}


def test_ways_to_fit_come_cheapest_first_and_end_where_it_fits():
    settings = PlanSettings(model="x", task="lora", max_length=512)
    ways = to_fit(settings, 15_300_000_000)
    assert [(one.setting, one.value) for one in ways] == [
        ("micro_batch", 1),
        ("gradient_checkpointing", True),
    ]
    assert ways[-1].why.endswith("which fits")
    last = settings.model_copy(update={"micro_batch": 1, "gradient_checkpointing": True})
    assert f"{estimate(SPEC, last).peak.total_bytes / 1e9:.2f} GB" in ways[-1].why
    further = to_fit(settings, 8_000_000_000)
    assert [one.setting for one in further] == ["micro_batch", "gradient_checkpointing", "task"]
    assert further[-1].value == "qlora"


def test_full_tuning_is_told_of_sgd_or_8_bits_and_at_last_of_adapters():
    ways = to_fit(PlanSettings(model="x", task="full"), 16_000_000_000)
    assert [one.value for one in ways if one.setting == "optimizer"] == ["sgd"]
    assert [one.value for one in ways if one.setting == "task"] == ["lora"]
    card = to_fit(PlanSettings(model="x", task="full", device="cuda"), 70_000_000_000)
    assert [one.value for one in card if one.setting == "optimizer"] == ["adamw8bit"]


def test_serving_gives_up_sequences_before_precision_and_precision_before_context():
    settings = PlanSettings(model="x", task="serve", context=4096, sequences=4, precision="bf16")
    ways = to_fit(settings, 7_500_000_000)
    assert [one.setting for one in ways] == ["sequences", "kv_precision", "precision", "precision"]
    assert [one.value for one in ways] == [2, "int8", "int8", "int4"]


def test_ways_that_lead_nowhere_are_not_offered():
    one = PlanSettings(model="x", task="serve", sequences=1, precision="int4", kv_precision="int8")
    assert {way.setting for way in to_fit(one, 1_000)} == {"context", "device_memory"}
    mixture = from_config({
        "model_type": "mixtral", "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4,
    })  # fmt: skip
    settings = PlanSettings(model="x", task="serve")
    peak = estimate(mixture, settings).peak.total_bytes
    assert "precision" not in {way.setting for way in advise(settings, peak, 1_000, mixture)}


MIXTRAL = from_config({
    "model_type": "mixtral", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
})  # fmt: skip


@pytest.mark.parametrize("task", ["serve", "lora", "qlora", "full"])
def test_where_nothing_fits_it_is_said(task):
    settings = PlanSettings(model="x", task=task, device="cuda", sequences=1)
    peak = estimate(MIXTRAL, settings).peak.total_bytes
    card_gb = 24 if task == "serve" else 80  # experts are held in 4 bits to answer, in 16 to learn
    last = advise(settings, peak, card_gb * 10**9, MIXTRAL)[-1]
    assert last.setting == "device_memory"
    assert card_gb < int(str(last.value).removesuffix("GB")) < card_gb * 1.4
    assert f"nothing of this fits into {card_gb}.00 GB" in last.why


def test_qlora_of_a_mixture_says_what_it_saves_there():
    why = [
        one.why
        for one in advise(PlanSettings(model="x", task="qlora", device="cuda"), 0, 0, MIXTRAL)
        if one.setting == "task"
    ]
    assert [text.partition(" less")[0] for text in why] == ["about 1%"]


def test_adapters_that_fit_by_themselves_need_nothing_else():
    ways = to_fit(PlanSettings(model="x", task="full", device="cuda", max_length=512), 60_000_000_000)
    assert (ways[-1].value, ways[-1].why.partition("; ")[2].partition(":")[0]) == ("lora", "by itself")
    ways = to_fit(PlanSettings(model="x", task="full", device="cuda", max_length=512), 17_000_000_000)
    assert (ways[-1].value, ways[-1].why.partition("; ")[2].partition(":")[0]) == ("lora", "with those above")


def test_fewer_rows_are_offered_where_they_save_recomputing():
    settings = PlanSettings(model="x", task="qlora", device="cuda", micro_batch=4, max_length=2048)
    one = fewer_rows(SPEC, settings, 24_000_000_000)
    assert one is not None
    assert (one.setting, one.value) == ("micro_batch", 1)
    assert fewer_rows(SPEC, settings, 8_000_000_000) is None
    assert fewer_rows(SPEC, settings.model_copy(update={"micro_batch": 1}), 24_000_000_000) is None
