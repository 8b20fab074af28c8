"""int4 products of one weight and of several beside exact arithmetic on the same codes."""

import pytest
import torch
import torch.nn.functional as F

from weightwright.kernels import int4, pool
from weightwright.kernels.int4 import GROUP, Packed, Several, factors
from weightwright.kernels.route import Route
from weightwright.weights.quantize import quantize_int4

needs = pytest.mark.skipif(not int4.supported(), reason="this CPU lacks AVX512-VNNI")
pytestmark = pytest.mark.usefixtures("two_threads")


def weight(outputs: int, inputs: int, seed: int = 0) -> tuple[Packed, torch.Tensor]:
    """A packed weight, and what it stands for in f64."""
    generator = torch.Generator().manual_seed(seed)
    codes, scale, zero = quantize_int4(torch.randn(outputs, inputs, generator=generator))
    (scales, of_scales), (zeros, of_zeros) = factors(scale, 255), factors(zero, 127)
    scale, zero = (
        part.double().repeat_interleave(GROUP, 1) for part in (scales * of_scales, zeros * of_zeros)
    )
    return Packed(codes, *(part[:, ::GROUP] for part in (scale, zero))), (codes.double() - 8) * scale + zero


def rounded(x: torch.Tensor) -> torch.Tensor:
    """Rows as the kernels round them: each group in 255 steps."""
    groups = x.double().view(len(x), -1, GROUP)
    step = groups.abs().amax(-1, keepdim=True) / 127
    return (groups / step).round().mul(step).nan_to_num().view(x.shape)


@needs
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 9, 15, 40])
@pytest.mark.parametrize(("outputs", "inputs"), [(16, 32), (48, 96), (80, 576), (208, 1024)])
def test_one_weight(outputs: int, inputs: int, rows: int) -> None:
    packed, dense = weight(outputs, inputs)
    x = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(1))
    got = Several([packed])(int4.put(x), int4.whole_route(rows)).double()
    exact = rounded(x) @ dense.T
    assert (got - exact).norm() / exact.norm() < 1e-3  # f32 sums; codes may fall on the other side of a half


@needs
@pytest.mark.parametrize("share", [1, 2, 3])
@pytest.mark.parametrize("tokens", [1, 4, 30])
def test_rows_go_through_the_weights_that_they_name(tokens: int, share: int) -> None:
    made = [weight(32, 64, seed) for seed in range(5)]
    x = torch.randn(tokens, 64, generator=torch.Generator().manual_seed(1))
    ids = torch.randint(0, 5, (tokens * share,), generator=torch.Generator().manual_seed(2))
    ids[ids == 3] = 0  # one has no rows
    got = Several([packed for packed, _ in made])(int4.put(x), Route.of(ids, 5), share).double()
    inputs = rounded(x)
    exact = torch.stack([made[one][1] @ inputs[i // share] for i, one in enumerate(ids.tolist())])
    assert (got - exact).norm() / exact.norm() < 1e-3


@needs
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inputs_that_fill_no_whole_group(dtype: torch.dtype) -> None:
    packed, dense = weight(16, 64)
    x = torch.randn(3, 40, generator=torch.Generator().manual_seed(1)).to(dtype)
    got = Several([packed])(int4.put(x), int4.whole_route(3)).double()
    exact = rounded(torch.nn.functional.pad(x.float(), (0, 24))) @ dense.T
    assert (got - exact).norm() / exact.norm() < 1e-3


@needs
@pytest.mark.parametrize("number", [0, 1])
def test_gate(number: int) -> None:
    packed, dense = weight(16, 96)
    x = torch.randn(7, 192, generator=torch.Generator().manual_seed(1)) * 3
    got = Several([packed])(int4.gate(x, number), int4.whole_route(7)).double()
    left, right = x.chunk(2, -1)
    left = F.silu(left) if number == 0 else F.gelu(left, approximate="tanh")
    exact = rounded(left * right) @ dense.T
    assert (got - exact).norm() / exact.norm() < 2e-3


@needs
def test_scales_below_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 16, (16, 64), dtype=torch.uint8, generator=generator)
    scale, zero = torch.randn(16, 2, generator=generator), torch.randn(16, 2, generator=generator)
    dense = (codes.double() - 8) * scale.double().repeat_interleave(32, 1) + zero.double().repeat_interleave(
        32, 1
    )
    got = Several([Packed(codes, scale, zero)])(int4.put(torch.eye(64)), int4.whole_route(64)).double().T
    assert (got - dense).norm() / dense.norm() < 5e-3  # scales of 8 bits


@needs
def test_rows_of_zeros_and_of_nothing() -> None:
    packed, _ = weight(16, 32)
    assert not Several([packed])(int4.put(torch.zeros(2, 32)), int4.whole_route(2)).any()
    with pytest.raises(ValueError, match="cannot be packed"):
        Packed(torch.zeros(15, 32, dtype=torch.uint8), torch.ones(15, 1), torch.ones(15, 1))


@needs
def test_its_memory_is_as_planned() -> None:
    packed, _ = weight(64, 1024)
    assert packed.nbytes == pytest.approx(64 * 1024 * (0.5 + 2 / 32), rel=0.02)


@pytest.mark.parametrize("kernels", [True, False])
def test_a_route_is_a_stable_sort(monkeypatch: pytest.MonkeyPatch, kernels: bool) -> None:
    if not kernels:
        monkeypatch.setattr(pool, "available", lambda: False)
    ids = torch.tensor([4, 0, 4, 2, 0, 4])
    route = Route.of(ids, 6)
    assert route.order.tolist() == [1, 4, 3, 0, 2, 5]
    assert route.starts.tolist() == [0, 2, 2, 3, 3, 6, 6]
    assert route.active.tolist() == [0, 2, 4, -1, -1, -1]
    assert route.parts() == [(0, 0, 2), (2, 2, 3), (4, 3, 6)]
