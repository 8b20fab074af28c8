"""What rows have in common stands once: the segments, the passes, and the losses and gradients of rows alone."""

import random

import pytest
import torch
import transformers

from weightwright.data.template import Encoded
from weightwright.errors import Place
from weightwright.tune import prefixes
from weightwright.tune.attention import packs_rightly, row_attention
from weightwright.tune.batch import NO_LABEL, Example, pack, to_batches
from weightwright.tune.loss import VocabularyLoss
from weightwright.tune.prefixes import Segment

SYSTEM = tuple(range(40, 70))


def row(*ids: int, labelled: int = 3) -> Encoded:
    return Encoded(ids, (False,) * (len(ids) - labelled) + (True,) * labelled, Place())


def asked(question: int, answer: int, length: int = 20) -> Encoded:
    return row(*SYSTEM, *(question for _ in range(length)), *range(answer, answer + 6), labelled=6)


def test_rows_without_a_common_beginning_stand_alone():
    rows = [row(1, 2, 3, 4), row(1, 2, 3, 5), row(7, 8, 9)]  # three tokens are not worth it
    assert prefixes.segments(rows) == [Segment(0, 0, 4), Segment(1, 0, 4), Segment(2, 0, 3)]


def test_a_beginning_of_beginnings():
    rows = [asked(1, 10), asked(2, 10), asked(1, 20)]
    laid = prefixes.segments(rows)
    assert laid == [
        Segment(0, 0, 30, (), shared=True),
        Segment(0, 30, 49, (0,), shared=True),  # the last token of the question predicts a label
        Segment(0, 49, 56, (0, 1)),
        Segment(2, 49, 56, (0, 1)),
        Segment(1, 30, 56, (0,)),
    ]


def test_what_predicts_a_label_is_never_shared():
    whole = row(*SYSTEM, 1, 2, labelled=32)
    assert prefixes.own_from(whole) == 0
    assert not any(segment.shared for segment in prefixes.segments([whole, whole]))
    early = Encoded((*SYSTEM, 1, 2), (False, True, *[False] * 30), Place())
    assert prefixes.own_from(early) == 0
    unlearnt = Encoded(SYSTEM, (False,) * 30, Place())
    assert prefixes.own_from(unlearnt) == 29


def test_every_token_of_every_row_can_be_read_again():
    make = random.Random(0)
    for _ in range(200):
        stems = [tuple(make.choices(range(3), k=make.randint(1, 60))) for _ in range(3)]
        rows = [
            row(*make.choice(stems)[: make.randint(0, 60)], *make.choice(stems), *make.choices(range(9), k=4))
            for _ in range(make.randint(1, 8))
        ]
        laid = prefixes.segments(rows)
        own = {segment.row: segment for segment in laid if not segment.shared}
        assert sorted(own) == list(range(len(rows)))
        for number, segment in own.items():
            line = [*(laid[n] for n in segment.before), segment]
            ids = [token for part in line for token in rows[part.row].token_ids[part.start : part.end]]
            assert tuple(ids) == rows[number].token_ids
            assert segment.start <= prefixes.own_from(rows[number])
            assert all(n < laid.index(segment) for n in segment.before)
        assert prefixes.computed_tokens(rows) <= sum(map(len, rows))


def test_passes_are_filled_by_what_is_computed():
    rows = [[asked(n, 10)] for n in range(12)]  # 30 in common, 26 of their own
    groups = prefixes.groups(rows, 200)
    assert sorted(n for group in groups for n in group) == list(range(12))
    sizes = [prefixes.computed_tokens([rows[n][0] for n in group]) for group in groups]
    assert len(groups) == 2  # as rows of 56 tokens they would be four passes
    assert max(sizes) <= 200
    assert max(sizes) - min(sizes) <= 26
    assert prefixes.groups([[row(*range(300))], *rows[:1]], 200) in ([[0], [1]], [[1], [0]])


def test_a_pass_knows_whose_each_token_is():
    examples = [Example((asked(2, 10),)), Example((asked(1, 10),)), Example((asked(1, 20),))]
    batch = pack(examples, "cpu", shared=True)
    assert batch.tokens == 3 * 56
    assert [example.rows[0].token_ids[30] for example in batch.examples] == [1, 1, 2]  # as their rows stand
    computed = batch.tree.bounds[-1]
    assert computed < 3 * 56
    owners = batch.row_ids[0]
    assert (owners == -1).sum() >= 49
    for number, example in enumerate(batch.examples):
        own = owners == number
        ids, places = batch.token_ids[0][own], batch.positions[0][own]
        assert ids.tolist() == list(example.rows[0].token_ids[places[0] :])
        assert places.tolist() == list(range(int(places[0]), 56))
        assert (batch.labels[0][own] != NO_LABEL).sum() == 6


def _model(family: str) -> transformers.PreTrainedModel:
    shape = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}  # fmt: skip
    configs = {
        "llama": lambda: transformers.LlamaConfig(**shape),
        "mistral, window": lambda: transformers.MistralConfig(**shape, sliding_window=12),
        "gemma2, caps": lambda: transformers.Gemma2Config(
            **shape, sliding_window=12, query_pre_attn_scalar=16
        ),
        "mixtral": lambda: transformers.MixtralConfig(**shape, num_local_experts=4),
        "odd width": lambda: transformers.LlamaConfig(**{**shape, "head_dim": 24}),
    }
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(configs[family](), dtype=torch.float32)


@pytest.mark.parametrize("family", ["llama", "mistral, window", "gemma2, caps", "mixtral", "odd width"])
def test_shared_beginnings_change_neither_loss_nor_gradients(family):
    model = _model(family)
    examples = [Example((asked(n % 3, 10 + n),)) for n in range(6)]
    pairs = [Example((asked(5, 10), asked(5, 20)))]
    with row_attention(model):
        assert packs_rightly(model, shared=True)
        loss = VocabularyLoss(model)
        for some in (examples, pairs):
            found, wanted = (
                sum(loss(batch) for batch in to_batches(some, None, 120, "cpu", packed=True, shared=shared))
                for shared in (True, False)
            )
            assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
            got, expected = (
                torch.autograd.grad(one, list(model.parameters()), allow_unused=True)
                for one in (found, wanted)
            )
            for a, b in zip(got, expected, strict=True):
                if b is not None:
                    torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-4)


def test_a_model_that_forgets_the_beginning_is_seen(monkeypatch):
    from weightwright.kernels.tree import Tree
    from weightwright.tune import attention

    whole = attention.forward

    def forgetful(*values, packed_tree=None, **rest):
        return whole(*values, packed_tree=packed_tree and Tree(packed_tree.bounds), **rest)

    monkeypatch.setattr(attention, "forward", forgetful)
    model = _model("llama")
    with row_attention(model):
        assert packs_rightly(model)
        assert not packs_rightly(model, shared=True)
