"""The engine against transformers' own generation, and what many requests at once must not change."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from weightwright.engine.engine import Engine
from weightwright.engine.settings import EngineSettings
from weightwright.engine.text import TextStream
from weightwright.errors import EngineError, ModelError, RequestError
from weightwright.ports import ChatRequest, Message, Piece, SamplingParams, StructuredOutputs
from weightwright.testing.models import tiny_llama
from weightwright.weights.load import load

PROMPTS = ["Hello", "The quick brown fox jumps over", "a", "Zwölf Boxkämpfer jagen Viktor", "你好，世界"]
GREEDY = SamplingParams(max_tokens=24, temperature=0, ignore_eos=True)


@pytest.fixture(scope="module")
def lora(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random rank-4 adapter for the tiny model, in PEFT's format."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def engine(tiny_model: Path, lora: Path) -> Iterator[Engine]:
    opened = Engine(
        load(str(tiny_model), precision="f32"),
        adapters={"one": lora},
        settings=EngineSettings(max_sequences=4, step_tokens=64),
    )
    yield opened
    opened.close()


def reference(folder: Path, prompt: str, adapter: Path | None = None) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(folder)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    ids = AutoTokenizer.from_pretrained(folder)(prompt, return_tensors="pt")
    out = model.generate(**ids, do_sample=False, max_new_tokens=24, eos_token_id=None, pad_token_id=0)
    return out[0, ids["input_ids"].shape[1] :].tolist()


def test_batched_greedy_equals_transformers_one_by_one(engine: Engine, tiny_model: Path, lora: Path) -> None:
    requests = [ChatRequest(prompt=p, params=GREEDY) for p in PROMPTS]
    requests += [ChatRequest(prompt=p, adapter="one", params=GREEDY) for p in PROMPTS]
    replies = [engine.submit(request) for request in requests]
    got = [list(reply.result().completions[0].token_ids) for reply in replies]
    expected = [reference(tiny_model, p) for p in PROMPTS] + [reference(tiny_model, p, lora) for p in PROMPTS]
    assert got == expected
    assert got[: len(PROMPTS)] != got[len(PROMPTS) :]


def test_rows_that_leave_at_different_times_leave_the_others_as_they_are(
    engine: Engine, tiny_model: Path
) -> None:
    """The longest row ends first, so its neighbours lose padding that they share, and nothing else."""
    lengths = {PROMPTS[1]: 2, PROMPTS[0]: 24, PROMPTS[2]: 9, PROMPTS[3]: 5, PROMPTS[4]: 24}
    replies = {
        p: engine.submit(ChatRequest(prompt=p, params=GREEDY.model_copy(update={"max_tokens": n})))
        for p, n in lengths.items()
    }
    for prompt, n in lengths.items():
        assert list(replies[prompt].result().completions[0].token_ids) == reference(tiny_model, prompt)[:n]


def test_a_seeded_sample_does_not_depend_on_what_runs_beside_it(engine: Engine) -> None:
    params = SamplingParams(max_tokens=20, temperature=1.0, top_p=0.9, top_k=50, seed=7, ignore_eos=True)
    alone = engine.submit(ChatRequest(prompt="Hello", params=params)).result()
    others = [engine.submit(ChatRequest(prompt=p, params=SamplingParams(max_tokens=30))) for p in PROMPTS]
    beside = engine.submit(ChatRequest(prompt="Hello", params=params)).result()
    assert beside.completions[0].token_ids == alone.completions[0].token_ids
    for other in others:
        other.result()


def test_n_completions_have_their_own_indices_and_differ(engine: Engine) -> None:
    params = SamplingParams(max_tokens=12, n=3, seed=1, ignore_eos=True)
    result = engine.submit(ChatRequest(prompt="Hello", params=params)).result()
    assert [c.index for c in result.completions] == [0, 1, 2]
    assert len({c.token_ids for c in result.completions}) == 3
    assert result.usage.completion_tokens == 36


def test_the_last_stream_begins_before_the_first_ends(engine: Engine) -> None:
    params = SamplingParams(max_tokens=40, temperature=0, ignore_eos=True)
    order: list[tuple[int, str]] = []
    replies = [engine.submit(ChatRequest(prompt=p, params=params)) for p in PROMPTS[:4]]
    for number, reply in enumerate(replies):
        reply.on_piece(lambda piece, n=number: order.append((n, piece.finish_reason or "")))
    for reply in replies:
        reply.result()
    first_end = next(i for i, (_, reason) in enumerate(order) if reason)
    assert {n for n, _ in order[:first_end]} == {0, 1, 2, 3}


def test_cancelling_ends_one_request_and_frees_its_row(engine: Engine) -> None:
    long = SamplingParams(max_tokens=400, temperature=0, ignore_eos=True)
    begun, go_on = threading.Event(), threading.Event()
    reply = engine.submit(ChatRequest(prompt="Hello", params=long))
    reply.on_piece(lambda _: (begun.set(), go_on.wait()))  # the engine's thread waits at the first token
    begun.wait()
    reply.cancel()
    go_on.set()
    result = reply.result()
    assert result.completions[0].finish_reason == "cancelled"
    assert 0 < len(result.completions[0].token_ids) < 400
    engine.score("a", ["b"])  # runs in the engine's thread, after the row was dropped
    stats = engine.stats
    assert (stats.running, stats.waiting, stats.free_blocks) == (0, 0, stats.blocks)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ChatRequest(prompt="x" * 600), "600 prompt tokens do not fit into the context of 512"),
        (ChatRequest(prompt="x" * 500), "500 prompt \\+ 16 new tokens do not fit"),
        (ChatRequest(prompt=""), "prompt is empty"),
        (ChatRequest(prompt_token_ids=(5, 99999)), "token id 99999 is outside the vocabulary"),
        (ChatRequest(prompt="x", adapter="two"), "no adapter 'two'; adapters: one"),
        (ChatRequest(prompt="half \ud83d"), "half of a surrogate pair"),
        (ChatRequest(messages=(Message("user", "half \ud83d"),)), "half of a surrogate pair"),
        (
            ChatRequest(messages=(Message("user", "x"),), template_options={"tokenize": True}),
            "the chat template is given tokenize by us",
        ),
    ],
)
def test_a_wrong_request_fails_alone(engine: Engine, request_: ChatRequest, message: str) -> None:
    good = engine.submit(ChatRequest(prompt="Hello", params=GREEDY))
    with pytest.raises(RequestError, match=message):
        engine.submit(request_).result()
    assert len(good.result().completions[0].token_ids) == 24


def test_a_row_that_breaks_breaks_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    push = TextStream.push

    def broken(stream: TextStream, token: int) -> str:
        if stream._stop == ("break",):
            raise ZeroDivisionError("broken")
        return push(stream, token)

    monkeypatch.setattr(TextStream, "push", broken)
    bad = engine.submit(ChatRequest(prompt="Hello", params=GREEDY.model_copy(update={"stop": ("break",)})))
    good = engine.submit(ChatRequest(prompt="Hello", params=GREEDY))
    with pytest.raises(EngineError, match="the request failed: broken"):
        bad.result()
    assert len(good.result().completions[0].token_ids) == 24
    engine.score("a", ["b"])
    assert engine.stats.free_blocks == engine.stats.blocks


def test_beams_do_not_end_before_min_tokens(engine: Engine) -> None:
    beams = SamplingParams(use_beam_search=True, best_of=3, n=3, temperature=0, max_tokens=9)
    free = engine.submit(ChatRequest(prompt="Hello", params=beams)).result()
    end = free.completions[0].token_ids[1]
    stopping = beams.model_copy(update={"stop_token_ids": (end,)})
    early = engine.submit(ChatRequest(prompt="Hello", params=stopping)).result()
    assert any(len(completion.token_ids) < 6 for completion in early.completions)
    held = engine.submit(
        ChatRequest(prompt="Hello", params=stopping.model_copy(update={"min_tokens": 6}))
    ).result()
    assert all(
        len(completion.token_ids) > 6 or completion.finish_reason == "length"
        for completion in held.completions
    )
    assert all(end not in completion.token_ids[:6] for completion in held.completions)


def test_messages_go_through_the_template(engine: Engine) -> None:
    turns = (Message("user", "Hello"),)
    by_template = engine.submit(ChatRequest(messages=turns, params=GREEDY)).result()
    written = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    by_hand = engine.submit(ChatRequest(prompt=written, params=GREEDY)).result()
    assert by_template.completions == by_hand.completions
    assert by_template.usage.prompt_tokens == by_hand.usage.prompt_tokens
    assert by_hand.usage.cached_tokens == 16  # the block that both begin with


def test_stop_token_and_stop_text_end_a_completion(engine: Engine) -> None:
    free = engine.submit(ChatRequest(prompt="Hello", params=GREEDY)).result().completions[0]
    token = free.token_ids[5]
    first = free.token_ids.index(token)
    params = GREEDY.model_copy(update={"stop_token_ids": (token,)})
    ended = engine.submit(ChatRequest(prompt="Hello", params=params)).result().completions[0]
    assert ended.finish_reason == "stop"
    assert ended.token_ids == free.token_ids[: first + 1]


def test_logprobs_are_those_of_the_model(engine: Engine, tiny_model: Path) -> None:
    params = GREEDY.model_copy(update={"logprobs": 2, "max_tokens": 4})
    shown = engine.submit(ChatRequest(prompt="Hello", params=params)).result().completions[0]
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    ids = AutoTokenizer.from_pretrained(tiny_model)("Hello")["input_ids"]
    with torch.inference_mode():
        logits = model(torch.tensor([ids + list(shown.token_ids)])).logits[0].log_softmax(-1)
    for step, entry in enumerate(shown.logprobs):
        expected = logits[len(ids) - 1 + step]
        assert entry.logprob == pytest.approx(float(expected[entry.token_id]), abs=1e-4)
        assert [t for t, _, _ in entry.top] == expected.topk(2).indices.tolist()


def test_logprobs_of_parts_of_characters_have_their_bytes(engine: Engine) -> None:
    text = "😀é中"
    form = StructuredOutputs(choice=(text,))
    params = SamplingParams(
        temperature=0, max_tokens=20, logprobs=5, prompt_logprobs=5, structured_outputs=form
    )
    result = engine.submit(ChatRequest(prompt=text, params=params)).result()
    (completion,) = result.completions
    assert completion.text == text
    spelt = b"".join(one.bytes for one in completion.logprobs)
    assert spelt.removesuffix(b"<|im_end|>") == text.encode()
    for one in completion.logprobs:
        assert len(set(one.top_bytes)) == len(one.top) == 5
        assert [text for _, text, _ in one.top] == [b.decode(errors="replace") for b in one.top_bytes]
    assert result.prompt_logprobs is not None
    assert b"".join(one.bytes for one in result.prompt_logprobs if one is not None) == text.encode()[1:]


def test_scores_equal_the_sum_of_the_models_logprobs(engine: Engine, tiny_model: Path) -> None:
    scores = engine.score("Hello", [" world", "!", " 世界"])
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    start = len(tokenizer("Hello")["input_ids"])
    for completion, score in zip([" world", "!", " 世界"], scores, strict=True):
        ids = torch.tensor(tokenizer("Hello" + completion)["input_ids"])
        with torch.inference_mode():
            logprobs = model(ids[None]).logits[0].log_softmax(-1)
        expected = sum(float(logprobs[i - 1, ids[i]]) for i in range(start, len(ids)))
        assert score.log_likelihood == pytest.approx(expected, abs=1e-4)
        assert score.tokens == len(ids) - start


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A tiny model whose tokens begin with the space before a word, and end with it where no word follows."""
    folder = tiny_llama(tmp_path_factory.mktemp("words") / "model")
    vocabulary = {
        "<s>": 0,
        "▁": 1,
        "▁is": 2,
        "▁Paris": 3,
        "▁London": 4,
        "▁nice": 5,
        "Paris": 6,
        "</s>": 7,
        "▁Pari": 8,
    }
    inner = Tokenizer(models.Unigram([(piece, -float(len(piece) == 1)) for piece in vocabulary], 0))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    inner.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    opened = Engine(load(str(folder), precision="f32"))
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("prompt", "completions", "tokens"),
    [
        (" is ", ["Paris is nice", "London is nice"], [3, 3]),  # the space is the first token's
        (" is", [" Paris is nice", " London"], [3, 1]),
        (" is ", ["Paris"], [1]),
        (" is Pari", ["s nice"], [2]),  # one word is one token
    ],
)
def test_tokens_across_the_join_are_scored(words: Engine, prompt, completions, tokens) -> None:
    scores = words.score(prompt, completions)
    assert [score.tokens for score in scores] == tokens
    for completion, score in zip(completions, scores, strict=True):
        ids = tuple(words.tokenizer.encode(prompt + completion))
        asked = ChatRequest(prompt_token_ids=ids, params=SamplingParams(max_tokens=1, prompt_logprobs=0))
        known = words.submit(asked).result().prompt_logprobs
        expected = sum(one.logprob for one in known[-score.tokens :])
        assert score.log_likelihood == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("prompt", "completion", "message"),
    [
        (" is", "", "nothing to score: the completion '' adds no token to ' is'"),
    ],
)
def test_a_completion_without_tokens_cannot_be_scored(words: Engine, prompt, completion, message) -> None:
    with pytest.raises(RequestError, match=message):
        words.score(prompt, [completion])


def test_without_a_token_before_it_a_completion_cannot_be_scored(engine: Engine) -> None:
    with pytest.raises(RequestError, match="no token comes before the completion 'a': the prompt is ''"):
        engine.score("", ["a"])


def test_a_model_that_fails_in_a_step_fails_its_requests_and_serves_the_next(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = engine._runner.run
    monkeypatch.setattr(engine._runner, "run", lambda *_: 1 / 0)
    with pytest.raises(EngineError, match="the model failed: division by zero"):
        engine.submit(ChatRequest(prompt="Hello", params=GREEDY)).result()
    monkeypatch.setattr(engine._runner, "run", run)
    assert engine.submit(ChatRequest(prompt="Hello", params=GREEDY)).result().usage.completion_tokens == 24


def test_closing_ends_what_is_under_way(tiny_model: Path) -> None:
    engine = Engine(load(str(tiny_model), precision="f32"))
    begun = threading.Event()

    def held(_: Piece) -> None:
        begun.set()
        while not engine._closed:  # the engine's thread waits at its first token
            os.sched_yield()

    reply = engine.submit(ChatRequest(prompt="x", params=SamplingParams(max_tokens=480, ignore_eos=True)))
    reply.on_piece(held)
    begun.wait()
    engine.close()
    assert reply.result().completions[0].finish_reason == "cancelled"
    with pytest.raises(RequestError, match="closed"):
        engine.submit(ChatRequest(prompt="x")).result()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no adapter_config.json"),
        ({"adapter_config.json": '{"peft_type": "LORA"}'}, "holds no adapter_model.safetensors"),
        ({"adapter_config.json": "[]", "adapter_model.safetensors": ""}, "is not PEFT's"),
        ({"adapter_config.json": '{"peft_type": "IA3"}', "adapter_model.safetensors": ""}, "of kind IA3"),
    ],
)
def test_a_folder_that_is_no_lora_adapter_is_refused(
    tiny_model: Path, tmp_path: Path, files: dict[str, str], message: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ModelError, match=message):
        Engine(load(str(tiny_model), precision="f32"), adapters={"bad": tmp_path})
