"""The peak is the largest phase, and its terms are those that can be worked out by hand."""

from types import SimpleNamespace

import psutil
import pytest
from pydantic import ValidationError

from weightwright.errors import SettingsError
from weightwright.machine.cpu import features
from weightwright.options import parse_bytes
from weightwright.plan import memory, serving
from weightwright.plan.limit import Limit, card, limit_of
from weightwright.plan.settings import PlanSettings
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
    groups = 2 / 32 if "avx512_vnni" in features() else 4 / 32  # scale and zero point of 32 weights
    assert memory.served_weight_bytes(tied, "int4") == table + linear * (0.5 + groups) + 2 * (table + norms)


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
    assert peak(task="serve", precision="int4") < peak(task="serve", precision="int8")
    assert peak(task="serve", precision="int8") < peak(task="serve", precision="bf16")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24GB", 24 * 10**9),
        ("16GiB", 16 * 2**30),
        ("1.5 gb", 1_500_000_000),
        ("8000B", 8000),
        ("24000000000", 24 * 10**9),
    ],
)
def test_sizes(text: str, size: int):
    assert parse_bytes(text) == size
    assert settings(device_memory=text).device_bytes == size
    if text.isdecimal():  # as YAML has it
        assert settings(device_memory=int(text)).device_bytes == size


def test_a_wrong_size_is_refused():
    for wrong in ("much", True, ["24GB"], "-1GB"):
        with pytest.raises(ValidationError, match="such as 24GB"):
            settings(device_memory=wrong)


@pytest.mark.parametrize("forgotten", ["24", 80, "16384", "1.5"])
def test_a_number_whose_unit_was_forgotten_is_refused(forgotten: object):
    with pytest.raises(ValidationError, match=f"write {forgotten}GB or {forgotten}MB"):
        settings(device_memory=forgotten)


def test_of_a_mixture_only_the_experts_that_are_met_have_activations():
    config = {
        "model_type": "mixtral", "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_local_experts": 8,
    }  # fmt: skip
    few, many = (from_config(config | {"num_experts_per_tok": n}) for n in (2, 4))
    held, met = ("weights", "activations")
    peaks = [memory.estimate(spec, settings(context=64, sequences=1)).phases[1].parts for spec in (few, many)]
    assert peaks[0][held] == peaks[1][held]
    assert peaks[1][met] - peaks[0][met] == 4 * 64 * 3 * 2 * 128
    # loading: the experts of a layer come as matrices of their own and are stacked
    loading = memory.estimate(few, settings(precision="bf16")).phases[0]
    assert loading.parts["matrix on its way"] == 2 * 8 * 3 * 64 * 128


def test_of_a_mixture_in_int4_the_experts_alone_have_4_bits():
    mixture = from_config({
        "model_type": "mixtral", "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "num_local_experts": 8,
    })  # fmt: skip
    table, linear, experts, other = 1000 * 64, 2 * 4 * 64 * 64, 2 * 8 * 3 * 64 * 128, 5 * 64 + 2 * 8 * 64
    groups = 2 / 32 if "avx512_vnni" in features() else 4 / 32
    assert memory.served_weight_bytes(mixture, "int8") == table + linear + experts + 2 * (table + other)
    four_bits = table + linear + experts * (0.5 + groups) + 2 * (table + other)
    assert memory.served_weight_bytes(mixture, "int4") == four_bits
    # an expert's matrices come one after the other
    loading = memory.estimate(mixture, settings(precision="int4")).phases[0]
    assert loading.parts["matrix on its way"] == max(3 * table, 3 * 3 * 64 * 128)


def test_experts_that_are_not_known_are_not_packed():
    mixture = from_config({
        "model_type": "jetmoe", "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_key_value_heads": 2, "kv_channels": 16, "num_local_experts": 4,
    })  # fmt: skip
    assert serving.served_precision(mixture, settings()) == "bf16"
    with pytest.raises(
        SettingsError, match=r"precision=int8: jetmoe is a mixture of experts.*--precision bf16"
    ):
        memory.estimate(mixture, settings(precision="int8"))


def test_latent_attention_is_cached_as_its_heads_see_it():
    spec = from_config({
        "model_type": "deepseek_v3", "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "kv_lora_rank": 40, "q_lora_rank": 56,
        "qk_rope_head_dim": 8, "v_head_dim": 20, "qk_nope_head_dim": 24, "first_k_dense_replace": 2,
    })  # fmt: skip
    assert memory.kv_bytes(spec, settings(context=16, sequences=3)) == 2 * 2 * 4 * (32 + 20) * 16 * 3


def test_linear_attention_keeps_a_state_that_does_not_grow():
    spec = from_config({
        "model_type": "qwen3_5_text", "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "linear_conv_kernel_dim": 3, "linear_key_head_dim": 8, "linear_value_head_dim": 12,
        "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    })  # fmt: skip
    state = 4 * (4 * 8 * 12 + (2 * 16 + 48) * 3)
    for context in (16, 160):
        cached = 2 * 2 * 2 * 16 * context  # one layer in four
        assert memory.kv_bytes(spec, settings(context=context, sequences=5)) == 5 * (cached + 3 * state)


def test_a_card_holds_no_process_but_a_context():
    here = memory.estimate(SPEC, settings()).peak.parts["runtime"]
    there = memory.estimate(SPEC, settings(device="cuda")).peak.parts["runtime"]
    assert (here, there) == (560_000_000 + 950 * 32000, 500_000_000)


def test_the_memory_of_a_card_that_is_not_here_must_be_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert limit_of(settings(device="cuda", device_memory="24GB")) == Limit(24_000_000_000)
    with pytest.raises(SettingsError, match=r"device=cuda: no such card answers here.*--device-memory 24GB"):
        limit_of(settings(device="cuda"))


def test_a_card_says_its_memory_through_the_drivers_tool(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 20000, 24576\necho 8192, 8192\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert limit_of(settings(device="cuda")) == Limit(20_000 * 1024**2, 24_576 * 1024**2)
    tool.write_text("#!/bin/sh\necho no driver\nexit 9\n", encoding="utf-8")
    assert card() is None


def test_what_is_free_here_is_the_limit_where_nothing_is_said(monkeypatch):
    found = limit_of(settings())
    assert 0 < found.bytes < found.total_bytes <= psutil.virtual_memory().total
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=3, total=8))
    assert limit_of(settings()) == limit_of(settings(device="mps")) == Limit(3, 8)


def test_serving_is_planned_in_what_the_engine_takes():
    def weights(**values) -> int:
        return memory.estimate(SPEC, settings(task="serve", **values)).peak.parts["weights"]

    assert weights() == weights(precision="int8") < weights(precision="bf16")
    assert weights(device="cuda") == weights(device="cuda", precision="bf16") == weights(precision="bf16")
    for packed in ("int8", "int4"):
        # scales of 4 bits take 16 bits each on a card, 8 in the kernels of a CPU with VNNI
        assert 0.88 <= weights(precision=packed) / weights(device="cuda", precision=packed) <= 1
        parts = memory.estimate(SPEC, settings(task="serve", device="cuda", precision=packed)).peak.parts
        assert parts["dequantised"] == 5 * 2**24
