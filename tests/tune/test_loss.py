"""The chunked loss equals plain cross-entropy, in value and in every gradient."""

import pytest
import torch
from torch.nn import functional as F

from weightwright.tune import head as head_module
from weightwright.tune.batch import Batch
from weightwright.tune.head import head_logprobs, head_loss
from weightwright.tune.loss import VocabularyLoss

from ..rounding import assert_same_sums


@pytest.fixture
def model(tiny_model):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


def batch(vocabulary: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    token_ids = torch.randint(0, vocabulary, (3, 17), generator=generator)
    labels = torch.where(torch.rand(3, 17, generator=generator) < 0.4, token_ids, -100)
    return Batch(token_ids, labels, 51, torch.arange(3)[:, None].expand(3, 17))


def plain(model, one: Batch) -> torch.Tensor:
    logits = model(input_ids=one.token_ids, use_cache=False).logits[:, :-1].flatten(0, 1)
    return F.cross_entropy(logits, one.labels[:, 1:].flatten(), reduction="sum")


@pytest.fixture(params=["kernels", "operators"])
def way(request, monkeypatch):
    """The softmax by our kernels, and by torch's operators as on a GPU."""
    if request.param == "operators":
        monkeypatch.setattr(head_module.kernels, "runs_on", lambda x: False)


def gradients(model, value: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(value, list(model.parameters())))


@pytest.mark.parametrize("chunk", [64_000_000, 6_000])  # all at once, and a few rows at a time
def test_loss_and_gradients_equal_plain_cross_entropy(model, monkeypatch, chunk, way):
    monkeypatch.setattr(head_module, "CHUNK_BYTES", chunk)
    one = batch(model.config.vocab_size)
    expected, found = plain(model, one), VocabularyLoss(model)(one)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    for a, b in zip(gradients(model, found), gradients(model, expected), strict=True):
        assert_same_sums(a, b)


def test_an_outer_scale_reaches_the_gradient(model):
    one = batch(model.config.vocab_size)
    scaled = gradients(model, VocabularyLoss(model)(one) / 7)
    for a, b in zip(scaled, gradients(model, plain(model, one) / 7), strict=True):
        assert_same_sums(a, b)


@pytest.mark.parametrize("chunk", [64_000_000, 6_000])
def test_logprobs_and_their_gradients_equal_plain_log_softmax(model, monkeypatch, chunk, way):
    monkeypatch.setattr(head_module, "CHUNK_BYTES", chunk)
    one = batch(model.config.vocab_size)
    logits = model(input_ids=one.token_ids, use_cache=False).logits[:, :-1][one.labelled]
    chosen = one.token_ids[:, 1:][one.labelled]
    expected = logits.log_softmax(-1).gather(1, chosen[:, None])[:, 0]
    found = VocabularyLoss(model).logprobs(one, one.labelled)
    assert_same_sums(found, expected)
    weights = torch.randn(len(found))
    pairs = zip(gradients(model, found @ weights), gradients(model, expected @ weights), strict=True)
    for a, b in pairs:
        assert_same_sums(a, b)


def test_nothing_labelled_gives_no_logprobs(model):
    head = model.get_output_embeddings()
    assert head_logprobs(torch.zeros(0, head.in_features), head, torch.zeros(0, dtype=torch.int64)).shape == (
        0,
    )


def test_logits_are_never_built_whole(model, monkeypatch):
    monkeypatch.setattr(head_module, "CHUNK_BYTES", 24 * model.config.vocab_size)
    loss = VocabularyLoss(model)
    sizes = []
    mm = torch.mm
    monkeypatch.setattr(torch, "mm", lambda x, y, out: sizes.append(len(x)) or mm(x, y, out=out))
    loss(batch(model.config.vocab_size))
    assert sizes
    assert max(sizes) <= 6


def test_a_frozen_head_gets_no_gradient(model):
    head = torch.nn.Linear(8, 50).requires_grad_(False)
    hidden = torch.randn(6, 8, requires_grad=True)
    head_loss(hidden, head, torch.arange(6)).backward()
    assert head.weight.grad is None
    assert hidden.grad is not None


def test_a_head_with_bias_and_a_head_of_another_kind(way):
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 50)
    hidden, targets = torch.randn(6, 8, requires_grad=True), torch.arange(6)
    expected = F.cross_entropy(head(hidden), targets, reduction="sum")
    wanted = torch.autograd.grad(expected, [hidden, head.weight, head.bias])
    for kind in (head, torch.nn.Sequential(head)):  # the second one goes the way of an adapted head
        found = head_loss(hidden, kind, targets)
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)
        for a, b in zip(torch.autograd.grad(found, [hidden, head.weight, head.bias]), wanted, strict=True):
            torch.testing.assert_close(a, b)


def test_a_soft_capped_model_takes_the_plain_path():
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=60, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, final_logit_softcapping=0.5, attn_implementation="eager",
    )  # fmt: skip
    model = Gemma2ForCausalLM(config)
    one = batch(60)
    assert VocabularyLoss(model)(one).item() == pytest.approx(plain(model, one).item(), rel=1e-6)


def test_scaled_logits_are_seen_by_trying():
    from transformers import GraniteConfig, GraniteForCausalLM

    torch.manual_seed(0)
    config = GraniteConfig(
        vocab_size=60, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, logits_scaling=4.0, initializer_range=0.5, pad_token_id=0,
    )  # fmt: skip
    model = GraniteForCausalLM(config)
    one = batch(60)
    assert VocabularyLoss(model)(one).item() == pytest.approx(plain(model, one).item(), rel=1e-6)
