"""The fused LoRA layer and the short attention equal peft's and torch's, in value and gradient."""

import pytest
import torch
from torch.nn import functional as F

from weightwright.errors import SettingsError
from weightwright.tune import attention
from weightwright.tune.adapt import adapted, target_names
from weightwright.tune.fused import fuse
from weightwright.tune.fused.lora import Parts, lora_linear

from ..rounding import assert_same_sums


@pytest.fixture
def model(tiny_model):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


def test_lora_linear_equals_the_formula():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.randn(7, 12, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    down = torch.randn(3, 12, dtype=torch.float64, requires_grad=True)
    up = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    mask = (torch.rand(2, 5, 12) < 0.8).double()
    for dropped in (x, x * mask):
        found = lora_linear(x, dropped, Parts(weight, bias, down, up, scale=2.5))
        expected = F.linear(x, weight, bias) + 2.5 * (dropped @ down.t() @ up.t())
        torch.testing.assert_close(found, expected)
        outer = torch.randn_like(found)
        inputs = [x, down, up]
        got = torch.autograd.grad(found, inputs, outer, retain_graph=True)
        for a, b in zip(got, torch.autograd.grad(expected, inputs, outer, retain_graph=True), strict=True):
            torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_dora_equals_the_formula_with_a_bias(dropout):
    """Rows of weight + scale·up·down put to the magnitude's length, which counts as a constant (DoRA, §4.3)."""
    torch.manual_seed(0)
    x = torch.randn(2, 5, 12, requires_grad=True)
    weight, bias = torch.randn(7, 12), torch.randn(7)
    down, up = torch.randn(3, 12, requires_grad=True), torch.randn(7, 3, requires_grad=True)
    magnitude = torch.rand(7).add(0.5).requires_grad_()
    dropped = x * (torch.rand(2, 5, 12) >= dropout) / (1 - dropout) if dropout else x
    found = lora_linear(x, dropped, Parts(weight, bias, down, up, magnitude, 2.5))
    whole = weight + 2.5 * up @ down
    scaled = dropped @ whole.t() * (magnitude / whole.detach().norm(dim=1))
    expected = scaled + (x - dropped) @ weight.t() + bias
    torch.testing.assert_close(found, expected)
    inputs, outer = [x, down, up, magnitude], torch.randn_like(found)
    got = torch.autograd.grad(found, inputs, outer, retain_graph=True)  # the dropout is in both
    for one, other in zip(got, torch.autograd.grad(expected, inputs, outer), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dora", [False, True])
def test_layers_with_dropout_equal_peft_s_while_they_train(model, make, dora):
    ids = torch.arange(40).reshape(2, 20)
    with adapted(model, make(dropout=0.3, dora=dora), "base") as ready:
        for name, weight in ready.trainable.items():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1)
        weights = list(ready.trainable.values())
        layers = [module for module in model.modules() if hasattr(module, "lora_A")]
        assert all("forward" in layer.__dict__ for layer in layers)
        model.train()
        torch.manual_seed(1)
        fused = model(ids).logits
        grads = torch.autograd.grad(fused.logsumexp(-1).sum(), weights)
        for module in model.modules():
            module.__dict__.pop("forward", None)  # peft's own again
        torch.manual_seed(1)
        plain = model(ids).logits
        assert_same_sums(fused, plain)
        for a, b in zip(grads, torch.autograd.grad(plain.logsumexp(-1).sum(), weights), strict=True):
            assert_same_sums(a, b)


@pytest.mark.parametrize("targets", ["all-linear", "q_proj,v_proj", "all-linear,lm_head"])
def test_a_fused_model_equals_peft(model, make, targets):
    ids = torch.arange(40).reshape(2, 20)
    with adapted(model, make(targets=targets), "base") as ready:
        for name, weight in ready.trainable.items():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1)
        weights = list(ready.trainable.values())
        fused = model(ids).logits
        grads = torch.autograd.grad(fused.logsumexp(-1).sum(), weights)
        for module in model.modules():
            module.__dict__.pop("forward", None)  # peft's own again
        plain = model(ids).logits
        assert_same_sums(fused, plain)
        for a, b in zip(grads, torch.autograd.grad(plain.logsumexp(-1).sum(), weights), strict=True):
            assert_same_sums(a, b)
        undo = fuse(model)
        undo()
        assert all("forward" not in module.__dict__ for module in model.modules())
        fuse(model)


def test_the_base_model_is_left_as_it_was(model, make):
    ids = torch.arange(20)[None]
    before, names = model(ids).logits, [name for name, _ in model.named_modules()]
    with adapted(model, make(), "base") as ready:
        with torch.no_grad():
            for weight in ready.trainable.values():
                weight.add_(0.1)
        assert not torch.equal(model(ids).logits, before)
    assert torch.equal(model(ids).logits, before)
    assert [name for name, _ in model.named_modules()] == names


def test_adapter_weights_are_f32_on_a_bf16_base(model, make):
    with adapted(model.to(torch.bfloat16), make(), "base") as ready:
        assert {weight.dtype for weight in ready.trainable.values()} == {torch.float32}
        assert model(torch.arange(5)[None]).logits.dtype == torch.bfloat16


def test_targets(model):
    every = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert target_names(model, "all-linear") == every
    assert target_names(model, "all-linear,lm_head") == sorted([*every, "lm_head"])
    assert target_names(model, " v_proj , q_proj") == ["q_proj", "v_proj"]
    with pytest.raises(SettingsError, match=r"qproj.*q_proj"):
        target_names(model, "qproj")
    with pytest.raises(SettingsError, match="names no layer"):
        target_names(model, ",")


def test_gpt2_s_layers_are_adapted_as_peft_does_it(make):
    import transformers
    from peft import LoraConfig, get_peft_model

    config = transformers.GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    model, other = (transformers.GPT2LMHeadModel(config) for _ in range(2))
    other.load_state_dict(model.state_dict())
    ids = torch.arange(20)[None]
    with adapted(model, make(), "gpt2") as ready:
        theirs = get_peft_model(
            other, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", fan_in_fan_out=True)
        )
        shapes = {n: w.shape for n, w in theirs.named_parameters() if w.requires_grad}
        assert {n: w.shape for n, w in ready.trainable.items()} == shapes
        for name, weight in theirs.named_parameters():
            if weight.requires_grad:
                torch.nn.init.normal_(weight, std=0.1)
                ready.trainable[name].data.copy_(weight)
        model.eval(), theirs.eval()
        assert_same_sums(model(ids).logits, theirs(ids).logits)


def test_names_that_peft_takes_for_experts_are_left_out():
    import transformers

    config = transformers.Qwen3MoeConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, moe_intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_experts=4, num_experts_per_tok=2,
        mlp_only_layers=[0],
    )  # fmt: skip
    model = transformers.Qwen3MoeForCausalLM(config)
    assert target_names(model, "all-linear") == ["k_proj", "o_proj", "q_proj", "v_proj"]


@pytest.mark.parametrize(("heads", "keys"), [(4, 4), (6, 2)])
@pytest.mark.parametrize("tokens", [1, 33])
def test_attention_of_short_rows_equals_torch(heads, keys, tokens):
    torch.manual_seed(0)
    q, k, v = (
        torch.randn(3, n, tokens, 8, dtype=torch.float64, requires_grad=True) for n in (heads, keys, keys)
    )
    module = torch.nn.Module()
    module.is_causal, module.num_key_value_groups = True, heads // keys
    found, _ = attention.forward(module, q, k, v, None, scaling=0.3)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=tokens > 1, enable_gqa=True, scale=0.3)
    torch.testing.assert_close(found, expected.transpose(1, 2))
    outer = torch.randn_like(found)
    got = torch.autograd.grad(found, [q, k, v], outer)
    wanted = torch.autograd.grad(expected.transpose(1, 2), [q, k, v], outer)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_row_attention_is_used_and_taken_out_again(model, monkeypatch):
    ids = torch.arange(20)[None]
    before = model(ids).logits
    used = []
    apply = attention._Attention.apply
    monkeypatch.setattr(attention._Attention, "apply", lambda *a: used.append(1) or apply(*a))
    with attention.row_attention(model):
        torch.testing.assert_close(model(ids).logits, before, rtol=1e-4, atol=1e-4)
    assert len(used) == model.config.num_hidden_layers
    assert model.config._attn_implementation == "sdpa"
    model(ids)
    assert len(used) == model.config.num_hidden_layers


def test_a_vision_tower_gets_no_adapter(make):
    import transformers

    text = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    model = transformers.Gemma3ForConditionalGeneration(config)
    every = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert target_names(model, "all-linear") == every
    with pytest.raises(SettingsError, match="no layer 'fc1'"):  # of the tower alone
        target_names(model, "fc1")
    with adapted(model, make(), "base") as ready:
        paths = {name.partition(".lora_")[0] for name in ready.trainable}
        assert len(paths) == 2 * len(every)
        assert all(path.startswith("base_model.model.model.language_model.layers.") for path in paths)
        assert ready.whole.peft_config["default"].target_modules == sorted(
            path.removeprefix("base_model.model.") for path in paths
        )
    with adapted(model, make(targets="gate_proj"), "base") as ready:
        assert ready.whole.peft_config["default"].target_modules == ["gate_proj"]  # the tower has none
