"""Every objective equals TRL's loss on the same batch, packed and padded."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from weightwright.data.template import Encoded
from weightwright.errors import Place
from weightwright.tune.attention import row_attention
from weightwright.tune.batch import Example, pack, pad
from weightwright.tune.loss import VocabularyLoss
from weightwright.tune.objectives import OBJECTIVES, row_sums
from weightwright.tune.settings import TuneSettings

pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's own

Row = tuple[list[int], list[int]]  # prompt, answer


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """Policy, reference, tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from weightwright.testing.models import tiny_llama

    folders = [tiny_llama(tmp_path_factory.mktemp("m") / str(seed), seed=seed) for seed in (0, 1)]
    policy, reference = (AutoModelForCausalLM.from_pretrained(f, dtype=torch.float32) for f in folders)
    with torch.no_grad():  # near each other, as in a run
        for mine, theirs in zip(reference.parameters(), policy.parameters(), strict=True):
            mine.copy_(theirs + 0.02 * mine)
    return policy, reference, AutoTokenizer.from_pretrained(folders[0])


def draw(count: int, seed: int) -> list[Row]:
    chance = random.Random(seed)

    def some(low: int, high: int) -> list[int]:
        return [chance.randrange(3, 250) for _ in range(chance.randrange(low, high))]

    return [(some(3, 20), some(2, 15)) for _ in range(count)]


def encoded(row: Row) -> Encoded:
    prompt, answer = row
    return Encoded((*prompt, *answer), (False,) * len(prompt) + (True,) * len(answer), Place())


def padded(rows: list[Row], filler: int = 0) -> dict[str, torch.Tensor]:
    """As TRL's collators lay them."""
    width = max(len(p) + len(a) for p, a in rows)
    lines = [(p + a, [0] * len(p) + [1] * len(a)) for p, a in rows]
    return {
        "input_ids": torch.tensor([ids + [filler] * (width - len(ids)) for ids, _ in lines]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in lines]),
        "completion_mask": torch.tensor([mask + [0] * (width - len(mask)) for _, mask in lines]),
    }


def settings(**values: Any) -> TuneSettings:
    return TuneSettings(model="m", data=Path("d"), out=Path("o"), **values)


def ours(models: Any, examples: list[Example], asked: TuneSettings, layout: Any) -> float:
    policy, reference, _ = models
    with row_attention(policy), row_attention(reference):
        base = VocabularyLoss(reference)

        def known(example: Example) -> Example:
            partner = known(example.partner) if example.partner else None
            return Example(
                example.rows, example.good, tuple(row_sums(base, layout([example], "cpu"))), partner
            )

        if asked.objective in ("dpo", "kto"):
            examples = [known(example) for example in examples]
        one = OBJECTIVES[asked.objective].make(VocabularyLoss(policy), asked, list)
        one.begin(examples, lambda some: [layout(some, "cpu")] if some else [])
        halves = [examples[: len(examples) // 2], examples[len(examples) // 2 :]]  # two passes of one step
        return sum(one.loss(layout(half, "cpu")).item() for half in halves)


def trainer(kind: str, models: Any, tmp_path: Path, **values: Any) -> Any:
    from datasets import Dataset

    policy, reference, tokenizer = models
    usual = {"output_dir": str(tmp_path), "report_to": "none", "use_cpu": True, "bf16": False, **values}
    pair = [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 2
    shared = {"model": policy, "processing_class": tokenizer}
    if kind == "dpo":
        from trl import DPOConfig, DPOTrainer

        return DPOTrainer(
            args=DPOConfig(**usual), ref_model=reference, train_dataset=Dataset.from_list(pair), **shared
        )
    if kind == "kto":
        from trl import KTOConfig, KTOTrainer

        rows = [
            {"prompt": "a", "completion": "b", "label": True},
            {"prompt": "c", "completion": "d", "label": False},
        ]
        return KTOTrainer(args=KTOConfig(**usual, per_device_train_batch_size=2), ref_model=reference,
                          train_dataset=Dataset.from_list(rows), **shared)  # fmt: skip
    if kind == "orpo":
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        return ORPOTrainer(args=ORPOConfig(**usual), train_dataset=Dataset.from_list(pair), **shared)
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    return CPOTrainer(args=CPOConfig(**usual), train_dataset=Dataset.from_list(pair), **shared)


def pairs_of(chosen: list[Row], rejected: list[Row]) -> list[Example]:
    return [Example((encoded(a), encoded(b))) for a, b in zip(chosen, rejected, strict=True)]


@pytest.fixture
def chosen_and_rejected() -> tuple[list[Row], list[Row]]:
    first, second = draw(4, 1), draw(4, 2)
    return first, [(p, answer) for (p, _), (_, answer) in zip(first, second, strict=True)]


@pytest.mark.parametrize("layout", [pack, pad])
def test_dpo(models, tmp_path, chosen_and_rejected, layout):
    chosen, rejected = chosen_and_rejected
    batch = padded([*chosen, *rejected])
    expected = trainer("dpo", models, tmp_path, beta=0.3).compute_loss(models[0], batch).item()
    found = ours(models, pairs_of(chosen, rejected), settings(objective="dpo", beta=0.3), layout)
    assert found == pytest.approx(expected, abs=1e-5)
    assert abs(expected - 0.6931) > 1e-2


@pytest.mark.parametrize("layout", [pack, pad])
@pytest.mark.parametrize("kind", ["orpo", "simpo"])
def test_without_a_reference(models, tmp_path, chosen_and_rejected, layout, kind):
    chosen, rejected = chosen_and_rejected
    batch = {}
    for name, rows in (("chosen", chosen), ("rejected", rejected)):
        one = padded(rows)
        batch |= {
            f"{name}_input_ids": one["input_ids"],
            f"{name}_attention_mask": one["attention_mask"],
            f"{name}_labels": torch.where(one["completion_mask"] == 1, one["input_ids"], -100),
        }
    values = {"beta": 0.4} if kind == "orpo" else {
        "beta": 1.5, "loss_type": "simpo", "simpo_gamma": 0.7, "cpo_alpha": 0.0, "label_smoothing": 0.1
    }  # fmt: skip
    expected = trainer(kind, models, tmp_path, **values).compute_loss(models[0], batch).item()
    asked = settings(objective="orpo", beta=0.4) if kind == "orpo" else settings(
        objective="simpo", beta=1.5, gamma=0.7, label_smoothing=0.1
    )  # fmt: skip
    assert ours(models, pairs_of(chosen, rejected), asked, layout) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("layout", [pack, pad])
def test_kto(models, tmp_path, layout):
    rows, good = draw(6, 3), [True, False, True, True, False, False]
    partners = [(prompt, rows[at - 1][1]) for at, (prompt, _) in enumerate(rows)]
    batch = (
        padded(rows)
        | {f"KL_{name}": x for name, x in padded(partners).items()}
        | {"label": torch.tensor(good)}
    )
    values = {"beta": 0.2, "desirable_weight": 1.3, "undesirable_weight": 0.8}
    expected = trainer("kto", models, tmp_path, **values).compute_loss(models[0], batch).item()
    examples = [
        Example((encoded(row),), judged, partner=Example((encoded(partner),)))
        for row, judged, partner in zip(rows, good, partners, strict=True)
    ]
    found = ours(models, examples, settings(objective="kto", **values), layout)
    assert found == pytest.approx(expected, abs=1e-5)
    assert abs(expected - 0.5) > 1e-3


@pytest.mark.parametrize("layout", [pack, pad])
def test_likelihood_is_the_mean_per_labelled_token(models, layout):
    rows = draw(6, 4)
    policy = models[0]
    logprobs = []
    for prompt, answer in rows:
        logits = policy(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
        logprobs += [logits[place, (prompt + answer)[place + 1]].item() for place in places]
    found = ours(models, [Example((encoded(row),)) for row in rows], settings(objective="sft"), layout)
    assert found == pytest.approx(-sum(logprobs) / len(logprobs), abs=1e-5)
