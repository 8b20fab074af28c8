"""Packed rows: each is computed as if it stood alone."""

import math
import random
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from weightwright.data.pack import packs
from weightwright.data.template import Encoded
from weightwright.errors import Place
from weightwright.kernels.elementwise import padded_rows
from weightwright.tune import attention
from weightwright.tune.attention import packs_rightly, row_attention
from weightwright.tune.batch import NO_LABEL, Example, pack, pad, to_batches
from weightwright.tune.loss import VocabularyLoss
from weightwright.tune.objectives import OBJECTIVES, row_sums
from weightwright.tune.settings import TuneSettings
from weightwright.weights import rope as rope_of

SMALL = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "head_dim": 8,
}  # fmt: skip
CONFIGS = {
    "llama": transformers.LlamaConfig(**SMALL),
    "qwen2": transformers.Qwen2Config(**SMALL),
    "qwen3": transformers.Qwen3Config(**SMALL),
    "mistral, window": transformers.MistralConfig(**SMALL, sliding_window=7),
    "phi3": transformers.Phi3Config(**SMALL, pad_token_id=0),
    "gemma2, caps and windows": transformers.Gemma2Config(
        **SMALL, sliding_window=7, attn_logit_softcapping=5.0, final_logit_softcapping=5.0, query_pre_attn_scalar=8
    ),
    "gemma3": transformers.Gemma3TextConfig(**SMALL, sliding_window=7, query_pre_attn_scalar=8),
    "mixtral": transformers.MixtralConfig(**SMALL, num_local_experts=4),
    "gpt2": transformers.GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=128),
}  # fmt: skip


def rows(*lengths: int) -> list[Example]:
    chance = random.Random(3)
    return [
        Example((Encoded(tuple(chance.randrange(97) for _ in range(n)),
                      tuple(i > n // 3 for i in range(n)), f"row {n}"),))
        for n in lengths
    ]  # fmt: skip


def model_of(config):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    for weight in model.parameters():  # caps and windows must matter
        torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_packed_batch_has_the_loss_and_gradients_of_its_rows(name):
    model = model_of(CONFIGS[name])
    examples = rows(5, 23, 11, 2)
    expected = torch.zeros(())
    for example in examples:  # by transformers alone, one row at a time
        ids = torch.tensor([example.rows[0].token_ids])
        labels = torch.where(torch.tensor([example.rows[0].labelled]), ids, -100)
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
        expected = expected + torch.nn.functional.cross_entropy(logits, labels[0, 1:], reduction="sum")
    wanted = torch.autograd.grad(expected, list(model.parameters()), allow_unused=True)
    with row_attention(model):
        assert packs_rightly(model)
        for batch in (pack(examples, "cpu"), pad(examples, "cpu")):
            found = VocabularyLoss(model)(batch)
            assert found.item() == pytest.approx(expected.item(), rel=1e-5)
            got = torch.autograd.grad(found, list(model.parameters()), allow_unused=True)
            for a, b in zip(got, wanted, strict=True):
                if b is not None:
                    torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-4)


def test_recomputed_activations_keep_the_bounds():
    model = model_of(CONFIGS["qwen2"]).train()
    batch = pack(rows(5, 23, 11), "cpu")
    with row_attention(model):
        loss = VocabularyLoss(model)
        plain = torch.autograd.grad(loss(batch), list(model.parameters()))
        model.activation_checkpointing_enable()
        again = torch.autograd.grad(loss(batch), list(model.parameters()))
    for a, b in zip(again, plain, strict=True):
        torch.testing.assert_close(a, b)


def test_a_model_that_would_mix_rows_is_seen(monkeypatch):
    model = model_of(CONFIGS["llama"])
    whole = attention.forward
    monkeypatch.setattr(attention, "forward", lambda *a, packed_tree=None, **k: whole(*a, **k))
    with row_attention(model):
        assert not packs_rightly(model)


def test_a_model_without_the_interface_is_padded():
    config = transformers.BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=2)
    model = model_of(config)
    with row_attention(model):
        assert not packs_rightly(model)


def test_the_first_token_of_a_row_is_never_predicted_from_another_row():
    everything = [
        Example((Encoded((1, 2, 3), (True,) * 3, Place()),)),
        Example((Encoded((4, 5), (True, True), Place()),)),
    ]
    one = pack(everything, "cpu")
    assert one.tree.bounds == (0, 3, 5)
    assert one.positions is not None
    assert one.positions.tolist() == [[0, 1, 2, 0, 1]]
    assert one.labels.tolist() == [[-100, 2, 3, -100, 5]]
    assert one.predicting.tolist() == [[True, True, False, True]]
    assert pad(everything, "cpu").predicting.tolist() == [[True, True], [True, False]]


def test_a_packed_line_has_one_of_few_widths_on_a_cpu_alone():
    widths = {pack(rows(n), "cpu").token_ids.shape[1] for n in range(65, 129)}
    assert len(widths) < 5
    batch = pack(rows(60, 43), "cpu")
    width = batch.token_ids.shape[1]
    assert batch.tokens == 103 < width
    assert batch.tree.bounds == (0, 60, 103, width)
    assert set(batch.row_ids[0, 103:].tolist()) == {-1}
    assert set(batch.labels[0, 103:].tolist()) == {NO_LABEL}
    assert batch.positions[0, 103:].tolist() == list(range(width - 103))
    assert pack(rows(60, 43), "meta").token_ids.shape == (1, 103)


def test_packs_hold_every_unit_once_and_keep_the_limits():
    chance = random.Random(1)
    tokens = [chance.randrange(1, 300) for _ in range(200)]
    found = packs(tokens, [2] * 200, None, 256)
    assert sorted(n for one in found for n in one) == list(range(200))
    assert all(sum(tokens[n] for n in one) <= 256 for one in found if len(one) > 1)
    assert len(found) <= 11 / 9 * -(-sum(tokens) // 256) + 40  # rows over 256 stand alone
    assert all(len(one) == 2 for one in packs(tokens, [2] * 200, 4, 1))


def test_units_stay_together_in_both_layouts():
    pairs = [Example((a.rows[0], b.rows[0])) for a, b in zip(rows(5, 9, 30), rows(7, 3, 31), strict=True)]
    for packed in (True, False):
        for most in (None, 2):
            batches = to_batches(pairs, most, 40, "cpu", packed=packed)
            assert sorted(example.tokens for one in batches for example in one.examples) == [12, 12, 61]
            assert sum(one.tokens for one in batches) == 85
            for one in batches:
                assert one.row_ids.max() + 1 == one.rows == 2 * len(one.examples)
                assert most is None or one.rows <= 2


def of_tokens(count: int) -> Example:
    return Example((Encoded(tuple(n * (count + 3) % 97 for n in range(count)), (True,) * count, Place()),))


@pytest.fixture(params=["longrope", "dynamic"])
def by_length(request):
    """Long factors or dynamic NTK, original context 64: in transformers a row beyond it changes all beside it."""
    torch.manual_seed(0)
    rope = {
        "longrope": {"short_factor": [1.0] * 4, "long_factor": [4.0, 8.0, 16.0, 32.0],
                     "original_max_position_embeddings": 64},
        "dynamic": {"factor": 2.0},
    }[request.param]  # fmt: skip
    config = LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        initializer_range=0.3, max_position_embeddings=256 if request.param == "longrope" else 64,
        rope_parameters={"rope_type": request.param, "rope_theta": 10_000.0} | rope,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def alone(model, row):
    """transformers' own log-probability of a row, by a model that has seen no other."""
    fresh = LlamaForCausalLM(model.config).eval()
    fresh.load_state_dict(model.state_dict())
    ids = torch.tensor([row.token_ids])
    logprobs = fresh(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
    return float(logprobs.gather(1, ids[0, 1:, None]).sum())


@pytest.mark.parametrize("packed", [True, False])
def test_each_row_has_the_rotary_embedding_of_its_own_length(by_length, packed):
    """Rows on both sides of the original context in one pass: a row keeps what it has alone."""
    rows = [of_tokens(count) for count in (24, 124, 90, 30, 150, 64, 65)]
    with torch.no_grad():
        expected = sum(alone(by_length, row) for example in rows for row in example.rows)
        batch = (pack if packed else pad)(rows, "cpu")
        with attention.row_attention(by_length):
            loss = VocabularyLoss(by_length)
            together = float(loss(batch))
            with rope_of.chosen_for_each_row(by_length):
                assert float(loss(batch)) == pytest.approx(-expected, rel=1e-6)
    assert together != pytest.approx(-expected, rel=1e-4)  # it matters


@pytest.mark.parametrize("packed", [True, False])
def test_a_pair_across_the_original_context_is_judged_as_its_answers_are_alone(by_length, packed):
    """The chosen answer ends within the original context, the rejected one beyond: DPO's and ORPO's losses."""
    pair = Example((*of_tokens(40).rows, *of_tokens(90).rows), reference=(-300.0, -650.0))
    settings = TuneSettings(model="m", data=Path("rows.jsonl"), out=Path("out"), objective="dpo")
    with torch.no_grad():
        chosen, rejected = (alone(by_length, row) for row in pair.rows)
        margin = 0.1 * ((chosen + 300) - (rejected + 650))
        [batch] = to_batches([pair], None, 10_000, "cpu", packed=packed)
        with attention.row_attention(by_length), rope_of.chosen_for_each_row(by_length):
            loss = VocabularyLoss(by_length)
            assert row_sums(loss, batch) == pytest.approx([chosen, rejected], rel=1e-6)
            dpo = OBJECTIVES["dpo"].make(loss, settings, list)
            dpo.begin([pair], lambda _: [batch])
            assert float(dpo.loss(batch)) == pytest.approx(math.log1p(math.exp(-margin)), rel=1e-4)


def test_padded_lines_are_of_few_widths_on_a_cpu():
    """oneDNN makes a program for each width, which takes longer than the pass."""
    rows = [Encoded([1] * length, [True] * length, Place()) for length in (100, 90)]
    examples = [Example((row,)) for row in rows]
    assert pad(examples, "cpu").token_ids.shape == (2, padded_rows(100))
    assert pad(examples, "meta").token_ids.shape == (2, 100)
    assert pad(examples, "cpu").labels[:, 100:].eq(NO_LABEL).all()
