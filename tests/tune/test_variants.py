"""rsLoRA, DoRA and the optimizers: peft's and torch's own results, and runs that resume."""

import json

import pytest
import torch

from weightwright.errors import TuneError
from weightwright.tune import dataset, loop
from weightwright.tune.run import tune
from weightwright.weights.load import load


@pytest.mark.parametrize("kind", ["rslora", "dora"])
def test_the_adapter_gives_peft_the_logits_it_was_trained_to(make, tiny_model, kind, monkeypatch):
    """The last step's loss, computed here by peft alone, is the one that the run would take its next step from."""
    from peft import PeftModel

    from weightwright.data.formats import read_samples
    from weightwright.data.template import encode

    settings = make(epochs=6, learning_rate=5e-3, eval_data=make().data, **{kind: True})
    result = tune(settings)
    loaded = load(str(tiny_model), precision="f32", device="cpu")
    model = PeftModel.from_pretrained(loaded.model, str(result.adapter)).eval()
    config = json.loads((settings.out / "adapter" / "adapter_config.json").read_text())
    assert config[f"use_{kind}"]
    total, count = 0.0, 0
    for sample in read_samples(dataset.learnt(settings)):
        row = encode(sample, loaded.tokenizer)
        labels = torch.where(torch.tensor([row.labelled]), torch.tensor([row.token_ids]), -100)
        with torch.no_grad():
            logits = model(torch.tensor([row.token_ids])).logits[0, :-1]
        total += torch.nn.functional.cross_entropy(logits, labels[0, 1:], reduction="sum").item()
        count += row.labelled_tokens
    assert result.eval_loss == pytest.approx(total / count, rel=1e-4)
    log = [json.loads(line) for line in (settings.out / "log.jsonl").read_text().splitlines()]
    assert result.eval_loss < 0.8 * next(line["eval_loss"] for line in log if "eval_loss" in line)


def test_rslora_scales_by_the_root_of_the_rank(make, tiny_model):
    from weightwright.tune.adapt import adapted

    model = load(str(tiny_model), precision="f32", device="cpu").model
    for rslora, scale in ((False, 8 / 4), (True, 8 / 2)):
        with adapted(model, make(rank=4, alpha=8, rslora=rslora), "tiny") as ready:
            found = [getattr(m, "scaling", None) for m in ready.model.modules()]
            scales = {one["default"] for one in found if isinstance(one, dict)}
        assert scales == {scale}


def test_sgd_with_momentum_learns_and_resumes_to_the_same_weights(make, tmp_path, monkeypatch):
    options = {"optimizer": "sgd", "epochs": 6, "learning_rate": 0.5, "save_every": 3}
    whole = make(**options, out=tmp_path / "whole")
    result = tune(whole)
    log = [json.loads(line) for line in (whole.out / "log.jsonl").read_text().splitlines()]
    assert result.train_loss < 0.8 * log[0]["loss"]
    steps, taken = loop.update_weights, []

    def stops(run, loss):
        taken.append(1)
        if len(taken) == 11:
            raise KeyboardInterrupt
        return steps(run, loss)

    monkeypatch.setattr(loop, "update_weights", stops)
    halved = make(**options, out=tmp_path / "halved")
    with pytest.raises(KeyboardInterrupt):
        tune(halved)
    monkeypatch.setattr(loop, "update_weights", steps)
    tune(halved)
    from safetensors.torch import load_file

    first, second = (load_file(s.out / "adapter" / "adapter_model.safetensors") for s in (whole, halved))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_adamw_in_eight_bits_says_that_it_needs_a_gpu(make):
    with pytest.raises(
        TuneError, match="optimizer=adamw8bit needs a GPU, this run is on cpu; use --optimizer adamw"
    ):
        tune(make(optimizer="adamw8bit"))
