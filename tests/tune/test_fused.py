"""MLPs and norms as single steps: what they give, what they keep, and which are left alone."""

import pytest
import torch
from torch import nn

from weightwright.tune.adapt import adapted
from weightwright.tune.fused import mlp, norm


@pytest.fixture
def model(tiny_model):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


@pytest.fixture(params=["kernels", "operators"])
def way(request, monkeypatch):
    """By our kernels, and by torch's operators as on a GPU."""
    if request.param == "operators":
        monkeypatch.setattr(mlp.kernels, "runs_on", lambda x: False)


def fused(model: nn.Module, part: str) -> list[nn.Module]:
    return [m for name, m in model.named_modules() if "forward" in m.__dict__ and name.endswith(part)]


@pytest.mark.parametrize(
    "choice",
    [{}, {"targets": "q_proj,v_proj"}, {"dropout": 0.1}, {"dora": True}, {"method": "full"}],
    ids=str,
)
def test_gradients_are_those_of_the_model_as_it_is(model, make, way, choice):
    """As near to those in f64 as the rounding of f32 allows (transformers' norms and softmax are f32 there, too)."""
    ids = torch.arange(36).reshape(2, 18)
    with adapted(model, make(**choice), "base") as ready:
        for name, weight in ready.trainable.items():
            if "lora_B" in name:
                nn.init.normal_(weight, std=0.1)
        model.eval()  # without dropout
        weights = list(ready.trainable.values())
        assert len(fused(model, "mlp")) == model.config.num_hidden_layers
        found = model(ids).logits
        grads = torch.autograd.grad(found.logsumexp(-1).sum(), weights)
        for module in model.modules():
            module.__dict__.pop("forward", None)
        exact = model.double()(ids).logits
        wanted = torch.autograd.grad(exact.logsumexp(-1).sum(), weights)
    there = sums_on_the_way(model.config, ids)
    assert_as_near_as_f32(found, exact, there)
    for one, other in zip(grads, wanted, strict=True):
        assert_as_near_as_f32(one, other, 2 * there + ids.numel())  # there and back, and over the tokens


def sums_on_the_way(config, ids) -> int:
    """Terms of the sums that stand behind each other from a token's embedding to its logits."""
    hidden, tokens = config.hidden_size, ids.shape[1]
    attention = (
        hidden + hidden // config.num_attention_heads + tokens + hidden
    )  # q·k, weights·v, and the projections
    mlp = hidden + config.intermediate_size
    return config.num_hidden_layers * (attention + mlp + 2 * hidden) + 2 * hidden  # and the norms; the head


def assert_as_near_as_f32(found, exact, terms) -> None:
    """Within n·u of the largest value: what sums of n terms, one behind the other, can lose in f32 (u = 2^-24).

    Higham, "Accuracy and Stability of Numerical Algorithms", §3.1. Measured: a tenth of it and less.
    """
    allowed = terms * 2**-24 * exact.abs().max()
    worst = (found - exact).abs().max()
    assert worst <= allowed, f"{worst:.3g} off, {allowed:.3g} allowed"


def test_an_mlp_keeps_gate_and_up_alone(model, make):
    kept = []
    with adapted(model, make(), "base"):
        inner = model.config.intermediate_size
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
            model(torch.arange(18)[None])
        wide = [x for x in kept if x.dim() == 2 and x.shape == (18, inner)]
    assert len(wide) == 2 * model.config.num_hidden_layers


def test_dora_keeps_what_the_magnitude_scales_and_with_dropout_that_of_gate_and_up_too(model, make):
    """As `plan` counts it (`activations`): of a token, the outputs of the adapted layers."""
    ids, size = torch.arange(18)[None], 4
    outputs = sum(m.out_features for n, m in model.named_modules() if n.endswith("_proj"))
    wide = sum(m.out_features for n, m in model.named_modules() if n.endswith(("gate_proj", "up_proj")))

    def kept_bytes(**choice) -> int:
        kept = {}
        with adapted(model, make(**choice), "base"):
            model.train()
            with torch.autograd.graph.saved_tensors_hooks(
                lambda x: kept.update({x.data_ptr(): x}) or x, lambda x: x
            ):
                model(ids)
        return sum(x.nbytes for x in kept.values() if x.shape[:-1].numel() == ids.numel())

    assert kept_bytes(dora=True) - kept_bytes() == ids.numel() * (outputs - wide) * size
    assert kept_bytes(dora=True, dropout=0.1) - kept_bytes(dropout=0.1) == ids.numel() * outputs * size


def test_trained_norms_keep_their_own_way(model, make):
    with adapted(model, make(method="full"), "base"):
        assert not fused(model, "norm")
    with adapted(model, make(), "base"):
        assert len(fused(model, "norm")) == 2 * model.config.num_hidden_layers + 1


def test_a_norm_that_gives_something_else_is_left_alone(model, make):
    """Gemma's norms multiply by 1 + weight."""

    class OtherRMSNorm(type(model.model.norm)):
        def forward(self, hidden_states):
            return super().forward(hidden_states) + hidden_states

    model.model.norm.__class__ = OtherRMSNorm
    assert norm.forward_of(model.model.norm.requires_grad_(False))
    with adapted(model, make(), "base"):
        assert len(fused(model, "norm")) == 2 * model.config.num_hidden_layers


def test_an_mlp_with_something_more_is_left_alone(model, make):
    class Scaled(type(model.model.layers[0].mlp)):
        def forward(self, x):
            return 2 * super().forward(x)

    model.model.layers[0].mlp.__class__ = Scaled
    with adapted(model, make(), "base"):
        assert len(fused(model, "mlp")) == model.config.num_hidden_layers - 1
