"""What a run's losses mean, in words: pure rules over the curve and the rows."""

import statistics
from collections.abc import Sequence
from itertools import accumulate

from weightwright.tune.batch import Example

# A held-out loss this far above its lowest value has turned; a fall smaller than this is none.
_TURNED = 1.02
_FELL = 0.98
# A loss this many times above its neighbours, and above where the run began, is a spike.
_SPIKE = 4.0
_WINDOW = 10  # steps that a judgement looks at together

_AGAINST_OVERFITTING = "a lower rank, more data, more weight decay, more dropout, fewer epochs, in that order"
_AGAINST_UNDERFITTING = "a higher learning rate, another epoch, a higher rank, in that order"
_FOR_A_SIGNAL = (
    "give prompts that are sometimes answered well, a reward with more steps, or a larger --group-size"
)
_AGAINST_DIVERGING = "a lower learning rate, a longer warm-up, --precision f32, in that order"


def diagnose(
    losses: Sequence[float], evals: Sequence[tuple[int, float]], *, seen_before: int = 0, held_out: int = 0
) -> tuple[str, ...]:
    """Sentences about the losses of steps and of evaluations (steps done, loss).

    `seen_before` of the `held_out` rows stand among those trained on.
    """
    sentences = [_leak(seen_before, held_out)] if seen_before else []
    if diverged(losses):
        low = min(losses)
        return (
            *sentences,
            f"diverging: the training loss rose from {low:.3f} at step {losses.index(low) + 1} to "
            f"{_mean_of_last(losses):.3f}; try {_AGAINST_DIVERGING}",
        )
    return (*sentences, _of_curve(losses, evals))


def diagnose_rewards(
    rewards: Sequence[float],
    evals: Sequence[tuple[int, float]],
    *,
    seen_before: int = 0,
    held_out: int = 0,
) -> tuple[str, ...]:
    """The same of the mean rewards of steps and of evaluations (steps done, mean reward)."""
    sentences = [_leak(seen_before, held_out)] if seen_before else []
    if not rewards:
        return (*sentences, "no signal: the reward judged no answer (None for each)")
    curve = [value for _, value in evals] if len(evals) > 1 else [*rewards]
    first, last = (curve[0], curve[-1]) if len(evals) > 1 else (rewards[0], _mean_of_last(rewards))
    moved = f"the {'held-out' if len(evals) > 1 else 'training'} reward went from {first:.3f} to {last:.3f}"
    if max(rewards) == min(rewards):
        return (*sentences, f"no signal: each step's mean reward is {rewards[0]:.3f}; {_FOR_A_SIGNAL}")
    if last <= first:
        return (*sentences, f"not learnt: {moved}; try {_AGAINST_UNDERFITTING}")
    return (*sentences, f"fine: {moved}")


def _leak(seen: int, held_out: int) -> str:
    return (
        f"leak: {seen} of {held_out} held-out rows are among those trained on, so what is measured on them looks "
        "better than it is; take them out of either file (weightwright data check finds them)"
    )


def diverged(losses: Sequence[float], *, times: float = 1.5, rise: float = 0.5) -> bool:
    """Whether the last steps' mean loss stands `times`, and `rise` nats, above the lowest mean of as many steps."""
    if len(losses) < 2 * _WINDOW:
        return False
    sums = [0.0, *accumulate(losses)]
    means = [(sums[i + _WINDOW] - sums[i]) / _WINDOW for i in range(len(losses) - _WINDOW + 1)]
    return means[-1] > max(times * min(means), min(means) + rise)


def spiked(losses: Sequence[float]) -> bool:
    """Whether the last step's loss stands far outside of those before it, and above where the run began."""
    before = losses[-2 * _WINDOW - 1 : -1]
    if len(before) < _WINDOW:
        return False
    return losses[-1] > max(_SPIKE * max(before), statistics.fmean(losses[:_WINDOW]))


def seen_before(examples: Sequence[Example], held_out: Sequence[Example]) -> int:
    """How many held-out examples stand among those trained on, token by token."""
    if not held_out:
        return 0
    apart = [tuple(row.token_ids for row in example.rows) for example in held_out]
    sought = set(apart)
    # few are held out: what is learnt from goes by, and is not kept
    met = {rows for example in examples if (rows := tuple(r.token_ids for r in example.rows)) in sought}
    return sum(rows in met for rows in apart)


def _of_curve(losses: Sequence[float], evals: Sequence[tuple[int, float]]) -> str:
    if len(evals) < 2:
        return _from_training(losses)
    first, (_, last) = evals[0][1], evals[-1]
    best_step, best = min(evals, key=lambda one: one[1])
    moved = f"the held-out loss went from {first:.3f} to {last:.3f}"
    if best < first and last > best * _TURNED:
        return f"overfit: {moved}, after {best:.3f} at step {best_step}; try {_AGAINST_OVERFITTING}"
    if last > first * _FELL:
        fell = _mean_of_last(losses) < losses[0] * _FELL
        if fell:
            return f"overfit: {moved} while the training loss fell; try {_AGAINST_OVERFITTING}"
        return f"underfit: {moved}; try {_AGAINST_UNDERFITTING}"
    return f"fine: {moved}"


def _from_training(losses: Sequence[float]) -> str:
    first, last = losses[0], _mean_of_last(losses)
    moved = f"the training loss went from {first:.3f} to {last:.3f}"
    if last > first * _FELL:
        return f"underfit: {moved}; try {_AGAINST_UNDERFITTING}"
    return f"{moved}; give --eval-data to see whether it holds for rows that were not trained on"


def _mean_of_last(losses: Sequence[float]) -> float:
    """The mean over the last tenth."""
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)
