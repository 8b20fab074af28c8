"""OpenAI's protocol keeps the contract, and reads messages as OpenAI and the tools around it send them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given

from weightwright.errors import RequestError
from weightwright.ports import (
    ChatRequest,
    ChatResult,
    Message,
    Piece,
    Reply,
    SamplingParams,
    TokenLogprob,
    ToolCall,
)
from weightwright.testing import wire
from weightwright.wire.openai import client, logprobs, replies
from weightwright.wire.openai.answer import Answer
from weightwright.wire.openai.messages import read_messages, write_message
from weightwright.wire.openai.protocol import OPENAI
from weightwright.wire.openai.requests import ChatCompletionRequest, CompletionRequest
from weightwright.wire.reading import parsed, read

OPEN = SamplingParams(max_tokens=None)
CALL = {"function": {"name": "f"}}


class TestChats(wire.WireContract):
    protocol = OPENAI
    uncarried = frozenset({"ChatRequest.grounding"})  # for a Chat that reads no prompt, in the same process

    def write_request(self, request: ChatRequest) -> dict[str, Any]:
        path, fields = client.write_request(request, wire.BASE)
        assert path == "/chat/completions"
        return fields

    def read_request(self, body: Any) -> ChatRequest:
        asked = read(ChatCompletionRequest, json.dumps(body).encode())
        return asked.request(None if asked.model == wire.BASE else asked.model, OPEN)

    def write_whole(self, result: ChatResult, request: ChatRequest) -> dict[str, Any]:
        return replies.write_chat(result, prompt_logprobs=request.params.prompt_logprobs, ids=True)

    def write_chunks(
        self, pieces: Sequence[Piece], result: ChatResult, request: ChatRequest
    ) -> Iterator[dict[str, Any]]:
        for number, piece in enumerate(pieces):
            beside = replies.prompt_ids(result.prompt_token_ids, ids=True) if not number else {}
            yield {"choices": [replies.write_chat_chunk(piece, first=not number, ids=True)]} | beside
        yield {"choices": [], "usage": replies.write_usage([result.usage])}

    def read(self, events: Sequence[Any], request: ChatRequest) -> Reply:
        answer = Answer(request)
        pieces = [piece for event in events for piece in answer.take(event)]
        return wire.replied(request, pieces, answer.usage, answer.prompt_logprobs, answer.prompt_token_ids)


@wire.FEW
@given(wire.COMPLETIONS)
def test_no_field_of_a_completions_request_is_lost(request_: ChatRequest) -> None:
    path, sent = client.write_request(request_, wire.BASE)
    asked = read(CompletionRequest, json.dumps(sent).encode())
    assert path == "/completions"
    (found,) = asked.requests(None if asked.model == wire.BASE else asked.model, OPEN)
    assert replace(found, grounding=request_.grounding) == request_


EVERYTHING = (
    Message("system", "Be brief.", name="rules"),
    Message("user", "Weather in Oslo?", name="ada"),
    Message("assistant", "", (ToolCall("weather", '{"city": "Oslo"}', "call_1"),), reasoning="I must look."),
    Message("tool", "7 degrees", tool_call_id="call_1"),
    Message("assistant", "7 degrees.", reasoning="It is seven."),
)


def test_every_field_of_a_message_goes_there_and_back() -> None:
    empty = Message("user", "")
    for field in fields(Message):
        assert any(getattr(m, field.name) != getattr(empty, field.name) for m in EVERYTHING), field.name
    sent = json.loads(json.dumps([write_message(message) for message in EVERYTHING]))
    assert read_messages(sent) == EVERYTHING
    assert read_messages(EVERYTHING) == EVERYTHING


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        ({"role": "developer", "content": "x"}, Message("system", "x")),
        ({"role": "user", "content": [{"type": "text", "text": part} for part in "ab"]}, Message("user", "ab")),
        ({"role": "user", "content": ""}, Message("user", "")),
        ({"role": "assistant", "reasoning": "hm", "content": "x"}, Message("assistant", "x", reasoning="hm")),
        ({"role": "assistant", "reasoning_content": "hm", "content": "x"}, Message("assistant", "x", reasoning="hm")),
        (
            {"role": "assistant", "content": "x", "refusal": None, "annotations": [], "audio": None,
             "function_call": None, "tool_calls": None, "name": None, "reasoning_content": None},
            Message("assistant", "x"),
        ),
        ({"role": "assistant", "content": "x", "tool_calls": []}, Message("assistant", "x")),
        (
            {"role": "assistant", "tool_calls": [{"index": 0, "id": "1", "type": "function",
                                                  "function": {"name": "f", "arguments": {"a": "é"}}}]},
            Message("assistant", "", (ToolCall("f", '{"a": "é"}', "1"),)),
        ),
        ({"role": "tool", "content": "x"}, Message("tool", "x")),
    ],
)  # fmt: skip
def test_what_clients_send_is_read(turn: dict, message: Message) -> None:
    assert read_messages([turn]) == (message,)


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ({"role": "user", "text": "x"}, r"messages\.0\.text is not supported; check its name or leave it out"),
        ({"role": "user"}, r"messages\.0: a message of the role 'user' needs content; give it a text"),
        ({"role": "user", "content": None}, r"the role 'user' needs content"),
        ({"role": "user", "content": []}, r"the role 'user' needs content"),
        ({"role": "tool", "content": None, "tool_call_id": "1"}, r"the role 'tool' needs content"),
        ({"role": "assistant", "content": None}, r"the role 'assistant' needs content"),
        ({"role": "bot", "content": "x"}, r"messages\.0\.role: .*'user', 'assistant' or 'tool' \(got 'bot'\)"),
        ({"role": "function", "name": "f", "content": "x"}, r"messages\.0\.role: .*\(got 'function'\)"),
        ({"content": "x"}, r"messages\.0\.role: Field required"),
        ("Hello", r"messages\.0: Input should be a JSON object \(got 'Hello'\)"),
        ({"role": "user", "content": 5}, r"messages\.0\.content: Input should be a valid list \(got 5\)"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "'image_url' cannot be read; send parts of type"),
        ({"role": "user", "content": [{"text": "x"}]}, r"messages\.0\.content\.0\.type: Field required"),
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, "tool_calls belongs to the role 'assistant'"),
        ({"role": "user", "content": "x", "tool_call_id": "1"}, "tool_call_id belongs to the role 'tool', this"),
        ({"role": "user", "content": "x", "reasoning": "hm"}, "reasoning belongs to the role 'assistant'"),
        ({"role": "assistant", "content": "x", "refusal": "no"}, r"messages\.0\.refusal is not supported"),
        ({"role": "assistant", "tool_calls": [{"function": {}}]}, r"tool_calls\.0\.function\.name: Field required"),
        ({"role": "user", "content": "x", "cache_control": {}}, r"messages\.0\.cache_control is not supported"),
    ],
)  # fmt: skip
def test_what_cannot_be_given_to_a_template_is_refused_by_name(turn: Any, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        read_messages([turn])


def test_no_messages_are_refused() -> None:
    with pytest.raises(RequestError, match=r"messages: .*at least 1 item"):
        read_messages([])


def test_null_is_absent_at_every_depth() -> None:
    body = {
        "model": "m", "messages": [{"role": "user", "content": "x"}], "n": None, "temperature": None,
        "stream": None, "stop": None, "logit_bias": None, "tools": None, "tool_choice": None,
        "stream_options": {"include_usage": None, "continuous_usage_stats": True},
        "response_format": {"type": "json_schema", "json_schema": {"schema": {}, "name": None, "strict": None}},
        "chat_template_kwargs": None, "priority": None, "a_field_of_another_server": None,
    }  # fmt: skip
    asked = parsed(ChatCompletionRequest, body)
    assert asked.stream_options.continuous_usage_stats
    assert not asked.stream_options.include_usage
    request = asked.request(None, OPEN)
    assert (request.params.n, request.params.temperature, request.priority) == (1, 1.0, 0)
    forms = {"structured_outputs": {"regex": "a", "json": None, "json_object": None}}
    assert (
        parsed(ChatCompletionRequest, body | {"response_format": None} | forms)
        .request(None, OPEN)
        .params.structured_outputs
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"include_usages": True}, r"stream_options\.include_usages is not supported"),
        ({"include_obfuscation": True}, r"stream_options\.include_obfuscation: Input should be False"),
        ({"continuous_usage_stats": "maybe"}, r"stream_options\.continuous_usage_stats: .*valid boolean"),
        ("usage", r"stream_options: Input should be a JSON object"),
    ],
)
def test_an_option_of_an_option_is_done_or_refused_by_name(options: Any, said: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream_options": options}
    with pytest.raises(RequestError, match=said):
        parsed(ChatCompletionRequest, body)


ANYWAY = {
    "parallel_tool_calls": True, "modalities": ["text"], "functions": [], "documents": [], "logits_processors": [],
    "spaces_between_special_tokens": True, "detokenize": True, "return_tokens_as_token_ids": False,
    "include_reasoning": True,
}  # fmt: skip


def test_a_field_that_asks_for_what_happens_anyway_is_taken() -> None:
    """Client libraries send their defaults, too."""
    chat, text = {"model": "m", "messages": [{"role": "user", "content": "x"}]}, {"model": "m", "prompt": "x"}
    plain = parsed(ChatCompletionRequest, chat).request(None, OPEN)
    assert parsed(ChatCompletionRequest, chat | ANYWAY).request(None, OPEN) == plain
    asked = parsed(CompletionRequest, text | ANYWAY).requests(None, OPEN)
    assert asked == parsed(CompletionRequest, text).requests(None, OPEN)


@pytest.mark.parametrize(
    "other",
    [
        {"parallel_tool_calls": False}, {"modalities": ["text", "audio"]}, {"functions": [{"name": "f"}]},
        {"documents": [{"text": "x"}]}, {"return_tokens_as_token_ids": True}, {"include_reasoning": False},
    ],
)  # fmt: skip
def test_a_field_that_asks_for_something_else_is_refused_by_name(other: dict[str, Any]) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]} | other
    with pytest.raises(RequestError, match=f"{next(iter(other))} is not supported"):
        parsed(ChatCompletionRequest, body).request(None, OPEN)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 5000, b'{"model": NaN', b"a=b&c=d", b"\x1f\x8b\x08gzip"],
)
def test_a_body_that_is_no_json_says_so(body: bytes) -> None:
    with pytest.raises(RequestError, match=r"the body is not JSON(: .*; send a JSON| object; send one)"):
        read(ChatCompletionRequest, body)


def test_tokens_that_are_parts_of_characters_stay_apart_in_a_completion() -> None:
    parts = [b"\xf0\x9f", b"\x98\x80", "é".encode(), b"\xe4", b"\xb8\xad"]
    top = tuple((i, "\ufffd", -1.0 - i) for i in range(2))
    known = [
        TokenLogprob(9, spelt.decode(errors="replace"), -1.0, top, 1, spelt, (b"\xf0\x9f", b"\xf0"))
        for spelt in parts
    ]
    shape = logprobs.write_text(known, 2, logprobs.Places(3))
    assert shape is not None
    assert shape["text_offset"] == [3, 3, 4, 5, 5]
    assert shape["tokens"] == [r"bytes:\xf0\x9f", r"bytes:\x98\x80", "é", r"bytes:\xe4", r"bytes:\xb8\xad"]
    assert shape["top_logprobs"][2].keys() == {"é", r"bytes:\xf0\x9f", r"bytes:\xf0"}
    found = logprobs.read(shape)
    assert b"".join(one.bytes or one.text.encode() for one in found) == b"".join(parts)
    assert set(found[0].top_bytes) == {b"\xf0\x9f", b"\xf0"}


@pytest.mark.parametrize(
    ("head", "first", "rest", "offsets"),
    [
        ("Hi", "H", [b"i", b" you"], [0, 1, 2]),
        ("Hi", "<s>", [b"H", b"i", b" you"], [0, 0, 1, 2]),  # a begin token stands in front of the text
        ("Hi", "<s>", [b" H", b"i", b" you"], [0, 0, 1, 2]),  # and SentencePiece's space is not in it
        ("<s>Hi", "<s>", [b"Hi", b" you"], [0, 3, 5]),
        ("😀", "\ufffd", [b"\x9f", b"\x98\x80", b" you"], [0, 0, 0, 1]),
    ],
)
def test_offsets_of_an_echo_are_places_in_its_text(
    head: str, first: str, rest: list[bytes], offsets: list
) -> None:
    known = [TokenLogprob(1, spelt.decode(errors="replace"), -1.0, bytes=spelt) for spelt in rest]
    own, places = logprobs.echoed(head, first, known[:-1])
    shape = logprobs.write_text([own, *known], 0, places)
    assert shape is not None
    assert shape["text_offset"] == offsets
    assert (shape["token_logprobs"][0], shape["top_logprobs"][0]) == (None, None)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"error": {"message": "m", "type": "t"}}, "m"),
        ({"error": "m"}, "m"),
        ({"message": "m", "object": "error"}, "m"),
        ({"detail": "m"}, "{'detail': 'm'}"),
        ("m", "m"),
        (["m"], "['m']"),
    ],
)
def test_errors_of_other_servers_are_read(answer: Any, message: str) -> None:
    assert OPENAI.read_error(answer) == message


def test_a_completion_to_the_end_of_the_context_cannot_be_asked_for() -> None:
    request = ChatRequest(prompt="x", params=SamplingParams(max_tokens=None))
    with pytest.raises(RequestError, match="max_tokens=None cannot be said to /v1/completions"):
        client.write_request(request, "m")
