"""What a message carries reaches the template, by the server, by LLM.chat and by our own client alike."""

import json
from collections.abc import Iterator

import httpx
import pytest

from weightwright import LLM, SamplingParams
from weightwright.engine.engine import Engine
from weightwright.errors import ModelError, RequestError
from weightwright.ports import ChatRequest, Message, ToolCall
from weightwright.remote.chat import RemoteChat
from weightwright.serve.offers import Offer

# shows every field of a message, and the tools
TEMPLATE = (
    "{% if tools %}[{{ tools[0]['function']['name'] }}]{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}{{ ' ' + m['name'] if m['name'] else '' }}\n"
    "{% if m['reasoning_content'] %}({{ m['reasoning_content'] }}){% endif %}{{ m['content'] }}"
    "{% for c in m['tool_calls'] or [] %}{{ c['function']['name'] }}<{{ c['function']['arguments']['city'] }}>"
    "{{ c['id'] }}{% endfor %}{{ m['tool_call_id'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
BROKEN = {"function": {"name": "f", "arguments": "{"}}
HISTORY = [
    {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
    {"role": "user", "content": "How is it?", "name": "ada"},
    {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "look"},
    {"role": "tool", "content": "7 degrees", "tool_call_id": "c1"},
]
RENDERED = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user ada\nHow is it?<|im_end|>\n"
    "<|im_start|>assistant\n(look)weather<Oslo>c1<|im_end|>\n<|im_start|>tool\n7 degreesc1<|im_end|>\n"
)
MESSAGES = (
    Message("system", "Be brief."),
    Message("user", "How is it?", name="ada"),
    Message("assistant", "", (ToolCall("weather", '{"city": "Oslo"}', "c1"),), reasoning="look"),
    Message("tool", "7 degrees", tool_call_id="c1"),
)
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
ASKED = {"model": "shows", "max_tokens": 1, "return_token_ids": True}


@pytest.fixture(scope="module")
def shows(tiny_model) -> Iterator[LLM]:
    with LLM(str(tiny_model), precision="f32") as llm:
        llm.get_tokenizer().chat_template = TEMPLATE
        yield llm


@pytest.fixture(scope="module")
def url(serving, shows, engine) -> str:
    return serving([Offer("shows", shows._chat), Offer("plain", engine)])


def asked(url: str, **body) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", json={**ASKED, **body}, timeout=None)


def prompt_of(shows: LLM, answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return shows.get_tokenizer().decode(answer.json()["prompt_token_ids"])


FORMS = [
    ({}, RENDERED + "<|im_start|>assistant\n"),
    ({"add_generation_prompt": False}, RENDERED),
    ({"tools": TOOLS}, "[weather]" + RENDERED + "<|im_start|>assistant\n"),
]


@pytest.mark.parametrize(("options", "rendered"), FORMS)
def test_a_history_with_everything_is_shown_to_the_model(
    url: str, shows: LLM, options: dict, rendered: str
) -> None:
    wire = options | ({"tool_choice": "none"} if "tools" in options else {})
    assert prompt_of(shows, asked(url, messages=HISTORY, **wire)) == rendered
    for turns in (HISTORY, MESSAGES):
        output = shows.chat(turns, SamplingParams(max_tokens=1), **options)[0]
        assert shows.get_tokenizer().decode(output.prompt_token_ids) == rendered
    client = RemoteChat(f"{url}/v1", "shows")
    request = ChatRequest(messages=MESSAGES, params=SamplingParams(max_tokens=1, logprobs=0), **options)
    ids = client.submit(request).result().prompt_token_ids
    client.close()
    assert shows.get_tokenizer().decode(ids) == rendered


def test_an_answer_is_continued_where_it_stopped(url: str, shows: LLM) -> None:
    begun = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One, two,"}]
    rendered = "<|im_start|>user\nCount.<|im_end|>\n<|im_start|>assistant\nOne, two,"
    assert prompt_of(shows, asked(url, messages=begun, continue_final_message=True)) == rendered
    output = shows.chat(begun, SamplingParams(max_tokens=1), continue_final_message=True)[0]
    assert shows.get_tokenizer().decode(output.prompt_token_ids) == rendered
    both = asked(url, messages=begun, continue_final_message=True, add_generation_prompt=True)
    assert both.status_code == 400
    assert "set add_generation_prompt to False" in both.json()["error"]["message"]


def test_what_a_template_leaves_out_is_refused_by_name(url: str, engine: Engine) -> None:
    """The plain template knows neither tools nor calls; the model would be asked without them."""
    refused = asked(url, model="plain", messages=HISTORY, tools=TOOLS, tool_choice="none")
    assert refused.status_code == 400
    assert (
        "chat template does not show tools and tool_calls; leave them out"
        in refused.json()["error"]["message"]
    )
    reply = engine.submit(ChatRequest(messages=MESSAGES[:2], tools=tuple(TOOLS)))
    with pytest.raises(RequestError, match="does not show tools; leave them out"):
        reply.result()


def test_who_asks_a_model_without_a_template_is_told_what_to_ask_instead() -> None:
    from types import SimpleNamespace

    from weightwright.data.render import render_request

    with pytest.raises(ModelError, match=r"/v1/completions, LLM\.generate") as refused:
        render_request(ChatRequest(messages=MESSAGES), SimpleNamespace(chat_template=None))
    assert "--template" not in str(refused.value)  # what asks has no such option


def test_a_template_gets_arguments_as_it_takes_them() -> None:
    """DeepSeek-R1's template joins the arguments to a text; most others look into an object."""
    from types import SimpleNamespace

    import jinja2

    from weightwright.data.render import render_request

    def shown(source: str) -> str:
        template = jinja2.Template(
            "{% for m in messages %}{% for c in m.tool_calls or [] %}" + source + "{% endfor %}{% endfor %}"
        )
        apply = lambda messages, **_: template.render(messages=messages)
        tokenizer = SimpleNamespace(chat_template="x", apply_chat_template=apply)
        return render_request(ChatRequest(messages=MESSAGES), tokenizer)

    assert shown("{{ c.function.arguments['city'] }}") == "Oslo"
    assert shown("{{ '```' + c.function.arguments }}") == '```{"city": "Oslo"}'
    with pytest.raises(RequestError, match="chat template refuses the messages: "):
        shown("{{ 5 + c.function.arguments }}")


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([{"role": "bot", "content": "x"}], r"messages\.0\.role: Input should be .* \(got 'bot'\)"),
        ([{"role": "user", "content": None}], r"messages\.0: a message of the role 'user' needs content"),
        ([{"role": "user", "text": "x"}], r"messages\.0\.text is not supported"),
        ([{"role": "assistant", "tool_calls": [BROKEN]}], "arguments of the call of 'f' must be a JSON object"),
    ],
)  # fmt: skip
def test_llm_and_server_refuse_the_same_messages(url: str, shows: LLM, turns: list, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        shows.chat(turns)
    answer = asked(url, messages=turns)
    assert answer.status_code == 400
    with pytest.raises(RequestError, match=said):
        raise RequestError(answer.json()["error"]["message"])


@pytest.mark.parametrize(
    "kind", [None, "application/x-www-form-urlencoded", "text/plain", "application/json"]
)
@pytest.mark.parametrize("route", ["chat/completions", "completions"])
def test_a_body_is_json_whatever_its_header_says(url: str, kind: str | None, route: str) -> None:
    said = (
        {"messages": [{"role": "user", "content": "x"}]} if route == "chat/completions" else {"prompt": "x"}
    )
    body = json.dumps({"model": "shows", "max_tokens": 2, **said}).encode()
    headers = {} if kind is None else {"content-type": kind}
    answer = httpx.post(f"{url}/v1/{route}", content=body, headers=headers, timeout=None)
    assert answer.status_code == 200, answer.text
    wrong = httpx.post(f"{url}/v1/{route}", content=b"model=shows&prompt=x", headers=headers, timeout=None)
    assert wrong.status_code == 400
    assert "send a JSON object, with Content-Type: application/json" in wrong.json()["error"]["message"]


@pytest.mark.parametrize("route", ["chat/completions", "completions"])
def test_the_usage_so_far_comes_with_every_chunk(url: str, route: str) -> None:
    chats = route == "chat/completions"
    said = {"messages": [{"role": "user", "content": "x"}]} if chats else {"prompt": ["x", "yz"]}
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {
        "model": "shows",
        "max_tokens": 4,
        "ignore_eos": True,
        "stream": True,
        "stream_options": options,
        **said,
    }
    with httpx.stream("POST", f"{url}/v1/{route}", json=body, timeout=None) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    usages = [json.loads(line)["usage"] for line in lines[:-1]]
    written = [usage["completion_tokens"] for usage in usages]
    assert written == sorted(written)
    assert (written[0], written[-1]) == (1, 4 if chats else 8)
    assert {usage["prompt_tokens"] for usage in usages} == {usages[-1]["prompt_tokens"]}
    assert all(
        usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] for usage in usages
    )


def test_characters_of_several_tokens_keep_their_bytes(url: str, engine: Engine) -> None:
    text = "😀é中"
    form = {"structured_outputs": {"choice": [text]}, "max_tokens": 20, "temperature": 0}
    chat = asked(
        url, messages=[{"role": "user", "content": "x"}], logprobs=True, top_logprobs=5, **form
    ).json()
    entries = chat["choices"][0]["logprobs"]["content"]
    assert chat["choices"][0]["message"]["content"] == text
    assert b"".join(bytes(entry["bytes"]) for entry in entries) == text.encode()
    assert all(len({bytes(top["bytes"]) for top in entry["top_logprobs"]}) == 5 for entry in entries)
    body = {"model": "shows", "prompt": text, "logprobs": 5, "prompt_logprobs": 2, "echo": True, **form}
    answer = httpx.post(f"{url}/v1/completions", json=body, timeout=None).json()["choices"][0]
    found = answer["logprobs"]
    assert answer["text"] == text * 2
    assert found["text_offset"][:18] == [0] * 4 + [1] * 2 + [2] * 3 + [3] * 4 + [4] * 2 + [5] * 3
    assert all(len(top) in (5, 6) for top in found["top_logprobs"][1:])
    spelt = [bytes(next(iter(one.values()))["bytes"]) for one in answer["prompt_logprobs"][1:]]
    assert b"".join(spelt) == text.encode()[1:]
