"""What is minimised: each objective turns a pass into its part of a step's mean loss.

Equal to TRL's losses on the same batch. `begin` is told all examples of a step first, as a mean needs their number.

To add an objective: a class with the three methods of `Objective`, a line in `OBJECTIVES` (how it is made, which rows
it reads, whether it compares with the base model), its name in `options.Objective` and in `data.formats.OBJECTIVES`,
and a subclass of `weightwright.testing.objective.ObjectiveContract` that knows its formula.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from weightwright.data.sample import Kind
from weightwright.options import Objective as Name
from weightwright.tune.batch import Batch, Example
from weightwright.tune.grpo import GroupRelative
from weightwright.tune.loss import VocabularyLoss, per_row
from weightwright.tune.settings import TuneSettings

Gather = Callable[[list[float]], list[float]]
Layout = Callable[[Sequence[Example]], Iterable[Batch]]


class Objective(Protocol):
    """A loss over the passes of a step."""

    rewards: list[tuple[float, float]]  # of each chosen and rejected answer since `begin`
    losses: list[
        float
    ]  # of each example since `begin`, without gradients; its mean, weighted by `size`, is the loss
    measures: dict[str, float]  # means over the step since `begin`, for the log

    def begin(self, examples: Sequence[Example], layout: Layout) -> None:
        """Prepare for a step over all of these; `layout` lays examples into passes."""
        ...

    def loss(self, batch: Batch) -> Tensor:
        """A scalar f32; over a step's passes these add up to its loss."""
        ...

    def size(self, example: Example) -> int:
        """How much an example weighs in a mean over several steps."""
        ...


class Likelihood:
    """Cross-entropy per labelled token (supervised tuning, pretraining)."""

    def __init__(self, model: VocabularyLoss) -> None:
        self._model = model
        self._labelled = 0
        self.rewards: list[tuple[float, float]] = []
        self.losses: list[float] = []
        self.measures: dict[str, float] = {}

    def begin(self, examples: Sequence[Example], layout: Layout) -> None:
        """See `Objective`."""
        self._labelled = sum(map(self.size, examples))
        self.losses = []

    def loss(self, batch: Batch) -> Tensor:
        """See `Objective`."""
        if torch.is_grad_enabled():
            return self._model(batch) / self._labelled
        sums = row_sums(self._model, batch)
        self.losses += [-own / self.size(example) for own, example in zip(sums, batch.examples, strict=True)]
        return torch.tensor(-sum(sums) / self._labelled)

    def size(self, example: Example) -> int:
        """See `Objective`."""
        return sum(row.labelled_tokens for row in example.rows)


class Preference:
    """A loss of pairs (chosen, rejected), from the log-probabilities of both answers: see `_OF_PAIRS`."""

    def __init__(self, model: VocabularyLoss, settings: TuneSettings) -> None:
        self._model, self._settings = model, settings
        self._pairs = self._chosen_tokens = 0
        self.rewards: list[tuple[float, float]] = []
        self.losses: list[float] = []
        self.measures: dict[str, float] = {}

    def begin(self, examples: Sequence[Example], layout: Layout) -> None:
        """See `Objective`."""
        self._pairs = len(examples)
        self._chosen_tokens = sum(len(example.rows[0]) - 1 for example in examples)
        self.rewards, self.losses = [], []

    def loss(self, batch: Batch) -> Tensor:
        """See `Objective`."""
        settings, name = self._settings, self._settings.objective
        where = batch.labelled
        if name == "orpo":  # learns the whole chosen row beside
            where = where | (batch.predicting & (batch.row_ids[:, 1:] % 2 == 0))
        logprobs = self._model.logprobs(batch, where)
        labelled = batch.labelled[where]
        owners = batch.row_ids[:, 1:][where]
        sums = per_row(logprobs[labelled], owners[labelled], batch.rows)
        if name == "dpo":
            reference = [value for example in batch.examples for value in example.reference]
            values = settings.pair_beta * (sums - sums.new_tensor(reference))
        else:
            counts = per_row(torch.ones_like(logprobs[labelled]), owners[labelled], batch.rows)
            values = sums / counts
        chosen, rejected = values[0::2], values[1::2]
        self.rewards += zip(chosen.tolist(), rejected.tolist(), strict=True)
        losses = _OF_PAIRS[name](chosen, rejected, settings)
        if name == "orpo":
            learnt = per_row(logprobs, owners, batch.rows)[0::2]
            losses = losses - learnt * (self._pairs / self._chosen_tokens)
        if not torch.is_grad_enabled():
            self.losses += losses.tolist()
        return losses.sum() / self._pairs

    def size(self, example: Example) -> int:
        """See `Objective`."""
        return 1


def dpo(chosen: Tensor, rejected: Tensor, settings: TuneSettings) -> Tensor:
    """Rewards beta log(policy / reference) of both -> losses (Rafailov et al. 2023, arXiv 2305.18290, eq. 7).

    With label smoothing: Mitchell 2023, "A note on DPO with noisy preferences", eq. 3.
    """
    return _smoothed(chosen - rejected, settings.label_smoothing)


def simpo(chosen: Tensor, rejected: Tensor, settings: TuneSettings) -> Tensor:
    """Mean log-probabilities of both -> losses (Meng et al. 2024, arXiv 2405.14734, eq. 6)."""
    return _smoothed(settings.pair_beta * (chosen - rejected) - settings.gamma, settings.label_smoothing)


def orpo(chosen: Tensor, rejected: Tensor, settings: TuneSettings) -> Tensor:
    """Mean log-probabilities of both -> weighted odds-ratio losses (Hong et al. 2024, arXiv 2403.07691, eq. 4, 7)."""
    odds = [log - torch.log(-torch.expm1(log.clamp(max=-1e-7))) for log in (chosen, rejected)]
    return -settings.pair_beta * F.logsigmoid(odds[0] - odds[1])


_OF_PAIRS: dict[Name, Callable[[Tensor, Tensor, TuneSettings], Tensor]] = {
    "dpo": dpo, "simpo": simpo, "orpo": orpo,
}  # fmt: skip


class Judged:
    """Answers judged one by one: KTO (Ethayarajh et al. 2024, arXiv 2402.01306, eq. 7).

    How far the policy has moved on each example's `partner`, its question with another row's answer, estimates the KL
    term, over all examples of a step and without a gradient.
    """

    def __init__(
        self,
        model: VocabularyLoss,
        settings: TuneSettings,
        all_gather: Gather = list,
    ) -> None:
        """`all_gather` concatenates a list of floats over all ranks."""
        self._model, self._settings, self._all_gather = model, settings, all_gather
        self._units, self._kl = 0, 0.0
        self.rewards: list[tuple[float, float]] = []
        self.losses: list[float] = []
        self.measures: dict[str, float] = {}

    def begin(self, examples: Sequence[Example], layout: Layout) -> None:
        """See `Objective`."""
        self._units, self.losses = len(examples), []
        partners = [example.partner for example in examples if example.partner is not None]
        with torch.no_grad():
            own = [ratio for batch in layout(partners) for ratio in self._ratios(batch).tolist()]
        moved = self._all_gather(own)
        self._kl = max(0.0, sum(moved) / len(moved)) if moved else 0.0

    def loss(self, batch: Batch) -> Tensor:
        """See `Objective`."""
        ratios, settings = self._ratios(batch), self._settings
        good = torch.tensor([example.good for example in batch.examples], device=ratios.device)
        way = torch.where(good, 1.0, -1.0)
        weights = torch.where(good, settings.desirable_weight, settings.undesirable_weight)
        losses = weights * (1 - torch.sigmoid(settings.pair_beta * way * (ratios - self._kl)))
        if not torch.is_grad_enabled():
            self.losses += losses.tolist()
        return losses.sum() / self._units

    def size(self, example: Example) -> int:
        """See `Objective`."""
        return 1

    def _ratios(self, batch: Batch) -> Tensor:
        where = batch.labelled
        sums = per_row(self._model.logprobs(batch, where), batch.row_ids[:, 1:][where], batch.rows)
        return sums - sums.new_tensor([value for example in batch.examples for value in example.reference])


@dataclass(frozen=True, slots=True)
class ObjectiveKind:
    """An objective: how it is made of a model, its settings and `all_gather`; the rows that it reads.

    `needs_reference`: each row comes with its log-probability under the base model. `samples`: rows are prompts, and
    what is learnt from are the model's own answers to them. `learns_prompts`: not only labelled tokens have a loss.
    """

    make: Callable[[VocabularyLoss, TuneSettings, Gather], Objective]
    rows: Kind
    needs_reference: bool = False
    samples: bool = False
    learns_prompts: bool = False


def _likelihood(model: VocabularyLoss, _settings: TuneSettings, _all_gather: Gather) -> Objective:
    return Likelihood(model)


def _preference(model: VocabularyLoss, settings: TuneSettings, _all_gather: Gather) -> Objective:
    return Preference(model, settings)


def _group_relative(model: VocabularyLoss, settings: TuneSettings, _all_gather: Gather) -> Objective:
    return GroupRelative(model, settings)


OBJECTIVES: dict[Name, ObjectiveKind] = {
    "sft": ObjectiveKind(_likelihood, "conversations"),
    "pretrain": ObjectiveKind(_likelihood, "texts"),
    "dpo": ObjectiveKind(_preference, "pairs", needs_reference=True),
    "orpo": ObjectiveKind(_preference, "pairs", learns_prompts=True),
    "simpo": ObjectiveKind(_preference, "pairs"),
    "kto": ObjectiveKind(Judged, "judged", needs_reference=True),
    "grpo": ObjectiveKind(_group_relative, "prompts", samples=True),
}


def row_sums(model: VocabularyLoss, batch: Batch) -> list[float]:
    """The log-probability of each row's labelled tokens, summed."""
    with torch.no_grad():
        where = batch.labelled
        sums: Any = per_row(model.logprobs(batch, where), batch.row_ids[:, 1:][where], batch.rows).tolist()
    return list(sums)


def _smoothed(logits: Tensor, smoothing: float) -> Tensor:
    return -F.logsigmoid(logits) * (1 - smoothing) - F.logsigmoid(-logits) * smoothing
