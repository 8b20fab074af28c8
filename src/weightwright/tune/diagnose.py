"""What a run's losses mean, in words: pure rules over the curve."""

from collections.abc import Sequence

# A held-out loss this far above its lowest value has turned; a fall smaller than this is none.
_TURNED = 1.02
_FELL = 0.98

_AGAINST_OVERFITTING = "a lower rank, more data, more weight decay, more dropout, fewer epochs, in that order"
_AGAINST_UNDERFITTING = "a higher learning rate, another epoch, a higher rank, in that order"


def diagnose(losses: Sequence[float], evals: Sequence[tuple[int, float]]) -> tuple[str, ...]:
    """Sentences about the losses per labelled token of steps and of evaluations (steps done, loss)."""
    if len(evals) < 2:
        return _from_training(losses)
    first, (_, last) = evals[0][1], evals[-1]
    best_step, best = min(evals, key=lambda one: one[1])
    moved = f"the held-out loss went from {first:.3f} to {last:.3f}"
    if best < first and last > best * _TURNED:
        return (f"overfit: {moved}, after {best:.3f} at step {best_step}; try {_AGAINST_OVERFITTING}",)
    if last > first * _FELL:
        fell = _mean_of_last(losses) < losses[0] * _FELL
        if fell:
            return (f"overfit: {moved} while the training loss fell; try {_AGAINST_OVERFITTING}",)
        return (f"underfit: {moved}; try {_AGAINST_UNDERFITTING}",)
    return (f"fine: {moved}",)


def _from_training(losses: Sequence[float]) -> tuple[str, ...]:
    first, last = losses[0], _mean_of_last(losses)
    moved = f"the training loss went from {first:.3f} to {last:.3f}"
    if last > first * _FELL:
        return (f"underfit: {moved}; try {_AGAINST_UNDERFITTING}",)
    return (f"{moved}; give --eval-data to see whether it holds for rows that were not trained on",)


def _mean_of_last(losses: Sequence[float]) -> float:
    """The mean over the last tenth."""
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)
