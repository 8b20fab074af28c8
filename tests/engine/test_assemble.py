"""What a model becomes before it runs: precision, context, blocks; and what is refused."""

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from weightwright.compare.run import _open_chat
from weightwright.engine.assemble import assemble, cache_blocks
from weightwright.engine.settings import EngineSettings
from weightwright.errors import ModelError, SettingsError
from weightwright.executor import precision
from weightwright.kernels import pool
from weightwright.kernels.cache import LayerShape, block_bytes
from weightwright.ports import silent

SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "pad_token_id": None,
    "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip


def loaded(config, wanted: str) -> SimpleNamespace:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    return SimpleNamespace(model=model, name="made-up", precision=wanted, source=None, context_tokens=512)


def forms_of(executor) -> tuple[set[str], set[str], str]:
    """How linear layers and experts are held."""
    layers = [linear for layer in executor._layers for linear in (layer.qkv.linear, layer.out.linear)]
    experts = [
        linear
        for layer in executor._layers
        for linear in (*layer.mlp.experts.first, *layer.mlp.experts.second)
    ]
    return {linear.form for linear in layers}, {linear.form for linear in experts}, executor._head.linear.form


@pytest.mark.parametrize(("wanted", "forms"), [("int8", ({"int8"}, {"int8"}, "int8")),
                                               ("int4", ({"int8"}, {"int4"}, "int8"))])  # fmt: skip
def test_a_mixture_of_experts_is_packed_whole(wanted: str, forms) -> None:
    config = transformers.MixtralConfig(**SMALL, num_local_experts=2)
    parts = assemble(loaded(config, wanted), EngineSettings(kv_memory="1MB"))
    assert forms_of(parts.executor) == forms


def test_a_mixture_whose_experts_are_not_known_is_not_half_quantised() -> None:
    config = transformers.JetMoeConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_key_value_heads=2,
        kv_channels=16, num_local_experts=2, pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    for wanted in ("int8", "int4"):
        with pytest.raises(ModelError, match=f"JetMoeForCausalLM is a mixture .* cannot be held in {wanted}"):
            assemble(loaded(config, wanted), EngineSettings())


def test_auto_takes_two_forms_unless_the_text_must_not_depend_on_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = {"int8": {1: 1.0, 8: 1.0, 64: 3.0, 512: 20.0}, "bf16": {1: 2.0, 8: 2.0, 64: 2.0, 512: 9.0}}
    monkeypatch.setattr(precision, "measured", lambda *_: times)
    config = transformers.LlamaConfig(**SMALL)
    for deterministic, expected in ((False, {"int8+bf16"}), (True, {"int8"})):
        settings = EngineSettings(kv_memory="1MB", deterministic=deterministic)
        executor = assemble(loaded(config, "auto"), settings).executor
        forms = {layer.qkv.linear.form for layer in executor._layers} | {executor._head.linear.form}
        assert forms == expected


def test_compare_asks_for_one_form(tiny_model: Path) -> None:
    bench = SimpleNamespace(adapter=None, settings=SimpleNamespace(model=f"{tiny_model}:f32"))
    with closing(_open_chat(bench, silent)) as chat:
        assert chat.settings.deterministic


def test_a_rotary_embedding_that_changes_with_the_batch_keeps_its_first_context() -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 128}
    config = transformers.LlamaConfig(**SMALL, rope_parameters=rope)
    assert assemble(loaded(config, "f32"), EngineSettings(kv_memory="1MB")).context_tokens == 128
    plain = transformers.LlamaConfig(**SMALL)
    assert assemble(loaded(plain, "f32"), EngineSettings(kv_memory="1MB")).context_tokens == 512


def test_the_cache_takes_what_it_is_given_and_no_more_than_is_of_use() -> None:
    shapes = [LayerShape(2, 16, 16)] * 2
    block = 2 * 2 * 32 * 16 * 4  # layers x heads x (key + value) x tokens x bytes
    settings = EngineSettings(max_sequences=2, kv_memory=f"{5 * block + 1}B")
    assert cache_blocks(block_bytes(shapes, 4), 512, settings) == 5
    assert cache_blocks(block_bytes(shapes, 4), 32, settings) == 4  # two sequences of two blocks
    assert cache_blocks(block_bytes(shapes, 1, scaled=True), 512, settings) == 5 * block // (
        2 * 2 * 16 * (32 + 8)
    )
    with pytest.raises(SettingsError, match="kv_memory=1KB holds no block of 16 tokens"):
        cache_blocks(block_bytes(shapes, 4), 512, EngineSettings(kv_memory="1KB"))


def test_states_beside_the_blocks_count() -> None:
    settings = EngineSettings(max_sequences=2, kv_memory="1000B")
    assert cache_blocks(100, 512, settings) == 10
    assert cache_blocks(100, 512, settings, state_bytes=250) == 5
    assert cache_blocks(0, 512, settings, state_bytes=250) == 2 * 512 // 16  # state-space layers alone
    with pytest.raises(
        SettingsError, match=r"holds no block of 16 tokens \(100 bytes, beside states of 960\)"
    ):
        cache_blocks(100, 512, settings, state_bytes=480)


def test_a_card_s_cache_is_sized_by_its_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from weightwright.machine import memory

    assert 0 < memory.free_bytes("cpu") <= psutil.virtual_memory().total
    if torch.cuda.is_available():
        assert 0 < memory.free_bytes("cuda") <= torch.cuda.get_device_properties(0).total_memory
    shapes = [LayerShape(2, 16, 16)] * 2
    block = 2 * 2 * 32 * 16 * 4
    free = {"cpu": 1000 * block, "cuda": 10 * block}
    monkeypatch.setattr(memory, "free_bytes", free.__getitem__)
    settings = EngineSettings(max_sequences=64)
    assert cache_blocks(block_bytes(shapes, 4), 512, settings, "cuda") == 8
    assert cache_blocks(block_bytes(shapes, 4), 512, settings) == 300


@pytest.mark.skipif(not pool.available(), reason="no kernels for this machine")
def test_compiled_kernels_are_kept_under_their_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from numba import config

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    before = config.CACHE_DIR
    with pool.kept():
        first = config.CACHE_DIR
    assert Path(first).parent == tmp_path
    assert before == config.CACHE_DIR
    monkeypatch.setattr(pool, "__file__", str(tmp_path / "pool.py"))  # other sources
    with pool.kept():
        assert first != config.CACHE_DIR
