"""Hybrid and state-space models in the engine: what no sequence may lose when it is forked, preempted or adapted."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from weightwright.engine.engine import Engine
from weightwright.engine.settings import EngineSettings
from weightwright.errors import SettingsError
from weightwright.executor import own
from weightwright.executor.stacked import Row, Stack
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


@pytest.fixture(scope="module", params=["qwen3_5_text", "jamba", "bloom", "mamba2", "falcon_h1"])
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
        widest = watched(engine)
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
        assert widest[0] > 2
        assert engine.stats.preemptions
        assert engine.stats.prefix_hit_tokens == 0
        assert "sequences are computed together" in caplog.text
        assert "prompts share no beginning" in caplog.text  # prefixes are shared by default
    finally:
        engine.close()


def watched(engine: Engine) -> list[int]:
    """The most rows that a pass of the engine's model has had, from now on."""
    widest = [0]

    def seen(_module, args, options) -> None:
        widest[0] = max(widest[0], len(options["input_ids"]))

    engine.parts.executor._model.register_forward_pre_hook(seen, with_kwargs=True)
    return widest


def test_beams_are_those_of_models_that_read_all_anew(hybrid: Path) -> None:
    """Three beams whose rows are forked, dropped and put together anew in each step."""
    engine = Engine(load(str(hybrid), precision="f32"), settings=EngineSettings(kv_memory="64MB"))
    try:
        widest = watched(engine)
        params = SamplingParams(max_tokens=6, ignore_eos=True, use_beam_search=True, best_of=3, temperature=0)
        found = engine.submit(ChatRequest(prompt=PROMPTS[3], params=params)).result().completions[0]
        model = AutoModelForCausalLM.from_pretrained(hybrid)
        start = list(engine.tokenizer(PROMPTS[3])["input_ids"])
        beams = [(0.0, start)]
        for _ in range(6):
            grown = []
            for score, ids in beams:
                with torch.inference_mode():
                    logits = (
                        model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].log_softmax(-1)
                    )
                best = logits.topk(6)
                grown += [
                    (score + float(p), [*ids, int(i)]) for p, i in zip(best.values, best.indices, strict=True)
                ]
            beams = sorted(grown, reverse=True)[:3]
        assert [*start, *found.token_ids] == beams[0][1]
        assert widest[0] == 3
    finally:
        engine.close()


def test_rows_together_are_those_alone(hybrid: Path) -> None:
    """Sequences of several lengths, one of which leaves, comes back and is copied: logits to 1e-4 of those alone."""
    model = AutoModelForCausalLM.from_pretrained(hybrid).eval()
    own.use_own_attention(model)
    texts = torch.randint(3, 256, (3, 40), generator=torch.Generator().manual_seed(2))
    lengths = [17, 30, 4]
    alone = [own.new_cache(model) for _ in texts]
    mixed: list[Any] = [own.new_cache(model) for _ in texts]
    for row, length in enumerate(lengths):
        for cache in (alone[row], mixed[row]):
            for start, end in ((0, length - 1), (length - 1, length)):
                own.run(model, texts[row : row + 1, start:end], cache, start, [0])
    for order in ((0, 1, 2), (0, 1, 2), (2, 1), (1,), (2, 0, 1), (0, 1, 2)):
        states = [mixed[row] for row in order]
        held = isinstance(states[0], Row) and states[0].stack.holds(states)
        stack = states[0].stack if held else Stack(states, [lengths[row] for row in order])
        for row, state in zip(order, stack.rows(), strict=True):
            mixed[row] = state
        copy = deepcopy(mixed[order[0]])
        got = own.run_together(model, torch.stack([texts[row, lengths[row]] for row in order]), stack)
        for row, logits in zip(order, got, strict=True):
            token = texts[row : row + 1, lengths[row] : lengths[row] + 1]
            expected = own.run(model, token, alone[row], lengths[row], [0])[0][0]
            assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()
            if row == order[0]:  # the copy of before has read nothing since
                again = own.run(model, token, copy, lengths[row], [0])[0][0]
                assert (again - expected).abs().max() < 1e-4 * expected.abs().max()
            lengths[row] += 1


def test_what_is_wrong_together_is_computed_alone(tmp_path: Path, caplog) -> None:
    """BART's decoder counts positions by what is cached."""
    torch.manual_seed(0)
    folder = tiny_llama(tmp_path / "bart")
    (folder / "model.safetensors").unlink()
    AutoModelForCausalLM.from_config(tiny_config("bart"), dtype=torch.float32).save_pretrained(folder)
    engine = Engine(load(str(folder), precision="f32"), settings=EngineSettings(kv_memory="64MB"))
    try:
        widest = watched(engine)
        replies = [engine.submit(ChatRequest(prompt=p, params=GREEDY)) for p in PROMPTS]
        got = [list(reply.result().completions[0].token_ids) for reply in replies]
        assert got == [greedy(folder, prompt, engine.tokenizer) for prompt in PROMPTS]
        assert widest[0] == 1
        assert "each sequence is computed alone" in caplog.text
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
