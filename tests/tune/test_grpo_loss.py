"""GRPO's loss and its gradient: TRL's on the same samples, and the papers' formulas written out in f64."""

import copy
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from weightwright.data.template import Encoded
from weightwright.errors import Place
from weightwright.testing.models import tiny_llama
from weightwright.tune.attention import row_attention
from weightwright.tune.batch import Example, pack, pad
from weightwright.tune.grpo import advantages
from weightwright.tune.head import head_logprobs
from weightwright.tune.loss import VocabularyLoss
from weightwright.tune.objectives import OBJECTIVES
from weightwright.tune.settings import TuneSettings

pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's own

PAD = 0
CASES: dict[str, dict[str, Any]] = {
    "dapo": {},
    "grpo": {"loss_type": "grpo"},
    "dr_grpo": {"loss_type": "dr_grpo", "max_completion": 20},
    "temperature": {"temperature": 0.7},
    "kl": {"beta": 0.3},
    "kl of grpo": {"beta": 0.3, "loss_type": "grpo", "temperature": 1.3},
    "clipped on one side further": {"epsilon": 0.01, "epsilon_high": 0.05},
    "sequences": {"ratio": "sequence", "loss_type": "grpo", "epsilon": 0.003, "beta": 0.1},
}


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_llama(tmp_path_factory.mktemp("m") / "tiny")
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(
        folder
    )


def settings(**values: Any) -> TuneSettings:
    own = {name: values.pop(name) for name in ("beta",) if name in values}
    return TuneSettings(
        model="m", data=Path("d"), out=Path("o"), objective="grpo", reward="length", grpo=values, **own
    )


def sampled(policy: Any, temperature: float, *, old: bool, seed: int = 0) -> list[Example]:
    """Two groups of three answers of different lengths; those sampled by another policy are near this one's."""
    chance, found = random.Random(seed), []
    for group in range(2):
        prompt = [chance.randrange(3, 250) for _ in range(4 + 5 * group)]
        for _ in range(3):
            answer = [chance.randrange(3, 250) for _ in range(chance.randrange(2, 15))]
            with torch.no_grad():
                logits = (
                    policy(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].double()
                    / temperature
                )
                own = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
            known = [tuple((own + 0.1 * torch.randn(len(own), generator=torch.Generator().manual_seed(n))).tolist())
                     for n in (len(found), 99 - len(found))]  # fmt: skip
            row = Encoded((*prompt, *answer), (False,) * len(prompt) + (True,) * len(answer), Place())
            found.append(Example((row,), advantage=chance.uniform(-2, 2), sampled=known[0] if old else (),
                                 base=known[1]))  # fmt: skip
    return found


def as_trl(examples: list[Example], *, old: bool) -> dict[str, Any]:
    prompts, answers = [], []
    for example in examples:
        row = example.rows[0]
        cut = row.labelled.index(True)
        prompts.append(list(row.token_ids[:cut]))
        answers.append(list(row.token_ids[cut:]))

    def laid(rows: list[list[Any]], *, left: bool, filler: Any) -> torch.Tensor:
        width = max(map(len, rows))
        return torch.tensor(
            [[filler] * (width - len(r)) + r if left else r + [filler] * (width - len(r)) for r in rows]
        )

    inputs = {
        "prompt_ids": laid(prompts, left=True, filler=PAD),
        "prompt_mask": laid([[1] * len(p) for p in prompts], left=True, filler=0),
        "completion_ids": laid(answers, left=False, filler=PAD),
        "completion_mask": laid([[1] * len(a) for a in answers], left=False, filler=0),
        "advantages": torch.tensor([example.advantage for example in examples]),
        "ref_per_token_logps": laid([list(example.base) for example in examples], left=False, filler=0.0),
        "num_items_in_batch": torch.tensor(sum(map(len, answers))),
    }
    if old:
        inputs["old_per_token_logps"] = laid([list(e.sampled) for e in examples], left=False, filler=0.0)
    return inputs


def trl_trainer(policy: Any, asked: TuneSettings, tmp_path: Path) -> Any:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    own = asked.grpo
    config = GRPOConfig(
        output_dir=str(tmp_path), report_to="none", use_cpu=True, bf16=False, per_device_train_batch_size=6,
        num_generations=3, beta=asked.pair_beta, loss_type=own.loss_type, temperature=own.temperature,
        epsilon=own.epsilon, epsilon_high=own.epsilon_high, max_completion_length=own.max_completion,
        importance_sampling_level=own.ratio, gradient_checkpointing=False,
    )  # fmt: skip
    trainer = GRPOTrainer(model=policy[0], processing_class=policy[1], args=config, train_dataset=Dataset.from_list(
        [{"prompt": "a"}] * 6), reward_funcs=lambda completions, **_: [0.0] * len(completions))  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def gradient(model: Any) -> torch.Tensor:
    return torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None]).clone()


def ours(model: Any, examples: list[Example], asked: TuneSettings, layout: Any) -> float:
    with row_attention(model):
        one = OBJECTIVES["grpo"].make(VocabularyLoss(model), asked, list)
        one.begin(examples, lambda some: [layout(some, "cpu")])
        total = 0.0
        for part in (examples[:2], examples[2:]):  # two passes of one step
            loss = one.loss(layout(part, "cpu"))
            loss.backward()
            total += loss.item()
    return total


@pytest.mark.parametrize("case", CASES)
def test_it_is_trls(policy, tmp_path, case):
    """The loss and the gradient, where the samples are of this policy and of an older one, packed and padded."""
    asked, model = settings(**CASES[case]), policy[0]
    theirs = copy.deepcopy(model)
    trainer = trl_trainer((theirs, policy[1]), asked, tmp_path)
    for old in (True, False):
        examples = sampled(model, asked.grpo.temperature, old=old)
        theirs.zero_grad()
        expected = trainer.compute_loss(theirs, as_trl(examples, old=old))
        expected.backward()
        assert abs(expected.item()) > 1e-3
        wanted = gradient(theirs)
        for layout in (pack, pad):
            model.zero_grad()
            assert ours(model, examples, asked, layout) == pytest.approx(expected.item(), abs=1e-5)
            assert wanted.norm() > 0
            assert (gradient(model) - wanted).norm() <= 1e-4 * wanted.norm()


@pytest.mark.parametrize("layout", [pack, pad])
def test_the_logged_kl_is_the_mean_over_all_tokens_of_the_step(policy, layout):
    """As TRL logs it: the k3 estimate against the base model, each token of a step's passes weighing the same."""
    examples, asked = sampled(policy[0], 1.0, old=False), settings(beta=0.3)
    terms = []
    for example in examples:
        row = example.rows[0]
        start = row.labelled.index(True)
        with torch.no_grad():
            logits = policy[0](torch.tensor([row.token_ids])).logits[0, start - 1 : -1].double()
        own = logits.log_softmax(-1).gather(1, torch.tensor(row.token_ids[start:])[:, None])[:, 0]
        back = torch.tensor(example.base, dtype=torch.float64) - own
        terms += (back.exp() - back - 1).tolist()
    with row_attention(policy[0]), torch.no_grad():
        objective = OBJECTIVES["grpo"].make(VocabularyLoss(policy[0]), asked, list)
        for _ in range(2):  # a step does not go on with the sum of the one before
            objective.begin(examples, list)
            for part in (examples[:2], examples[2:]):
                objective.loss(layout(part, "cpu"))
        assert objective.measures["kl"] == pytest.approx(sum(terms) / len(terms), rel=1e-4)


def test_ratios_are_clipped_only_against_their_advantage(policy):
    """An answer that became likelier is held back where it is good, one that became rarer where it is bad."""
    model = policy[0]
    example = sampled(model, 1.0, old=False)[0]
    count = example.rows[0].labelled_tokens
    with torch.no_grad(), row_attention(model):
        own = VocabularyLoss(model).logprobs(pack([example], "cpu"), pack([example], "cpu").labelled)
    for moved, advantage, expected in ((0.5, 1.0, -1.2), (0.5, -1.0, math.exp(0.5)), (-0.5, 1.0, -math.exp(-0.5)),
                                       (-0.5, -1.0, 0.8)):  # fmt: skip
        one = replace(example, advantage=advantage, sampled=tuple((own - moved).tolist()))
        objective = OBJECTIVES["grpo"].make(VocabularyLoss(model), settings(), list)
        with row_attention(model), torch.no_grad():
            objective.begin([one], list)
            assert objective.loss(pack([one], "cpu")).item() == pytest.approx(expected, abs=1e-5), (
                moved,
                count,
            )


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages_are_trls(scale):
    rewards = [[0.0, 1.0, 0.25, None], [0.5, 0.5, 0.5, 0.5], [3.0, -1.0, 2.0, 2.0], [None, None, None, None]]
    found = advantages(rewards, scale)
    flat = [r for group in rewards for r in group if r is not None]
    for group, own in zip(rewards, found, strict=True):
        some = torch.tensor([r for r in group if r is not None], dtype=torch.float64)
        unit = {"group": some.std() + 1e-4, "batch": torch.tensor(flat, dtype=torch.float64).std() + 1e-4,
                "none": torch.tensor(1.0)}[scale] if len(some) else torch.tensor(1.0)  # fmt: skip
        expected = [0.0 if r is None else float((r - some.mean()) / unit) for r in group]
        assert own == pytest.approx(expected, abs=1e-9)
    assert found[1] == [0.0] * 4  # alike: nothing to learn, not even a rounding error
    assert advantages([[0.1, 0.1, 0.1]], scale) == [[0.0] * 3]
    assert advantages([[0.1 + 0.2, 0.3, 0.3], [1e9, 1e9 * (1 + 1e-15)]], scale) == [[0.0] * 3, [0.0] * 2]
    assert all(advantages([[1e-6, 2e-6]], scale)[0])  # small, but not alike


@pytest.mark.parametrize("bias", [True, False])
def test_the_heads_logits_are_divided_by_the_temperature(bias):
    torch.manual_seed(0)
    head, hidden = torch.nn.Linear(16, 50, bias=bias), torch.randn(7, 16, requires_grad=True)
    targets = torch.arange(7)
    head_logprobs(hidden, head, targets, 0.6).pow(2).sum().backward()
    own = hidden.grad.clone()
    again = hidden.detach().double().requires_grad_()
    logits = again @ head.weight.double().t() + (head.bias.double() if bias else 0)
    (logits / 0.6).log_softmax(-1).gather(1, targets[:, None]).pow(2).sum().backward()
    assert (own.double() - again.grad).norm() <= 1e-5 * again.grad.norm()
