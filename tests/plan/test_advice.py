"""The rules: a batch that leaves steps, a short warm-up, and what to change to fit."""

import pytest

from weightwright.plan.advice import advise, batch_rows, warmup_steps
from weightwright.plan.settings import PlanSettings


@pytest.mark.parametrize(
    ("rows", "epochs", "batch"), [(52_000, 3, 128), (12_800, 1, 128), (800, 1, 8), (200, 3, 6), (91, 1, 1)]
)
def test_batch_grows_only_while_100_steps_remain(rows: int, epochs: int, batch: int):
    assert batch_rows(rows, epochs) == batch
    assert batch == 1 or rows * epochs // batch >= 100


def test_warmup_is_at_most_a_tenth():
    assert warmup_steps(1000) == 100
    assert warmup_steps(1000, asked=40) == 40
    assert warmup_steps(1000, asked=400) == 100
    assert warmup_steps(1000, share=0.03) == 30
    assert warmup_steps(1000, share=0.5) == 100
    assert warmup_steps(9) == 0


def test_advice_names_setting_value_and_reason():
    settings = PlanSettings(model="x", task="lora", rank=16, rows=800)
    advice = {one.setting: one for one in advise(settings, peak_bytes=1, memory_bytes=10)}
    assert advice["alpha"].value == 32
    assert advice["batch"].value == 8
    assert advice["warmup_steps"].value == 10
    assert all(one.why for one in advice.values())
    assert "gradient_checkpointing" not in advice


def test_what_does_not_fit_is_told_how_it_could():
    settings = PlanSettings(model="x", task="lora")
    assert {"micro_batch", "gradient_checkpointing", "task"} <= {
        one.setting for one in advise(settings, peak_bytes=20, memory_bytes=10)
    }
    served = PlanSettings(model="x", task="serve")
    assert "sequences" in {one.setting for one in advise(served, peak_bytes=20, memory_bytes=10)}
