"""The peak is the largest phase, and its terms are those that can be worked out by hand."""

import pytest
from pydantic import ValidationError

from weightwright.plan import memory
from weightwright.plan.settings import PlanSettings, parse_bytes
from weightwright.plan.spec import from_config

SPEC = from_config(
    {
        "model_type": "llama",
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
    }
)


def settings(**values) -> PlanSettings:
    return PlanSettings(model="x", **values)


def test_serving_holds_weights_and_keys_and_values():
    found = memory.estimate(SPEC, settings(task="serve", precision="bf16", context=4096, sequences=2))
    assert found.peak.parts["weights"] == 2 * 6_738_415_616
    # 2 (k and v) x 32 layers x 4,096 numbers x 2 bytes = 512 KiB a token
    assert found.peak.parts["kv_cache"] == 524_288 * 4096 * 2
    assert found.trainable_parameters == 0


def test_a_tied_head_is_held_twice_and_int4_keeps_it_in_int8():
    tied = from_config({
        "model_type": "llama", "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64,
    } | {"tie_word_embeddings": True})  # fmt: skip
    table, linear, norms = 1000 * 64, 2 * (4 * 64 * 64 + 3 * 64 * 128), 5 * 64
    assert memory.served_weight_bytes(tied, "bf16") == 2 * (2 * table + linear + norms)
    assert memory.served_weight_bytes(tied, "int8") == table + linear + 2 * (table + norms)
    assert memory.served_weight_bytes(tied, "int4") == table + linear * 5 // 8 + 2 * (table + norms)


def test_keys_and_values_come_in_blocks_and_may_be_int8():
    one = settings(context=17, sequences=3)
    assert memory.kv_bytes(SPEC, one) == 524_288 * 3 * 32
    small = settings(context=17, sequences=3, kv_precision="int8")
    assert memory.kv_bytes(SPEC, small) == 2 * 32 * 32 * (128 + 4) * 3 * 32


def test_full_tuning_holds_sixteen_bytes_a_parameter():
    found = memory.estimate(SPEC, settings(task="full"))
    step = next(phase for phase in found.phases if phase.name == "backward pass")
    counted = sum(step.parts[part] for part in ("weights", "optimizer", "gradients"))
    assert counted == 16 * 6_738_415_616


def test_lora_holds_moments_for_the_adapter_only():
    found = memory.estimate(SPEC, settings(task="lora", targets="q_proj,v_proj"))
    assert found.trainable_parameters == 4_194_304
    assert found.peak.parts["optimizer"] == 8 * 4_194_304
    assert found.peak.parts["adapter"] == 4 * 4_194_304


def test_the_peak_is_the_largest_phase_not_the_sum():
    found = memory.estimate(SPEC, settings(task="lora"))
    assert found.peak.total_bytes == max(phase.total_bytes for phase in found.phases)
    assert found.peak.total_bytes < sum(phase.total_bytes for phase in found.phases)


def test_each_saving_saves():
    def peak(**values):
        return memory.estimate(SPEC, settings(**values)).peak.total_bytes

    assert peak(task="qlora") < peak(task="lora") < peak(task="full")
    assert peak(task="lora", gradient_checkpointing=True) < peak(task="lora")
    assert peak(task="lora", micro_batch=1) < peak(task="lora", micro_batch=4)
    assert peak(task="serve", precision="int4") < peak(task="serve", precision="int8") < peak(task="serve")


@pytest.mark.parametrize(
    ("text", "size"), [("24GB", 24 * 10**9), ("16GiB", 16 * 2**30), ("1.5 gb", 1_500_000_000), ("8000", 8000)]
)
def test_sizes(text: str, size: int):
    assert parse_bytes(text) == size
    assert settings(device_memory=text).device_bytes == size


def test_a_wrong_size_is_refused():
    with pytest.raises(ValidationError, match="such as 24GB"):
        settings(device_memory="much")
