"""Packed linear layers against f64, in every form, and which kernel is chosen."""

import functools
import gc
import math
import os
import subprocess
import sys
import weakref

import pytest
import torch

from weightwright.errors import SettingsError
from weightwright.executor import linear
from weightwright.executor.linear import EmbeddingInt8, Int4Linear, Int8Linear, MixedLinear, pack
from weightwright.kernels import int8
from weightwright.kernels.elementwise import empty_rows, padded_rows
from weightwright.kernels.int8 import Int8Kernel, pick_kernel, raced
from weightwright.weights.quantize import quantize_int4, quantize_int8, quantize_rows

LIMITS = {"f32": 1e-6, "bf16": 6e-3, "int8": 0.02, "int4": 0.12}  # relative to f64, of random weights


def random(*sizes: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


def relative(made: torch.Tensor, exact: torch.Tensor) -> float:
    return float((made.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("form", linear.FORMS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sizes", [(96, 64), (50, 40), (17, 33)])
def test_a_layer_beside_f64(form: str, bias: bool, sizes: tuple[int, int]) -> None:
    outputs, inputs = sizes
    weight, added = random(outputs, inputs) * 0.05, random(outputs, seed=1) if bias else None
    layer = pack(weight, added, form, rotated=True)
    assert (layer.in_features, layer.out_features, layer.form) == (inputs, outputs, form)
    for rows in (1, 2, 7, 16, 70):
        for dtype in (torch.float32, torch.bfloat16):
            x = random(rows, inputs, seed=2).to(dtype)
            exact = torch.nn.functional.linear(
                x.double(), weight.double(), None if added is None else added.double()
            )
            made = layer(x)
            assert made.dtype == dtype
            limit = max(LIMITS[form], 4e-3 if dtype == torch.bfloat16 else 0.0)
            assert relative(made, exact) < limit, (form, rows, dtype)


@pytest.mark.parametrize("form", linear.FORMS)
def test_shapes_and_strides(form: str) -> None:
    layer = pack(random(48, 32), random(48), form, rotated=True)
    x = random(2, 3, 32)
    assert layer(x).shape == (2, 3, 48)
    assert layer(x[:0]).shape == (0, 3, 48)
    assert layer(x[0, 0]).shape == (48,)
    wide = random(6, 64)
    assert torch.equal(layer(wide[:, ::2]), layer(wide[:, ::2].contiguous()))
    across = random(32, 6)
    assert torch.equal(layer(across.T), layer(across.T.contiguous()))
    with pytest.raises(ValueError, match="must be 32"):
        layer(random(4, 31))


@pytest.mark.parametrize("block", [1, 32])
@pytest.mark.parametrize("rows", [1, 2, 5, 16, 33, 70])
def test_int8_is_exact_integer_arithmetic(block: int, rows: int) -> None:
    weight, bias = random(80, 96), random(80, seed=1)
    q, weight_scale = quantize_int8(weight, int8.int8_kernel().levels, block)
    layer = Int8Linear(q, weight_scale, bias, block)
    x = random(rows, 96, seed=2)
    x[:, 5] *= 30  # an outlier
    if rows > 1:
        x[-1] = 0
    xq, scale = quantize_rows(x, layer.offset, block)
    assert xq.dtype == layer.activation_dtype
    whole = (xq.long() - layer.offset) @ q.long().T  # no rounding
    exact = whole.double() * weight_scale.double()
    assert relative(layer.product(xq), exact) < 2e-7
    torch.testing.assert_close(
        layer(x).double(), exact * scale.double() + bias.double(), rtol=1e-5, atol=1e-5
    )
    if rows > 1:
        assert torch.equal(layer(x)[-1], bias)


def test_int8_rows_do_not_depend_on_their_neighbours() -> None:
    layer = pack(random(256, 128), random(256), "int8", rotated=True)
    x = random(70, 128)
    together = layer(x)
    for rows in (1, 2, 9, 40):
        assert torch.equal(layer(x[:rows]), together[:rows])


def test_int8_from_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, x = random(64, 96), random(9, 96, seed=1)
    q, scale = quantize_int8(weight, block=32)
    exact = x.double() @ weight.double().T
    assert relative(Int8Linear.from_int8(q, scale, block=32)(x), exact) < 0.02
    monkeypatch.setattr(linear, "int8_kernel", lambda: Int8Kernel(int8.int8_kernel().offset, 63))
    coarse = Int8Linear.from_int8(q, scale, block=32)
    assert 0.005 < relative(coarse(x), exact) < 0.025
    assert coarse.scale[0] > 2 * scale[0]


def test_int4_from_groups() -> None:
    weight = random(96, 64)
    codes, scale, zero = quantize_int4(weight)
    back = (codes.double() - 8).view(96, 2, 32) * scale.double()[..., None] + zero.double()[..., None]
    layer = Int4Linear.from_groups(codes, scale, zero, random(96))
    for rows in (1, 3, 20):
        x = random(rows, 64, seed=2).bfloat16()
        exact = x.double() @ back.view(96, 64).T + random(96).double()
        assert relative(layer(x), exact) < 8e-3
    with pytest.raises(ValueError, match="need scale and zero of"):
        Int4Linear.from_groups(codes, scale[:, :1], zero[:, :1])


def test_many_outputs_are_packed_in_blocks() -> None:
    weight = random(4096 + 100, 32)
    layer = pack(weight, None, "int4")
    x = random(2, 32, seed=1)
    exact = x.double() @ weight.double().T
    assert relative(layer(x), exact) < 0.12
    assert relative(layer(x)[:, 4000:], exact[:, 4000:]) < 0.14


def test_a_mixture_turns_over_at_its_crossover() -> None:
    weight, x = random(32, 32), random(12, 32, seed=1)
    few, many = pack(weight, None, "int8"), pack(weight, None, "f32")
    mixed = MixedLinear(few, many, 8)
    assert mixed.form == "int8+f32"
    assert mixed.at(7) is few
    assert mixed.at(8) is many
    assert few.at(1) is few
    assert torch.equal(mixed(x[:7]), few(x[:7]))
    assert torch.equal(mixed(x[:8].view(2, 4, 32)), many(x[:8]).view(2, 4, 32))
    assert mixed.weight_bytes == few.weight_bytes + many.weight_bytes == 32 * 32 + 4 * 32 + 32 * 32 * 4


@pytest.mark.parametrize("form", linear.FORMS)
def test_the_weight_is_let_go(form: str) -> None:
    weight, bias = random(64, 64), random(64)
    layer = pack(weight, bias, form)
    x = random(1, 64)
    before = layer(x)
    gone = weakref.ref(weight)
    weight.zero_()
    bias.zero_()
    assert torch.equal(layer(x), before)
    del weight, bias
    gc.collect()
    assert gone() is None
    assert not list(layer.parameters())
    assert torch.equal(layer.to(torch.bfloat16)(x), before)


def test_a_table_of_int8_rows() -> None:
    table = random(40, 24).bfloat16()
    embed = EmbeddingInt8.of(table)
    ids = torch.tensor([[0, 39], [7, 7]])
    assert embed(ids).dtype == torch.bfloat16
    assert embed(ids).shape == (2, 2, 24)
    assert relative(embed(ids), table[ids].double()) < 0.01


def test_what_is_refused() -> None:
    with pytest.raises(SettingsError, match="one of f32, bf16, int8, int4, got 'int3'"):
        pack(random(8, 8), None, "int3")


@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE"])
def test_int8_without_vnni(instructions: str) -> None:
    """oneDNN held to older instructions, where 8-bit products overflow: the probe must see and avoid it."""
    lines = (
        "import torch",
        "from weightwright.executor.linear import pack",
        "weight, x = torch.ones(32, 64), torch.ones(3, 64)",
        "print((pack(weight, None, 'int8')(x) - 64).abs().max().item())",
    )
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, env=environment, check=True
    )
    assert float(done.stdout) < 1e-3


def test_a_torch_without_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "_int8_kernel", lambda: None)
    assert not linear.supported("int8")
    with pytest.raises(SettingsError, match="use --precision bf16 or f32"):
        pack(random(8, 8), None, "int8")
    monkeypatch.setattr(linear, "packs", lambda dtype: False)
    weight, x = random(8, 8), random(3, 8)
    plain = pack(weight, None, "f32")
    before = plain(x)
    weight.zero_()
    assert torch.equal(plain(x), before)
    assert plain(x[:0]).shape == (0, 8)


def test_the_kernel_is_the_fastest_exact_one() -> None:
    u8, s8, half = Int8Kernel(128, 127), Int8Kernel(0, 127), Int8Kernel(128, 63)
    assert pick_kernel({u8: 1.0, s8: 700.0, half: 0.9}) == u8
    assert pick_kernel({u8: 1.3, s8: 1.0, half: 1.0}) == s8
    assert pick_kernel({s8: 700.0, half: 1.0}) == half  # AVX-512 without VNNI
    assert pick_kernel({}) is None
    assert int8.int8_kernel() in {u8, s8, half, Int8Kernel(0, 63)}
    assert torch.get_num_threads() >= 1


def test_kernels_take_turns_so_that_other_work_meets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other work doubles the times of the first turns; one kernel is far behind and soon takes no more."""
    now_s, calls = 0.0, {"near": 0, "fast": 0, "slow": 0}

    def run(name: str, taken_s: float) -> None:
        nonlocal now_s
        calls[name] += 1
        now_s += taken_s * (2 if sum(calls.values()) < 20 else 1)

    monkeypatch.setattr(int8.time, "perf_counter", lambda: now_s)
    seconds = {"near": 1.1, "fast": 1.0, "slow": 700.0}
    found = raced({name: functools.partial(run, name, taken_s) for name, taken_s in seconds.items()})
    assert found["near"] == pytest.approx(1.1)
    assert found["fast"] == pytest.approx(1.0)
    assert calls["slow"] < 5 < calls["fast"]


def test_a_kernel_that_is_disturbed_in_all_first_turns_is_not_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen on a busy machine, one start in eight: its 8 bits were taken for eight times as slow as 7."""
    now_s, calls = 0.0, 0

    def run(taken_s: float, *, disturbed: bool) -> None:
        nonlocal now_s, calls
        calls += disturbed
        now_s += taken_s * (8 if disturbed and calls <= 3 else 1)

    monkeypatch.setattr(int8.time, "perf_counter", lambda: now_s)
    found = raced(
        {"eight bits": lambda: run(1.0, disturbed=True), "seven": lambda: run(1.0, disturbed=False)}
    )
    assert found["eight bits"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("n", "more"), [(1, 1), (8, 8), (9, 16), (16, 16), (130, 144), (257, 288), (513, 576), (5000, 5056)]
)
def test_products_are_made_with_few_numbers_of_rows(n: int, more: int) -> None:
    assert padded_rows(n) == more
    assert padded_rows(more) == more
    assert empty_rows(n, 4, torch.int8).data.shape == (n, 4)


@pytest.mark.parametrize("form", ["f32", "bf16", "int8"])
def test_rows_of_no_meaning_change_nothing(form: str) -> None:
    layer = pack(torch.randn(48, 32, generator=torch.Generator().manual_seed(0)), None, form)
    room = torch.randn(16, 32, generator=torch.Generator().manual_seed(1)).to(
        torch.bfloat16 if form == "bf16" else torch.float32
    )
    room[11:] = math.nan
    alone = layer(room[:11].clone())
    assert alone.shape == (11, 48)
    assert torch.equal(layer(room[:11]), alone)
    assert torch.equal(layer(room[:3]), alone[:3]) or form != "int8"
