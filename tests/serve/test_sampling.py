"""Every field of vLLM's sampling set goes over the wire to the engine, by both routes."""

import json
import re

import httpx
import openai
import pytest

from weightwright.engine.engine import Engine
from weightwright.ports import ChatRequest, Message, Reply, SamplingParams, Usage
from weightwright.ports import Piece as Part
from weightwright.serve.offers import Offer
from weightwright.wire.openai.requests import ChatCompletionRequest

TURNS = [{"role": "user", "content": "Hello"}]
WARM = {"temperature": 1.0, "seed": 7}
ANSWER = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


class Recorder:
    """A Chat that keeps what it was asked and answers at once."""

    def __init__(self) -> None:
        self.asked: list[ChatRequest] = []

    def submit(self, request: ChatRequest) -> Reply:
        self.asked.append(request)
        reply = Reply(request.params.n)
        for index in range(request.params.n):
            reply.push(Part(index, "x", finish_reason="stop"))
        reply.finish(Usage(1, 1))
        return reply


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def url(serving, engine, recorder) -> str:
    own = SamplingParams(max_tokens=5, temperature=0.25, top_k=7)
    return serving([Offer("tiny", engine), Offer("recorder", recorder), Offer("own", recorder, params=own)])


@pytest.fixture(scope="module")
def client(url: str):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def asked(route: str, url: str, body: dict) -> list[str]:
    """The texts of the choices; by chat the conversation asks, by completions the prompt."""
    question = {"messages": TURNS} if route == "chat/completions" else {"prompt": "Hello"}
    response = httpx.post(f"{url}/v1/{route}", json={"model": "tiny", **question, **body}, timeout=None)
    assert response.status_code == 200, response.text
    choices = response.json()["choices"]
    return [choice["message"]["content"] if "message" in choice else choice["text"] for choice in choices]


def direct(route: str, engine: Engine, fields: dict) -> list[str]:
    params = SamplingParams(**fields)
    chat = route == "chat/completions"
    request = (
        ChatRequest(messages=(Message("user", "Hello"),), params=params)
        if chat
        else ChatRequest(prompt="Hello", params=params)
    )
    return [completion.text for completion in engine.submit(request).result().completions]


FIELDS = [
    ({}, {"presence_penalty": 2.0, "allowed_token_ids": [65, 66, 67]}),
    ({}, {"frequency_penalty": 2.0, "allowed_token_ids": [65, 66, 67]}),
    ({}, {"repetition_penalty": 5.0, "allowed_token_ids": [65, 66, 67]}),
    ({}, {"logit_bias": {"65": 100.0}}),
    ({}, {"logit_bias": {"257": 100.0}, "skip_special_tokens": False}),
    ({"logit_bias": {"65": 90.0}}, {"bad_words": ["b"]}),
    ({"logit_bias": {"65": 100.0}}, {"bad_words": "b"}),
    ({"logit_bias": {"65": 100.0}}, {"stop": "bb", "include_stop_str_in_output": True}),
    ({"logit_bias": {"65": 100.0}}, {"stop": ["bbb"]}),
    ({"logit_bias": {"65": 100.0}}, {"stop_token_ids": [65], "min_tokens": 3}),
    ({"logit_bias": {"256": 50.0}}, {"ignore_eos": True, "skip_special_tokens": False}),
    ({"logit_bias": {"256": 50.0}}, {"min_tokens": 4}),
    (WARM, {"top_k": 2}),
    (WARM, {"top_p": 0.1}),
    (WARM, {"min_p": 0.9}),
    (WARM, {"seed": 8}),
    (WARM, {"n": 2, "best_of": 6}),
    ({}, {"use_beam_search": True, "n": 2}),
    ({}, {"use_beam_search": True, "n": 2, "best_of": 4, "length_penalty": -3.0}),
    ({"use_beam_search": True, "n": 3}, {"early_stopping": True, "max_tokens": 11}),
    ({}, {"structured_outputs": {"choice": ["ab", "cd"]}}),
    ({}, {"structured_outputs": {"regex": "[xyz]{4}"}}),
    ({}, {"structured_outputs": {"grammar": 'start: "a" ("b" | "c")'}}),
    ({}, {"max_tokens": 3}),
]


@pytest.mark.parametrize("route", ["chat/completions", "completions"])
@pytest.mark.parametrize(("base", "fields"), FIELDS, ids=lambda value: "+".join(value) or "plain")
def test_a_field_means_what_it_means_to_the_engine(
    url: str, engine, route: str, base: dict, fields: dict
) -> None:
    base = {"temperature": 0, "max_tokens": 12, **base}
    texts = asked(route, url, base | fields)
    assert texts == direct(route, engine, base | fields)
    assert texts != asked(route, url, base)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"guided_choice": ["ab", "cd"]}, "(ab|cd)"),
        ({"guided_regex": "[xyz]{4}"}, "[xyz]{4}"),
        ({"guided_grammar": 'start: "a" ("b" | "c")'}, "a[bc]"),
    ],
)
def test_the_older_names_of_forms_are_taken(url: str, fields: dict, expected: str) -> None:
    (text,) = asked("completions", url, {"temperature": 0, "max_tokens": 12, **fields})
    assert re.fullmatch(expected, text)


@pytest.mark.parametrize(
    "form",
    [
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": ANSWER, "strict": True},
            }
        },
        {"extra_body": {"guided_json": ANSWER}},
        {"extra_body": {"guided_json": json.dumps(ANSWER)}},
        {"extra_body": {"structured_outputs": {"json": ANSWER}}},
    ],
    ids=["response_format", "guided_json", "guided_json as text", "structured_outputs"],
)
def test_a_json_schema_is_held_to(client, form: dict) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=TURNS, temperature=0, max_tokens=200, **form
    )
    assert answer.choices[0].finish_reason == "stop"
    assert json.loads(answer.choices[0].message.content)["ok"] in (True, False)


def test_any_json_object_and_plain_text_are_formats(client, recorder) -> None:
    for kind in ("json_object", "text"):
        client.chat.completions.create(model="recorder", messages=TURNS, response_format={"type": kind})
    as_object, as_text = (request.params.structured_outputs for request in recorder.asked[-2:])
    assert as_object.json_object
    assert as_text is None


def test_priority_template_options_and_limits_reach_the_chat(client, recorder) -> None:
    client.chat.completions.create(
        model="recorder",
        messages=TURNS,
        max_completion_tokens=9,
        max_tokens=5,
        extra_body={"priority": -3, "chat_template_kwargs": {"enable_thinking": False}},
    )
    request = recorder.asked[-1]
    assert (request.priority, request.params.max_tokens) == (-3, 9)
    assert request.template_options == {"enable_thinking": False}
    client.completions.create(model="recorder", prompt="x", extra_body={"priority": 4})
    assert (recorder.asked[-1].priority, recorder.asked[-1].params.max_tokens) == (4, 16)


def test_beams_draw_nothing_where_no_temperature_is_given(client, recorder) -> None:
    client.completions.create(model="recorder", prompt="x", n=2, extra_body={"use_beam_search": True})
    assert recorder.asked[-1].params.temperature == 0
    client.completions.create(model="recorder", prompt="x", n=2)
    assert recorder.asked[-1].params.temperature == 1


def test_null_is_what_is_left_out_and_an_offers_defaults_stand(client, recorder) -> None:
    plain = {"model": "recorder", "messages": TURNS}
    client.chat.completions.create(**plain)
    nulls = dict.fromkeys(
        {*ChatCompletionRequest.model_fields, *SamplingParams.model_fields} - {"model", "messages"}
    )
    client.chat.completions.create(**plain, extra_body=nulls)
    assert recorder.asked[-1] == recorder.asked[-2]
    client.chat.completions.create(model="own", messages=TURNS, extra_body={"top_k": 3})
    params = recorder.asked[-1].params
    assert (params.max_tokens, params.temperature, params.top_k) == (5, 0.25, 3)
