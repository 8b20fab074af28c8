"""RemoteChat and RemoteEmbedder against a stub that misbehaves."""

import json
import threading

import numpy as np
import pytest

from weightwright.errors import RemoteError
from weightwright.ports import ChatRequest, Message, SamplingParams
from weightwright.remote.chat import RemoteChat
from weightwright.remote.embed import RemoteEmbedder


def events(*chunks: object) -> bytes:
    return b"".join(b"data: " + json.dumps(c).encode() + b"\n\n" for c in chunks) + b"data: [DONE]\n\n"


def chunk(text: str, finish: str | None = None, index: int = 0) -> dict:
    return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]}


ASK = ChatRequest(messages=(Message("user", "Hello"),), params=SamplingParams(max_tokens=8, temperature=0))


def test_a_stream_becomes_pieces_and_usage(chat: RemoteChat, stub) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    stub.answers["/v1/chat/completions"] = 200, events(chunk("Hel"), chunk("lo", "stop"), usage)
    result = chat.submit(ASK).result()
    assert (result.text, result.usage.prompt_tokens) == ("Hello", 3)
    path, body, key = stub.asked[0]
    assert path == "/v1/chat/completions"
    assert body["messages"] == [{"role": "user", "content": "Hello"}]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 8, 0)
    assert "top_k" not in body
    assert key is None


def test_the_key_comes_from_the_environment(stub, monkeypatch) -> None:
    monkeypatch.setenv("WEIGHTWRIGHT_API_KEY", "secret")
    stub.answers["/v1/models"] = 200, {"data": [{"id": "only"}]}
    chat = RemoteChat(stub.url, None)
    assert chat.name == "only"
    assert stub.asked[0][2] == "Bearer secret"
    chat.close()


def test_several_models_need_a_name(stub) -> None:
    stub.answers["/v1/models"] = 200, {"data": [{"id": "a"}, {"id": "b"}]}
    with pytest.raises(RemoteError, match="offers a, b; add '#NAME'"):
        RemoteChat(stub.url, None)


@pytest.mark.parametrize(
    ("status", "answer", "message"),
    [
        (401, {"error": {"message": "no key"}}, "401: no key; set WEIGHTWRIGHT_API_KEY"),
        (404, {"error": {"message": "no model"}}, "404: no model; write the server's model name after '#'"),
        (500, b"<html>oops</html>", "500: <html>oops"),
        (200, events(chunk("Hel")), "ended the stream before the answer's end"),
        (200, b"data: {nonsense\n\n", "does not speak OpenAI's API"),
        (200, events({"error": {"message": "out of memory"}}), "failed: .*out of memory"),
    ],
)
def test_what_goes_wrong_fails_the_reply(chat: RemoteChat, stub, status, answer, message: str) -> None:
    stub.answers["/v1/chat/completions"] = status, answer
    with pytest.raises(RemoteError, match=message):
        chat.submit(ASK).result()


def test_no_server_says_so() -> None:
    chat = RemoteChat("http://127.0.0.1:9/v1", "m")
    with pytest.raises(RemoteError, match=r"no answer from http://127\.0\.0\.1:9/v1 .*is the server running"):
        chat.submit(ASK).result()
    chat.close()


def test_closing_cancels_what_is_under_way(stub) -> None:
    hold, arrived = threading.Event(), threading.Event()

    def wait(_: dict) -> bytes:
        arrived.set()
        hold.wait()
        return events()

    stub.answers["/v1/chat/completions"] = 200, wait
    chat = RemoteChat(stub.url, "m")
    reply = chat.submit(ASK)
    arrived.wait()
    try:
        chat.close()
        assert reply.result().completions[0].finish_reason == "cancelled"
    finally:
        hold.set()


def test_embeddings_are_in_order_and_of_length_one(stub) -> None:
    def vectors(body: dict) -> dict:
        rows = [{"index": i, "embedding": [len(t), 1.0]} for i, t in enumerate(body["input"])]
        return {"data": rows[::-1]}

    stub.answers["/v1/embeddings"] = 200, vectors
    embedder = RemoteEmbedder(stub.url, "e")
    got = embedder.embed(["a" * n for n in range(1, 100)], kind="passage")
    expected = np.array([[n, 1.0] for n in range(1, 100)])
    np.testing.assert_allclose(got, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-6)
    assert (embedder.width, embedder.name) == (2, f"{stub.url}#e")
    assert embedder.embed([], kind="query").shape == (0, 2)
    embedder.close()
