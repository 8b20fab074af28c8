"""Hybrid and state-space models in the engine: what no sequence may lose when it is forked, preempted or adapted."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from weightwright.engine.engine import Engine
from weightwright.engine.settings import EngineSettings
from weightwright.errors import SettingsError
from weightwright.ports import ChatRequest, SamplingParams
from weightwright.testing.models import tiny_llama
from weightwright.weights.load import load

from ..executor.families import tiny_config

NEW = 12
LEFT_OUT = {"lm_head", "dt_proj", "out_proj"}  # dt_proj has no place for one, peft refuses out_proj
GREEDY = SamplingParams(temperature=0, max_tokens=NEW, ignore_eos=True)
PROMPTS = (
    "Hello",
    "The quick brown fox jumps over the lazy dog again and again",
    "abc" * 20,
    "The quick brown fox",
)


@pytest.fixture(scope="module", params=["qwen3_5_text", "jamba", "bloom", "mamba2"])
def hybrid(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_llama(tmp_path_factory.mktemp(request.param))  # for its tokenizer
    torch.manual_seed(0)
    (folder / "model.safetensors").unlink()
    config = tiny_config(request.param)
    config.eos_token_id = config.bos_token_id = config.pad_token_id = None
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(hybrid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(hybrid)
    linears = {
        name.rpartition(".")[2] for name, module in model.named_modules() if type(module) is torch.nn.Linear
    }
    config = LoraConfig(r=4, target_modules=sorted(linears - LEFT_OUT), init_lora_weights=False,
                        task_type="CAUSAL_LM")  # fmt: skip
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(model, config).save_pretrained(folder)
    return folder


def greedy(folder: Path, prompt: str, tokenizer, adapter: Path | None = None) -> list[int]:
    """By transformers, the whole text anew for each token."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    ids = list(tokenizer(prompt)["input_ids"])
    start = len(ids)
    with torch.inference_mode():
        for _ in range(NEW):
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[start:]


def test_answers_are_those_of_transformers(hybrid: Path, adapter: Path, caplog) -> None:
    """Chunks of 16 tokens, two adapters' rows mixed, and too few blocks for all: some are preempted."""
    settings = EngineSettings(max_sequences=4, step_tokens=16, kv_memory="64MB")
    engine = Engine(load(str(hybrid), precision="f32"), adapters={"one": adapter}, settings=settings)
    try:
        assert engine.parts.stateful
        engine._pool._empty = engine._pool._empty[:9]
        asked = [
            ChatRequest(prompt=p, params=GREEDY, adapter=name) for p in PROMPTS for name in (None, "one")
        ]
        replies = [engine.submit(one) for one in asked]
        got = [list(reply.result().completions[0].token_ids) for reply in replies]
        expected = [
            greedy(hybrid, one.prompt or "", engine.tokenizer, adapter if one.adapter else None)
            for one in asked
        ]
        assert got == expected
        assert got[0] != got[1]
        assert engine.stats.preemptions
        assert engine.stats.prefix_hit_tokens == 0
        assert "prompts share no beginning" in caplog.text  # prefixes are shared by default
    finally:
        engine.close()


def test_forks_go_their_own_ways(hybrid: Path) -> None:
    engine = Engine(load(str(hybrid), precision="f32"), settings=EngineSettings(kv_memory="64MB"))
    try:
        params = SamplingParams(temperature=1.5, max_tokens=NEW, ignore_eos=True, seed=3, logprobs=0, n=4)
        prompt = PROMPTS[1]
        choices = engine.submit(ChatRequest(prompt=prompt, params=params)).result().completions
        assert len({choice.token_ids for choice in choices}) == 4
        model = AutoModelForCausalLM.from_pretrained(hybrid)
        ids = list(engine.tokenizer(prompt)["input_ids"])
        for choice in choices:  # each token has the probability that the model gives it behind all before
            whole = torch.tensor([[*ids, *choice.token_ids]])
            with torch.inference_mode():
                logits = model(input_ids=whole, use_cache=False).logits[0].log_softmax(-1)
            expected = [float(logits[len(ids) - 1 + i, token]) for i, token in enumerate(choice.token_ids)]
            got = [one.logprob for one in choice.logprobs]
            assert got == pytest.approx(expected, abs=1e-3)
    finally:
        engine.close()


def test_int8_keys_and_values_are_refused(hybrid: Path) -> None:
    with pytest.raises(SettingsError, match="keeps keys and values in a cache of its own"):
        Engine(load(str(hybrid), precision="f32"), settings=EngineSettings(kv_precision="int8"))
