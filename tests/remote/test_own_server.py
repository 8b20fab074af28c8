"""RemoteChat against our own server gives what the engine behind it gives."""

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from weightwright.errors import RemoteError
from weightwright.ports import ChatRequest, Message, SamplingParams
from weightwright.remote.chat import RemoteChat

REQUESTS = {
    "chat": {"ignore_eos": True},
    "penalties": {"presence_penalty": 1.5, "frequency_penalty": 1.5, "repetition_penalty": 2.0},
    "n": {"n": 3, "temperature": 1.0, "seed": 5, "top_p": 0.9, "top_k": 50, "min_p": 0.01},
    "best_of": {"n": 2, "best_of": 4, "temperature": 1.0, "seed": 5},
    "beams": {"n": 2, "best_of": 3, "use_beam_search": True, "length_penalty": 0.5, "early_stopping": True},
    "bias": {"logit_bias": {65: 100.0}, "stop": ["bbb"], "include_stop_str_in_output": True},
    "forms": {"structured_outputs": {"choice": ["ab", "cd"]}},
    "logprobs": {"logprobs": 2, "prompt_logprobs": 2},
}


@pytest.fixture(scope="module")
def both(tiny_model) -> Iterator[tuple]:
    from weightwright.engine.engine import Engine
    from weightwright.serve.app import create_app
    from weightwright.serve.offers import Offer, Offers
    from weightwright.serve.settings import ServeSettings
    from weightwright.weights.load import load

    engine = Engine(load(str(tiny_model), precision="f32"))
    app = create_app(Offers([Offer("tiny", engine)]), ServeSettings(model="x"))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    chat = RemoteChat(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", None)
    yield chat, engine
    chat.close()
    server.should_exit = True
    thread.join()
    listening.close()
    engine.close()


@pytest.mark.parametrize("name", REQUESTS)
def test_there_is_here(both: tuple, name: str) -> None:
    chat, engine = both
    params = SamplingParams(**{"max_tokens": 10, "temperature": 0, **REQUESTS[name]})
    for request in (
        ChatRequest(messages=(Message("user", "Hello"),), params=params),
        ChatRequest(prompt="Hello", params=params),
        ChatRequest(prompt_token_ids=(72, 105), params=params),
    ):
        there, here = chat.submit(request).result(), engine.submit(request).result()
        for ours, theirs in zip(here.completions, there.completions, strict=True):
            assert theirs.text == ours.text
            assert theirs.finish_reason == ours.finish_reason
            assert [p.text for p in theirs.logprobs] == [p.text for p in ours.logprobs]
        assert there.usage.prompt_tokens == here.usage.prompt_tokens
        assert there.usage.completion_tokens == here.usage.completion_tokens
        assert _tops(there.prompt_logprobs) == _tops(here.prompt_logprobs)


def _tops(logprobs: tuple | None) -> list | None:
    """Tokens, ranks and alternatives; equal likelihoods may change places."""
    return logprobs and [p and (p.token_id, p.rank, {token for token, *_ in p.top}) for p in logprobs]


def test_a_refusal_there_is_an_error_here(both: tuple) -> None:
    chat, _ = both
    with pytest.raises(RemoteError, match=r"400: .*outside the vocabulary"):
        chat.submit(ChatRequest(prompt="x", params=SamplingParams(logit_bias={9999: 1.0}))).result()
