"""int8 and int4 layers as accelerators hold them, computed on this CPU: against f64 and the CPU's own forms.

No accelerator is here. What needs none is tested: the values, the choice of torch's products, what is moved.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from weightwright.executor import weight_only
from weightwright.executor.execute import Transformers
from weightwright.executor.linear import Int4Linear, Int8Linear, pack
from weightwright.executor.lora import AdapterBank
from weightwright.executor.precision import choose
from weightwright.executor.weight_only import Int4Weight, Int8Weight
from weightwright.kernels.int8 import int8_kernel
from weightwright.weights.quantize import quantize_int4, quantize_int8

from .paging import compare, expected_of, ours

SIZES = [(96, 64), (50, 40), (17, 33), (128, 256)]
# of bf16's rounding: of the activations and a weight, each at most 2^-9, and of the output; f32's is below
BF16, F32 = 3 * 2.0**-9, 1e-5


def random(*sizes: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


def relative(made: torch.Tensor, exact: torch.Tensor) -> float:
    return float((made.double() - exact).norm() / exact.norm())


@pytest.fixture(params=[False, True], ids=["dequantised", "torch's product"])
def own(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether torch's int8 product is used, which it has on a CPU, too."""
    if request.param and not weight_only.own_int8("cpu"):
        pytest.skip("this torch has no such product on a CPU")
    monkeypatch.setattr(weight_only, "own_int8", lambda device: request.param)
    return request.param


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("bias", [False, True])
def test_an_int8_layer_multiplies_with_the_rounded_weights(
    own: bool, sizes: tuple[int, int], bias: bool
) -> None:
    outputs, inputs = sizes
    q, scale = quantize_int8(random(outputs, inputs) * 0.05)
    added = random(outputs, seed=1) if bias else None
    layer = Int8Weight(q, scale, added)
    assert (layer.form, layer.in_features, layer.out_features, layer.own) == (
        "int8",
        inputs,
        outputs,
        own and sizes == (128, 256),
    )
    assert layer.weight_bytes == outputs * inputs + 4 * outputs
    for rows in (0, 1, 7, 40):
        x = random(rows, inputs, seed=2)
        exact = F.linear(
            x.double(), q.double() * scale.double()[:, None], None if added is None else added.double()
        )
        for dtype, limit in ((torch.bfloat16, BF16), (torch.float32, F32)):
            made = layer(x.to(dtype)[None])
            assert made.shape == (1, rows, outputs)
            assert made.dtype == dtype
            assert not rows or relative(made[0], exact) < limit, (rows, dtype)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("bias", [False, True])
def test_an_int4_layer_multiplies_with_the_rounded_weights(sizes: tuple[int, int], bias: bool) -> None:
    outputs, inputs = sizes
    weight = F.pad(random(outputs, inputs) * 0.05, (0, -inputs % 32))
    codes, scale, zero = quantize_int4(weight)
    added = random(outputs, seed=1) if bias else None
    layer = Int4Weight(codes, scale, zero, added, inputs)
    assert (layer.form, layer.in_features, layer.out_features) == ("int4", inputs, outputs)
    groups = (codes.double().unflatten(1, (-1, 32)) - 8) * scale.double()[..., None] + zero.double()[
        ..., None
    ]
    dense = groups.flatten(1)[:, :inputs]
    for rows in (0, 1, 7, 40):
        x = random(rows, inputs, seed=2)
        exact = F.linear(x.double(), dense, None if added is None else added.double())
        for dtype, limit in ((torch.bfloat16, BF16), (torch.float32, F32)):
            made = layer(x.to(dtype)[None])
            assert (made.shape, made.dtype) == ((1, rows, outputs), dtype)
            assert not rows or relative(made[0], exact) < limit, (rows, dtype)


def test_they_agree_with_the_forms_of_a_cpu(exact_int8: None) -> None:
    """The same codes and scales: what is left is how a CPU rounds activations: to 8 bits, or bf16 without VNNI."""
    step = 0.02  # half a step of 127, in all inputs of a row
    weight, x = random(96, 128) * 0.05, random(9, 128, seed=2).bfloat16()
    q, scale = quantize_int8(weight)
    if int8_kernel().levels == 127:
        here, there = Int8Linear.from_int8(q, scale), Int8Weight(q, scale, None)
        assert relative(there(x), here(x).double()) < step
    parts = quantize_int4(weight)
    assert relative(Int4Weight(*parts, None, 128)(x), Int4Linear.from_groups(*parts)(x).double()) < step


def test_large_layers_are_dequantised_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_only, "own_int8", lambda device: False)
    weight, x = random(50, 64), random(20, 64, seed=1)
    q, scale = quantize_int8(weight)
    whole = [Int8Weight(q, scale, None)(x), Int4Weight(*quantize_int4(weight), None, 64)(x)]
    monkeypatch.setattr(weight_only, "DEQUANTISED_WEIGHTS", 7 * 64)
    seen: list[int] = []
    linear = F.linear
    monkeypatch.setattr(weight_only.F, "linear", lambda x, w: seen.append(w.numel()) or linear(x, w))
    parts = [Int8Weight(q, scale, None)(x), Int4Weight(*quantize_int4(weight), None, 64)(x)]
    assert max(seen) == 7 * 64
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrong", ["absent", "refuses", "wrong values", "wrong for one row", "NaN"])
def test_a_product_that_is_not_there_or_not_right_is_not_used(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    class Operators:
        """torch.ops.aten of a device whose products are not good."""

        if wrong != "absent":

            @staticmethod
            def _weight_int8pack_mm(x, q, scale):
                if wrong == "refuses":
                    raise NotImplementedError("not on this device")
                if wrong == "wrong values":
                    scale = 1.0  # forgotten
                right = (x.float() @ q.float().t()) * scale
                if wrong == "wrong for one row" and len(x) == 1:
                    right = right.flip(1)
                return right * torch.nan if wrong == "NaN" else right

    monkeypatch.setattr(weight_only.torch.ops, "aten", Operators)
    weight_only.own_int8.cache_clear()
    weight_only._int4_layout.cache_clear()
    try:
        assert not weight_only.own_int8("cpu")
        assert weight_only._int4_layout("cpu") is None
    finally:
        monkeypatch.undo()
        weight_only.own_int8.cache_clear()
        weight_only._int4_layout.cache_clear()


@pytest.mark.parametrize("layout", [*weight_only._LAYOUTS])
def test_the_layout_that_a_device_takes_int4_weights_in_is_found(
    monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """With a reference in the place of a device's kernel, which reads one layout and refuses odd outputs."""

    def convert(handed, tiles):
        if (handed.dtype == torch.int32) != (layout == "one to an int32"):
            raise RuntimeError("another dtype")
        if len(handed) % 8:
            raise RuntimeError("outputs must be a multiple of 8")
        if layout == "one to an int32":
            return handed
        high, low = handed >> 4, handed & 15
        pair = (high, low) if layout == "the first of two high" else (low, high)
        return torch.stack(pair, -1).flatten(1)

    def product(x, packed, group, scales):
        scale, zero = scales.transpose(0, 1).unbind(-1)
        groups = (packed.unflatten(1, (-1, group)) - 8.0) * scale[..., None] + zero[..., None]
        return (x.float() @ groups.flatten(1).t()).to(x.dtype)

    operators = type("Operators", (), {"_convert_weight_to_int4pack": staticmethod(convert),
                                       "_weight_int4pack_mm": staticmethod(product)})  # fmt: skip
    monkeypatch.setattr(weight_only.torch.ops, "aten", operators)
    weight_only._int4_layout.cache_clear()
    try:
        assert weight_only._int4_layout("cpu") == layout
        for outputs, taken in ((128, True), (17, False)):
            weight, x = random(outputs, 128) * 0.05, random(5, 128, seed=1).bfloat16()
            parts = quantize_int4(weight)
            layer = Int4Weight(*parts, None, 128)
            assert (layer._product is not None) == taken
            groups = (parts[0].double().unflatten(1, (-1, 32)) - 8) * parts[1].double()[..., None]
            dense = (groups + parts[2].double()[..., None]).flatten(1)
            assert relative(layer(x), x.double() @ dense.t()) < BF16
    finally:
        monkeypatch.undo()
        weight_only._int4_layout.cache_clear()


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_a_model_over_such_layers_is_transformers_over_the_rounded_weights(form: str, monkeypatch) -> None:
    monkeypatch.setattr(weight_only, "own_int8", lambda device: False)
    config = LlamaConfig(vocab_size=256, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2)  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    bank = AdapterBank(torch.float32)
    executor = Transformers(copy.deepcopy(model), lambda path, weight, bias: of(form, weight, bias), bank)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = rounded(form, module.weight.data)
    prompts = [list(range(5, 45)), [3, 1, 2], [9] * 17]
    compare(expected_of(model, prompts), ours(executor, bank, prompts, native=False), 1e-3)


def of(form: str, weight: torch.Tensor, bias: torch.Tensor | None) -> Int8Weight | Int4Weight:
    """An accelerator's layer, on this CPU."""
    if form == "int8":
        return Int8Weight(*quantize_int8(weight), bias)
    return Int4Weight(*quantize_int4(weight), bias, weight.shape[1])


def rounded(form: str, weight: torch.Tensor) -> torch.Tensor:
    """What such a layer multiplies with."""
    if form == "int8":
        q, scale = quantize_int8(weight)
        return q * scale[:, None]
    codes, scale, zero = quantize_int4(weight)
    groups = (codes.unflatten(1, (-1, 32)) - 8.0) * scale.float()[..., None] + zero.float()[..., None]
    return groups.flatten(1)


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_a_layer_is_packed_for_its_device(form: str) -> None:
    weight = random(40, 50)
    layer = pack(weight, random(40), form, device="meta")
    assert isinstance(layer, Int8Weight if form == "int8" else Int4Weight)
    tensors = [value for value in vars(layer).values() if isinstance(value, torch.Tensor)]
    assert {one.device.type for one in tensors} == {"meta"}
    held = sum(one.nbytes for one in tensors if one is not layer.bias)
    assert held == layer.weight_bytes
    assert layer(torch.empty(2, 3, 50, dtype=torch.bfloat16, device="meta")).shape == (2, 3, 40)
    assert choose([(40, 50)], form, device="meta").pack(weight, None).form == form
    assert choose([(40, 50)], "int4", device="meta").head.few == "int8"
