"""Decoder layers as two autograd steps against the same layers, module by module."""

import pytest
import torch
import transformers

from weightwright.data.template import Encoded
from weightwright.errors import Place
from weightwright.plan.activations import kept_bytes, kept_recomputing
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import from_config
from weightwright.plan.steps import in_two_steps
from weightwright.tune.adapt import adapted
from weightwright.tune.attention import row_attention
from weightwright.tune.batch import Example, pack, pad
from weightwright.tune.fused import whole_layers
from weightwright.tune.loss import VocabularyLoss

LAYERS = 2
SHAPE = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": LAYERS,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}  # fmt: skip
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SHAPE),
    "llama, bias": lambda: transformers.LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True),
    "qwen2": lambda: transformers.Qwen2Config(**SHAPE),
    "qwen3": lambda: transformers.Qwen3Config(**SHAPE),
    "mistral, window": lambda: transformers.MistralConfig(**SHAPE, sliding_window=8),
}
OTHERS = {  # norms of 1 + weight, norms behind the steps, experts, one projection, turned pairs, half a head turned
    "gemma": lambda: transformers.GemmaConfig(**SHAPE),
    "gemma2": lambda: transformers.Gemma2Config(**SHAPE),
    "mixtral": lambda: transformers.MixtralConfig(**SHAPE, num_local_experts=4),
    "phi3": lambda: transformers.Phi3Config(**SHAPE, pad_token_id=0),
    "cohere": lambda: transformers.CohereConfig(**SHAPE),
    "glm": lambda: transformers.GlmConfig(**SHAPE, partial_rotary_factor=0.5, pad_token_id=0),
    "odd width": lambda: transformers.LlamaConfig(**{**SHAPE, "head_dim": 24}),
}


def model_of(make, dtype=torch.float32):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(make(), dtype=dtype)
    return model.requires_grad_(False)


def examples():
    begin = tuple(range(3, 30))
    rows = [
        Encoded(
            (*begin, *(n * 7 % 97 for n in range(k, k + 9 + k))), (False,) * 29 + (True,) * (7 + k), Place()
        )
        for k in (3, 4, 11)
    ]
    return [Example((row,)) for row in rows]


def gradients(ready, batch):
    """The loss of a pass and the gradients of all adapters, f64."""
    for weight in ready.trainable.values():
        weight.grad = None
    loss = VocabularyLoss(ready.model)(batch)
    loss.backward()
    return loss.item(), torch.cat([weight.grad.flatten() for weight in ready.trainable.values()]).double()


def far(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


def learnt_something(ready):
    """Adapters as after some steps: all their gradients are other than 0."""
    torch.manual_seed(1)
    for name, weight in ready.trainable.items():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)


@pytest.mark.parametrize("options", [{}, {"dora": True}, {"targets": "q_proj,down_proj"}], ids=str)
@pytest.mark.parametrize("name", list(CONFIGS))
def test_losses_and_gradients_are_those_of_the_modules(make, name, options):
    model = model_of(CONFIGS[name])
    with adapted(model, make(**options), "tiny") as ready, row_attention(model):
        learnt_something(ready)
        model.train()
        batches = [pack(examples(), "cpu"), pack(examples(), "cpu", shared=True), pad(examples(), "cpu")]
        expected = [gradients(ready, batch) for batch in batches]
        for recomputes in (False, "mlp"):
            with whole_layers(model, recomputes) as layers:
                assert layers == LAYERS
                for batch, (loss, wanted) in zip(batches, expected, strict=True):
                    found, got = gradients(ready, batch)
                    assert found == pytest.approx(loss, rel=1e-5)
                    assert far(got, wanted) < 1e-4
        assert gradients(ready, batches[0])[0] == expected[0][0]  # the modules' own again


def test_bf16_is_as_near_to_f32_as_the_modules_are(make):
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = model_of(CONFIGS["qwen2"], dtype)
        with adapted(model, make(), "tiny") as ready, row_attention(model):
            learnt_something(ready)
            found[dtype, False] = gradients(ready, pack(examples(), "cpu"))[1]
            with whole_layers(model) as layers:
                assert layers == LAYERS
                found[dtype, True] = gradients(ready, pack(examples(), "cpu"))[1]
    exact = found[torch.float32, False]
    assert far(found[torch.bfloat16, True], exact) < 2 * far(found[torch.bfloat16, False], exact)


@pytest.mark.parametrize("whole", [True, False])
def test_a_graph_that_is_kept_does_not_go_backward_twice_in_silence(make, whole):
    """The gradients of gate and up take their places: what a second pass would read is gone."""
    model = model_of(CONFIGS["llama"])
    with adapted(model, make(), "tiny") as ready, row_attention(model):
        learnt_something(ready)
        with whole_layers(model, not whole):
            batch = pack(examples(), "cpu")
            hidden = model.model(
                input_ids=batch.token_ids, position_ids=batch.positions, packed_tree=batch.tree
            ).last_hidden_state
            hidden.sum().backward(retain_graph=True)
            with pytest.raises(RuntimeError, match="goes backward once"):
                hidden.sum().backward()


def test_recomputing_keeps_less(make):
    model = model_of(CONFIGS["llama"])

    def kept(recomputes: bool | str) -> int:
        sizes = {}

        def note(tensor):
            sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
        with whole_layers(model, recomputes), hooks:
            VocabularyLoss(model)(pack(examples(), "cpu"))
        return sum(sizes.values())

    with adapted(model, make(), "tiny"), row_attention(model):
        model.train()
        tokens = pack(examples(), "cpu").token_ids.numel()
        assert kept(False) - kept("mlp") >= LAYERS * 2 * tokens * SHAPE["intermediate_size"] * 4
        with whole_layers(model, True) as layers:
            assert layers == 0  # torch's own checkpointing has them


@pytest.mark.parametrize("name", list(OTHERS))
def test_layers_of_another_kind_stay_as_they_are(make, name):
    model = model_of(OTHERS[name])
    with adapted(model, make(), "tiny"), row_attention(model), whole_layers(model) as layers:
        assert layers == 0


@pytest.mark.parametrize("name", [*CONFIGS, *(name for name in OTHERS if name != "odd width")])
def test_plan_knows_which_models_have_such_layers(name):
    config = {**CONFIGS, **OTHERS}[name]().to_dict()
    settings = PlanSettings(model="m", task="lora", device="cpu")
    spec = from_config(config)
    assert all(in_two_steps(spec, settings, layer) == (name in CONFIGS) for layer in spec.kinds)


@pytest.mark.parametrize("name", ["llama", "qwen3"])
@pytest.mark.parametrize("recomputes", [False, "mlp"])
def test_plan_knows_what_such_layers_keep(make, name, recomputes):
    model, kept = model_of(CONFIGS[name]), {}
    settings = PlanSettings(
        model="m",
        task="lora",
        device="cpu",
        precision="f32",
        rank=make().rank,
        gradient_checkpointing=recomputes,
    )
    [layer] = from_config(CONFIGS[name]().to_dict()).kinds

    def note(tensor):
        if tensor.shape[:1] == (tokens,):  # not weights
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with adapted(model, make(), "tiny"), row_attention(model), whole_layers(model, recomputes):
        model.train()
        batch = pack(examples(), "cpu")
        tokens = batch.token_ids.numel()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            VocabularyLoss(model)(batch)
    one = kept_recomputing if recomputes else kept_bytes
    planned = one(from_config(CONFIGS[name]().to_dict()), settings, layer, 4)
    planned = planned[0] if recomputes else planned
    outside = 3 * 4 * SHAPE["hidden_size"] + 2 * 4 * SHAPE["head_dim"]  # around the layers; cosines and sines
    assert sum(kept.values()) / tokens == pytest.approx(LAYERS * planned, abs=outside)


def test_adapters_with_dropout_stay_as_they_are(make):
    model = model_of(CONFIGS["llama"])
    with adapted(model, make(dropout=0.1), "tiny"), row_attention(model), whole_layers(model) as layers:
        assert layers == 0


def test_adapters_that_are_off_have_no_part(make):
    model = model_of(CONFIGS["llama"])
    batch = pack(examples(), "cpu")
    with row_attention(model):
        bare = VocabularyLoss(model)(batch).item()
    with adapted(model, make(), "tiny") as ready, row_attention(model), whole_layers(model):
        learnt_something(ready)
        assert VocabularyLoss(model)(batch).item() != pytest.approx(bare, rel=1e-3)
        with ready.whole.disable_adapter():
            assert VocabularyLoss(model)(batch).item() == pytest.approx(bare, rel=1e-5)
