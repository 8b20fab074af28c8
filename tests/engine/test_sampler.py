"""Sampling from a model in training: its own weights, its adapter as it stands, the same answers each time."""

from dataclasses import replace

import pytest
import torch

from weightwright.engine.sampler import Sampler
from weightwright.ports import ChatRequest, SamplingParams
from weightwright.tune.adapt import adapted
from weightwright.tune.batch import Example, pack
from weightwright.tune.loss import VocabularyLoss
from weightwright.tune.rollout import _adapter, _adapters_off, _weights_of
from weightwright.tune.settings import TuneSettings
from weightwright.weights.load import load

pytestmark = pytest.mark.filterwarnings("ignore")
PROMPTS = (tuple(range(10, 30)), tuple(range(40, 47)), tuple(range(60, 93)))


@pytest.fixture
def training(tiny_model, tmp_path):
    """A model with an adapter whose matrices are both not zero, and a sampler of it."""
    loaded = load(str(tiny_model), precision="f32", device="cpu")
    settings = TuneSettings(model=str(tiny_model), data=tmp_path, out=tmp_path, rank=4)
    sampler = Sampler(loaded, sequences=12, context_tokens=64)
    with adapted(loaded.model, settings, "tiny") as ready:
        randomize(ready.trainable.values(), 0)
        yield loaded, ready, sampler
    sampler.close()


def randomize(weights, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in weights:
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)


def as_it_is(whole):
    return _adapter(whole, _weights_of(whole))


def requests(adapter="in-training", **params):
    usual = {"n": 4, "temperature": 1.0, "max_tokens": 9, "ignore_eos": True, "logprobs": 0}
    return [
        ChatRequest(
            prompt_token_ids=prompt, adapter=adapter, params=SamplingParams(**usual | params, seed=100 * at)
        )
        for at, prompt in enumerate(PROMPTS)
    ]


def drawn(results):
    return [one.token_ids for result in results for one in result.completions]


def test_the_base_weights_are_in_memory_once(training):
    loaded, _, sampler = training
    held = {t.untyped_storage().data_ptr() for t in loaded.model.parameters()}
    executor = sampler._engine.parts.executor
    products = [
        p.linear.weight
        for layer in executor._layers
        for p in (layer.qkv, layer.out, layer.mlp.gate_up, layer.mlp.down)
    ]
    assert len(products) == 8
    assert all(
        weight.untyped_storage().data_ptr() in held for weight in (*products, executor._head.linear.weight)
    )
    assert executor._embedding.weight.data_ptr() in {t.data_ptr() for t in loaded.model.parameters()}


def test_it_samples_from_the_trainers_own_distribution(training):
    _, ready, sampler = training
    results = sampler.sample(as_it_is(ready.whole), requests())
    scored = VocabularyLoss(ready.model)
    ready.model.eval()
    for prompt, result in zip(PROMPTS, results, strict=True):
        for one in result.completions:
            row = row_of(prompt, one.token_ids)
            with torch.no_grad():
                own = scored.logprobs(row, row.labelled)
                with _adapters_off(ready.whole):
                    base = scored.logprobs(row, row.labelled)
            theirs = torch.tensor([each.logprob for each in one.logprobs])
            assert (own - theirs).abs().max() < 1e-4
            assert (base - theirs).abs().max() > 0.1  # the adapter does something


def row_of(prompt, answer):
    from weightwright.data.template import Encoded
    from weightwright.errors import Place

    row = Encoded((*prompt, *answer), (False,) * len(prompt) + (True,) * len(answer), Place())
    return pack([Example((row,))], "cpu")


def test_adapters_off_is_the_base_model(training, tiny_model):
    _, ready, _ = training
    plain = load(str(tiny_model), precision="f32", device="cpu").model
    ids = torch.tensor([PROMPTS[2]])
    ready.model.eval()
    with torch.no_grad():
        wanted = plain(ids).logits
        assert (ready.model(ids).logits - wanted).abs().max() > 0.1
        with _adapters_off(ready.whole):
            assert (ready.model(ids).logits - wanted).norm() < 1e-5 * wanted.norm()
        assert all(weight.requires_grad for weight in ready.trainable.values())


def test_an_adapter_that_has_learnt_answers_otherwise_and_the_same_adapter_the_same(training):
    _, ready, sampler = training
    first = drawn(sampler.sample(as_it_is(ready.whole), requests()))
    assert drawn(sampler.sample(as_it_is(ready.whole), requests())) == first
    assert len(set(first)) == len(first)  # each of a group is its own draw
    randomize(ready.trainable.values(), 1)
    second = drawn(sampler.sample(as_it_is(ready.whole), requests()))
    assert second != first
    randomize(ready.trainable.values(), 0)
    assert drawn(sampler.sample(as_it_is(ready.whole), requests())) == first


def test_more_sequences_than_fit_at_once_wait_and_are_the_same_in_another_sampler(training, tiny_model):
    _, ready, sampler = training
    many = [replace(one, params=one.params.model_copy(update={"n": 9})) for one in requests()]
    found = drawn(sampler.sample(as_it_is(ready.whole), many))
    assert len(found) == 27
    other = Sampler(load(str(tiny_model), precision="f32", device="cpu"), sequences=12, context_tokens=64)
    try:
        assert drawn(other.sample(as_it_is(ready.whole), many)) == found
    finally:
        other.close()


def test_an_answer_ends_with_the_models_end_token(training):
    loaded, ready, sampler = training
    end = loaded.tokenizer.eos_token_id
    biased = requests(ignore_eos=False, max_tokens=30, logit_bias={end: 6.0})
    for one in (
        one for result in sampler.sample(as_it_is(ready.whole), biased) for one in result.completions
    ):
        assert (one.token_ids[-1] == end) == (one.finish_reason == "stop")
        assert end not in one.token_ids[:-1]
