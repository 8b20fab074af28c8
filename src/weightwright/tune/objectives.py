"""What is minimised: each objective turns a pass into its part of a step's mean loss.

Equal to TRL's losses on the same batch. `begin` is told all units of a step first, as a mean needs their number.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from weightwright.options import Objective as Name
from weightwright.tune.batch import Batch, Unit
from weightwright.tune.loss import VocabularyLoss
from weightwright.tune.settings import TuneSettings

Layout = Callable[[Sequence[Unit]], Iterable[Batch]]


class Objective(Protocol):
    """A loss over the passes of a step."""

    rewards: list[tuple[float, float]]  # of each chosen and rejected answer since `begin`

    def begin(self, units: Sequence[Unit], layout: Layout) -> None:
        """Prepare for a step over all of these; `layout` lays units into passes."""
        ...

    def loss(self, batch: Batch) -> Tensor:
        """A scalar f32; over a step's passes these add up to its loss."""
        ...

    def size(self, unit: Unit) -> int:
        """How much a unit weighs in a mean over several steps."""
        ...


class Likelihood:
    """Cross-entropy per labelled token (supervised tuning, pretraining)."""

    def __init__(self, model: VocabularyLoss) -> None:
        self._model = model
        self._labelled = 0
        self.rewards: list[tuple[float, float]] = []

    def begin(self, units: Sequence[Unit], layout: Layout) -> None:
        """See `Objective`."""
        self._labelled = sum(row.labelled_tokens for unit in units for row in unit.rows)

    def loss(self, batch: Batch) -> Tensor:
        """See `Objective`."""
        return self._model(batch) / self._labelled

    def size(self, unit: Unit) -> int:
        """See `Objective`."""
        return sum(row.labelled_tokens for row in unit.rows)


class Preference:
    """A loss of pairs (chosen, rejected), from the log-probabilities of both answers: see `_OF_PAIRS`."""

    def __init__(self, model: VocabularyLoss, settings: TuneSettings) -> None:
        self._model, self._settings = model, settings
        self._pairs = self._chosen_tokens = 0
        self.rewards: list[tuple[float, float]] = []

    def begin(self, units: Sequence[Unit], layout: Layout) -> None:
        """See `Objective`."""
        self._pairs = len(units)
        self._chosen_tokens = sum(len(unit.rows[0]) - 1 for unit in units)
        self.rewards = []

    def loss(self, batch: Batch) -> Tensor:
        """See `Objective`."""
        settings, name = self._settings, self._settings.objective
        where = batch.labelled
        if name == "orpo":  # learns the whole chosen row beside
            where = where | (batch.predicting & (batch.row_ids[:, 1:] % 2 == 0))
        found = self._model.logprobs(batch, where)
        labelled = batch.labelled[where]
        owners = batch.row_ids[:, 1:][where]
        sums = _per_row(found[labelled], owners[labelled], batch.rows)
        if name == "dpo":
            reference = [value for unit in batch.units for value in unit.reference]
            values = settings.pair_beta * (sums - sums.new_tensor(reference))
        else:
            counts = _per_row(torch.ones_like(found[labelled]), owners[labelled], batch.rows)
            values = sums / counts
        chosen, rejected = values[0::2], values[1::2]
        self.rewards += zip(chosen.tolist(), rejected.tolist(), strict=True)
        total = _OF_PAIRS[name](chosen, rejected, settings).sum() / self._pairs
        if name == "orpo":
            total = total - found[owners % 2 == 0].sum() / self._chosen_tokens
        return total

    def size(self, unit: Unit) -> int:
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

    How far the policy has moved on each unit's `partner`, its question with another row's answer, estimates the KL
    term, over all units of a step and without a gradient.
    """

    def __init__(
        self,
        model: VocabularyLoss,
        settings: TuneSettings,
        gathered: Callable[[list[float]], list[float]] = list,
    ) -> None:
        """`gathered` adds to numbers of some units those that other processes have of theirs."""
        self._model, self._settings, self._gathered = model, settings, gathered
        self._units, self._kl = 0, 0.0
        self.rewards: list[tuple[float, float]] = []

    def begin(self, units: Sequence[Unit], layout: Layout) -> None:
        """See `Objective`."""
        self._units = len(units)
        partners = [unit.partner for unit in units if unit.partner is not None]
        with torch.no_grad():
            own = [ratio for batch in layout(partners) for ratio in self._ratios(batch).tolist()]
        moved = self._gathered(own)
        self._kl = max(0.0, sum(moved) / len(moved)) if moved else 0.0

    def loss(self, batch: Batch) -> Tensor:
        """See `Objective`."""
        ratios, settings = self._ratios(batch), self._settings
        good = torch.tensor([unit.good for unit in batch.units], device=ratios.device)
        way = torch.where(good, 1.0, -1.0)
        weights = torch.where(good, settings.desirable_weight, settings.undesirable_weight)
        return (
            weights * (1 - torch.sigmoid(settings.pair_beta * way * (ratios - self._kl)))
        ).sum() / self._units

    def size(self, unit: Unit) -> int:
        """See `Objective`."""
        return 1

    def _ratios(self, batch: Batch) -> Tensor:
        where = batch.labelled
        sums = _per_row(self._model.logprobs(batch, where), batch.row_ids[:, 1:][where], batch.rows)
        return sums - sums.new_tensor([value for unit in batch.units for value in unit.reference])


def objective(
    model: VocabularyLoss, settings: TuneSettings, gathered: Callable[[list[float]], list[float]] = list
) -> Objective:
    """The objective that the settings name; `gathered` see `Judged`."""
    if settings.objective in ("sft", "pretrain"):
        return Likelihood(model)
    if settings.objective == "kto":
        return Judged(model, settings, gathered)
    return Preference(model, settings)


def row_sums(model: VocabularyLoss, batch: Batch) -> list[float]:
    """The log-probability of each row's labelled tokens, summed."""
    with torch.no_grad():
        where = batch.labelled
        found: Any = _per_row(model.logprobs(batch, where), batch.row_ids[:, 1:][where], batch.rows).tolist()
    return list(found)


def _smoothed(logits: Tensor, smoothing: float) -> Tensor:
    return -F.logsigmoid(logits) * (1 - smoothing) - F.logsigmoid(-logits) * smoothing


def _per_row(values: Tensor, owners: Tensor, rows: int) -> Tensor:
    return values.new_zeros(rows).index_add(0, owners, values)
