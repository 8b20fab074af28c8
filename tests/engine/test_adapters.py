"""Adapters of a running engine: mixed in one batch, loaded and dropped between steps; against peft's own output."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from weightwright.engine.engine import Engine
from weightwright.engine.settings import EngineSettings
from weightwright.errors import ModelError, RequestError
from weightwright.ports import ChatRequest, SamplingParams
from weightwright.weights.load import load
from weightwright.weights.origin import template_hash

pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")

GREEDY = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True)
PROMPT = tuple(range(10, 40))


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory) -> dict[str, Path]:
    """Adapters of different ranks and targets, the last of them with magnitudes (DoRA)."""
    folder = tmp_path_factory.mktemp("adapters")
    made = {}
    for number, (rank, targets) in enumerate(
        ((4, "all-linear"), (8, ["q_proj", "down_proj"]), (2, ["lm_head", "up_proj"]), (4, "all-linear"))
    ):
        torch.manual_seed(number)
        model = AutoModelForCausalLM.from_pretrained(tiny_model)
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, init_lora_weights=False,
                            use_dora=number == 3)  # fmt: skip
        made_by_peft = get_peft_model(model, config)
        for name, weight in made_by_peft.named_parameters():
            if "magnitude" in name:
                weight.data *= torch.rand_like(weight) + 0.5
        made_by_peft.save_pretrained(folder / f"a{number}", save_embedding_layers=False)
        made[f"a{number}"] = folder / f"a{number}"
    return made


def expected(tiny_model: Path, adapter: Path | None) -> tuple[int, ...]:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    ids = list(PROMPT)
    with torch.inference_mode():
        for _ in range(GREEDY.max_tokens):
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return tuple(ids[len(PROMPT) :])


def opened(tiny_model: Path, adapters: dict[str, Path], **settings) -> Engine:
    loaded = load(str(tiny_model), precision="f32")
    return Engine(loaded, adapters=adapters, settings=EngineSettings(precision="f32", **settings))


def test_rows_of_different_adapters_in_one_batch_are_each_their_own(tiny_model, adapters) -> None:
    engine = opened(tiny_model, adapters, step_tokens=40)
    try:
        names = [None, "a0", "a1", "a2", "a3", "a1", None, "a0", "a3"]
        replies = [
            engine.submit(ChatRequest(prompt_token_ids=PROMPT, params=GREEDY, adapter=name)) for name in names
        ]
        got = [reply.result(60).completions[0].token_ids for reply in replies]
        wanted = {name: expected(tiny_model, adapters.get(name)) for name in set(names)}
        assert got == [wanted[name] for name in names]
        assert len(set(got)) == 5  # no adapter read another's blocks
    finally:
        engine.close()


def test_loaded_and_dropped_while_others_answer(tiny_model, adapters) -> None:
    engine = opened(tiny_model, {"a0": adapters["a0"]})
    try:
        long = SamplingParams(temperature=0, max_tokens=200, ignore_eos=True)
        first = engine.submit(ChatRequest(prompt_token_ids=PROMPT, params=long, adapter="a0"))
        engine.load_adapter("a1", adapters["a1"])
        second = engine.submit(ChatRequest(prompt_token_ids=PROMPT, params=GREEDY, adapter="a1"))
        assert second.result(60).completions[0].token_ids == expected(tiny_model, adapters["a1"])
        engine.drop_adapter("a1")
        assert engine.adapters == ("a0",)
        with pytest.raises(RequestError, match="there is no adapter 'a1'; adapters: a0"):
            engine.submit(ChatRequest(prompt_token_ids=PROMPT, params=GREEDY, adapter="a1")).result(60)
        assert first.result(60).completions[0].token_ids[:16] == expected(tiny_model, adapters["a0"])
        with pytest.raises(ModelError, match="holds no adapter_config"):
            engine.load_adapter("nothing", tiny_model / "absent")
    finally:
        engine.close()


def test_dropping_an_adapter_fails_the_requests_that_use_it(tiny_model, adapters) -> None:
    engine = opened(tiny_model, adapters)
    try:
        long = SamplingParams(temperature=0, max_tokens=400, ignore_eos=True)
        reply = engine.submit(ChatRequest(prompt_token_ids=PROMPT, params=long, adapter="a0"))
        engine.drop_adapter("a0")
        with pytest.raises(RequestError, match="'a0' was dropped while the request ran"):
            reply.result(60)
        assert engine.stats.free_blocks == engine.stats.blocks
    finally:
        engine.close()


def test_scoring_with_an_adapter_that_is_dropped_before_its_turn_fails_alone(tiny_model, adapters) -> None:
    engine = opened(tiny_model, adapters)
    try:
        check = engine._bank.slot
        engine._bank.slot = lambda name: 0  # as if the adapter went between the check and the engine's turn
        engine._post(lambda: (setattr(engine._bank, "slot", check), engine._bank.drop("a0")))
        with pytest.raises(RequestError, match="there is no adapter 'a0'"):
            engine.score("a", ["b"], adapter="a0")
        assert engine.score("a", ["b"])[0].tokens == 1  # the engine's thread lives
    finally:
        engine.close()


def test_an_adapter_of_another_base_or_template_is_told(tiny_model, adapters, caplog) -> None:
    engine = opened(tiny_model, {})
    folder = adapters["a0"]
    origin = folder / "weightwright.json"
    template = engine.tokenizer.chat_template
    same = {"base_fingerprint": engine._fingerprint, "template_sha256": template_hash(template)}
    try:
        for change, words in (
            ({}, ""),
            ({"base_fingerprint": "else"}, "fingerprint else"),
            ({"template_sha256": template_hash("else")}, "another chat template"),
        ):
            origin.write_text(json.dumps(same | change), encoding="utf-8")
            caplog.clear()
            engine.load_adapter("one", folder)
            engine.drop_adapter("one")
            assert (words in caplog.text) if words else not caplog.text
    finally:
        origin.unlink()
        engine.close()
