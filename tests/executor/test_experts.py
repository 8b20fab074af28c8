"""Experts in few bits beside transformers' own on the weights that the few bits stand for."""

from typing import Any

import pytest
import torch

from weightwright.executor import experts
from weightwright.executor.experts import PackedExperts, pack_experts
from weightwright.executor.layers import Mixture
from weightwright.executor.linear import pack
from weightwright.kernels import int4, pool, skinny
from weightwright.weights.experts import experts_of, stacked_names
from weightwright.weights.families import model_class

from .families import families, tiny_config

MIXTURES = ("afmoe", "aria_text", "deepseek_v2", "deepseek_v3", "dots1", "ernie4_5_moe", "flex_olmo", "glm4_moe",
            "gpt_oss", "granitemoe", "granitemoehybrid", "hunyuan_v1_moe", "jamba", "lfm2_moe", "mimo_v2_flash",
            "minimax_m2", "mixtral", "olmoe", "phimoe", "qwen2_moe", "qwen3_5_moe_text", "qwen3_moe",
            "qwen3_next")  # fmt: skip
COMMON = ("mixtral", "qwen3_moe", "gpt_oss", "aria_text", "deepseek_v3", "granitemoe")
# of the largest output: rounding of activations to 8 bits, twice, through widths of 64 and 32
LIMITS = {"int8": 0.04, "int4": 0.04, "bf16": 0.02, "f32": 1e-5}


def stack(model_type: str) -> tuple[str, Any]:
    """The first experts of a tiny model of a family, with weights and biases."""
    torch.manual_seed(0)
    model = model_class(tiny_config(model_type)).from_config(tiny_config(model_type)).float().eval()
    path, module = next(iter(experts_of(model).items()))
    for parameter in module.parameters():
        parameter.data.normal_(std=0.3)
    module.config._experts_implementation = "eager"
    return path, module


def stands_for(linear: Any) -> torch.Tensor:
    """The weight [out, in] f32 that a packed layer multiplies with, without its bias."""
    eye = torch.eye(linear.in_features)
    bias, linear.bias = linear.bias, None
    weight = linear(eye).float().T  # one input at a time: nothing is lost in rounding it
    linear.bias = bias
    return weight


def routed(module: Any, rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    width = module.down_proj.shape[2 if module.is_transposed else 1]
    ids = torch.rand(rows, module.num_experts, generator=generator).argsort(1)[:, :2]
    return torch.randn(rows, width, generator=generator), ids, torch.rand(rows, 2, generator=generator)


@pytest.mark.usefixtures("two_threads", "exact_int8")
@pytest.mark.parametrize("form", ["int8", "int4", "bf16", "f32"])
@pytest.mark.parametrize("model_type", families(MIXTURES, COMMON))
def test_experts_compute_what_transformers_do(model_type: str, form: str) -> None:
    path, module = stack(model_type)
    for rows in (1, 3, 40):
        hidden, ids, weights = routed(module, rows)
        packed = pack_experts(path, _copy(module), lambda _, w, b: pack(w, b, form, rotated=form == "int8"))
        with torch.inference_mode():
            _put_back(module, packed)
            expected = module(hidden, ids, weights)
            got = packed(hidden, ids, weights)
        assert got.dtype == hidden.dtype
        assert (got - expected).abs().max() < LIMITS[form] * expected.abs().max(), (rows, form)


def _copy(module: Any) -> Any:
    import copy

    return copy.deepcopy(module)


def _put_back(module: Any, packed: PackedExperts) -> None:
    """Give transformers' experts the weights that the packed ones stand for."""
    for name, linears in (
        ("gate_up_proj" if module.has_gate else "up_proj", packed.first),
        ("down_proj", packed.second),
    ):
        stacked = torch.stack([stands_for(linear) for linear in linears])
        getattr(module, name).data = stacked.transpose(1, 2).contiguous() if module.is_transposed else stacked


@pytest.mark.skipif(not int4.supported(), reason="this CPU lacks AVX512-VNNI")
def test_one_by_one_or_together_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    path, module = stack("mixtral")
    packed = pack_experts(path, module, lambda _, w, b: pack(w, b, "int4"))
    hidden, ids, weights = torch.randn(9, 64), torch.randint(0, 4, (9, 2)), torch.rand(9, 2)
    with torch.inference_mode():
        together = packed(hidden, ids, weights)
        monkeypatch.setattr(packed, "_int4", False)
        torch.testing.assert_close(packed(hidden, ids, weights), together, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(
    not skinny.supported(), reason="this CPU lacks AVX512-VNNI, or oneDNN packs in another way"
)
@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("form", ["int8", "int4"])
@pytest.mark.parametrize(
    "family", ["mixtral", "qwen3_moe", "olmoe"]
)  # the last does not make its weights add up to 1
def test_router_and_experts_by_kernels(family: str, form: str) -> None:
    torch.manual_seed(0)
    model = model_class(tiny_config(family)).from_config(tiny_config(family)).float().eval()
    block = next(
        module for module in model.modules() if hasattr(module, "experts") and hasattr(module, "gate")
    )
    for parameter in block.parameters():
        parameter.data.normal_(std=0.3)
    block.experts = pack_experts("", block.experts, lambda _, w, b: pack(w, b, form, rotated=form == "int8"))
    mixture = Mixture.of(block)
    if form == "int8" and block.experts.first[0].offset == 0:
        assert mixture.router is None  # signed codes: oneDNN's own products are faster there
        return
    assert mixture.router is not None
    with torch.inference_mode():
        assert not mixture.differs()
        for rows in (1, 2, 7):
            x = torch.randn(rows, 64)
            expected, got = mixture(x, by_kernels=False), mixture(x.clone(), by_kernels=True)
            assert (got - expected).abs().max() < 1e-4 * expected.abs().max()
        mixture.router = mixture.router._replace(normalised=not mixture.router.normalised)
        assert mixture.differs()


def test_other_routers_stay_with_their_model() -> None:
    for family in ("deepseek_v3", "qwen2_moe"):  # sigmoid and groups; a shared expert
        torch.manual_seed(0)
        model = model_class(tiny_config(family)).from_config(tiny_config(family)).float().eval()
        blocks = [
            module for module in model.modules() if hasattr(module, "experts") and hasattr(module, "gate")
        ]
        blocks[-1].experts = pack_experts("", blocks[-1].experts, lambda _, w, b: pack(w, b, "f32"))
        assert Mixture.of(blocks[-1]).router is None


def test_without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    path, module = stack("mixtral")
    for form in ("int8", "f32"):
        packed = pack_experts(path, _copy(module), lambda _, w, b, form=form: pack(w, b, form))
        hidden, ids, weights = torch.randn(5, 64), torch.randint(0, 4, (5, 2)), torch.rand(5, 2)
        with torch.inference_mode():
            expected = packed(hidden, ids, weights)
            monkeypatch.setattr(pool, "available", lambda: False)
            packed._activation = experts._activation(module)
            assert packed._activation is None
            got = packed(hidden, ids, weights)
            monkeypatch.undo()
        torch.testing.assert_close(got, expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))


def test_no_rows() -> None:
    path, module = stack("mixtral")
    packed = pack_experts(path, module, lambda _, w, b: pack(w, b, "f32"))
    assert packed(torch.empty(0, 64), torch.empty(0, 2, dtype=torch.long), torch.empty(0, 2)).shape == (0, 64)


@pytest.mark.parametrize("model_type", ["jetmoe", "llama4_text"])
def test_families_whose_experts_are_not_known(model_type: str) -> None:
    from weightwright.plan.serving import _OWN_EXPERTS

    with torch.device("meta"):
        model = model_class(tiny_config(model_type)).from_config(tiny_config(model_type))
    assert model_type in _OWN_EXPERTS
    assert not stacked_names(model)


@pytest.mark.parametrize("model_type", families(MIXTURES, COMMON))
def test_plan_knows_which_families_can_be_packed(model_type: str) -> None:
    from weightwright.plan.serving import _OWN_EXPERTS

    assert model_type not in _OWN_EXPERTS
    with torch.device("meta"):
        model = model_class(tiny_config(model_type)).from_config(tiny_config(model_type))
    stacked = {name for name, weight in model.named_parameters() if weight.ndim == 3 and "conv" not in name}
    assert stacked == stacked_names(model) != set()
