"""What is wrong is refused in OpenAI's shape, and a request that fails or goes away harms no other."""

import json
import socket
import threading

import httpx
import pytest

from weightwright.engine.text import TextStream
from weightwright.errors import RequestError
from weightwright.ports import ChatRequest, Reply, SamplingParams
from weightwright.serve.offers import Offer

TURNS = [{"role": "user", "content": "Hello"}]
JSON = {"content-type": "application/json"}
IMAGE = [{"type": "image_url"}]


@pytest.fixture(scope="module")
def url(serving, engine) -> str:
    return serving([Offer("tiny", engine)])


@pytest.mark.parametrize(
    ("fields", "message", "param"),
    [
        ({"presence_penalty": 3}, "presence_penalty: Input should be less than or equal to 2", "presence_penalty"),
        ({"top_k": -2}, "top_k: Input should be greater than or equal to -1 (got -2)", "top_k"),
        ({"stop": 5}, "stop: Input should be a valid list (got 5)", "stop"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x: Input should be a valid integer", "logit_bias.x"),
        ({"logit_bias": {"5": 300}}, "bias 300.0 of token 5 must lie between -100 and 100", "logit_bias"),
        ({"logit_bias": {"9999": 1}}, "9999, which is outside the vocabulary of 259 tokens", None),
        ({"min_tokens": 99}, "min_tokens=99 is above max_tokens=12; raise max_tokens", None),
        ({"n": 500}, "n: Input should be less than or equal to 128 (got 500)", "n"),
        ({"best_of": 2, "temperature": 0}, "best_of=2 at temperature 0 makes the same text", None),
        ({"use_beam_search": True}, "use_beam_search with 1 beam searches nothing; set best_of", None),
        ({"guided_regex": "a", "guided_choice": ["b"]}, "guided_regex and guided_choice exclude", "guided_regex"),
        ({"guided_choice": []}, "guided_choice: choice=[] must hold at least one text", "guided_choice"),
        ({"guided_json": "{"}, "guided_json: the JSON schema is not JSON", "guided_json"),
        ({"guided_grammar": "root ::= x"}, "it looks like GBNF", None),
        ({"structured_outputs": {"nope": 1}}, "structured_outputs.nope is not supported", "structured_outputs.nope"),
        ({"response_format": {"type": "xml"}}, "'json_object' or 'json_schema' (got 'xml')", "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "without json_schema", "response_format"),
        ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs=1 cannot be streamed; set stream to false", None),
        ({"top_logprobs": 3}, "top_logprobs=3 needs logprobs; set it to true", None),
        ({"chat_template_kwargs": {"chat_template": "x"}}, "chat_template_kwargs cannot set chat_template", None),
        ({"use_beam_search": True, "n": 2, "length_penalty": 1e6}, "equal to 10 (got 1000000.0)", "length_penalty"),
        ({"bad_words": ["a\ud83d"]}, r"holds '\ud83d', half of a surrogate pair; send the whole", None),
        ({"messages": [{"role": "user", "content": IMAGE}]}, "type 'image_url' cannot be read", "messages.0.content"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_value_limit_and_remedy(
    url: str, fields: dict, message: str, param: str | None
) -> None:
    body = {"model": "tiny", "messages": TURNS, "max_tokens": 12, **fields}
    response = httpx.post(f"{url}/v1/chat/completions", content=json.dumps(body), headers=JSON, timeout=None)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert message in error["message"]


def test_a_body_that_is_no_json_object_says_so(url: str) -> None:
    def said(**body) -> str:
        return httpx.post(f"{url}/v1/completions", **body, timeout=None).json()["error"]["message"]

    assert said(json=[1]) == "the body is not a JSON object; send one, with Content-Type: application/json"
    assert said(content=b"{", headers={"content-type": "application/json"}).startswith(
        "the body is not JSON: "
    )
    assert said(json={"model": "tiny", "prompt": [1, "a"]}).startswith(
        "prompt must be a text, a list of texts"
    )


def test_a_request_that_fails_fails_alone(url: str, engine) -> None:
    """Beside one that breaks in the middle of its grammar another goes on undisturbed."""
    body = {"model": "tiny", "prompt": "Hello", "temperature": 0, "max_tokens": 60, "ignore_eos": True}
    with httpx.stream("POST", f"{url}/v1/completions", json={**body, "stream": True}, timeout=None) as stream:
        lines = stream.iter_lines()
        first = next(line for line in lines if line)
        stuck = {"allowed_token_ids": [65], "bad_words": ["b"]}
        failed = httpx.post(f"{url}/v1/completions", json=body | stuck, timeout=None)
        events = [first, *(line for line in lines if line)]
    assert failed.status_code == 400
    assert "no token is allowed" in failed.json()["error"]["message"]
    assert events[-1] == "data: [DONE]"
    texts = (json.loads(line.removeprefix("data: "))["choices"][0]["text"] for line in events[:-1])
    params = SamplingParams(temperature=0, max_tokens=60, ignore_eos=True)
    alone = engine.submit(ChatRequest(prompt="Hello", params=params)).result()
    assert "".join(texts) == alone.text


class Half:
    """A Chat that fails the prompt "bad" and never ends the others."""

    def __init__(self) -> None:
        self.cancelled: list[str | None] = []

    def submit(self, request: ChatRequest) -> Reply:
        reply = Reply(on_cancel=lambda: self.cancelled.append(request.prompt))
        if request.prompt == "bad":
            reply.fail(RequestError("a bad prompt"))
        elif request.prompt == "worse":
            raise ZeroDivisionError("not ours")
        return reply


@pytest.mark.parametrize("stream", [False, True])
def test_a_failed_prompt_ends_the_others_of_its_request(serving, stream: bool) -> None:
    half = Half()
    url = serving([Offer("half", half)])
    body = {"model": "half", "prompt": ["good", "bad"], "stream": stream}
    response = httpx.post(f"{url}/v1/completions", json=body, timeout=None)
    assert (response.status_code, response.json()["error"]["message"]) == (400, "a bad prompt")
    assert "good" in half.cancelled


class Late:
    """A Chat that says nothing, as one that picks the best of several does until its end."""

    def __init__(self) -> None:
        self.arrived, self.cancelled = threading.Event(), threading.Event()

    def submit(self, request: ChatRequest) -> Reply:
        self.reply = Reply(on_cancel=self.cancelled.set)
        self.arrived.set()
        return self.reply


@pytest.mark.parametrize("route", ["chat/completions", "completions"])
def test_a_client_that_goes_away_before_the_first_event_ends_its_request(serving, route: str) -> None:
    late = Late()
    url = httpx.URL(serving([Offer("late", late)]))
    fields = {"messages": TURNS} if route == "chat/completions" else {"prompt": "x"}
    body = json.dumps({"model": "late", "stream": True, **fields})
    head = f"POST /v1/{route} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        late.arrived.wait()
        assert not late.cancelled.is_set()
    try:
        late.cancelled.wait()
    finally:
        late.reply.fail(RequestError("over"))  # else a server that did not notice would never stop


def test_a_fault_of_ours_has_openais_shape_too(serving) -> None:
    url = serving([Offer("half", Half())])
    response = httpx.post(f"{url}/v1/completions", json={"model": "half", "prompt": "worse"}, timeout=None)
    assert response.status_code == 500
    assert response.json()["error"] == {
        "message": "the server failed (ZeroDivisionError); its log says more",
        "type": "server_error",
        "param": None,
        "code": None,
    }


def test_a_request_that_breaks_the_engine_is_the_servers_fault(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TextStream, "push", lambda *_: 1 / 0)
    response = httpx.post(f"{url}/v1/completions", json={"model": "tiny", "prompt": "worse"}, timeout=None)
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "the request failed: division by zero"
    assert response.json()["error"]["type"] == "server_error"
