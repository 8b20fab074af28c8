"""The same tokens whatever happens around a request: greedy in f32, against transformers' own generation."""

import random
from pathlib import Path

import pytest
import torch

from weightwright.engine.engine import Engine
from weightwright.engine.settings import EngineSettings
from weightwright.ports import ChatRequest, SamplingParams
from weightwright.weights.load import load


def opened(model: Path, **settings) -> Engine:
    return Engine(load(str(model), precision="f32"), settings=EngineSettings(precision="f32", **settings))


@pytest.fixture(scope="module")
def prompts() -> list[tuple[int, ...]]:
    chance = random.Random(5)
    shared = [chance.randrange(3, 250) for _ in range(70)]
    own = [[chance.randrange(3, 250) for _ in range(n)] for n in (3, 20, 64, 100, 15)]
    return [tuple(ids) for ids in own] + [tuple(shared + ids[:10]) for ids in own]


@pytest.fixture(scope="module")
def expected(tiny_model: Path, prompts: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """By transformers, one at a time, without a cache."""
    model = load(str(tiny_model), precision="f32", device="cpu").model
    found = []
    for prompt in prompts:
        ids = list(prompt)
        with torch.inference_mode():
            for _ in range(40):
                ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        found.append(tuple(ids[len(prompt) :]))
    return found


def answers(engine: Engine, prompts, **params) -> list[tuple[int, ...]]:
    wanted = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True, **params)
    replies = [engine.submit(ChatRequest(prompt_token_ids=p, params=wanted)) for p in prompts]
    return [reply.result().completions[0].token_ids for reply in replies]


def test_alone_batched_chunked_and_through_a_shared_prefix(tiny_model, prompts, expected) -> None:
    engine = opened(tiny_model, step_tokens=16, max_sequences=8, speculate=0)
    try:
        assert [answers(engine, [prompt])[0] for prompt in prompts] == expected  # later ones find prefixes
        assert answers(engine, prompts) == expected
        assert engine.stats.prefix_hit_tokens > 0
    finally:
        engine.close()


def test_preempted_again_and_again(tiny_model, prompts, expected) -> None:
    shapes_bytes = 2 * 2 * 16 * 2 * 16 * 4  # layers x (k, v) x block x heads x width x f32
    engine = opened(
        tiny_model, kv_memory=f"{14 * shapes_bytes}B", max_sequences=8, step_tokens=32, speculate=0
    )
    try:
        assert engine.stats.blocks < 20
        assert answers(engine, prompts) == expected
        assert engine.stats.preemptions > 0
        assert engine.stats.free_blocks == engine.stats.blocks
    finally:
        engine.close()


def test_speculation_changes_nothing(tiny_model, prompts, expected) -> None:
    engine = opened(tiny_model, speculate=5)
    try:
        assert answers(engine, prompts) == expected
        sampled = SamplingParams(
            temperature=0.8, seed=3, max_tokens=40, ignore_eos=True, repetition_penalty=1.2
        )
        request = ChatRequest(prompt_token_ids=prompts[1], params=sampled)
        with_guesses = engine.submit(request).result().completions[0].token_ids
    finally:
        engine.close()
    plain = opened(tiny_model, speculate=0)
    try:
        assert plain.submit(request).result().completions[0].token_ids == with_guesses
    finally:
        plain.close()


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("early_stopping", [False, True, "never"])
def test_beams_are_those_of_transformers(tiny_model: Path, prompts, penalty, early_stopping) -> None:
    loaded = load(str(tiny_model), precision="f32")
    ids = torch.tensor([prompts[1]], device=loaded.model.device)
    options = {"num_beams": 4, "num_return_sequences": 3, "max_new_tokens": 12, "do_sample": False,
               "length_penalty": penalty, "early_stopping": early_stopping}  # fmt: skip
    with torch.inference_mode():
        found = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    end = loaded.tokenizer.eos_token_id
    theirs = [_until(row[ids.shape[1] :].tolist(), end) for row in found]
    engine = Engine(loaded, settings=EngineSettings(precision="f32"))
    try:
        params = SamplingParams(
            use_beam_search=True, best_of=4, n=3, temperature=0, max_tokens=12, length_penalty=penalty,
            early_stopping=early_stopping,
        )  # fmt: skip
        result = engine.submit(ChatRequest(prompt_token_ids=prompts[1], params=params)).result()
        assert [_until(list(c.token_ids), end) for c in result.completions] == theirs
        assert engine.stats.free_blocks == engine.stats.blocks
    finally:
        engine.close()


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids


def test_prompt_logprobs_are_those_of_transformers(tiny_model: Path, prompts) -> None:
    loaded = load(str(tiny_model), precision="f32")
    prompt = prompts[3]
    with torch.inference_mode():
        ids = torch.tensor([prompt], device=loaded.model.device)
        logprobs = loaded.model(ids, use_cache=False).logits[0].log_softmax(-1)
    engine = Engine(loaded, settings=EngineSettings(precision="f32", step_tokens=32))
    try:
        params = SamplingParams(max_tokens=2, temperature=0, prompt_logprobs=2)
        for _ in range(2):  # the second time its blocks are there, but the logits are wanted all the same
            result = engine.submit(ChatRequest(prompt_token_ids=prompt, params=params)).result()
            found = result.prompt_logprobs
            assert found is not None
            assert len(found) == len(prompt)
            assert found[0] is None
            for position, one in enumerate(found[1:]):
                assert one is not None
                assert one.token_id == prompt[position + 1]
                assert one.logprob == pytest.approx(float(logprobs[position, one.token_id]), abs=1e-4)
    finally:
        engine.close()


def test_completions_of_one_prompt_branch_and_best_of_keeps_the_likeliest(tiny_model: Path, prompts) -> None:
    engine = opened(tiny_model)
    try:
        params = SamplingParams(n=5, seed=1, temperature=1.0, max_tokens=10, ignore_eos=True, logprobs=0)
        all_five = engine.submit(ChatRequest(prompt_token_ids=prompts[1], params=params)).result().completions
        assert len({c.token_ids for c in all_five}) > 1
        alone = [
            engine.submit(
                ChatRequest(prompt_token_ids=prompts[1], params=params.model_copy(update={"n": 1, "seed": 1 + i}))
            ).result().completions[0].token_ids
            for i in range(5)
        ]  # fmt: skip
        assert [c.token_ids for c in all_five] == alone
        best = engine.submit(
            ChatRequest(prompt_token_ids=prompts[1], params=params.model_copy(update={"n": 2, "best_of": 5}))
        ).result().completions  # fmt: skip
        ranked = sorted(all_five, key=lambda c: -c.cumulative_logprob)
        assert [c.token_ids for c in best] == [c.token_ids for c in ranked[:2]]
        assert engine.stats.free_blocks == engine.stats.blocks
    finally:
        engine.close()


def test_cancelled_at_random_moments_nothing_is_left(tiny_model: Path, prompts) -> None:
    chance = random.Random(2)
    engine = opened(tiny_model, kv_memory="200KB", max_sequences=6, step_tokens=24, max_context=200)
    try:
        replies = []
        for number in range(40):
            wide = number % 3 == 0
            params = SamplingParams(
                temperature=0 if number % 4 == 1 else 1, max_tokens=chance.randrange(1, 40), ignore_eos=True,
                n=2 if wide and number % 4 != 1 else 1, use_beam_search=number % 4 == 1,
                best_of=3 if number % 4 == 1 else None,
            )  # fmt: skip
            prompt = chance.choice(prompts)
            reply = engine.submit(ChatRequest(prompt_token_ids=prompt, params=params))
            replies.append(reply)
            if chance.random() < 0.5:
                moment = chance.randrange(3)
                if moment == 0:
                    reply.cancel()
                else:
                    reply.on_piece(lambda _, r=reply: r.cancel())
        reasons = [c.finish_reason for reply in replies for c in reply.result().completions]
        assert "length" in reasons
        assert "cancelled" in reasons
        engine.score("a", ["b"])  # after everything that the cancellations set going
        assert engine.stats.free_blocks == engine.stats.blocks
        assert (engine.stats.running, engine.stats.waiting) == (0, 0)
    finally:
        engine.close()
