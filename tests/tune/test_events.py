"""Curves for TensorBoard, read back as TensorBoard reads them."""

import json
import sys
from pathlib import Path

import pytest

from weightwright.connect import open_sampler
from weightwright.errors import MissingExtraError
from weightwright.extras import installed
from weightwright.judge.rewards import open_rewards
from weightwright.tune.events import TAGS
from weightwright.tune.rollout import Sampling
from weightwright.tune.run import tune

needed = pytest.mark.skipif(not installed("tensorboard"), reason="tensorboard is not installed (extra)")


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of each tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def logged(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The same, as log.jsonl has it."""
    found: dict[str, list[tuple[int, float]]] = {}
    for text in (run / "log.jsonl").read_text().splitlines():
        line = json.loads(text)
        for name in line.keys() & TAGS.keys():
            found.setdefault(TAGS[name], []).append((line["step"], pytest.approx(line[name], rel=1e-6)))
    return found


def stopped_after(settings, step: int) -> None:
    """Run until something breaks after `step`."""

    def fail(done: int, total: int, note: str = "") -> None:
        if done == step:
            raise OSError("stopped")

    with pytest.raises(OSError, match="stopped"):
        tune(settings, progress=fail)


@needed
def test_event_files_hold_what_the_log_holds(make, rows):
    settings = make(epochs=2, eval_data=rows, tensorboard=True)
    tune(settings)
    found = curves(settings.out)
    assert found == logged(settings.out)
    of_steps = {f"train/{name}" for name in ("loss", "learning_rate", "grad_norm", "tokens_per_s")}
    assert found.keys() == {*of_steps, "eval/loss"}
    assert [step for step, _ in found["train/loss"]] == list(range(1, 9))
    assert [step for step, _ in found["eval/loss"]] == [0, 2, 4, 6, 8]


@needed
def test_the_share_of_pairs_in_the_right_order_is_a_curve(make, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    lines = [{"instruction": f"Say {n}", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(4)]
    pairs.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    settings = make(data=pairs, eval_data=pairs, objective="orpo", max_steps=1, tensorboard=True)
    tune(settings)
    assert len(curves(settings.out)["eval/preference_accuracy"]) == 2
    assert curves(settings.out) == logged(settings.out)


@needed
def test_rewards_are_curves(make, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "Say one"}\n{"prompt": "Say two"}\n', encoding="utf-8")
    settings = make(
        data=prompts, eval_data=prompts, objective="grpo", reward="length:3", beta=0.1, max_steps=1,
        grpo={"group_size": 2, "max_completion": 4}, tensorboard=True,
    )  # fmt: skip
    tune(settings, sampling=Sampling(open_sampler, open_rewards))
    assert {"train/reward", "eval/reward", "train/completions/mean_length", "train/kl"} <= curves(
        settings.out
    ).keys()
    assert curves(settings.out) == logged(settings.out)


@needed
def test_a_resumed_run_shows_each_step_once(make, rows):
    """Stopped after steps that no checkpoint holds; they are taken again."""
    settings = make(epochs=2, eval_data=rows, save_every=3, tensorboard=True)
    stopped_after(settings, 2)  # back to the beginning
    stopped_after(settings, 5)  # back to step 3
    tune(settings)
    found = curves(settings.out)
    assert found == logged(settings.out)
    assert [step for step, _ in found["train/loss"]] == list(range(1, 9))


@needed
def test_curves_that_are_asked_for_later_begin_at_the_first_step(make):
    stopped_after(make(save_every=1), 2)
    settings = make(tensorboard=True)
    assert tune(settings).steps == 4
    assert [step for step, _ in curves(settings.out)["train/loss"]] == [1, 2, 3, 4]


def test_nothing_is_written_where_nothing_is_asked_for(make):
    tune(make(max_steps=1))
    assert not (make().out / "tensorboard").exists()


def test_a_missing_package_is_said_before_anything_is_read(make, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=r"run: pip install 'weightwright\[tensorboard\]'"):
        tune(make(tensorboard=True, model="absent/model", data=tmp_path / "absent"))
