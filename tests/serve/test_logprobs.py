"""Log-probabilities in OpenAI's two shapes, the prompt's own, and prompts echoed."""

import json

import httpx
import openai
import pytest

from weightwright.ports import ChatRequest, Message, SamplingParams, TokenLogprob
from weightwright.serve.offers import Offer
from weightwright.wire.openai import logprobs

TURNS = [{"role": "user", "content": "Hello"}]
GREEDY = {"model": "tiny", "temperature": 0, "max_tokens": 6}
EXTRA = {"ignore_eos": True}


def label(spelt: bytes) -> str:
    """A token as /v1/completions names it: OpenAI's spelling of what is no text."""
    try:
        return spelt.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelt)


class WithoutTokenizer:
    """The engine as a Chat elsewhere would be: nobody can make texts of its tokens."""

    def __init__(self, engine) -> None:
        self.submit = engine.submit


@pytest.fixture(scope="module")
def client(serving, engine):
    url = serving([Offer("tiny", engine), Offer("far", WithoutTokenizer(engine))])
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


@pytest.fixture(scope="module")
def known(engine):
    """What the engine says of the prompt "Hello" and of what follows."""
    params = SamplingParams(max_tokens=6, temperature=0, ignore_eos=True, logprobs=3, prompt_logprobs=3)
    return engine.submit(ChatRequest(prompt="Hello", params=params)).result()


def test_a_chats_logprobs_are_the_engines(client, engine) -> None:
    answer = client.chat.completions.create(
        messages=TURNS, logprobs=True, top_logprobs=2, **GREEDY, extra_body=EXTRA
    )
    params = SamplingParams(max_tokens=6, temperature=0, ignore_eos=True, logprobs=2)
    request = ChatRequest(messages=(Message("user", "Hello"),), params=params)
    expected = engine.submit(request).result().completions[0].logprobs
    content = answer.choices[0].logprobs.content
    assert [one.token for one in content] == [p.text for p in expected]
    assert [one.logprob for one in content] == pytest.approx([p.logprob for p in expected], abs=1e-4)
    assert [bytes(one.bytes) for one in content] == [p.bytes for p in expected]
    assert [[t.token for t in one.top_logprobs] for one in content] == [
        [text for _, text, _ in p.top] for p in expected
    ]
    bare = client.chat.completions.create(messages=TURNS, logprobs=True, **GREEDY, extra_body=EXTRA)
    assert [one.top_logprobs for one in bare.choices[0].logprobs.content] == [[]] * 6


def test_a_completions_logprobs_are_the_engines_and_the_same_streamed(client, known) -> None:
    whole = client.completions.create(prompt="Hello", logprobs=3, **GREEDY, extra_body=EXTRA).choices[0]
    expected = known.completions[0].logprobs
    assert whole.logprobs.tokens == [label(p.bytes) for p in expected]
    assert whole.logprobs.token_logprobs == pytest.approx([p.logprob for p in expected], abs=1e-4)
    for token, top, p in zip(whole.logprobs.tokens, whole.logprobs.top_logprobs, expected, strict=True):
        assert token in top
        assert {label(spelt) for spelt in (*p.top_bytes, p.bytes)} == set(top)
    written = [b"".join(p.bytes for p in expected[:i]).decode(errors="ignore") for i in range(6)]
    assert whole.logprobs.text_offset == [len(text) for text in written]
    chunks = list(
        client.completions.create(prompt="Hello", logprobs=3, stream=True, **GREEDY, extra_body=EXTRA)
    )
    found = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    assert [token for one in found for token in one.tokens] == whole.logprobs.tokens
    assert [offset for one in found for offset in one.text_offset] == whole.logprobs.text_offset


def test_the_chosen_token_is_shown_without_alternatives_too(client) -> None:
    """As vLLM and OpenAI do it; lm-eval looks for the greedy token there."""
    found = (
        client.completions.create(prompt="Hello", logprobs=0, **GREEDY, extra_body=EXTRA).choices[0].logprobs
    )
    assert [list(top) for top in found.top_logprobs] == [[token] for token in found.tokens]


def test_an_echo_has_the_prompt_and_its_logprobs_in_front(client, known) -> None:
    asked = {"prompt": "Hello", "echo": True, **GREEDY, "extra_body": EXTRA}
    choice = client.completions.create(logprobs=1, **asked).choices[0]
    assert choice.text == "Hello" + known.completions[0].text
    assert choice.logprobs.tokens[:5] == list("Hello")
    assert len(choice.logprobs.tokens) == 5 + 6
    assert choice.logprobs.token_logprobs[0] is None
    assert choice.logprobs.top_logprobs[0] is None
    expected = [p.logprob for p in (*known.prompt_logprobs[1:], *known.completions[0].logprobs)]
    assert choice.logprobs.token_logprobs[1:] == pytest.approx(expected, abs=1e-4)
    assert choice.logprobs.text_offset[:7] == [
        0,
        1,
        2,
        3,
        4,
        5,
        5 + len(known.completions[0].logprobs[0].text),
    ]
    plain = list(client.completions.create(stream=True, **asked))
    assert plain[0].choices[0].text.startswith("Hello")
    assert "".join(chunk.choices[0].text for chunk in plain) == choice.text
    late = list(client.completions.create(stream=True, logprobs=1, **asked))
    assert "".join(chunk.choices[0].text for chunk in late) == choice.text
    assert late[0].choices[0].logprobs.tokens == choice.logprobs.tokens


@pytest.mark.parametrize("stream", [False, True])
def test_an_echo_of_no_new_tokens_is_the_prompt_alone(client, stream: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if stream else {}
    answer = client.completions.create(
        model="tiny",
        prompt=["Hello", [72, 72]],
        echo=True,
        max_tokens=0,
        logprobs=0,
        n=2,
        stream=stream,
        **options,
    )
    parts = list(answer) if stream else [answer]
    choices = [choice for part in parts for choice in part.choices]
    assert [choice.index for choice in choices] == [0, 1, 2, 3]
    assert choices[0].text == choices[1].text == "Hello"
    assert [len(choice.logprobs.tokens) for choice in choices] == [5, 5, 2, 2]
    assert choices[2].text == "".join(choices[2].logprobs.tokens)
    assert {choice.finish_reason for choice in choices} == {"length"}
    assert (parts[-1].usage.prompt_tokens, parts[-1].usage.completion_tokens) == (7, 0)


def test_an_echo_that_nobody_can_spell_is_refused(client) -> None:
    assert (
        client.completions.create(model="far", prompt="Hello", echo=True).choices[0].text.startswith("Hello")
    )
    for change in ({"prompt": [72]}, {"logprobs": 1}):
        asked = {"model": "far", "prompt": "Hello", "echo": True, **change}
        with pytest.raises(
            openai.BadRequestError, match="needs a model in the server's own process; leave out"
        ):
            client.completions.create(**asked)
    with pytest.raises(openai.BadRequestError, match=r"max_tokens: .*greater than or equal to 1"):
        client.completions.create(model="tiny", prompt="Hello", max_tokens=0)


def test_prompt_logprobs_have_vllms_shape(client, known) -> None:
    extra = {"prompt_logprobs": 2, **EXTRA}
    completion = client.completions.create(prompt="Hello", **GREEDY, extra_body=extra)
    found = completion.choices[0].model_extra["prompt_logprobs"]
    assert found[0] is None
    for by_id, p in zip(found[1:], known.prompt_logprobs[1:], strict=True):
        own = by_id[next(iter(by_id))]
        assert next(iter(by_id)) == str(p.token_id)
        assert (own["decoded_token"], own["rank"]) == (p.text, p.rank)
        assert own["logprob"] == pytest.approx(p.logprob, abs=1e-4)
        assert set(by_id) == {str(p.token_id), *(str(token) for token, _, _ in p.top[:2])}
        assert sorted(one["rank"] for one in by_id.values())[:2] == [1, 2]
    chat = client.chat.completions.create(messages=TURNS, **GREEDY, extra_body=extra)
    assert len(chat.model_extra["prompt_logprobs"]) == chat.usage.prompt_tokens
    assert "prompt_logprobs" not in client.chat.completions.create(messages=TURNS, **GREEDY).model_extra


def test_the_usage_counts_what_was_in_the_cache(client) -> None:
    def cached(**asked) -> list[int]:
        answer = client.chat.completions.create(**GREEDY, **asked)
        usage = list(answer)[-1].usage if asked.get("stream") else answer.usage
        return [usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens]

    turns = [{"role": "user", "content": "An early prefix, long enough for some blocks. " * 4}]
    prompt_tokens, first = cached(messages=turns)
    assert first == 0
    again, second = cached(messages=turns)
    assert again == prompt_tokens
    assert prompt_tokens // 2 < second < prompt_tokens
    streamed = cached(messages=turns, stream=True, stream_options={"include_usage": True})
    assert streamed == [prompt_tokens, second]
    prompt = "Another prefix, which completions have in common. " * 3
    client.completions.create(prompt=prompt, **GREEDY)
    both = client.completions.create(prompt=[prompt, prompt], **GREEDY).usage
    assert both.prompt_tokens == 2 * len(prompt)
    assert len(prompt) < both.prompt_tokens_details.cached_tokens < 2 * len(prompt)


def test_only_the_last_chunk_has_the_usage(client) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}, "extra_body": EXTRA}
    for chunks in (
        list(client.chat.completions.create(messages=TURNS, **GREEDY, **options)),
        list(client.completions.create(prompt="Hello", **GREEDY, **options)),
    ):
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens == 6
        assert {chunk.usage for chunk in chunks[:-1]} == {None}


def test_a_choice_says_what_stopped_it(client) -> None:
    extra = {"logit_bias": {"65": 100.0}}
    chat = client.chat.completions.create(messages=TURNS, stop=["bb"], **GREEDY, extra_body=extra).choices[0]
    assert (chat.finish_reason, chat.model_extra["stop_reason"]) == ("stop", "bb")
    text = client.completions.create(
        prompt="x", **GREEDY, extra_body=extra | {"stop_token_ids": [65]}
    ).choices[0]
    assert (text.finish_reason, text.model_extra["stop_reason"]) == ("stop", 65)


def test_the_raw_json_has_no_thought_where_none_was(client, known) -> None:
    response = httpx.post(
        f"{client.base_url}chat/completions", json={**GREEDY, "messages": TURNS}, timeout=None
    ).json()
    assert response["choices"][0]["message"].keys() == {"role", "content", "refusal"}


def test_what_cannot_come_has_a_number_that_json_can_carry() -> None:
    never = TokenLogprob(5, "x", float("-inf"), ((6, "y", float("-inf")),), rank=9)
    for shape in (
        logprobs.write_chat([never]),
        logprobs.write_text([never], 1, logprobs.Places()),
        logprobs.write_prompt([None, never], 1),
    ):
        assert "-9999.0" in json.dumps(shape, allow_nan=False)
