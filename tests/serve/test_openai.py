"""The server through the official client, and by hand where the client would not send what is sent here."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from weightwright.engine.engine import Engine
from weightwright.ports import ChatRequest, Message, SamplingParams
from weightwright.serve.offers import Offer

TURNS = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "now", "parameters": {}}}


@pytest.fixture(scope="module")
def url(serving, engine) -> str:
    return serving([Offer("tiny", engine)])


@pytest.fixture(scope="module")
def client(url: str):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def direct(engine: Engine, n: int, **params) -> str:
    request = ChatRequest(
        messages=(Message("user", "Hello"),),
        params=SamplingParams(max_tokens=n, temperature=0, ignore_eos=True, **params),
    )
    return engine.submit(request).result().text


def test_models_are_listed_and_found(client) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "weightwright"
    with pytest.raises(openai.NotFoundError, match="did you mean tiny"):
        client.models.retrieve("tinny")


def test_models_and_health_are_found_as_watchers_and_clients_ask(url: str) -> None:
    """Some write a slash at the end; what watches a server often asks for the head alone."""
    assert httpx.get(f"{url}/v1/models/").json() == httpx.get(f"{url}/v1/models").json()
    for path in ("/health", "/v1/models"):
        head = httpx.head(url + path)
        assert (head.status_code, head.content) == (200, b"")


def test_a_chat_completion_is_the_engines_answer(client, engine) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=TURNS, temperature=0, max_tokens=12, extra_body={"ignore_eos": True}
    )
    assert answer.choices[0].message.content == direct(engine, 12)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12


def test_a_stream_joins_to_the_same_answer_and_ends_with_the_usage(client, engine) -> None:
    chunks = list(
        client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
            temperature=0,
            max_completion_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content for c in chunks if c.choices) == direct(engine, 12)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert chunks[-1].usage.completion_tokens == 12


def test_completions_take_several_prompts_as_text_or_tokens(client, engine) -> None:
    options = {"model": "tiny", "temperature": 0, "max_tokens": 6, "extra_body": {"ignore_eos": True}}
    both = client.completions.create(prompt=["Hello", "a"], logprobs=1, **options)
    tokens = client.completions.create(prompt=engine.tokenizer.encode("Hello"), **options)
    assert [c.index for c in both.choices] == [0, 1]
    assert tokens.choices[0].text == both.choices[0].text
    assert len(both.choices[0].logprobs.tokens) == 6
    streamed = list(client.completions.create(prompt=["Hello", "a"], stream=True, **options))
    for number in (0, 1):
        text = "".join(c.choices[0].text for c in streamed if c.choices[0].index == number)
        assert text == both.choices[number].text


def test_sampling_with_a_seed_is_repeatable_and_n_gives_choices(client) -> None:
    def ask():
        answer = client.chat.completions.create(
            model="tiny", messages=TURNS, seed=5, n=3, max_tokens=8, logprobs=True, top_logprobs=2
        )
        return [choice.message.content for choice in answer.choices], answer.choices[0].logprobs

    first, logprobs = ask()
    assert ask()[0] == first
    assert len(set(first)) == 3
    assert len(logprobs.content[0].top_logprobs) == 2


def test_sixteen_streams_interleave(client) -> None:
    """The last stream's first token comes before the first stream's end."""
    begun = threading.Barrier(16)
    events: list[tuple[int, str]] = []

    def one(number: int) -> None:
        begun.wait()
        stream = client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": f"Hello {number}"}],
            temperature=0,
            max_tokens=120,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        for chunk in stream:
            events.append((number, chunk.choices[0].finish_reason or "token"))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(16)))
    first_end = next(i for i, (_, what) in enumerate(events) if what == "length")
    assert {number for number, _ in events[:first_end]} == set(range(16))


def test_a_client_that_goes_away_frees_its_row(url: str, engine, monkeypatch: pytest.MonkeyPatch) -> None:
    take, steps, gone = engine._completions.take, [], threading.Event()

    def held(*arguments) -> None:
        steps.append(1)
        if len(steps) == 2:  # on the engine's thread: the answer cannot end before its reader goes
            gone.wait()
        take(*arguments)

    monkeypatch.setattr(engine._completions, "take", held)
    body = {"model": "tiny", "messages": TURNS, "max_tokens": 450, "ignore_eos": True, "stream": True}
    try:
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=None) as response:
            next(response.iter_lines())
            (request,) = engine._completions._requests
    finally:
        gone.set()
    ended = threading.Event()
    request.reply.on_end(lambda _: ended.set())
    ended.wait()
    assert request.candidates[0].finish_reason == "cancelled"


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"model": "nope"}, 404, "there is no model 'nope' here; known: tiny"),
        ({"messages": []}, 400, "messages: List should have at least 1 item"),
        ({"temperature": -1}, 400, "temperature: Input should be greater than or equal to 0"),
        ({"temprature": 1}, 400, "temprature is not supported"),
        ({"max_tokens": 5000}, 400, "do not fit into the context of 512 tokens"),
        ({"tools": [{"type": "function"}]}, 400, "tools.0.function: Field required"),
        ({"tools": [TOOL]}, 400, "tools: calls are not read out of answers; set tool_choice to 'none'"),
    ],
)
def test_a_wrong_request_gets_an_openai_error(url: str, change: dict, status: int, message: str) -> None:
    for stream in (False, True):
        body = {"model": "tiny", "messages": TURNS, "stream": stream} | change
        response = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=None)
        assert response.status_code == status
        error = response.json()["error"]
        assert message in error["message"]
        assert error["type"] == "invalid_request_error"


def test_what_is_no_json_or_no_route_gets_an_openai_error(url: str) -> None:
    assert httpx.post(f"{url}/v1/chat/completions", content=b"{", timeout=None).json()["error"]["type"]
    assert httpx.get(f"{url}/nope", timeout=None).json()["error"]["message"] == "Not Found"
