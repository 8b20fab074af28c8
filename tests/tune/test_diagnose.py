"""Each kind of curve is named, with what to try."""

import pytest

from weightwright.tune.diagnose import diagnose

FALLING = [3.0 - 0.02 * step for step in range(100)]
FLAT = [3.0] * 100


@pytest.mark.parametrize(
    ("losses", "evals", "begins"),
    [
        (FALLING, [(0, 3.0), (50, 2.2), (100, 1.5)], "fine: the held-out loss went from 3.000 to 1.500"),
        (FALLING, [(0, 3.0), (50, 1.5), (100, 1.9)], "overfit: .*after 1.500 at step 50; try a lower rank"),
        (FALLING, [(0, 3.0), (50, 3.1), (100, 3.4)], "overfit: .*while the training loss fell"),
        (FLAT, [(0, 3.0), (50, 3.0), (100, 2.99)], "underfit: .*try a higher learning rate"),
        (FLAT, [], "underfit: the training loss went from 3.000 to 3.000"),
        (FALLING, [], "the training loss went from 3.000 to 1.*--eval-data"),
    ],
)
def test_curves(losses, evals, begins):
    import re

    (sentence,) = diagnose(losses, evals)
    assert re.match(begins, sentence)
