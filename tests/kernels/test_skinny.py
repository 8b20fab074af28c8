"""The int8 product of few rows beside exact integers and beside oneDNN's."""

import pytest
import torch

from weightwright.executor.linear import Int8Linear
from weightwright.executor.probe import supported
from weightwright.kernels import skinny
from weightwright.kernels.int8 import int8_kernel

pytestmark = [
    pytest.mark.skipif(not (supported("int8") and skinny.supported()), reason="this CPU lacks AVX512-VNNI"),
    pytest.mark.usefixtures("two_threads"),
]


def codes(rows: int, inputs: int, dtype: torch.dtype, seed: int = 1) -> torch.Tensor:
    low = 0 if dtype == torch.uint8 else -128
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, low + 256, (rows, inputs), generator=generator).to(dtype)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 8, 25, 61])
@pytest.mark.parametrize(("outputs", "inputs"), [(64, 16), (200, 576), (8, 48), (1152, 896)])
def test_the_product_is_exact(outputs: int, inputs: int, rows: int, dtype: torch.dtype) -> None:
    weight = codes(outputs, inputs, torch.int8, seed=2)
    packed = torch.ops.onednn.qlinear_prepack(weight, [8, inputs])
    product = skinny.skinny(packed, outputs, inputs)
    assert product is not None
    x = codes(rows, inputs, dtype)
    exact = (x.double() - (128 if dtype == torch.uint8 else 0)) @ weight.double().T
    scale = torch.rand(outputs) + 0.5
    assert torch.equal(product(x, scale), exact.float() * scale)


def test_the_largest_sums_fit() -> None:
    inputs = 1 << 16
    weight = torch.full((64, inputs), -127, dtype=torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(weight, [8, inputs])
    product = skinny.skinny(packed, 64, inputs)
    assert product is not None
    x = torch.full((1, inputs), 255, dtype=torch.uint8)
    assert float(product(x, torch.ones(64))[0, 0]) == -127.0 * 127 * inputs
    assert skinny.skinny(packed, 64, inputs + 16) is None


def test_a_layer_gives_the_same_bits_with_and_without_it() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (320, 448), generator=generator).to(torch.int8)
    layer = Int8Linear(weight, torch.rand(320, generator=generator), None)
    assert layer.skinny is not None
    x = codes(skinny.MOST_ROWS, 448, layer.activation_dtype)
    few = layer.product(x)
    layer.skinny = None
    assert torch.equal(few, layer.product(x))
    assert int8_kernel().offset in (0, 128)


def test_logits_are_the_whole_output_in_memory_that_is_kept() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (320, 448), generator=generator).to(torch.int8)
    bias = torch.randn(320, generator=generator)
    layer = Int8Linear(weight, torch.rand(320, generator=generator), bias)
    for rows in (5, 3, 40, 200):
        x, scale = codes(rows, 448, layer.activation_dtype), torch.rand(rows, generator=generator)
        expected = layer.product(x).mul_(scale[:, None]).add_(bias)
        assert torch.equal(layer.logits(x, scale), expected)


def test_inputs_that_do_not_fill_a_step_stay_with_onednn() -> None:
    assert Int8Linear(torch.ones(64, 40, dtype=torch.int8), torch.ones(64), None).skinny is None
