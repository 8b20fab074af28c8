"""Each kind of curve is named, with what to try."""

import pytest

from weightwright.tune.diagnose import diagnose, diverged, spiked

FALLING = [3.0 - 0.02 * step for step in range(100)]
FLAT = [3.0] * 100
RISING = [*FALLING[:50], *(2.0 + 0.1 * step for step in range(50))]


@pytest.mark.parametrize(
    ("losses", "evals", "begins"),
    [
        (FALLING, [(0, 3.0), (50, 2.2), (100, 1.5)], "fine: the held-out loss went from 3.000 to 1.500"),
        (FALLING, [(0, 3.0), (50, 1.5), (100, 1.9)], "overfit: .*after 1.500 at step 50; try a lower rank"),
        (FALLING, [(0, 3.0), (50, 3.1), (100, 3.4)], "overfit: .*while the training loss fell"),
        (FLAT, [(0, 3.0), (50, 3.0), (100, 2.99)], "underfit: .*try a higher learning rate"),
        (FLAT, [], "underfit: the training loss went from 3.000 to 3.000"),
        (RISING, [(0, 3.0), (100, 6.0)], "diverging: the training loss rose from 2.000 at step 51 to 6"),
        (FALLING, [], "the training loss went from 3.000 to 1.*--eval-data"),
    ],
)
def test_curves(losses, evals, begins):
    import re

    (sentence,) = diagnose(losses, evals)
    assert re.match(begins, sentence)


def test_rows_that_were_trained_on_are_told_first():
    found = diagnose(FALLING, [(0, 3.0), (100, 1.5)], seen_before=4, held_out=9)
    assert found[0].startswith("leak: 4 of 9 held-out rows")
    assert found[1].startswith("fine: ")


def test_only_a_loss_far_outside_is_a_spike():
    noisy = [2.0, 2.2, 1.9, 2.1, 2.0, 1.8, 2.3, 2.0, 1.7, 2.0, 1.9]
    assert not spiked([*noisy, 3.0])
    assert spiked([*noisy, 30.0])
    learnt = [2.0] * 10 + [0.001] * 20
    assert not spiked([*learnt, 0.5])  # a rare row among those that are known by heart
    assert not diverged([*learnt, 0.5])
    assert diverged([2.0] * 10 + [5.0] * 10)
