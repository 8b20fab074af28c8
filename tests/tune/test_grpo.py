"""Runs with objective=grpo: the reward rises, a stopped run goes on bit for bit, what is wrong is one line."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from weightwright.cli.watch import view
from weightwright.connect import open_sampler
from weightwright.data.template import Encoded
from weightwright.errors import DataError, Place, SettingsError, TuneError
from weightwright.judge.rewards import open_rewards
from weightwright.tune import loop
from weightwright.tune.batch import Example
from weightwright.tune.rollout import Rollout, Sampling
from weightwright.tune.run import tune
from weightwright.tune.settings import TuneSettings
from weightwright.tune.watch import state

pytestmark = pytest.mark.filterwarnings("ignore")
SAMPLING = Sampling(open_sampler, open_rewards)
REWARD = """
def letters(completion):
    return sum(c.isascii() and c.isalpha() for c in completion) / 12

def fields(completion, prompt, wish):
    assert prompt.startswith("Say") and wish == len(prompt)
    return float(completion.count("e"))
"""


@pytest.fixture
def make(tmp_path, tiny_model):
    rows = tmp_path / "prompts.jsonl"
    lines = [{"prompt": "Say " + "x" * n, "wish": 4 + n} for n in range(6)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (tmp_path / "rewards.py").write_text(REWARD, encoding="utf-8")

    def settings(**changes):
        grpo = {"group_size": 4, "max_completion": 12, **changes.pop("grpo", {})}
        usual = {"model": str(tiny_model), "data": rows, "out": tmp_path / "run", "precision": "f32", "batch": 3,
                 "rank": 4, "device": "cpu", "objective": "grpo", "reward": f"{tmp_path}/rewards.py:letters",
                 "learning_rate": 3e-2, "show": 0, "grpo": grpo}  # fmt: skip
        return TuneSettings(**{**usual, **changes})

    return settings


def run(settings):
    return tune(settings, sampling=SAMPLING)


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_the_reward_rises_held_out_too(make, tmp_path):
    held_out = tmp_path / "held-out.jsonl"
    held_out.write_text("".join(json.dumps({"prompt": f"Tell {n}"}) + "\n" for n in range(8)))
    result = run(make(eval_data=held_out, epochs=10, eval_every=10))
    assert result.steps == 20
    assert result.reward["held_out_last"] > result.reward["held_out_first"] + 0.3
    assert result.reward["last"] > result.reward["first"] + 0.3
    assert result.diagnosis[0] == (
        f"fine: the held-out reward went from {result.reward['held_out_first']:.3f} "
        f"to {result.reward['held_out_last']:.3f}"
    )
    assert result.eval_loss is None
    steps = [line for line in lines(tmp_path / "run") if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 21))
    assert {"reward", "reward_std", "equal_groups", "answer_tokens", "cut_answers", "samples_per_s"} <= set(
        steps[0]
    )
    assert (result.adapter / "adapter_model.safetensors").is_file()


class StopError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("values", [{}, {"beta": 0.1, "grpo": {"iterations": 3}, "batch": 6}])
def test_a_killed_run_goes_on_bit_for_bit(make, tmp_path, monkeypatch, values):
    whole = run(make(out=tmp_path / "whole", epochs=2, save_every=1, **values))
    taken = loop.update_weights

    def killed(one, loss):
        if one.done == 2:  # with iterations=3 in the midst of steps that learn from the same samples
            raise StopError
        return taken(one, loss)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "update_weights", killed)
        with pytest.raises(StopError):
            run(make(out=tmp_path / "again", epochs=2, save_every=1, **values))
    again = run(make(out=tmp_path / "again", epochs=2, save_every=1, **values))
    assert again.steps == whole.steps > 2
    first, second = (load_file(one.adapter / "adapter_model.safetensors") for one in (whole, again))
    assert all(torch.equal(first[name], second[name]) for name in first)

    def drop_times(line):
        return {key: value for key, value in line.items() if not key.endswith("_per_s")}

    assert [*map(drop_times, lines(tmp_path / "whole"))] == [*map(drop_times, lines(tmp_path / "again"))]


def test_steps_that_share_samples_are_clipped_by_how_far_the_policy_moved(make, tmp_path):
    run(make(grpo={"iterations": 3, "loss_type": "grpo"}, batch=6))
    steps = lines(tmp_path / "run")
    assert len({line["reward"] for line in steps}) == 1
    assert abs(steps[0]["loss"]) < 1e-6  # each ratio is 1: advantages cancel out
    assert steps[1]["loss"] < -1e-4


def test_a_kl_term_holds_the_policy_at_the_base_model(make, tmp_path):
    free, held = (run(make(out=tmp_path / f"{beta}", beta=beta, epochs=10)) for beta in (0.0, 5.0))
    assert held.reward["last"] < free.reward["last"] - 0.2


def test_watching_shows_rewards_and_what_the_answers_are_like(make, tmp_path):
    rows = tmp_path / "prompts.jsonl"
    result = run(make(beta=0.2, eval_data=rows, epochs=4, eval_every=4))
    found = state(tmp_path / "run", time.time())
    steps = [line for line in lines(tmp_path / "run") if "loss" in line]
    assert found.rewards == tuple(line["reward"] for line in steps)
    assert found.evals == (
        (0, result.reward["held_out_first"]),
        (4, found.evals[1][1]),
        (8, found.evals[2][1]),
    )
    assert found.measures["answer_tokens"] == tuple(line["answer_tokens"] for line in steps)
    assert found.measures["kl"][0] == 0  # the adapter is still nothing
    assert min(found.measures["kl"][1:]) > 0
    assert {"rewards", "measures"} <= set(found.data())
    shown = view(found).splitlines()
    assert shown[1] == f"reward {found.rewards[-1]:.3f}, held out {result.reward['held_out_last']:.3f}"
    assert "tokens an answer" in shown[2]
    assert f"KL {found.measures['kl'][-1]:.4f} from the base model" in shown[2]
    highest = max(*found.rewards, *(reward for _, reward in found.evals))
    assert shown[3].split()[0] == f"{highest:.3f}"  # the curve is of rewards


def test_without_a_kl_term_there_is_no_kl(make, tmp_path):
    run(make(max_steps=1))
    assert "kl" not in lines(tmp_path / "run")[0]


def test_the_row_reaches_the_function(make, tmp_path):
    result = run(make(reward=f"{tmp_path}/rewards.py:fields", max_steps=1))
    assert result.steps == 1


def test_only_answers_with_a_gradient_are_read(make):
    examples = [Example((Encoded((1, 2), (False, True), Place()),), advantage=x) for x in (0.0, -1.0)]
    plain, with_kl = (Rollout(*[None] * 2, make(beta=beta), *[None] * 3) for beta in (0.0, 0.1))
    assert plain.learnt(examples) == examples[1:]
    assert with_kl.learnt(examples) == examples


def test_all_alike_changes_nothing_and_is_said(make, tmp_path):
    (tmp_path / "flat.py").write_text("def one(completion):\n    return 0.1\n")
    result = run(make(reward=f"{tmp_path}/flat.py:one", epochs=2))
    weights = load_file(result.adapter / "adapter_model.safetensors")
    assert all((value == 0).all() for name, value in weights.items() if "lora_B" in name)
    assert result.diagnosis[0].startswith("no signal: each step's mean reward is 0.100; give prompts")


def test_answers_that_nothing_judges_teach_nothing_and_are_counted(make, tmp_path):
    """No answer of the first step has a reward, one of each group in the second."""
    (tmp_path / "some.py").write_text(
        "calls = []\ndef some(completions, prompts):\n    calls.append(1)\n"
        "    n = len(completions)\n    return [None] * n if len(calls) == 1 else [1.0, *[None] * 3] * (n // 4)\n"
    )
    result = run(make(reward=f"{tmp_path}/some.py:some", epochs=1))
    first, second = lines(tmp_path / "run")
    assert "reward" not in first
    assert (first["unjudged"], second["unjudged"], second["reward"]) == (1, 0.75, 1)
    assert first["grad_norm"] == second["grad_norm"] == 0  # one alone is as good as its group's mean
    assert result.reward == {"first": 1, "last": 1}
    (tmp_path / "none.py").write_text("def none(completion):\n    return None\n")
    result = run(make(reward=f"{tmp_path}/none.py:none", out=tmp_path / "none"))
    assert result.diagnosis == ("no signal: the reward judged no answer (None for each)",)
    assert result.reward == {}


def test_answers_end_where_a_template_ends_turns_with_text(make, tmp_path, tiny_model):
    """A mark for which the vocabulary has no token: as in a chat, its text ends an answer."""
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    (base / "chat_template.jinja").write_text(
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|done|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    seen = set()

    def opened(loaded, **values):
        sampler = open_sampler(loaded, **values)

        taken = sampler.sample

        def sample(adapter, requests):
            seen.update(request.params.stop for request in requests)
            return taken(adapter, requests)

        sampler.sample = sample
        return sampler

    tune(make(model=str(base), max_steps=1), sampling=Sampling(opened, open_rewards))
    assert seen == {("<|done|>",)}


def test_cut_answers_are_learnt_unless_masked(make, tmp_path):
    run(make(grpo={"mask_truncated": True, "max_completion": 2}, max_steps=1))
    line = lines(tmp_path / "run")[0]
    assert line["cut_answers"] == 1
    assert line["loss"] == line["grad_norm"] == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reward": ""}, "objective=grpo needs a reward"),
        ({"method": "full"}, "objective=grpo trains an adapter in one process, not with method=full"),
        ({"reward": "rewards.py"}, "names no function; write rewards.py:FUNCTION"),
        ({"reward": "x*length:5"}, "'x' is no number to weigh it by"),
        ({"reward": "nan*length:5"}, "'nan' is no number to weigh it by"),
        ({"reward": "inf*length:5"}, "'inf' is no number to weigh it by"),
        ({"search": ("rank=4,8",)}, "search needs losses on held-out rows"),
        ({"embedder": "minilm"}, "embedder needs losses on held-out rows"),
        ({"objective": "sft"}, "reward is for objective=grpo, not sft"),
    ],
)
def test_settings_that_make_no_sense(make, changes, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        make(**changes)


def test_another_reward_is_another_run(make, tmp_path):
    run(make(max_steps=1))
    (tmp_path / "rewards.py").write_text(REWARD + "\n# changed\n", encoding="utf-8")
    with pytest.raises(TuneError, match=r"holds a run with other settings \(.*rewards.py_sha256"):
        run(make(max_steps=1))


def test_errors_of_a_reward_name_the_row_and_the_line(make, tmp_path):
    (tmp_path / "bad.py").write_text("def half(completion, wish):\n    x = {}\n    return x[wish]\n")
    with pytest.raises(
        DataError, match=r"prompts.jsonl, line \d.*bad.py:half: .*bad.py, line 3: KeyError: \d+$"
    ):
        run(make(reward=f"{tmp_path}/bad.py:half"))


def test_prompts_that_leave_no_room(make):
    with pytest.raises(TuneError, match="max_completion=12 leaves no room for a prompt within 12 tokens"):
        run(make(max_length=12))
    with pytest.raises(DataError, match=r"\d of 6 prompts are longer than 24 tokens"):
        run(make(max_length=36))


def test_conversations_are_asked_without_their_last_answer(make, tmp_path):
    rows = tmp_path / "pairs.jsonl"
    rows.write_text(json.dumps({"question": "Which?", "answer": "eee", "wish": 6}) + "\n")
    result = run(make(data=rows, batch=1, reward="exact_match", max_steps=1))
    assert result.reward["first"] == 0


def test_a_name_that_is_none(make):
    with pytest.raises(SettingsError, match="there is no reward 'exactmatch'; did you mean exact_match"):
        run(make(reward="exactmatch"))
