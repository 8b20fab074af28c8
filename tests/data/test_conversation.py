"""Turns in OpenAI's and ShareGPT's style: roles, tool calls, text parts, thoughts."""

import json
from pathlib import Path

import pytest

from weightwright.data.formats import read_samples
from weightwright.errors import DataError
from weightwright.ports import Message, ToolCall


def lines(folder: Path, *rows: object) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


WEATHER = {"name": "weather", "description": "Of a city.", "parameters": {"type": "object", "properties": {}}}
SHAREGPT = {
    "system": "Be brief.",
    "conversations": [
        {"from": "human", "value": "Rain in Oslo?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Oslo"}}'},
        {"from": "observation", "value": '{"rain": true}'},
        {"from": "gpt", "value": "Yes."},
    ],
    "tools": json.dumps([WEATHER]),
}
OPENAI = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Rain in "}, {"type": "text", "text": "Oslo?"}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
            ],
        },
        {"role": "tool", "content": '{"rain": true}'},
        {"role": "assistant", "content": "Yes."},
    ],
    "tools": [{"type": "function", "function": WEATHER}],
}


@pytest.mark.parametrize("row", [SHAREGPT, OPENAI], ids=["sharegpt", "openai"])
def test_both_styles_say_the_same(tmp_path, row):
    (sample,) = read_samples(lines(tmp_path, row))
    assert sample.messages == (
        Message("system", "Be brief."),
        Message("user", "Rain in Oslo?"),
        Message("assistant", "", (ToolCall("weather", '{"city": "Oslo"}', "call00001"),)),
        Message("tool", '{"rain": true}', tool_call_id="call00001"),
        Message("assistant", "Yes."),
    )
    assert sample.answers == (False, False, True, False, True)
    assert sample.tools == ({"type": "function", "function": WEATHER},)


def test_sharegpt_may_name_roles_as_openai_does(tmp_path):
    turns = [{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}]
    other = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    one, two = read_samples(lines(tmp_path, {"conversations": turns}, {"conversations": other}))
    assert one.messages == two.messages == (Message("user", "a"), Message("assistant", "b"))


def test_several_calls_at_once_and_their_results(tmp_path):
    calls = [{"name": "weather", "arguments": {"city": city}} for city in ("Oslo", "Rome")]
    turns = [
        {"from": "human", "value": "Rain?"},
        {"from": "function_call", "value": json.dumps(calls)},
        {"from": "observation", "value": "yes"},
        {"from": "observation", "value": "no"},
        {"from": "function_call", "value": json.dumps(calls[:1])},
        {"from": "observation", "value": "yes"},
    ]
    (sample,) = read_samples(lines(tmp_path, {"conversations": turns}))
    assert [call.id for m in sample.messages for call in m.tool_calls] == [
        "call00001",
        "call00002",
        "call00003",
    ]
    assert [m.tool_call_id for m in sample.messages if m.role == "tool"] == [
        "call00001",
        "call00002",
        "call00003",
    ]


def test_given_ids_stay(tmp_path):
    call = {"id": "abc", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call]},
        {"role": "tool", "content": "2", "tool_call_id": "abc"},
    ]
    (sample,) = read_samples(lines(tmp_path, {"messages": turns}))
    assert sample.messages[1] == Message("assistant", "Let me see.", (ToolCall("f", '{"x": 1}', "abc"),))
    assert sample.messages[2].tool_call_id == "abc"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_a_thought_stays_beside_the_answer(tmp_path, name):
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", name: "hm"},
    ]
    (sample,) = read_samples(lines(tmp_path, {"messages": turns}))
    assert sample.messages[1] == Message("assistant", "b", reasoning="hm")


def test_speakers_keep_their_names(tmp_path):
    turns = [
        {"role": "user", "name": "ada", "content": "a"},
        {"role": "assistant", "name": None, "content": "b"},
    ]
    shared = [{"from": "human", "name": 5, "value": "a"}, {"from": "gpt", "value": "b"}]
    rows = lines(
        tmp_path, {"messages": turns, "conversations": None}, {"messages": shared, "conversations": None}
    )
    named, unnamed = read_samples(rows)
    assert named.messages == (Message("user", "a", name="ada"), Message("assistant", "b"))
    assert unnamed.messages == (Message("user", "a"), Message("assistant", "b"))


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        (
            {"from": "function_call", "value": "call it"},
            "'value' must be JSON .* found text that is not JSON",
        ),
        ({"from": "function_call", "value": '{"arguments": {}}'}, "'value' must be JSON .* found an object"),
        (
            {"from": "function_call", "value": '{"name": "f", "arguments": [1]}'},
            "'value.arguments' must be a JSON obj",
        ),
        ({"role": "user", "content": "a", "tool_calls": [{"name": "f"}]}, "only an assistant can call tools"),
        (
            {"role": "assistant", "content": [{"type": "image_url"}]},
            r".*text parts only \(it has 'image_url'\)",
        ),
        ({"role": "assistant", "content": None}, "'content' must be a text, found nothing"),
        ({"role": "assistant", "content": "a", "images": ["x"]}, "'images' cannot be learnt, only text can"),
        (
            {"from": "narrator", "value": "a"},
            "role 'narrator' is not one of system, user, assistant, tool, human",
        ),
    ],
)
def test_a_wrong_turn_is_named(tmp_path, turn, message: str):
    row = {"conversations": [{"from": "human", "value": "a"}, turn]}
    with pytest.raises(DataError, match=f"line 1, message 2: {message}"):
        read_samples(lines(tmp_path, row))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tools": "none"}, "'tools' must be a list of functions, found text that is not JSON"),
        ({"tools": [{"title": "f"}]}, "'tools' must be a list of functions, each an object with a name"),
        ({"system": "Be long."}, "'system' and the first message are two different system texts"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, fields, message: str):
    with pytest.raises(DataError, match=f"line 1: {message}"):
        read_samples(lines(tmp_path, OPENAI | fields))


def test_no_tools_are_no_tools(tmp_path):
    rows = [SHAREGPT | {"tools": tools} for tools in ("[]", "", None, [])]
    assert [sample.tools for sample in read_samples(lines(tmp_path, *rows))] == [()] * 4
