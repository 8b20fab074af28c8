"""The kernels of training against torch in f64."""

import math

import pytest
import torch
from torch.nn import functional as F

from weightwright.kernels import train as kernels
from weightwright.kernels.elementwise import ACTIVATIONS, Stored
from weightwright.weights.quantize import quantize_rows

pytestmark = pytest.mark.skipif(not kernels.available(), reason="kernels need numba and torch's threads")
CLOSE = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.bfloat16: {"rtol": 8e-3, "atol": 8e-3}}
dtypes = pytest.mark.parametrize("dtype", CLOSE, ids=str)


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found.double(), expected.detach(), **CLOSE[found.dtype])


@dtypes
@pytest.mark.parametrize("width", [7, 1000])
def test_softmax_gradient(dtype, width):
    logits, targets = random(5, width, dtype=dtype) * 4, torch.tensor([0, 1, width - 1, 3, 2])
    exact = logits.double()
    sums = kernels.softmax_gradient(kept := logits.clone(), targets, wanted=False)
    assert torch.equal(kept, logits)
    torch.testing.assert_close(sums.double(), exact.logsumexp(-1), rtol=1e-6, atol=1e-5)
    kernels.softmax_gradient(logits, targets, wanted=True)
    close(logits, exact.softmax(-1) - F.one_hot(targets, width))


@dtypes
def test_rotate(dtype):
    x, cos, sin, outer = (
        random(*shape, dtype=dtype, seed=n)
        for n, shape in enumerate(((5, 3, 16), (5, 16), (5, 16), (5, 3, 16)))
    )
    exact = x.double().requires_grad_()
    half = torch.cat([-exact[..., 8:], exact[..., :8]], dim=-1)
    turned = exact * cos.double()[:, None] + half * sin.double()[:, None]
    turned.backward(outer.double())
    kernels.rotate(x, cos, sin)
    close(x, turned)
    kernels.rotate(outer, cos, sin, back=True)
    close(outer, exact.grad)


@dtypes
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gated(dtype, activation):
    gate, up, outer = (random(6, 50, dtype=dtype, seed=seed) for seed in range(3))
    exact = [x.double().requires_grad_() for x in (gate, up)]
    left = F.silu(exact[0]) if activation == "silu" else F.gelu(exact[0], approximate="tanh")
    product = left * exact[1]
    product.backward(outer.double())
    close(kernels.gated(gate, up, ACTIVATIONS[activation]), product)
    again = [x.clone() for x in (gate, up, outer)]
    found = kernels.gated_gradients(gate, up, outer, ACTIVATIONS[activation])
    assert [x.equal(y) for x, y in zip((gate, up), again[:2], strict=True)] == [True, True]
    kernels.gated_gradients(*again, ACTIVATIONS[activation], in_place=True)
    assert [x.equal(y) for x, y in zip(again, (*found, outer), strict=True)] == [True] * 3
    close(outer, product)
    for one, wanted in zip(found, exact, strict=True):
        close(one, wanted.grad)


@dtypes
def test_norm(dtype):
    x, outer, weight = random(6, 50, dtype=dtype), random(6, 50, dtype=dtype, seed=1), random(50, seed=2)
    exact = x.double().requires_grad_()
    found = F.rms_norm(exact, (50,), weight.double(), 1e-5)
    found.backward(outer.double())
    close(kernels.norm(x, weight, 1e-5), found)
    close(kernels.norm_gradient(x, weight, 1e-5, outer), exact.grad)


def test_rows_that_do_not_lie_behind_each_other_are_refused():
    with pytest.raises(AssertionError, match="one behind the other"):
        kernels.norm(random(6, 100)[:, ::2], random(50), 1e-5)


@dtypes
@pytest.mark.parametrize("offset", [0, 128])
@pytest.mark.parametrize(("width", "block"), [(7, 1), (48, 16), (192, 64)])
def test_codes(dtype, offset, width, block):
    """Rounded as `quantize_rows` does, but for ties and a scale's last bit."""
    x = random(67, width, dtype=dtype)
    x[3], x[4, 0] = 0, 1000
    stored = Stored(torch.uint8 if offset else torch.int8, block)
    found = kernels.codes(x, stored)
    expected, scales = quantize_rows(x, offset, block)
    torch.testing.assert_close(found.scales, scales[:, 0], rtol=1e-6, atol=0)
    assert found.data.dtype == expected.dtype
    assert (found.data.int() - expected.int()).abs().max() <= 1


@dtypes
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_codes_of_what_is_not_finite_are_told(dtype, broken):
    x = random(3, 64, dtype=dtype)
    x[1, 63] = broken
    scales = kernels.codes(x, Stored(torch.int8, 64)).scales
    assert scales.isnan().tolist() == [False, True, False]


@dtypes
def test_scale_rows(dtype):
    x, scales = random(5, 33, dtype=dtype), torch.tensor([1.0, 0.0, -2.5, math.nan, 1e-3])
    expected = x.double() * scales.double()[:, None]
    kernels.scale_rows(x, scales)
    torch.testing.assert_close(x.double(), expected, **CLOSE[dtype], equal_nan=True)
