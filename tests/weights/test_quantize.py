"""Rounding to 8 and 4 bits, against what it promises."""

import math

import pytest
import torch

from weightwright.weights import quantize
from weightwright.weights.quantize import (
    hadamard,
    quantize_int4,
    quantize_int8,
    quantize_rows,
    rotate,
    rotation_block,
    row_scales,
)


def random(*sizes: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


def spiked(rows: int, inputs: int) -> torch.Tensor:
    """Rows as a language model has them: two inputs that are far larger than the rest."""
    x = random(rows, inputs)
    x[:, 3] *= 40
    x[:, inputs // 2 + 1] *= 25
    return x


@pytest.mark.parametrize(
    ("inputs", "block"), [(896, 64), (576, 64), (4864, 64), (96, 32), (16, 16), (40, 1), (33, 1)]
)
def test_the_block_divides_the_inputs(inputs: int, block: int) -> None:
    assert rotation_block(inputs) == block


@pytest.mark.parametrize("block", [1, 2, 8, 64])
def test_a_rotation_keeps_products_and_undoes_itself(block: int) -> None:
    x, weight = random(5, 128).double(), random(7, 128, seed=1).double()
    assert torch.equal(hadamard(block), hadamard(block).T)
    turned, turned_weight = rotate(x, block), rotate(weight, block)
    torch.testing.assert_close(turned.double() @ turned_weight.double().T, x @ weight.T, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(rotate(turned, block).double(), x, rtol=1e-5, atol=1e-5)
    assert (block == 1) == torch.equal(turned, x.float())


@pytest.mark.parametrize("offset", [0, 128])
@pytest.mark.parametrize("block", [1, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_within_half_a_step(offset: int, block: int, dtype: torch.dtype) -> None:
    x = spiked(70, 96).to(dtype)
    x[7] = 0
    x[8] *= 1e-20
    x[9] *= 1e20
    xq, scale = quantize_rows(x, offset, block)
    assert xq.dtype == (torch.uint8 if offset else torch.int8)
    assert scale.shape == (70, 1)
    assert scale.dtype == torch.float32
    exact = rotate(x, block).double()
    codes = xq.double() - offset
    assert codes.abs().amax() == 127
    assert ((codes * scale.double() - exact).abs() <= scale.double() * 0.50001).all()
    assert scale[7] == 1
    assert not codes[7].any()


def test_rows_do_not_depend_on_their_neighbours() -> None:
    x = spiked(70, 896)
    together = quantize_rows(x, 128, 64)
    for rows in (1, 2, 7, 33):
        alone = quantize_rows(x[:rows].clone(), 128, 64)
        assert torch.equal(alone[0], together[0][:rows])
        assert torch.equal(alone[1], together[1][:rows])


def test_broken_numbers_are_not_hidden() -> None:
    x = torch.ones(2, 4)
    x[0, 1], x[1, 2] = math.nan, math.inf
    assert not row_scales(x).isfinite().any()


@pytest.mark.parametrize("levels", [127, 63])
@pytest.mark.parametrize("block", [1, 64])
def test_int8_weights(levels: int, block: int) -> None:
    weight = spiked(5000, 128)  # more rows than one slice
    weight[11] = 0
    q, scale = quantize_int8(weight.bfloat16(), levels, block)
    assert q.dtype == torch.int8
    assert q.abs().amax() == levels
    exact = rotate(weight.bfloat16(), block).double()
    assert ((q.double() * scale[:, None].double() - exact).abs() <= scale[:, None].double() * 0.50001).all()


@pytest.mark.parametrize("block", [1, 16, 64])
def test_the_kernel_quantises_weights_as_torch_does(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = spiked(300, 192).bfloat16()
    q, scale = quantize_int8(weight, block=block)
    monkeypatch.setattr(quantize.pool, "available", lambda: False)
    expected_q, expected_scale = quantize_int8(weight, block=block)
    assert torch.allclose(scale, expected_scale, rtol=1e-6, atol=0)
    assert int((q.int() - expected_q.int()).abs().max()) <= 1  # a tie, seen with a scale of another last bit
    assert float((q != expected_q).float().mean()) < 1e-3


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_broken_weight_is_not_hidden(broken: float) -> None:
    weight = random(20, 64)
    weight[7, 5] = broken
    assert not bool(quantize_int8(weight, block=64)[1].isfinite().all())


def test_a_rotation_saves_what_outliers_cost() -> None:
    """Golden numbers: the error of an int8 product beside f64, of rows with two large inputs."""
    x, weight = spiked(64, 256), random(64, 256, seed=1)
    weight[:, 3] *= 0.02  # where activations are large trained weights are small
    weight[:, 129] *= 0.02
    exact = x.double() @ weight.double().T
    errors = {}
    for block in (1, 64):
        xq, scale = quantize_rows(x, 0, block)
        q, weight_scale = quantize_int8(weight, 127, block)
        made = (xq.double() @ q.double().T) * scale.double() * weight_scale.double()
        errors[block] = ((made - exact).norm() / exact.norm()).item()
    assert errors[1] == pytest.approx(0.0873, rel=0.02)
    assert errors[64] == pytest.approx(0.0267, rel=0.02)


def test_int4_groups() -> None:
    weight = spiked(3000, 128)
    codes, scale, zero = quantize_int4(weight)
    assert codes.amin() == 0
    assert codes.amax() == 15
    assert scale.shape == zero.shape == (3000, 4)
    back = (codes.float() - 8).view(3000, 4, 32) * scale.float()[..., None] + zero.float()[..., None]
    error = ((back.view(3000, 128) - weight).norm() / weight.norm()).item()
    groups = weight.view(3000, 4, 32)
    step = (groups.amax(-1, keepdim=True) - groups.amin(-1, keepdim=True)) / 15
    plain = ((groups - groups.amin(-1, keepdim=True)) / step).round() * step + groups.amin(-1, keepdim=True)
    assert error < 0.97 * ((plain - groups).norm() / groups.norm()).item()


def test_weights_that_had_4_bits_stay_as_they_are() -> None:
    codes = torch.randint(0, 16, (64, 64), generator=torch.Generator().manual_seed(0))
    codes[:, ::32], codes[:, 1::32] = 0, 15  # each group uses its whole range
    scale = torch.tensor([0.5, 0.25]).repeat(64, 1)
    weight = ((codes - 8).view(64, 2, 32) * scale[..., None] + 0.125).view(64, 64)
    found, found_scale, zero = quantize_int4(weight)
    back = (found.float() - 8).view(64, 2, 32) * found_scale.float()[..., None] + zero.float()[..., None]
    assert torch.equal(found.long(), codes)
    torch.testing.assert_close(back.view(64, 64), weight)


def test_a_constant_group_and_a_wrong_size() -> None:
    for value in (3.0, 0.0):
        codes, scale, zero = quantize_int4(torch.full((2, 32), value))
        assert (codes == 8).all()
        back = (codes.float() - 8) * scale.float() + zero.float()
        torch.testing.assert_close(back, torch.full((2, 32), value))
    with pytest.raises(ValueError, match="multiple of 32, got 48"):
        quantize_int4(torch.ones(2, 48))
