"""The key before every route, limits, and the refusal of a public address without a key."""

import threading

import httpx
import pytest
from pydantic import ValidationError

from weightwright.ports import ChatRequest, Piece, Reply, Usage
from weightwright.serve.offers import Offer
from weightwright.serve.settings import ServeSettings, is_loopback

BODY = {"model": "slow", "messages": [{"role": "user", "content": "x"}]}


class Slow:
    """A Chat whose replies end when the test says so."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.arrived = threading.Semaphore(0)

    def submit(self, request: ChatRequest) -> Reply:
        self.replies.append(Reply())
        self.arrived.release()
        return self.replies[-1]


def test_every_route_but_health_needs_the_key(serving) -> None:
    url = serving([Offer("slow", Slow())], api_key="secret")
    assert httpx.get(f"{url}/health", timeout=None).json() == {"status": "ok"}
    for path in ("/v1/models", "/docs", "/openapi.json", "/nope"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
            refused = httpx.get(url + path, headers=headers, timeout=None)
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "invalid_api_key"
    assert (
        httpx.get(f"{url}/v1/models", headers={"Authorization": "Bearer secret"}, timeout=None).status_code
        == 200
    )


def test_more_requests_than_the_limit_get_503(serving) -> None:
    slow = Slow()
    url = serving([Offer("slow", slow)], max_waiting=1)
    answers: list[httpx.Response] = []
    first = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{url}/v1/chat/completions", json=BODY, timeout=None))
    )
    first.start()
    slow.arrived.acquire()
    refused = httpx.post(f"{url}/v1/chat/completions", json=BODY, timeout=None)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    slow.replies[0].push(Piece(0, "done", finish_reason="stop"))
    slow.replies[0].finish(Usage(1, 1))
    first.join()
    assert answers[0].json()["choices"][0]["message"]["content"] == "done"
    assert httpx.get(f"{url}/v1/models", timeout=None).status_code == 200


def test_a_body_that_is_too_large_is_refused_declared_or_not(serving, monkeypatch) -> None:
    monkeypatch.setattr("weightwright.serve.guard.MAX_BODY_BYTES", 1000)
    url = serving([Offer("slow", Slow())])
    large = {"model": "slow", "messages": [{"role": "user", "content": "x" * 2000}]}
    assert httpx.post(f"{url}/v1/chat/completions", json=large, timeout=None).status_code == 413
    undeclared = httpx.post(
        f"{url}/v1/chat/completions", content=iter([b"x" * 600, b"y" * 600]), timeout=None
    )
    assert undeclared.status_code == 413


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_a_public_address_needs_a_key(host: str) -> None:
    with pytest.raises(ValidationError, match="can be reached from other machines; set api_key"):
        ServeSettings(model="x", host=host)
    assert ServeSettings(model="x", host=host, api_key="k").host == host


def test_loopback_is_recognised() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.3.4.5", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "localhost.example.org", "10.0.0.1")))
