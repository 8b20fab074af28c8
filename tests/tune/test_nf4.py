"""QLoRA: the base in NF4 with double quantisation, by bitsandbytes."""

import json
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from weightwright.data.template import Encoded
from weightwright.errors import MissingExtraError, Place
from weightwright.tune.fused.nf4 import unpacked
from weightwright.tune.nf4 import load_nf4
from weightwright.tune.run import tune
from weightwright.weights.load import load


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize(("outputs", "inputs"), [(300, 128), (100, 66), (50, 33)])
def test_out_of_four_bits_as_bitsandbytes_does_it(dtype, double, outputs, inputs):
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    weight = torch.randn(outputs, inputs, dtype=dtype)
    held, state = quantize_4bit(weight, compress_statistics=double, quant_type="nf4")
    assert torch.equal(unpacked(held, state, dtype), dequantize_4bit(held, state))
    assert torch.equal(unpacked(held, state, torch.float32), dequantize_4bit(held, state).float())


def test_matrices_stand_in_one_place_for_each_thread():
    from bitsandbytes.functional import quantize_4bit

    wide, narrow = (quantize_4bit(torch.randn(n, 64), quant_type="nf4") for n in (200, 100))
    first = unpacked(*wide, torch.float32)
    assert unpacked(*narrow, torch.float32).data_ptr() == first.data_ptr()
    with ThreadPoolExecutor(1) as other:
        held = first.clone()
        assert other.submit(unpacked, *narrow, torch.float32).result().data_ptr() != first.data_ptr()
        assert torch.equal(first, held)


def test_what_matrices_took_on_their_way_is_given_back(tiny_model, monkeypatch):
    from weightwright.machine import heap

    given_back = []
    monkeypatch.setattr(heap, "_EVERY_BYTES", 1)
    monkeypatch.setattr(heap, "give_back", lambda: given_back.append(1))
    load_nf4(str(tiny_model), "f32", "cpu")
    assert len(given_back) == 2 * 7


@pytest.mark.parametrize("recomputes", [True, False, "mlp"])  # true: layers module by module
def test_gradients_are_those_of_a_dense_model_with_the_same_weights(make, tiny_model, recomputes):
    from bitsandbytes.functional import dequantize_4bit

    from weightwright.tune.adapt import adapted
    from weightwright.tune.attention import row_attention
    from weightwright.tune.batch import Example, pack
    from weightwright.tune.fused import whole_layers
    from weightwright.tune.loss import VocabularyLoss

    held = load_nf4(str(tiny_model), "f32", "cpu").model
    plain = load(str(tiny_model), precision="f32", device="cpu").model
    for name, layer in held.named_modules():
        if type(layer).__name__ == "Linear4bit":
            weight = dequantize_4bit(layer.weight, layer.weight.quant_state)
            plain.get_submodule(name).weight = torch.nn.Parameter(weight, requires_grad=False)
    batch = pack([Example((Encoded(tuple(range(5, 30)), (True,) * 25, Place()),))], "cpu")
    found = []
    for model in (held, plain):
        torch.manual_seed(0)
        with (
            adapted(model, make(method="qlora"), "tiny") as ready,
            row_attention(model),
            whole_layers(model, recomputes if model is held else True) as whole,
        ):
            assert whole == (2 if model is held and recomputes is not True else 0)
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
