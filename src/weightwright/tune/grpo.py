"""Learning from a group's own answers: how far each was better than the others (GRPO, arXiv 2402.03300, §4.1).

Log-probabilities are always the trainer's own. Whoever sampled an answer may compute in another precision.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from weightwright.tune.batch import Batch, Example
from weightwright.tune.loss import VocabularyLoss, per_row
from weightwright.tune.settings import TuneSettings

_LEAST_SPREAD = 1e-4  # added to standard deviations, as in TRL


class GroupRelative:
    """The clipped objective over sampled answers, each with its advantage; `beta` weighs the KL term.

    dapo: arXiv 2503.14476, eq. 12; grpo: arXiv 2402.03300, eq. 3; dr_grpo: arXiv 2503.20783, eq. 4; ratios of
    sequences: GSPO, arXiv 2507.18071, eq. 7.
    """

    def __init__(self, model: VocabularyLoss, settings: TuneSettings) -> None:
        self._model, self._settings, self._beta = model, settings.grpo, settings.pair_beta
        self._tokens = self._answers = 0
        self.rewards: list[tuple[float, float]] = []
        self.losses: list[float] = []
        self.measures: dict[str, float] = {}

    def begin(self, examples: Sequence[Example], layout: Callable[..., Iterable[Batch]]) -> None:
        """See `Objective`."""
        self._answers, self.losses = len(examples), []
        self.measures = {"kl": 0.0} if self._beta else {}
        self._tokens = sum(example.rows[0].labelled_tokens for example in examples)

    def loss(self, batch: Batch) -> Tensor:
        """See `Objective`."""
        settings, where = self._settings, batch.labelled
        logprobs = self._model.logprobs(batch, where, settings.temperature)
        owners = batch.row_ids[:, 1:][where]
        counts = per_row(torch.ones_like(logprobs), owners, batch.rows).clamp(min=1)
        advantages = logprobs.new_tensor([example.advantage for example in batch.examples])[owners]
        moved = logprobs - _known(logprobs, [example.sampled for example in batch.examples])
        if settings.ratio == "sequence":
            moved = (per_row(moved, owners, batch.rows) / counts)[owners]
        ratio = moved.exp()
        high = settings.epsilon if settings.epsilon_high is None else settings.epsilon_high
        clipped = ratio.clamp(1 - settings.epsilon, 1 + high)
        losses = -torch.minimum(ratio * advantages, clipped * advantages)
        if self._beta:
            divergence = self._divergence(logprobs, batch)
            losses = losses + self._beta * divergence * ratio
            self.measures["kl"] += divergence.sum().item() / max(self._tokens, 1)
        sums = per_row(losses, owners, batch.rows)
        if settings.loss_type == "dapo":
            own, whole = sums / counts, sums.sum() / max(self._tokens, 1)
        else:
            own = sums / (counts if settings.loss_type == "grpo" else settings.max_completion)
            whole = own.sum() / self._answers
        if not torch.is_grad_enabled():
            self.losses += own.tolist()
        return whole

    def size(self, example: Example) -> int:
        """See `Objective`."""
        return example.rows[0].labelled_tokens if self._settings.loss_type == "dapo" else 1

    def _divergence(self, logprobs: Tensor, batch: Batch) -> Tensor:
        """KL(policy | base) [tokens], estimated: never below 0 (Schulman 2020, "Approximating KL divergence", k3)."""
        back = _known(logprobs, [example.base for example in batch.examples]) - logprobs
        return back.exp() - back - 1


def _known(logprobs: Tensor, given: Sequence[tuple[float, ...]]) -> Tensor:
    """The log-probabilities [tokens] that a pass's examples came with; where they have none, its own as constants."""
    flat = [value for values in given for value in values]
    return logprobs.new_tensor(flat) if flat else logprobs.detach()


def advantages(rewards: Sequence[Sequence[float | None]], scale: str) -> list[list[float]]:
    """How far each answer is above the mean of its group, in standard deviations of its group or of all (`scale`).

    An answer without a reward (None) counts nowhere and has none. Groups whose answers are all alike have 0; rewards
    that differ by the rounding of a sum are alike.
    """
    known = [[reward for reward in group if reward is not None] for group in rewards]
    everywhere = _spread([reward for group in known for reward in group])
    found = []
    for group, some in zip(rewards, known, strict=True):
        if not some or all(math.isclose(one, some[0], rel_tol=1e-9, abs_tol=1e-12) for one in some):
            found.append([0.0] * len(group))
            continue
        mean = statistics.fmean(some)
        unit = 1.0 if scale == "none" else _LEAST_SPREAD + (everywhere if scale == "batch" else _spread(some))
        found.append([0.0 if reward is None else (reward - mean) / unit for reward in group])
    return found


def _spread(values: Sequence[float]) -> float:
    """The standard deviation of a sample; 0 where there are fewer than two."""
    if len(values) < 2:
        return 0.0
    mean = statistics.fmean(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
