"""QLoRA: the base in NF4 with double quantisation, by bitsandbytes."""

import json
import math

import pytest
import torch

from weightwright.data.template import Encoded
from weightwright.errors import MissingExtraError
from weightwright.model.load import load
from weightwright.tune.nf4 import load_nf4
from weightwright.tune.run import tune


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_weights_are_those_of_the_base_within_four_bits(tiny_model, precision):
    plain = load(str(tiny_model), precision=precision, device="cpu")
    found = load_nf4(str(tiny_model), precision, "cpu")
    from bitsandbytes.functional import dequantize_4bit

    layers = {n: m for n, m in found.model.named_modules() if type(m).__name__ == "Linear4bit"}
    assert len(layers) == 2 * 7
    for name, layer in layers.items():
        weight = plain.model.get_submodule(name).weight
        state = layer.weight.quant_state
        assert state.quant_type == "nf4"
        assert state.nested  # double quantisation
        assert layer.weight.numel() == math.ceil(weight.numel() / 2)
        held = dequantize_4bit(layer.weight, state)
        assert (
            float((held - weight).detach().norm() / weight.detach().norm()) < 0.11
        )  # NF4 of a normal distribution: 0.095
    assert found.fingerprint == plain.fingerprint
    kept = plain.model.model.embed_tokens.weight
    assert torch.equal(found.model.model.embed_tokens.weight, kept)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_layers_are_single_steps(make, tiny_model, precision):
    from weightwright.tune.adapt import adapted

    model = load_nf4(str(tiny_model), precision, "cpu").model
    with adapted(model, make(method="qlora"), "tiny"):
        fused = [name for name, module in model.named_modules() if "forward" in module.__dict__]
        assert sum(name.endswith(("_proj", "mlp")) for name in fused) == 2 * (7 + 1)


def test_gradients_are_those_of_a_dense_model_with_the_same_weights(make, tiny_model):
    from bitsandbytes.functional import dequantize_4bit

    from weightwright.tune.adapt import adapted
    from weightwright.tune.attention import row_attention
    from weightwright.tune.batch import Unit, pack
    from weightwright.tune.loss import VocabularyLoss

    held = load_nf4(str(tiny_model), "f32", "cpu").model
    plain = load(str(tiny_model), precision="f32", device="cpu").model
    for name, layer in held.named_modules():
        if type(layer).__name__ == "Linear4bit":
            weight = dequantize_4bit(layer.weight, layer.weight.quant_state)
            plain.get_submodule(name).weight = torch.nn.Parameter(weight, requires_grad=False)
    batch = pack([Unit((Encoded(tuple(range(5, 30)), (True,) * 25, ""),))], "cpu")
    found = []
    for model in (held, plain):
        torch.manual_seed(0)
        with adapted(model, make(method="qlora"), "tiny") as ready, row_attention(model):
            loss = VocabularyLoss(ready.model)
            with torch.no_grad():  # an evaluation before the step must not change what is learnt
                ready.model.eval()
                loss(batch)
                ready.model.train()
            for name, weight in ready.trainable.items():
                if "lora_B" in name:
                    torch.nn.init.normal_(weight, std=0.1)
            gradients = torch.autograd.grad(loss(batch), list(ready.trainable.values()))
            found.append(dict(zip(ready.trainable, gradients, strict=True)))
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-3, atol=1e-4)
        assert gradient.abs().max() > 0


def test_a_run_learns_and_its_adapter_fits_the_plain_base(make, rows, tiny_model):
    settings = make(method="qlora", epochs=8, learning_rate=5e-3, eval_data=rows)
    result = tune(settings)
    log = [json.loads(line) for line in (settings.out / "log.jsonl").read_text().splitlines()]
    evals = [line["eval_loss"] for line in log if "eval_loss" in line]
    assert evals[-1] < 0.7 * evals[0]
    from peft import PeftModel

    base = load(str(tiny_model), precision="f32", device="cpu").model
    PeftModel.from_pretrained(base, str(result.adapter))


def test_without_the_package_it_says_what_to_install(make, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'weightwright\[qlora\]'"):
        tune(make(method="qlora"))
