"""An objective of your own: IPO (Azar et al. 2023, arXiv 2310.12036, eq. 17), which sure pairs cannot drive far away.

Run its contract with `pytest examples/extend/objective.py`. A row of `tune.objectives.OBJECTIVES` makes it known.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from weightwright.testing.objective import ObjectiveContract, Score, labelled, pairs
from weightwright.tune.batch import Batch, Example
from weightwright.tune.loss import VocabularyLoss
from weightwright.tune.objectives import Layout, per_row

BETA = 0.1


class Ipo:
    """The squared distance of each pair's log-ratio from 1 / (2 beta), as a mean over pairs."""

    def __init__(self, model: VocabularyLoss) -> None:
        self._model, self._pairs = model, 0
        self.rewards: list[tuple[float, float]] = []
        self.losses: list[float] = []

    def begin(self, examples: Sequence[Example], layout: Layout) -> None:
        """How many pairs the step has."""
        self._pairs, self.rewards, self.losses = len(examples), [], []

    def loss(self, batch: Batch) -> Tensor:
        """The part of the mean that these pairs have."""
        where = batch.labelled
        sums = per_row(self._model.logprobs(batch, where), batch.row_ids[:, 1:][where], batch.rows)
        ratios = sums - sums.new_tensor([value for one in batch.examples for value in one.reference])
        chosen, rejected = ratios[0::2], ratios[1::2]
        self.rewards += zip(chosen.tolist(), rejected.tolist(), strict=True)
        losses = (chosen - rejected - 1 / (2 * BETA)) ** 2
        if not torch.is_grad_enabled():
            self.losses += losses.tolist()
        return losses.sum() / self._pairs

    def size(self, example: Example) -> int:
        """Every pair weighs the same."""
        return 1


class TestIpo(ObjectiveContract):
    """What the training loop counts on."""

    def make(self, model: VocabularyLoss) -> Ipo:
        """The objective over a model."""
        return Ipo(model)

    def examples(self) -> list[Example]:
        """Pairs, and what a base model says of them."""
        return pairs(4)

    def expected(self, examples: Sequence[Example], score: Score) -> float:
        """The formula once more, in f64 and one row at a time."""
        ratios = [
            [
                float(labelled(row, score).sum()) - known
                for row, known in zip(one.rows, one.reference, strict=True)
            ]
            for one in examples
        ]
        return sum((chosen - rejected - 1 / (2 * BETA)) ** 2 for chosen, rejected in ratios) / len(ratios)
