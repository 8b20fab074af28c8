"""Training's memory: each part is what can be worked out by hand, each choice changes only what it should."""

import pytest

from weightwright.plan import measured, memory
from weightwright.plan.params import count_lora, count_params
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import from_config
from weightwright.plan.training import pass_tokens, weight_bytes

SPEC = from_config({
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 4096,
})  # fmt: skip
LINEAR = 6_476_005_376  # numbers in the layers' matrices: 32 x (4 x 4096 x 4096 + 3 x 4096 x 11008)


def settings(**values) -> PlanSettings:
    return PlanSettings(**{"model": "x", "task": "lora", "max_length": 512, **values})


def phases(**values) -> dict[str, dict[str, int]]:
    found = memory.estimate(SPEC, settings(**values))
    return {phase.name: dict(phase.parts) for phase in found.phases}


def test_nf4_is_four_bits_and_scales():
    """QLoRA, arXiv 2305.14314, §3: 0.5 bits a weight for the scales, 0.127 with double quantisation."""
    assert measured.NF4_BYTES * 8 == 4.5
    double_bits = measured.NF4_DOUBLE_BYTES * 8
    assert double_bits == pytest.approx(4.127, abs=5e-4)
    rest = 2 * (count_params(SPEC) - LINEAR)
    assert weight_bytes(SPEC, "int4", double=False) == rest + LINEAR * 9 // 16
    assert weight_bytes(SPEC, "int4") == rest + int(LINEAR * (4 + 1 / 8 + 1 / 512) / 8)
    plain, double = (
        phases(task="qlora", double_quantisation=on)["loading"]["weights"] for on in (False, True)
    )
    assert plain - double == pytest.approx(LINEAR * 0.373 / 8, rel=1e-3)


@pytest.mark.parametrize(
    ("values", "bytes_a_weight"),
    [
        ({"optimizer": "adamw"}, 8),
        ({"optimizer": "sgd"}, 4),
        ({"optimizer": "sgd", "momentum": 0.0}, 0),
        ({"optimizer": "adamw8bit"}, 2 + 2 * 4 / 256),
    ],
)
@pytest.mark.parametrize("task", ["lora", "full"])
def test_optimizers_keep_what_they_keep(task: str, values: dict, bytes_a_weight: float):
    found = memory.estimate(SPEC, settings(task=task, **values))
    held = {phase.name: phase.parts.get("optimizer") for phase in found.phases}
    assert held["optimizer step"] == held["forward pass"] == int(found.trainable_parameters * bytes_a_weight)
    assert held["loading"] is None


def test_an_adapter_takes_sixteen_bytes_a_weight_whatever_the_base_is():
    trained = count_lora(SPEC, 8)
    for task in ("lora", "qlora"):
        step = phases(task=task)["optimizer step"]
        assert step["adapter"] + step["optimizer"] + step["gradients"] == 16 * trained
    assert phases(rank=16)["optimizer step"]["gradients"] == 8 * trained


def test_full_tuning_keeps_f32_weights_and_bf16_computes_beside_them():
    exact, half = phases(task="full"), phases(task="full", precision="bf16")
    assert exact["forward pass"]["weights"] == half["forward pass"]["weights"] == 4 * count_params(SPEC)
    # two norms with what they normalised, q k v and what attention gives, gate, up and their product
    layer = 4 * (2 * 3 * 4096 + 4 * 4096 + 3 * 11008)
    assert exact["forward pass"]["activations"] == 32 * 1024 * layer
    # the input of each linear layer cast by itself; the norms stay in f32
    cast = 2 * (5 * 4096 + 4 * 4096 + 3 * 11008)
    assert half["forward pass"]["activations"] == 32 * 1024 * (4 * 2 * 2 * 4096 + cast) + 2 * LINEAR


STEPS = 2 * (
    2 * 4096 + 4 * 4096 + 2 * 11008 + 7 * 8
)  # what two steps take, q k v, attention's, gate and up, ranks
LAYER = STEPS + 2 * 2 * 4096  # module by module: what norms give, too


def test_activations_are_all_layers_or_with_checkpointing_one():
    plain, checked = phases(), phases(gradient_checkpointing=True)
    assert plain["forward pass"]["activations"] == 32 * 1024 * STEPS
    assert plain["backward pass"]["activations"] == 32 * 1024 * STEPS
    again = 1024 * 2 * 2 * 11008  # gate and up
    part = phases(gradient_checkpointing="mlp")
    assert part["forward pass"]["activations"] == 32 * (1024 * STEPS - again)
    assert part["backward pass"]["activations"] == 32 * (1024 * STEPS - again) + again
    kept = 32 * 1024 * 4096 * 2
    assert checked["forward pass"]["activations"] == kept
    assert checked["backward pass"]["activations"] == kept + 1024 * LAYER


def test_normed_queries_and_keys_are_kept_twice():
    config = {
        "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "model_type": "qwen3",
    }  # fmt: skip
    with_norm, without = (from_config({**config, "model_type": name}) for name in ("qwen3", "llama"))
    for values, numbers in (({"dropout": 0.1}, 2), ({"task": "full"}, 2 * 4)):
        found = [
            next(p.parts["activations"] for p in memory.estimate(spec, settings(**values)).phases
                 if p.name == "forward pass") for spec in (with_norm, without)
        ]  # fmt: skip
        assert found[0] - found[1] == 2 * 1024 * numbers * (4 * 16 + 2 * 16)
    two_steps = [
        next(
            p.parts["activations"]
            for p in memory.estimate(spec, settings()).phases
            if p.name == "forward pass"
        )
        for spec in (with_norm, without)
    ]
    assert two_steps[0] == two_steps[1]  # normed again


def test_a_card_keeps_norms_in_f32_and_has_no_holes():
    here, there = (phases(device=name, micro_batch=2)["forward pass"] for name in ("cpu", "cuda"))
    assert (
        there["activations"] - here["activations"] == 32 * 1024 * 2 * 4 * 4096
    )  # what they give in 16 bits as well
    assert "heap" not in there
    assert here["heap"] == int(measured.HOLES_OF_MORE_PASSES * (here["activations"] + here["loss"]))
    one = phases(micro_batch=2, batch=2)["forward pass"]
    assert one["heap"] == int(measured.HOLES * (one["activations"] + one["loss"]))


def test_recomputed_layers_leave_holes_of_the_mlps_width():
    found = phases(micro_batch=2, batch=2, gradient_checkpointing=True)["backward pass"]
    moving = sum(found[part] for part in ("activations", "working"))
    assert found["heap"] == int(measured.HOLES * moving) + 32 * 1024 * 2 * 11008


def test_dropout_and_dora_keep_more():
    inputs, narrow = 32 * (6 * 4096 + 11008), 32 * 5 * 4096
    plain = phases()["forward pass"]["activations"]
    dropped = 2 * inputs - 32 * 3 * 4096 + 32 * 2 * 4096  # instead of what layers share; what norms give
    with_dropout = phases(dropout=0.1)["forward pass"]["activations"]
    assert with_dropout - plain == 1024 * dropped * 2
    dora = phases(dora=True)["forward pass"]
    assert dora["activations"] - plain == 1024 * narrow * 2  # gate and up are kept anyway
    both = phases(dora=True, dropout=0.1)["forward pass"]["activations"]
    assert (
        both - with_dropout == 1024 * (narrow + 32 * 2 * 11008) * 2
    )  # but not before the sum with what was dropped
    assert dora["adapter"] - phases()["forward pass"]["adapter"] == 4 * 32 * (5 * 4096 + 2 * 11008)


@pytest.mark.parametrize(
    ("values", "tokens"),
    [
        ({}, 1024),
        ({"max_length": 2048}, 2048),
        ({"device": "cuda"}, 8192),
        ({"micro_batch": 3}, 1536),
        ({"objective": "dpo", "max_length": 2048}, 4096),  # a pair is never divided
        ({"objective": "orpo", "micro_batch": 1}, 1024),
        ({"objective": "simpo", "micro_batch": 5}, 4 * 512),
        ({"objective": "kto", "micro_batch": 1}, 512),
        ({"objective": "pretrain"}, 1024),
        ({"objective": "grpo", "max_length": 96}, 1024),
        (
            {"objective": "grpo", "max_length": 96, "batch": 2, "group_size": 4},
            8 * 96,
        ),  # no step has more answers
        ({"objective": "grpo", "max_length": 2048, "batch": 1, "group_size": 2}, 2048),
    ],
)
def test_tokens_of_a_pass(values: dict, tokens: int):
    assert pass_tokens(settings(**values)) == tokens


@pytest.mark.parametrize("objective", ["dpo", "kto"])
@pytest.mark.parametrize("task", ["lora", "qlora", "full"])
def test_a_reference_is_made_before_training_and_no_second_model_is_held(objective: str, task: str):
    found, plain = phases(task=task, objective=objective), phases(task=task)
    assert list(found)[1] == "reference"
    assert {"optimizer", "gradients"}.isdisjoint(found["reference"])
    assert found["reference"]["weights"] == found["loading"]["weights"] == plain["loading"]["weights"]
    assert sum(found["reference"].values()) < sum(found["forward pass"].values())
    assert "reference" not in plain


@pytest.mark.parametrize("objective", ["sft", "orpo", "simpo", "pretrain"])
def test_other_objectives_have_no_reference(objective: str):
    assert "reference" not in phases(objective=objective)


@pytest.mark.parametrize("task", ["lora", "qlora", "full"])
@pytest.mark.parametrize("objective", ["sft", "dpo", "kto"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_evaluation_never_needs_more_than_training(task: str, objective: str, checkpointing: bool):
    found = memory.estimate(
        SPEC, settings(task=task, objective=objective, gradient_checkpointing=checkpointing)
    )
    evaluation = next(phase for phase in found.phases if phase.name == "evaluation")
    assert evaluation.total_bytes <= found.peak.total_bytes
    assert found.peak is not evaluation


def test_the_loss_holds_a_chunk_of_logits_not_all():
    vocabulary, hidden = 32000, 4096
    short = phases(max_length=64, micro_batch=1)["forward pass"]["loss"]
    assert short == 64 * vocabulary * 2 + 3 * 64 * hidden * 2
    long = phases(max_length=4096, micro_batch=1)["forward pass"]["loss"]
    assert long == 64_000_000 + 3 * 4096 * hidden * 2
    trained = phases(task="full", max_length=4096, micro_batch=1)["forward pass"]["loss"]
    assert trained == 64_000_000 + 3 * 4096 * hidden * 4 + 4 * vocabulary * hidden  # with the head's gradient
    half = phases(task="full", precision="bf16", max_length=4096, micro_batch=1)["forward pass"]["loss"]
    assert half == long + (4 + 2 + 2) * vocabulary * hidden


def test_a_tied_embedding_has_two_gradients_for_a_while():
    tied = from_config({
        "model_type": "llama", "vocab_size": 32000, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "tie_word_embeddings": True,
    })  # fmt: skip
    found = {phase.name: phase.parts for phase in memory.estimate(tied, settings(task="full")).phases}
    assert found["backward pass"]["gradients"] == 4 * (count_params(tied) + 32000 * 64)


def test_gradients_stay_while_a_step_has_more_passes():
    several, one = phases(task="full", micro_batch=2), phases(task="full", micro_batch=2, batch=2)
    assert several["forward pass"]["gradients"] == 4 * count_params(SPEC)
    assert "gradients" not in one["forward pass"]
    assert sum(one["backward pass"].values()) < sum(several["backward pass"].values())
    pairs = phases(objective="dpo", micro_batch=2, batch=2)  # a pass holds one of the two
    assert "gradients" in pairs["forward pass"]
    assert "gradients" not in phases(objective="kto", micro_batch=2, batch=2)["forward pass"]
    assert "gradients" in phases(objective="grpo", max_length=96)["forward pass"]
    assert "gradients" not in phases(objective="grpo", max_length=96, batch=2, group_size=4)["forward pass"]


def test_a_sampler_holds_the_adapter_its_code_and_programs_for_several_widths():
    placed = 2 * count_lora(SPEC, 8, "all-linear")
    one_pass = phases(objective="grpo", max_length=128, batch=2, group_size=4)["sampling"]["sampler"]
    assert one_pass == placed + measured.SAMPLER_RUNTIME_BYTES
    two = phases(objective="grpo", max_length=128, batch=4, group_size=4)["sampling"]["sampler"]
    assert two == one_pass + measured.WIDTH_BYTES
    many = [phases(objective="grpo", max_length=512, batch=n)["sampling"]["sampler"] for n in (8, 64)]
    assert many[0] == many[1] == one_pass + measured.MOST_WIDTHS * measured.WIDTH_BYTES
    assert phases(objective="grpo", device="cuda")["sampling"]["sampler"] == placed


def test_experts_of_a_mixture_stay_as_they_are():
    config = {
        "model_type": "mixtral", "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
        "num_local_experts": 8,
    }  # fmt: skip
    spec = from_config(config)
    experts = 2 * 8 * 3 * 64 * 128
    attention = 2 * 4 * 64 * 64
    rest = count_params(spec) - experts - attention
    assert weight_bytes(spec, "int4", double=False) == 2 * (experts + rest) + attention * 9 // 16
    found = memory.estimate(spec, settings(task="qlora"))
    assert found.active_parameters == found.parameters - experts * 6 // 8
    assert "experts" in found.notes[0]
    assert "bf16" in found.notes[0]


def test_loading_holds_one_matrix_more():
    assert phases()["loading"]["matrix on its way"] == 2 * 32000 * 4096
    assert phases(task="full")["loading"]["matrix on its way"] == 4 * 32000 * 4096
    assert set(phases(task="full")["loading"]) == {"weights", "runtime", "matrix on its way"}
