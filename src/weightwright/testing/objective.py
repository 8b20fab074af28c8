# ruff: noqa: D102 (the names of tests say what they test)
"""The contract of a training objective: subclass `ObjectiveContract`, say how it is made and what its formula is.

    class TestMine(ObjectiveContract):
        def make(self, model):
            return Mine(model)

        def examples(self):
            return pairs(4)

        def expected(self, examples, score):
            ...  # the step's loss as one float, from `score(row)`

`score(row)` has the log-probability of each token of a row after its first, [tokens - 1] f64, one row at a time and
without any of the code under test: `labelled(row, score)` is its labelled part.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from weightwright.data.template import Encoded
from weightwright.errors import Place
from weightwright.testing.models import tiny_llama
from weightwright.tune.attention import row_attention
from weightwright.tune.batch import Batch, Example, pack, pad
from weightwright.tune.loss import VocabularyLoss
from weightwright.tune.objectives import Objective

Score = Callable[[Encoded], Tensor]
Lay = Callable[[Sequence[Example], str], Batch]

# f32 sums of some hundred terms, in another order and through another kernel
_LOSS, _GRADIENT = 1e-5, 1e-4


def labelled(row: Encoded, score: Score) -> Tensor:
    """Log-probabilities of the tokens of a row that carry loss [labelled tokens] f64."""
    return score(row)[torch.tensor(row.labelled[1:])]


def conversations(count: int, seed: int = 0) -> list[Example]:
    """Examples of one row each: a prompt, and an answer that carries loss."""
    return [Example((row,)) for row in _rows(count, seed)]


def pairs(count: int, seed: int = 0) -> list[Example]:
    """Examples of two rows with one prompt, the chosen answer first, and what a base model might say of them."""
    chance = random.Random(seed + 1)
    found = []
    for row in _rows(count, seed):
        prompt = sum(not one for one in row.labelled)
        other = _row(row.token_ids[:prompt], _tokens(chance, 2, 15))
        reference = tuple(-5.0 * one.labelled_tokens + chance.random() for one in (row, other))
        found.append(Example((row, other), reference=reference))
    return found


def judged(count: int, seed: int = 0) -> list[Example]:
    """Examples of one row that is good or bad, each with a partner: its prompt with another row's answer."""
    chance, found = random.Random(seed + 1), []
    for number, row in enumerate(_rows(count, seed)):
        prompt = sum(not one for one in row.labelled)
        other = _row(row.token_ids[:prompt], _tokens(chance, 2, 15))
        values = [(-5.0 * one.labelled_tokens + chance.random(),) for one in (row, other)]
        partner = Example((other,), reference=values[1])
        found.append(Example((row,), good=number % 3 > 0, reference=values[0], partner=partner))
    return found


def sampled(count: int, seed: int = 0) -> list[Example]:
    """Examples of one sampled answer each: its advantage, and what its tokens' log-probabilities might have been."""
    chance, found = random.Random(seed + 1), []
    for row in _rows(count, seed):
        values = [tuple(-5.0 + chance.random() for _ in range(row.labelled_tokens)) for _ in range(2)]
        found.append(Example((row,), advantage=chance.uniform(-2, 2), sampled=values[0], base=values[1]))
    return found


def _rows(count: int, seed: int) -> list[Encoded]:
    chance = random.Random(seed)
    return [_row(_tokens(chance, 3, 20), _tokens(chance, 2, 15)) for _ in range(count)]


def _tokens(chance: random.Random, low: int, high: int) -> tuple[int, ...]:
    return tuple(chance.randrange(3, 250) for _ in range(chance.randrange(low, high)))


def _row(prompt: tuple[int, ...], answer: tuple[int, ...]) -> Encoded:
    return Encoded((*prompt, *answer), (False,) * len(prompt) + (True,) * len(answer), Place())


@pytest.mark.filterwarnings("ignore")
class ObjectiveContract:
    """What the training loop counts on."""

    def make(self, model: VocabularyLoss) -> Objective:
        raise NotImplementedError

    def examples(self) -> list[Example]:
        raise NotImplementedError

    def expected(self, examples: Sequence[Example], score: Score) -> float:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def policy(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
        from transformers import AutoModelForCausalLM

        folder = tiny_llama(tmp_path_factory.mktemp("model") / "tiny")
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        with row_attention(model):
            yield model

    @pytest.fixture
    def score(self, policy: Any) -> Score:
        def of(row: Encoded) -> Tensor:
            with torch.no_grad():
                logits = policy(torch.tensor([row.token_ids])).logits[0, :-1].double().log_softmax(-1)
            found: Tensor = logits.gather(1, torch.tensor(row.token_ids[1:])[:, None])[:, 0]
            return found

        return of

    def _step(self, policy: Any, examples: Sequence[Example], lay: Lay, passes: int) -> tuple[float, Tensor]:
        """The loss of one step that is read in so many passes, and the gradient of every weight."""
        one = self.make(VocabularyLoss(policy))
        policy.zero_grad()
        one.begin(examples, lambda some: [lay([each], "cpu") for each in some])
        parts = [examples[n::passes] for n in range(passes)]
        total = 0.0
        for part in parts:
            loss = one.loss(lay(part, "cpu"))
            loss.backward()
            total += loss.item()
        return total, torch.cat([w.grad.flatten() for w in policy.parameters() if w.grad is not None])

    @pytest.mark.parametrize("lay", [pack, pad])
    def test_the_loss_is_its_formula(self, policy: Any, score: Score, lay: Lay) -> None:
        examples = self.examples()
        found, _ = self._step(policy, examples, lay, 1)
        assert found == pytest.approx(self.expected(examples, score), rel=_LOSS, abs=_LOSS)

    @pytest.mark.parametrize("lay", [pack, pad])
    def test_loss_and_gradients_are_the_same_in_any_number_of_passes(self, policy: Any, lay: Lay) -> None:
        examples = self.examples()
        loss, gradient = self._step(policy, examples, lay, 1)
        assert gradient.isfinite().all()
        assert gradient.norm() > 0
        for passes in (2, len(examples)):
            again, split = self._step(policy, examples, lay, passes)
            assert again == pytest.approx(loss, rel=_LOSS, abs=_LOSS)
            assert (split - gradient).norm() <= _GRADIENT * gradient.norm()

    def test_a_small_step_against_the_gradient_lowers_the_loss(self, policy: Any) -> None:
        examples = self.examples()
        before, gradient = self._step(policy, examples, pack, 1)
        saved = [weight.detach().clone() for weight in policy.parameters()]
        rate = 1e-3 / float(gradient.norm())
        with torch.no_grad():
            for weight in policy.parameters():
                if weight.grad is not None:
                    weight.sub_(rate * weight.grad)
        after, _ = self._step(policy, examples, pack, 1)
        with torch.no_grad():
            for weight, old in zip(policy.parameters(), saved, strict=True):
                weight.copy_(old)
        assert after < before

    def test_a_new_step_forgets_the_one_before(self, policy: Any, score: Score) -> None:
        examples = self.examples()
        one = self.make(VocabularyLoss(policy))
        for some in (examples, examples[: len(examples) // 2], examples):
            one.begin(some, lambda given: [pack([each], "cpu") for each in given])
            with torch.no_grad():
                found = one.loss(pack(some, "cpu")).item()
            assert found == pytest.approx(self.expected(some, score), rel=_LOSS, abs=_LOSS)
            assert len(one.rewards) in (0, len(some))  # one (chosen, rejected) a pair, where there are pairs

    @pytest.mark.parametrize("passes", [1, 3])
    def test_the_losses_of_examples_weighted_by_size_make_the_loss(self, policy: Any, passes: int) -> None:
        examples = self.examples()
        one = self.make(VocabularyLoss(policy))
        one.begin(examples, lambda given: [pack([each], "cpu") for each in given])
        parts = [examples[n::passes] for n in range(passes)]
        with torch.no_grad():
            total = sum(one.loss(pack(part, "cpu")).item() for part in parts)
        sizes = [one.size(example) for part in parts for example in part]
        whole = sum(size * loss for size, loss in zip(sizes, one.losses, strict=True))
        assert whole / sum(sizes) == pytest.approx(total, rel=_LOSS, abs=_LOSS)

    def test_every_example_weighs_something(self, policy: Any) -> None:
        one = self.make(VocabularyLoss(policy))
        assert all(one.size(example) > 0 for example in self.examples())

    def test_what_is_not_labelled_is_context(self, policy: Any, score: Score) -> None:
        examples = [
            replace(
                one,
                rows=tuple(_last_only(row) for row in one.rows),
                partner=None,
                sampled=one.sampled[-1:],
                base=one.base[-1:],
            )
            for one in self.examples()
        ]
        found, _ = self._step(policy, examples, pack, 1)
        assert found == pytest.approx(self.expected(examples, score), rel=_LOSS, abs=_LOSS)


def _last_only(row: Encoded) -> Encoded:
    return replace(row, labelled=(False,) * (len(row) - 1) + (True,))
