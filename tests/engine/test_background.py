"""Texts that are embedded or scored beside sequences that decode: who goes first, and how fast the others go on."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from weightwright.engine.blocks import BlockPool
from weightwright.engine.engine import Engine
from weightwright.engine.pace import Pace
from weightwright.engine.schedule import Batch, Schedule
from weightwright.engine.sequence import Sequence, Status, Work
from weightwright.engine.settings import EngineSettings
from weightwright.errors import EngineError, RequestError
from weightwright.ports import ChatRequest, SamplingParams
from weightwright.weights.load import load

TEXTS = ["a", "Hello", "你好，世界", "The quick brown fox jumps over the lazy dog. " * 4, "x" * 80]


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Iterator[Engine]:
    settings = EngineSettings(max_sequences=2, step_tokens=64, kv_memory="240KB")
    opened = Engine(load(str(tiny_model), precision="f32"), settings=settings)
    yield opened
    opened.close()


# -- the schedule ----------------------------------------------------------------------------------


def opened(blocks: int = 64, sequences: int = 2, tokens: int = 32) -> tuple[Schedule, BlockPool]:
    pool = BlockPool(blocks, 4)
    return Schedule(pool, sequences, tokens), pool


def added(schedule: Schedule, length: int, **fields: object) -> Sequence:
    sequence = Sequence(list(range(length)), length, 4, **fields)  # type: ignore[arg-type]
    schedule.add(sequence)
    return sequence


def text(schedule: Schedule, length: int) -> Sequence:
    return added(schedule, length, background=True, keep=False, share_prefix=False, states_from=0)


def step(schedule: Schedule, background_tokens: int | None = None) -> dict[Sequence, Work]:
    batch = schedule.next(background_tokens)
    assert batch is not None
    for work in batch.works:
        if work.logits:
            work.sequence.token_ids.append(7)
        schedule.commit(work)
        if work.sequence.background and work.sequence.computed == len(work.sequence.token_ids):
            schedule.finish(work.sequence)
    return {work.sequence: work for work in batch.works}


def test_beside_a_stream_only_so_many_tokens_are_embedded_and_the_stream_is_in_each_step() -> None:
    schedule, _ = opened()
    stream = added(schedule, 4, share_prefix=False)
    step(schedule)
    texts = [text(schedule, 10) for _ in range(3)]
    tokens = []
    while any(one.status is not Status.FINISHED for one in texts):
        works = step(schedule, 4)
        assert len(works.pop(stream).tokens) == 1
        tokens.append(sum(len(work.tokens) for work in works.values()))
        if len(stream.token_ids) > 7:
            stream.token_ids.pop()  # it goes on for as long as it takes
            stream.computed = len(stream.token_ids) - 1
    assert tokens == [4] * 7 + [2]
    step(schedule, 0)  # the stream alone
    schedule.finish(stream)
    assert schedule.next() is None


def test_alone_texts_take_the_whole_step_and_more_than_max_sequences_of_them() -> None:
    schedule, pool = opened(sequences=2)
    texts = [text(schedule, 5) for _ in range(6)]
    works = step(schedule, 4)
    assert [len(work.tokens) for work in works.values()] == [5] * 6
    assert all(work.states == 5 and work.logits == 0 for work in works.values())
    assert all(one.status is Status.FINISHED for one in texts)
    assert pool.free_blocks == pool.blocks
    assert not pool._index, "nothing of a text can be found again"


def test_a_new_request_goes_before_texts_that_came_earlier_and_these_still_go_on() -> None:
    schedule, _ = opened(sequences=1)
    texts = [text(schedule, 30) for _ in range(4)]
    step(schedule)
    prompt = added(schedule, 90, share_prefix=False)
    for _ in range(3):
        works = step(schedule)
        assert len(works[prompt].tokens) == 28
        assert sum(len(work.tokens) for one, work in works.items() if one.background) == 4
    assert len(step(schedule)[prompt].tokens) == 6
    assert texts[0].status is Status.FINISHED


def test_texts_give_way_when_blocks_run_out_and_come_again() -> None:
    schedule, pool = opened(blocks=8)
    stream = added(schedule, 15)
    step(schedule)
    behind = text(schedule, 12)
    step(schedule, 1)
    assert behind.status is Status.RUNNING
    while behind.status is not Status.WAITING:
        assert stream in step(schedule, 1)
    assert len(stream.token_ids) == 22, "it needed a sixth block"
    assert (behind.admissions, behind.computed) == (1, 0)
    schedule.finish(stream)
    while behind.status is not Status.FINISHED:
        step(schedule, 1)
    assert pool.free_blocks == pool.blocks


# -- the pace --------------------------------------------------------------------------------------


def batch(decoding: int, background: int = 0) -> Batch:
    works = []
    for _ in range(decoding):
        sequence = Sequence([1, 2, 3], 2, 9)
        works.append(Work(sequence, 2, (3,), 1))
    if background:
        works.append(
            Work(Sequence([1] * background, background, 0, background=True), 0, (1,) * background, 0)
        )
    return Batch(tuple(works), ())


@pytest.mark.parametrize(
    ("decode_s", "step_s", "token_s"),
    [(0.004, 0.0, 0.0004), (0.020, 0.005, 0.001), (0.1, 0.0, 0.0001), (0.01, 0.02, 0.5)],
)
def test_a_step_with_background_work_takes_about_twice_one_without(decode_s, step_s, token_s) -> None:
    """Work takes `step_s` a step and `token_s` a token: the largest size that fits into another decode is found."""
    pace = Pace()
    assert pace.background_tokens(1) == 0, "decoding is measured first"
    pace.learn(batch(1), decode_s)
    steps = []
    for _ in range(120):
        tokens = pace.background_tokens(1)
        extra = step_s + tokens * token_s if tokens else 0.0
        pace.learn(batch(1, tokens), decode_s + extra)
        steps.append((tokens, 1 + extra / decode_s))
    assert steps[0][0] == 8
    assert sum(tokens == 0 for tokens, _ in steps) == 3, "now and then decoding is measured again"
    sizes = {tokens for tokens, _ in steps[40:] if tokens}
    assert len(sizes) <= 2, "few sizes, so that few products are prepared"
    for tokens, ratio in steps[40:]:
        assert ratio <= 2.0 or tokens == 1
        assert tokens <= 1 or ratio > 1.5


def test_a_slow_step_now_and_then_changes_nothing() -> None:
    pace, chosen = Pace(), []
    for number in range(200):
        tokens = pace.background_tokens(1)
        chosen.append(tokens)
        hindered = 4 if number % 7 == 3 else 1
        pace.learn(batch(1, tokens), (0.01 + tokens * 0.0003) * hindered)
    assert chosen[100:].count(32) > 90


def test_what_took_too_long_once_is_tried_again() -> None:
    pace = Pace()
    chosen = []
    for number in range(600):
        tokens = pace.background_tokens(1)
        chosen.append(tokens)
        hindered = 10 if number < 100 and tokens >= 16 else 1
        pace.learn(batch(1, tokens), 0.01 + tokens * 0.0001 * hindered)
    assert set(chosen[60:100]) <= {0, 12}
    assert max(chosen[-50:]) == 96


def test_when_streams_end_decoding_is_measured_anew() -> None:
    pace = Pace()
    for _ in range(5):
        pace.learn(batch(8), 0.08)
    pace.learn(batch(8, 8), 0.10)
    assert pace.background_tokens(8) == 12
    assert pace.background_tokens(1) == 0
    pace.learn(batch(1), 0.01)
    assert pace.background_tokens(1) == 4, "what 8 tokens took beside 8 streams is too long beside one"


# -- the engine ------------------------------------------------------------------------------------


def states(tiny_model: Path, text: str) -> torch.Tensor:
    """Transformers' last hidden states [tokens, hidden]."""
    ids = AutoTokenizer.from_pretrained(tiny_model)(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        return AutoModelForCausalLM.from_pretrained(tiny_model).model(ids).last_hidden_state[0]


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_embeddings_are_transformers_states_pooled_whatever_runs_beside(engine, tiny_model, pooling) -> None:
    long = SamplingParams(temperature=0, max_tokens=300, ignore_eos=True)
    free = engine.submit(ChatRequest(prompt="Hello", params=long)).result().completions[0].token_ids
    replies = [engine.submit(ChatRequest(prompt="Hello", params=long)) for _ in range(2)]
    found = engine.embed(TEXTS * 4, pooling=pooling)
    for reply in replies:
        assert reply.result().completions[0].token_ids == free
    for number, text in enumerate(TEXTS * 4):
        known = states(tiny_model, text)
        wanted = (known.mean(0) if pooling == "mean" else known[-1]).numpy()
        np.testing.assert_allclose(found[number], wanted / np.linalg.norm(wanted), atol=2e-5)
    assert engine.stats.free_blocks == engine.stats.blocks


def test_a_stream_goes_on_while_texts_are_embedded(engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine._pace, "background_tokens", lambda decoding: 40)
    steps: list[list[tuple[bool, int]]] = []
    run = engine._runner.run

    def noted(batch: Batch):
        steps.append([(work.sequence.background, len(work.tokens)) for work in batch.works])
        return run(batch)

    monkeypatch.setattr(engine._runner, "run", noted)
    params = SamplingParams(temperature=0, max_tokens=450, ignore_eos=True)
    reply = engine.submit(ChatRequest(prompt="a", params=params))
    next(iter(reply))
    assert len(engine.embed(TEXTS * 10)) == 50
    assert not reply.usage.completion_tokens, "it has not ended before"
    reply.cancel()
    embedded = [[tokens for background, tokens in works if background] for works in steps]
    beside = [works for works in steps if any(background for background, _ in works)]
    assert all(any(not background for background, _ in works) for works in beside), (
        "each step has a token of the stream"
    )
    assert max(map(sum, embedded)) == 40
    assert sum(map(sum, embedded)) == 10 * sum(len(engine.tokenizer.encode(text)) for text in TEXTS)


def test_an_owner_that_fails_fails_alone(engine, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    long = SamplingParams(max_tokens=200, ignore_eos=True)
    reply = engine.submit(ChatRequest(prompt="a", params=long))
    next(iter(reply))
    with monkeypatch.context() as patched:
        patched.setattr(engine._embeddings, "take", lambda *_: 1 / 0)
        with pytest.raises(EngineError, match="the model failed: division by zero"):
            engine.embed(["Hello"])
    assert engine.embed(["Hello"]).shape == (1, 64)
    assert reply.result().usage.completion_tokens == 200


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (["a"], {"pooling": "max"}, "pooling='max' is not known; use one of mean, last"),
        (["a", ""], {}, "a text of 0 tokens cannot be embedded; 1 to 512 can"),
        (["a" * 513], {}, "a text of 513 tokens cannot be embedded"),
        (["a" * 511], {}, r"but the KV cache has \d+; shorten"),
    ],
)
def test_texts_that_cannot_be_embedded_are_refused(engine, texts, options, message) -> None:
    with pytest.raises(RequestError, match=message):
        engine.embed(texts, **options)
    assert engine.embed([]).shape == (0, 0)
