"""Every family is learnt as transformers computes it, packed where that is right, else padded."""

import random

import pytest
import torch
from transformers import AutoModelForCausalLM

from weightwright.data.template import Encoded
from weightwright.errors import Place
from weightwright.tune.adapt import adapted
from weightwright.tune.attention import packs_rightly, row_attention
from weightwright.tune.batch import Example, pack, pad
from weightwright.tune.loss import VocabularyLoss
from weightwright.weights.families import OWN_CACHES, PAGED

from ..executor.families import families, tiny_config

# mixtures choose other experts where two are as good: a loss of rows beside each other differs a little
LENGTHS = (5, 40, 17)
PADDED = {"nemotron", "stablelm"}  # they hand nothing on to attention


def rows() -> list[Example]:
    draw = random.Random(3)
    return [
        Example((Encoded(tuple(draw.randrange(3, 256) for _ in range(n)), tuple(i > n // 3 for i in range(n)),
                         Place(str(n))),))
        for n in LENGTHS
    ]  # fmt: skip


@pytest.mark.parametrize("family", families(PAGED | OWN_CACHES))
def test_the_loss_of_rows_is_that_of_each_alone(family: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config(family), dtype=torch.float32).eval()
    examples = rows()
    expected = torch.zeros(())
    for example in examples:
        ids = torch.tensor([example.rows[0].token_ids])
        labels = torch.where(torch.tensor([example.rows[0].labelled]), ids, -100)
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
        expected = expected + torch.nn.functional.cross_entropy(
            logits.float(), labels[0, 1:], reduction="sum"
        )
    wanted = torch.autograd.grad(expected, model.get_input_embeddings().weight)[0]
    with row_attention(model):
        packed = packs_rightly(model)
        assert packed or family not in PAGED - PADDED
        batch = (pack if packed else pad)(examples, "cpu")
        found = VocabularyLoss(model)(batch)
        got = torch.autograd.grad(found, model.get_input_embeddings().weight)[0]
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    assert float((got - wanted).norm() / wanted.norm()) < 1e-2


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("family", families(PAGED | OWN_CACHES))
def test_adapters_learn_through_our_layers_what_they_learn_through_the_model_s(family: str, make) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config(family), dtype=torch.float32)
    with row_attention(model), adapted(model, make(), "tiny") as ready:
        for name, weight in ready.trainable.items():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.02)
        model.eval()  # without dropout
        batch = (pack if packs_rightly(model) else pad)(rows(), "cpu")
        found = learnt(model, batch, ready.trainable)
        for module in model.modules():
            module.__dict__.pop("forward", None)
        expected = learnt(model, batch, ready.trainable)
    assert found[0] == pytest.approx(expected[0], rel=1e-4)
    assert bool(found[1].isfinite().all())
    assert float((found[1] - expected[1]).norm() / expected[1].norm()) < 1e-2


def learnt(model, batch, trainable) -> tuple[float, torch.Tensor]:
    """The loss and all adapters' gradients."""
    loss = VocabularyLoss(model)(batch)
    grads = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
    return loss.item(), torch.cat([grad.flatten() for grad in grads if grad is not None])
