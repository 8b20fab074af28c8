"""Sampling against distributions worked out in numpy (f64)."""

import numpy as np
import pytest
import torch

from weightwright.engine.sample import _probabilities, generator, sample
from weightwright.ports import SamplingParams


def expected(logits: np.ndarray, p: SamplingParams) -> np.ndarray:
    scaled = logits.astype(np.float64) / p.temperature
    order = np.argsort(-scaled, kind="stable")
    keep = order[: p.top_k] if p.top_k > 0 else order
    mass = np.zeros_like(scaled)
    mass[keep] = np.exp(scaled[keep] - scaled.max())
    mass /= mass.sum()
    before = 0.0
    for token in order:
        here = mass[token]
        if before >= p.top_p:
            mass[token] = 0
        before += here
    mass /= mass.sum()
    mass[mass < p.min_p * mass.max()] = 0
    return mass / mass.sum()


PARAMS = [
    SamplingParams(temperature=1.0),
    SamplingParams(temperature=0.7, top_k=3),
    SamplingParams(temperature=1.3, top_p=0.6),
    SamplingParams(temperature=1.0, min_p=0.2),
    SamplingParams(temperature=0.9, top_k=5, top_p=0.8, min_p=0.05),
    SamplingParams(temperature=1.0, top_p=1e-6),
]


def test_each_row_has_the_distribution_that_its_parameters_say() -> None:
    logits = np.random.default_rng(0).normal(size=(len(PARAMS), 40)).astype(np.float32) * 2
    got = _probabilities(torch.tensor(logits), PARAMS).double()
    got /= got.sum(-1, keepdim=True)
    for row, params in enumerate(PARAMS):
        np.testing.assert_allclose(got[row], expected(logits[row], params), atol=1e-6)


@pytest.mark.parametrize("params", PARAMS)
def test_draws_have_the_frequencies_of_the_distribution(params: SamplingParams) -> None:
    logits = np.random.default_rng(1).normal(size=12).astype(np.float32)
    chance = torch.Generator().manual_seed(0)
    rows = 20_000
    drawn = sample(torch.tensor(logits).expand(rows, -1), [params] * rows, [chance] * rows)
    frequencies = np.bincount(drawn.numpy(), minlength=12) / rows
    probabilities = expected(logits, params)
    assert (frequencies[probabilities == 0] == 0).all()
    # five standard errors of a binomial proportion
    np.testing.assert_allclose(frequencies, probabilities, atol=5 * 0.5 / rows**0.5)


def test_temperature_zero_takes_the_likeliest_beside_sampled_rows() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 0.0, 0.0]])
    params = [SamplingParams(temperature=0), SamplingParams(temperature=0.01)]
    assert sample(logits, params, [generator(p, 0) for p in params]).tolist() == [1, 0]


def test_same_seed_same_draws_and_another_index_others() -> None:
    logits = torch.zeros(1, 1000)
    params = SamplingParams(seed=3)

    def draws(index: int) -> list[int]:
        chance = generator(params, index)
        return [int(sample(logits, [params], [chance])) for _ in range(5)]

    assert draws(0) == draws(0)
    assert draws(0) != draws(1)
