"""`tune --time`: the number of steps that fit into a time, by a clock that the tests turn."""

import json
import shutil

import pytest
from pydantic import ValidationError

from weightwright import config
from weightwright.tune import budget, loop
from weightwright.tune.run import tune
from weightwright.tune.settings import TuneSettings
from weightwright.tune.state import RunPlan


class Clock:
    """Seconds that pass with each look at it."""

    def __init__(self, step_s: float = 1.0) -> None:
        self.now_s, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


@pytest.mark.parametrize(
    ("text", "seconds", "said"),
    [
        ("90s", 90, "1 minute 30 seconds"),
        ("20m", 1200, "20 minutes"),
        ("1h", 3600, "1 hour"),
        ("1h30m", 5400, "1 hour 30 minutes"),
        ("2h0m5s", 7205, "2 hours 5 seconds"),
        ("0.5h", 1800, "30 minutes"),
        ("1.5m", 90, "1 minute 30 seconds"),
        ("600m", 36000, "10 hours"),
    ],
)
def test_a_time_is_read_and_said(make, text, seconds, said):
    settings = make(time=text)
    assert settings.time_s == seconds
    assert budget.said(settings.time_s) == said
    assert f"time: {text}" in config.to_yaml(settings)


@pytest.mark.parametrize(
    "text", ["20", 20, "", "m", "20 minutes", "-5m", "0s", "0h0m", "1m1h", "1:30", "1e3s", "nan"]
)
def test_what_is_no_time_is_one_error(make, text):
    with pytest.raises(
        ValidationError, match="is no time; give hours, minutes or seconds, such as 1h30m, 20m or 90s"
    ):
        make(time=text)


@pytest.mark.parametrize(("other", "message"), [({"max_steps": 5}, "give max_steps or time, not both"),
                                                ({"search": ("rank=4,8",)}, "which time would pick")])  # fmt: skip
def test_what_else_says_how_many_steps_is_refused(make, other, message):
    with pytest.raises(ValidationError, match=message):
        make(time="20m", **other)


def steps_of(settings: TuneSettings) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (settings.out / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def test_a_run_takes_the_steps_that_fit(make, rows, caplog):
    """Each step is 1 s by the clock (scaled by its tokens), the time for 20 of 400 steps and all around them."""
    settings = make(time="40s", epochs=100, eval_data=rows, general=False, save_every=0.5, show=0)
    clock = Clock()
    result = tune(settings, clock=clock)
    decided = json.loads((settings.out / budget.FILE).read_text())
    assert result.steps == len(steps_of(settings)) == decided["steps"]
    assert 15 < result.steps < 40
    assert f"40 seconds: {result.steps} of 400 steps" in caplog.text
    assert any("of 400 steps" in note for note in result.notes)
    rates = [line["learning_rate"] for line in steps_of(settings)]
    assert (
        max(rates) == max(rates[:8]) > 0.95 * settings.peak_learning_rate
    )  # soon, though of 400 it is step 40
    assert rates[-1] < 0.05 * max(rates)  # and down to nothing at their end
    evals = [
        json.loads(line)["step"]
        for line in (settings.out / "log.jsonl").read_text().splitlines()
        if "eval_loss" in line
    ]
    assert evals[-1] == result.steps
    assert tune(settings, clock=clock).finished_before


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_that_goes_on_takes_the_same_steps_and_has_the_same_losses(make, tmp_path, monkeypatch, kept):
    """From the checkpoint of the decision, and from the beginning where that is lost."""
    whole = make(time="40s", epochs=100, general=False, out=tmp_path / "whole")
    expected = tune(whole, clock=Clock())
    cut = make(time="40s", epochs=100, general=False, out=tmp_path / "cut")
    real = loop.check_loss

    def stopped(run, loss):
        if run.done == 8:
            raise KeyboardInterrupt
        real(run, loss)

    monkeypatch.setattr(loop, "check_loss", stopped)
    with pytest.raises(KeyboardInterrupt):
        tune(cut, clock=Clock())
    monkeypatch.setattr(loop, "check_loss", real)
    assert (cut.out / "checkpoints").is_dir()
    if not kept:
        shutil.rmtree(cut.out / "checkpoints")
    found = tune(cut, clock=Clock(step_s=17.0))  # this time everything is slower
    assert found.steps == expected.steps
    assert [line["loss"] for line in steps_of(cut)] == [line["loss"] for line in steps_of(whole)]


def test_time_for_all_steps_takes_no_more_than_all(make):
    result = tune(make(time="10h", epochs=2, general=False), clock=Clock())
    assert result.steps == 8


def test_time_for_less_than_was_measured_takes_one_step_more(make):
    result = tune(make(time="1s", epochs=20, general=False), clock=Clock())
    assert result.steps == 5  # the first, three measured, and the one that ends it


def test_evaluations_and_checkpoints_cost_steps(make, rows):
    settings = make(eval_data=rows, eval_every=10, save_every=25)
    plan = RunPlan(examples=(), eval_examples=(1,), steps=1000, batch=3, warmup=0, eval_every=10, save_every=25,
                        pass_tokens=1, settings=settings, packed=True)  # fmt: skip
    assert budget.affordable(plan, 4, 96.0, 1.0, {}) == 100
    assert budget.affordable(plan, 4, 96.0, 1.0, {"evaluation": 0.0, "checkpoint": 0.0}) == 100
    # 10 evaluations of 2 s and 4 checkpoints of 5 s more
    assert budget.affordable(plan, 4, 96.0 + 20 + 20, 1.0, {"evaluation": 2.0, "checkpoint": 5.0}) == 100
    assert budget.affordable(plan, 4, 96.0 + 39, 1.0, {"evaluation": 2.0, "checkpoint": 5.0}) < 100
    assert budget.affordable(plan, 4, 1e9, 1.0, {"evaluation": 2.0}) == 1000
    assert budget.affordable(plan, 4, -3.0, 1.0, {}) == 5


def test_one_slow_step_does_not_halve_the_run():
    assert budget._typical([60.0, 1.0, 9.0, 1.0, 1.2], 1) == 1.1
    assert budget._typical([60.0, 60.0, 5.0, 1.0, 5.0, 1.0], 2) == 3.0  # groups: one samples, one does not
