"""What is asked for goes over the wire, what a server cannot take is refused by name, what comes is read."""

import json

import pytest

from weightwright.errors import RemoteError, RequestError
from weightwright.ports import ChatRequest, Message, SamplingParams, TokenLogprob, ToolCall
from weightwright.remote.chat import RemoteChat

HELLO = (Message("user", "Hello"),)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
DONE = b"data: [DONE]\n\n"


def events(*chunks: object) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + DONE


def chats(**params) -> ChatRequest:
    return ChatRequest(messages=HELLO, params=SamplingParams(**params))


def completes(**params) -> ChatRequest:
    return ChatRequest(prompt="Hello", params=SamplingParams(**params))


def answer(body: dict):
    """One letter for each completion, as the stub's answer."""
    chosen = [{"index": i, "text": "x", "finish_reason": "stop"} for i in range(body["n"])]
    if "messages" in body:
        part = "delta" if body.get("stream") else "message"
        chosen = [{"index": i, part: {"content": "x"}, "finish_reason": "stop"} for i in range(body["n"])]
    if body.get("logprobs") and "messages" in body:
        chosen[0]["logprobs"] = {"content": [{"token": "x", "logprob": -1.0}]}
    elif "logprobs" in body:
        chosen[0]["logprobs"] = {"tokens": ["x"], "token_logprobs": [-1.0], "top_logprobs": None}
    found = {"choices": chosen} | ({"prompt_logprobs": [None]} if "prompt_logprobs" in body else {})
    return events(found) if body.get("stream") else found


def sent(chat: RemoteChat, stub, request: ChatRequest) -> dict:
    """What the server was sent for a request."""
    stub.answers |= dict.fromkeys(("/v1/chat/completions", "/v1/completions"), (200, answer))
    stub.answers.setdefault("/v1/models", (200, {"data": [{"id": "m", "owned_by": "us"}]}))
    chat.submit(request).result()
    return stub.asked[-1][1]


FIELDS = {
    "max_tokens": (9, 9),
    "min_tokens": (2, 2),
    "temperature": (0.5, 0.5),
    "top_p": (0.5, 0.5),
    "top_k": (5, 5),
    "min_p": (0.5, 0.5),
    "repetition_penalty": (1.5, 1.5),
    "frequency_penalty": (0.5, 0.5),
    "presence_penalty": (-0.5, -0.5),
    "logit_bias": ({5: 1.5}, {"5": 1.5}),
    "allowed_token_ids": ((1, 2), [1, 2]),
    "bad_words": ("word", ["word"]),
    "n": (2, 2),
    "best_of": (3, 3),
    "seed": (4, 4),
    "stop": ("x", ["x"]),
    "stop_token_ids": ((7,), [7]),
    "include_stop_str_in_output": (True, True),
    "ignore_eos": (True, True),
    "skip_special_tokens": (False, False),
    "prompt_logprobs": (2, 2),
    "structured_outputs": ({"regex": "a+"}, {"regex": "a+"}),
}
BEAMS = {
    "use_beam_search": (True, True),
    "length_penalty": (0.5, 0.5),
    "early_stopping": ("never", "never"),
}


@pytest.mark.parametrize("ask", [chats, completes])
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_is_sent_when_it_is_set(chat: RemoteChat, stub, ask, field: str) -> None:
    value, expected = FIELDS[field]
    assert sent(chat, stub, ask(**{field: value}))[field] == expected


def test_beams_are_sent_with_what_belongs_to_them(chat: RemoteChat, stub) -> None:
    params = {name: value for name, (value, _) in BEAMS.items()}
    body = sent(chat, stub, completes(temperature=0, n=2, **params))
    assert {name: body[name] for name in BEAMS} == {name: expected for name, (_, expected) in BEAMS.items()}


def test_no_field_is_forgotten_and_none_is_sent_unset(chat: RemoteChat, stub) -> None:
    assert FIELDS.keys() | BEAMS.keys() | {"logprobs"} == SamplingParams.model_fields.keys()
    always = {"model", "stream", "stream_options", "max_tokens", "temperature", "top_p", "n"}
    assert sent(chat, stub, chats()).keys() == always | {"messages"}
    assert sent(chat, stub, completes()).keys() == always | {"prompt"}


def test_the_two_routes_ask_for_logprobs_and_json_in_their_own_ways(chat: RemoteChat, stub) -> None:
    body = sent(chat, stub, chats(logprobs=2))
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    assert sent(chat, stub, completes(logprobs=2))["logprobs"] == 2
    for schema in (SCHEMA, json.dumps(SCHEMA)):
        form = {"structured_outputs": {"json": schema}}
        asked = sent(chat, stub, chats(**form))["response_format"]
        assert (asked["type"], asked["json_schema"]["schema"]) == ("json_schema", SCHEMA)
        assert sent(chat, stub, completes(**form))["structured_outputs"] == {"json": schema}
    any_object = {"structured_outputs": {"json_object": True}}
    assert sent(chat, stub, chats(**any_object))["response_format"] == {"type": "json_object"}
    tight = {"structured_outputs": {"json": SCHEMA, "disable_any_whitespace": True}}
    assert sent(chat, stub, chats(**tight))["structured_outputs"] == tight["structured_outputs"]
    choice = {"structured_outputs": {"choice": ("a", "b")}}
    assert sent(chat, stub, chats(**choice))["structured_outputs"] == {"choice": ["a", "b"]}


def test_priority_and_template_options_are_sent(chat: RemoteChat, stub) -> None:
    request = ChatRequest(messages=HELLO, priority=2, template_options={"enable_thinking": False})
    body = sent(chat, stub, request)
    assert (body["priority"], body["chat_template_kwargs"]) == (2, {"enable_thinking": False})


@pytest.mark.parametrize(
    ("owner", "request_", "names"),
    [
        ("vllm", chats(n=1, best_of=3), "best_of"),
        ("library", chats(n=2), "n"),
        ("library", completes(top_k=3, structured_outputs={"regex": "a"}), "top_k, structured_outputs"),
        ("llamacpp", completes(temperature=0, use_beam_search=True, n=2), "use_beam_search"),
    ],
)
def test_what_a_server_would_pass_over_is_refused_by_name(
    chat: RemoteChat, stub, owner: str, request_: ChatRequest, names: str
) -> None:
    stub.answers["/v1/models"] = 200, {"data": [{"id": "m", "owned_by": owner}]}
    with pytest.raises(RequestError, match=rf"\({owner}\) takes no {names}; leave out {names}, or use"):
        sent(chat, stub, request_)
    assert [path for path, *_ in stub.asked] == ["/v1/models"]
    assert sent(chat, stub, chats(presence_penalty=1, seed=3))["seed"] == 3


def test_a_server_that_does_not_list_its_models_gets_everything(chat: RemoteChat, stub) -> None:
    stub.answers["/v1/models"] = 404, {}
    assert sent(chat, stub, chats(top_k=3, best_of=2))["top_k"] == 3


def test_a_refusal_says_what_was_sent_beyond_openais_api(chat: RemoteChat, stub) -> None:
    stub.answers["/v1/models"] = 200, {"data": []}
    refused = {"error": {"message": "Unrecognized request argument"}}
    stub.answers["/v1/chat/completions"] = 400, refused
    said = "400: Unrecognized request argument; sent beyond OpenAI's API: top_k, min_p; leave out"
    with pytest.raises(RemoteError, match=said):
        chat.submit(chats(top_k=3, min_p=0.5, seed=1)).result()
    with pytest.raises(RemoteError, match=r"argument$"):
        chat.submit(chats(seed=1)).result()


@pytest.mark.parametrize(
    ("request_", "chunks", "message"),
    [
        (
            chats(n=3),
            [{"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}],
            "gave 1 of n=3 completions; it takes no n",
        ),
        (
            chats(logprobs=1),
            [{"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}],
            "gave no logprobs; leave out logprobs",
        ),
        (chats(n=2), [{"choices": [{"index": 0, "delta": {"content": "x"}}]}], "ended the stream before"),
    ],
)
def test_an_answer_without_what_was_asked_for_fails(
    chat: RemoteChat, stub, request_: ChatRequest, chunks: list, message: str
) -> None:
    stub.answers["/v1/models"] = 200, {"data": []}
    stub.answers["/v1/chat/completions"] = 200, events(*chunks)
    with pytest.raises(RemoteError, match=message):
        chat.submit(request_).result()


def test_prompt_logprobs_that_do_not_come_are_missed(chat: RemoteChat, stub) -> None:
    stub.answers["/v1/models"] = 200, {"data": []}
    whole = {"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]}
    stub.answers["/v1/completions"] = 200, whole
    with pytest.raises(RemoteError, match="gave no prompt_logprobs"):
        chat.submit(completes(prompt_logprobs=1)).result()


DELTA = {"index": 0, "delta": {"content": "a\u2028b"}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps({"choices": [DELTA]}, ensure_ascii=False).join(["data: ", "\n\n"]).encode(),
        json.dumps({"choices": [DELTA]}, ensure_ascii=False).join(["data: ", "\r\r"]).encode(),
        events({"choices": [DELTA], "error": None}, {"choices": None, "usage": {"completion_tokens": 1}}),
        events({"choices": [DELTA | {"delta": {"content": None, "refusal": "a\u2028b"}}]}),
        events({"choices": [DELTA | {"delta": {"content": "a\u2028b", "tool_calls": []}}]}),
    ],
    ids=["torn by other readers", "carriage returns", "nulls", "refusal", "no calls"],
)
def test_what_servers_stream_is_read(chat: RemoteChat, stub, answer: bytes) -> None:
    stub.answers["/v1/chat/completions"] = 200, answer
    assert chat.submit(chats()).result().text == "a\u2028b"


def test_a_call_of_a_tool_that_cannot_be_read_is_not_passed_over(chat: RemoteChat, stub) -> None:
    call = {"index": 0, "function": {"name": "weather", "arguments": "{}"}}
    stub.answers["/v1/chat/completions"] = (
        200,
        events({"choices": [DELTA | {"delta": {"tool_calls": [call]}}]}),
    )
    with pytest.raises(RemoteError, match=r"calls of tools \(weather\), which are not read; leave out tools"):
        chat.submit(chats()).result()


def test_messages_go_out_with_all_that_they_carry(chat: RemoteChat, stub) -> None:
    tools = ({"type": "function", "function": {"name": "weather"}},)
    turns = (
        Message("user", "x", name="ada"),
        Message("assistant", "", (ToolCall("weather", "{}", "c1"),), reasoning="hm"),
        Message("tool", "7", tool_call_id="c1"),
    )
    body = sent(chat, stub, ChatRequest(messages=turns, tools=tools))
    assert body["messages"][0] == {"role": "user", "content": "x", "name": "ada"}
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    thought = {"reasoning": "hm", "reasoning_content": "hm"}
    assert body["messages"][1] == {"role": "assistant", "content": None, "tool_calls": [call], **thought}
    assert body["messages"][2] == {"role": "tool", "content": "7", "tool_call_id": "c1"}
    assert (body["tools"], body["tool_choice"]) == (list(tools), "none")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_cached_tokens_and_stop_reasons_are_read(chat: RemoteChat, stub, name: str) -> None:
    stub.answers["/v1/chat/completions"] = (
        200,
        events(
            {"choices": [{"index": 0, "delta": {"role": "assistant", name: "well, "}}]},
            {"choices": [{"index": 0, "delta": {name: "well", "content": None}}]},
            {
                "choices": [
                    {"index": 0, "delta": {"content": "Yes"}, "finish_reason": "stop", "stop_reason": 7}
                ]
            },
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 9,
                    "completion_tokens": 3,
                    "prompt_tokens_details": {"cached_tokens": 8},
                },
            },
        ),
    )
    result = chat.submit(chats()).result()
    completion = result.completions[0]
    assert (completion.reasoning, completion.text, completion.stop_reason) == ("well, well", "Yes", 7)
    assert (result.usage.prompt_tokens, result.usage.cached_tokens) == (9, 8)


def test_logprobs_of_both_routes_are_read(chat: RemoteChat, stub) -> None:
    token = {"token": "x", "logprob": -1.0, "top_logprobs": [{"token": "y", "logprob": -0.5}]}
    choice = {
        "index": 0,
        "delta": {"content": "x"},
        "logprobs": {"content": [token]},
        "finish_reason": "stop",
    }
    stub.answers["/v1/chat/completions"] = 200, events({"choices": [choice]})
    legacy = {"tokens": ["x"], "token_logprobs": [-1.0], "top_logprobs": [{"x": -1.0, "y": -0.5}]}
    choice = {"index": 0, "text": "x", "logprobs": legacy, "finish_reason": "stop"}
    stub.answers["/v1/completions"] = 200, events({"choices": [choice]})
    chatted = chat.submit(chats(logprobs=1)).result().completions[0]
    assert chatted.logprobs == (TokenLogprob(-1, "x", -1.0, ((-1, "y", -0.5),)),)
    completed = chat.submit(completes(logprobs=1)).result().completions[0]
    assert completed.logprobs == (TokenLogprob(-1, "x", -1.0, ((-1, "y", -0.5), (-1, "x", -1.0))),)
