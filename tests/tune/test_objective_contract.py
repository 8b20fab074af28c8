"""Each objective keeps the contract: its formula, written here from its paper in plain sums of log-probabilities."""

import math
from pathlib import Path
from typing import Any, ClassVar, get_args

import pytest

from weightwright.data import formats
from weightwright.options import Objective as Name
from weightwright.testing.objective import ObjectiveContract, conversations, judged, labelled, pairs, sampled
from weightwright.tune.objectives import OBJECTIVES
from weightwright.tune.settings import TuneSettings


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


class Ours(ObjectiveContract):
    name: Name
    values: ClassVar[dict[str, Any]] = {}

    def make(self, model):
        settings = TuneSettings(model="m", data=Path("d"), out=Path("o"), objective=self.name, **self.values)
        return OBJECTIVES[self.name].make(model, settings, list)


class TestSft(Ours):
    name: Name = "sft"

    def examples(self):
        return conversations(5)

    def expected(self, examples, score):
        tokens = [x for one in examples for x in labelled(one.rows[0], score).tolist()]
        return -sum(tokens) / len(tokens)


class TestPretrain(TestSft):
    name: Name = "pretrain"


class Pairs(Ours):
    def examples(self):
        return pairs(4)

    def expected(self, examples, score):
        return sum(self.of_pair(one, score) for one in examples) / len(examples)


class TestDpo(Pairs):
    name: Name = "dpo"
    values: ClassVar[dict[str, Any]] = {"beta": 0.3, "label_smoothing": 0.1}

    def of_pair(self, one, score):
        chosen, rejected = (
            0.3 * (labelled(row, score).sum().item() - base)
            for row, base in zip(one.rows, one.reference, strict=True)
        )
        return -0.9 * math.log(sigmoid(chosen - rejected)) - 0.1 * math.log(sigmoid(rejected - chosen))


class TestSimpo(Pairs):
    name: Name = "simpo"
    values: ClassVar[dict[str, Any]] = {"beta": 1.5, "gamma": 0.7}

    def of_pair(self, one, score):
        chosen, rejected = (labelled(row, score).mean().item() for row in one.rows)
        return -math.log(sigmoid(1.5 * (chosen - rejected) - 0.7))


class TestOrpo(Pairs):
    name: Name = "orpo"
    values: ClassVar[dict[str, Any]] = {"beta": 0.4}

    def of_pair(self, one, score):
        chosen, rejected = (labelled(row, score).mean().item() for row in one.rows)
        odds = [math.log(math.exp(x) / (1 - math.exp(x))) for x in (chosen, rejected)]
        return -0.4 * math.log(sigmoid(odds[0] - odds[1]))

    def expected(self, examples, score):
        learnt = [
            x for one in examples for x in score(one.rows[0]).tolist()
        ]  # the chosen row, prompt and answer
        return super().expected(examples, score) - sum(learnt) / len(learnt)


class TestKto(Ours):
    name: Name = "kto"
    values: ClassVar[dict[str, Any]] = {"beta": 0.2, "desirable_weight": 1.3, "undesirable_weight": 0.8}

    def examples(self):
        return judged(5)

    def expected(self, examples, score):
        def moved(one):
            return labelled(one.rows[0], score).sum().item() - one.reference[0]

        partners = [one.partner for one in examples if one.partner]
        kl = max(0.0, sum(map(moved, partners)) / len(partners)) if partners else 0.0
        losses = [
            1.3 * (1 - sigmoid(0.2 * (moved(one) - kl)))
            if one.good
            else 0.8 * (1 - sigmoid(0.2 * (kl - moved(one))))
            for one in examples
        ]
        return sum(losses) / len(losses)


class TestGrpo(Ours):
    name: Name = "grpo"
    values: ClassVar[dict[str, Any]] = {"beta": 0.2, "reward": "length:9", "grpo": {"epsilon": 0.1}}

    def examples(self):
        return sampled(5)

    def of_answer(self, one, score):
        """The clipped objective and the KL term, a value for each token."""
        tokens = []
        own = labelled(one.rows[0], score).tolist()
        before, base = (values[-len(own) :] for values in (one.sampled, one.base))
        for now, then, other in zip(own, before, base, strict=True):
            ratio = math.exp(now - then)
            clipped = min(max(ratio, 0.9), 1.1)
            kl = math.exp(other - now) - (other - now) - 1
            tokens.append(-min(ratio * one.advantage, clipped * one.advantage) + 0.2 * ratio * kl)
        return tokens

    def expected(self, examples, score):
        tokens = [value for one in examples for value in self.of_answer(one, score)]
        return sum(tokens) / len(tokens)


class TestGrpoByAnswer(TestGrpo):
    values: ClassVar[dict[str, Any]] = TestGrpo.values | {"grpo": {"epsilon": 0.1, "loss_type": "grpo"}}

    def expected(self, examples, score):
        means = [sum(values) / len(values) for values in (self.of_answer(one, score) for one in examples)]
        return sum(means) / len(means)


def test_every_objective_stands_in_the_table_and_reads_the_rows_that_data_names():
    assert set(OBJECTIVES) == set(get_args(Name)) == {one.name for one in (TestSft, TestPretrain, TestDpo, TestSimpo,
                                                                         TestOrpo, TestKto, TestGrpo)}  # fmt: skip
    for name, kind in OBJECTIVES.items():
        assert name in formats.OBJECTIVES[kind.rows]


@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_what_compares_with_the_base_model_says_so(name):
    assert OBJECTIVES[name].needs_reference
