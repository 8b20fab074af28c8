"""Frozen weights in 8 bits on the way forward: outcomes and gradients, whole runs, and what has no such weights."""

import json
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from weightwright.errors import SettingsError
from weightwright.kernels.int8 import int8_supported
from weightwright.plan import memory
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import from_file
from weightwright.tune.adapt import adapted
from weightwright.tune.attention import row_attention
from weightwright.tune.fused import int8, int8_products, whole_layers
from weightwright.tune.fused.int8 import Int8Weight
from weightwright.tune.fused.lora import Parts, lora_linear
from weightwright.tune.run import tune

pytestmark = pytest.mark.skipif(not int8_supported(), reason="this torch has no int8 products")
NEAR = 0.02  # of outcomes, in norms: what 8 bits lose of random numbers


@pytest.fixture(params=["kernels", "operators"])
def way(request, monkeypatch):
    """By our kernels, and by torch's operators where numba is missing."""
    if request.param == "operators":
        monkeypatch.setattr(int8.kernels, "runs_on", lambda x: False)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def off(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found.detach().double() - exact.detach()).norm() / exact.detach().norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_near_and_the_gradients_are_the_weights_own(way, dtype, bias):
    weight, added = random(40, 64, seed=1).to(dtype), random(40, seed=2).to(dtype) if bias else None
    down, up = random(4, 64, seed=3).requires_grad_(), random(40, 4, seed=4).requires_grad_()
    x, outer = random(37, 64).to(dtype).requires_grad_(), random(37, 40, seed=5).to(dtype)
    parts = Parts(weight, added, down, up, scale=0.5, int8=Int8Weight.of(weight))
    result = lora_linear(x, x, parts)
    result.backward(outer)
    found = [result, x.grad, down.grad, up.grad]
    x.grad = down.grad = up.grad = None
    X, D, U = (one.detach().double().requires_grad_() for one in (x, down, up))
    exact = X @ weight.double().T + 0.5 * (X @ D.T) @ U.T + (added.double() if bias else 0)
    exact.backward(outer.double())
    rounding = 4 * torch.finfo(dtype).eps
    assert not torch.equal(result, lora_linear(x, x, replace(parts, int8=None)))
    assert off(result, exact) < NEAR
    for one, other in zip(found[1:], (X.grad, D.grad, U.grad), strict=True):
        assert off(one, other) < rounding


def test_a_number_that_is_not_finite_is_seen(way):
    x = random(3, 64)
    x[1, 5] = torch.nan
    weight = random(8, 64, seed=1)
    out = lora_linear(x, x, Parts(weight, None, int8=Int8Weight.of(weight)))
    assert out.isfinite().all(dim=1).tolist() == [True, False, True]


@pytest.mark.parametrize("recomputes", [False, "mlp"])
@pytest.mark.parametrize("choice", [{}, {"dora": True}, {"targets": "q_proj"}], ids=str)
def test_a_model_is_near_and_is_itself_again_afterwards(tiny_model, make, choice, recomputes):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    ids = torch.arange(36).reshape(2, 18)
    before = model(ids).logits
    with adapted(model, make(**choice), "base"), row_attention(model):
        with int8_products(model, wanted=True), whole_layers(model, recomputes):
            found = model(ids).logits
            made = [m for m in model.modules() if "_int8_weight" in m.__dict__]
        assert not any("_int8_weight" in m.__dict__ for m in model.modules())
    layers = model.config.num_hidden_layers
    assert len(made) == 7 * layers  # a decoder layer runs as a whole, whatever is adapted
    assert 1e-4 < off(found, before.double()) < 5 * NEAR
    assert torch.equal(model(ids).logits, before)


def losses(folder) -> list[float]:
    lines = map(json.loads, (folder / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_run_learns_as_much(make, tmp_path, method):
    if method == "qlora":
        pytest.importorskip("bitsandbytes")
    for name, on in (("exact", False), ("int8", True)):
        tune(make(method=method, out=tmp_path / name, int8_forward=on, epochs=4, learning_rate=1e-2))
    exact, found = losses(tmp_path / "exact"), losses(tmp_path / "int8")
    assert found != exact
    assert found[-1] < found[0]
    for one, other in zip(found, exact, strict=True):
        assert one == pytest.approx(other, abs=0.1 * exact[0])


def test_a_plan_counts_the_weights_in_8_bits(tiny_model):
    spec = from_file(tiny_model)

    def peak(**values) -> int:
        settings = PlanSettings(model=str(tiny_model), task="lora", gradient_checkpointing=False, **values)
        return memory.estimate(spec, settings).peak.total_bytes

    assert peak(int8_forward=True) - peak() == spec.linear_weights


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"method": "full"}, "full has none; use lora or qlora"),
        ({"device": "cuda"}, "on a CPU only, not on device=cuda"),
        ({"fsdp": True}, "in one process, not with fsdp"),
    ],
)
def test_what_has_no_such_products_is_refused(make, values, said):
    with pytest.raises(ValidationError, match=said):
        make(int8_forward=True, **values)


def test_another_device_that_was_chosen_by_itself_is_refused():
    model = torch.nn.Linear(2, 2, device="meta")
    model.device = torch.device("meta")
    with pytest.raises(SettingsError, match="on a CPU only, not on meta"), int8_products(model, wanted=True):
        raise AssertionError("it runs")
