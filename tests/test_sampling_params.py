"""SamplingParams: vLLM's names, limits, and fields that must fit together."""

import json
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from weightwright.ports import ChatRequest, ChatResult, Completion, Piece, Reply, TokenLogprob, Usage
from weightwright.ports import SamplingParams as FromPorts
from weightwright.ports.sampling import SamplingParams, StructuredOutputs, StructuredOutputsParams


def test_ports_hand_on_the_same_class_and_vllms_name_is_an_alias() -> None:
    assert FromPorts is SamplingParams
    assert StructuredOutputsParams is StructuredOutputs


def test_the_defaults_change_nothing() -> None:
    p = SamplingParams()
    assert (p.width, p.greedy, p.min_tokens, p.logit_bias, p.structured_outputs) == (1, False, 0, None, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2, "best_of": 4},
        {"n": 3, "temperature": 0},
        {"use_beam_search": True, "temperature": 0, "n": 2, "length_penalty": 0.6, "early_stopping": True},
        {"use_beam_search": True, "temperature": 0, "best_of": 4, "early_stopping": "never"},
        {"min_tokens": 7, "max_tokens": 7},
        {"min_tokens": 7, "max_tokens": None},
        {"logit_bias": {"5": 100, 6: -100.0}},
        {"frequency_penalty": 2, "presence_penalty": -2, "repetition_penalty": 0.5},
        {"structured_outputs": {"json": {"type": "object"}}},
        {"structured_outputs": {"choice": ["a", "b"]}},
    ],
)
def test_what_fits_together_is_taken_and_survives_json_and_pickle(fields: dict[str, Any]) -> None:
    params = SamplingParams(**fields)
    assert SamplingParams.model_validate_json(params.model_dump_json()) == params
    assert pickle.loads(pickle.dumps(params)) == params


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n": 3, "best_of": 2}, "best_of=2 is below n=3"),
        ({"best_of": 2, "temperature": 0}, "best_of=2 at temperature 0"),
        ({"min_tokens": 9, "max_tokens": 8}, "min_tokens=9 is above max_tokens=8"),
        ({"use_beam_search": True, "temperature": 0}, "set best_of to 2 or more"),
        ({"use_beam_search": True, "best_of": 2}, "temperature must be 0, got 1"),
        ({"use_beam_search": True, "best_of": 2, "temperature": 0, "top_k": 3}, "leave out top_p, top_k"),
        (
            {"use_beam_search": True, "n": 2, "temperature": 0, "structured_outputs": {"regex": "a"}},
            "cannot be combined with use_beam_search",
        ),
        (
            {"use_beam_search": True, "n": 2, "temperature": 0, "logprobs": 1, "logit_bias": {5: 1.0}},
            "the model's own likelihoods; leave out logit_bias, logprobs",
        ),
        (
            {"use_beam_search": True, "n": 2, "temperature": 0, "length_penalty": 11},
            "less than or equal to 10",
        ),
        ({"length_penalty": 2.0}, "set use_beam_search=True"),
        ({"early_stopping": "never"}, "set use_beam_search=True"),
        ({"logit_bias": {3: 101}}, "bias 101.0 of token 3 must lie between -100 and 100"),
        ({"logit_bias": {3: float("nan")}}, "bias nan of token 3"),
        ({"allowed_token_ids": []}, "allowed_token_ids is empty"),
        ({"bad_words": ["a", " "]}, "holds an empty text"),
        ({"repetition_penalty": 0}, "greater than 0"),
        ({"frequency_penalty": 2.5}, "less than or equal to 2"),
        ({"presence_penalty": -2.5}, "greater than or equal to -2"),
        ({"prompt_logprobs": 21}, "less than or equal to 20"),
        ({"temperature": float("nan")}, "finite number"),
        ({"repetition_penality": 1.1}, "Extra inputs are not permitted"),
        ({"structured_outputs": {}}, "exactly one of json, json_object, regex, choice, grammar; got none"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "got regex, choice"),
        ({"structured_outputs": {"json": "{oops"}}, "the JSON schema is not JSON"),
        ({"structured_outputs": {"json": "[1]"}}, "a JSON schema is an object"),
        ({"structured_outputs": {"choice": []}}, "at least one text"),
        ({"structured_outputs": {"gbnf": "x"}}, "Unexpected keyword argument"),
    ],
)
def test_what_does_not_fit_says_the_value_and_the_remedy(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SamplingParams(**fields)
    assert message in str(caught.value)


def test_one_text_is_a_list_none_is_none_and_seed_minus_one_is_no_seed() -> None:
    p = SamplingParams(stop="x", bad_words="y", stop_token_ids=None, seed=-1)
    assert (p.stop, p.bad_words, p.stop_token_ids, p.seed) == (("x",), ("y",), (), None)


def test_a_temperature_too_small_to_divide_by_is_greedy() -> None:
    assert SamplingParams(temperature=1e-6).greedy
    assert not SamplingParams(temperature=1e-4).greedy


def test_a_schema_may_be_text() -> None:
    text = json.dumps({"type": "object"})
    assert StructuredOutputs(json=text).given == ("json",)


def test_a_reply_joins_thoughts_logprobs_and_the_reason() -> None:
    reply = Reply()
    reply.push(Piece(0, "", (1,), (TokenLogprob(1, "a", -0.5),), reasoning="hm"))
    reply.push(Piece(0, "b", (2,), (TokenLogprob(2, "b", -1.0),), "stop", reasoning="m", stop_reason="."))
    prompt = (None, TokenLogprob(3, "c", -2.0, rank=1))
    reply.finish(Usage(2, 2, cached_tokens=1), prompt)
    result = reply.result()
    tokens = (TokenLogprob(1, "a", -0.5), TokenLogprob(2, "b", -1.0))
    assert result.completions == (
        Completion(0, "b", (1, 2), tokens, "stop", "hmm", ".", cumulative_logprob=-1.5),
    )
    assert (result.prompt_logprobs, result.usage.cached_tokens) == (prompt, 1)


def test_a_request_has_options_for_the_template() -> None:
    request = ChatRequest(prompt="x", template_options={"enable_thinking": False}, priority=3)
    assert (dict(request.template_options), request.priority) == ({"enable_thinking": False}, 3)
    assert (dict(ChatRequest(prompt="x").template_options), ChatRequest(prompt="x").priority) == ({}, 0)


def test_who_is_told_of_the_end_may_take_the_result_at_once() -> None:
    reply = Reply()
    results: list[ChatResult] = []
    reply.on_end(lambda _: results.append(reply.result(timeout_s=0)))
    reply.push(Piece(0, "yes", (1,), (), "stop"))
    reply.finish(Usage(1, 1))
    assert [result.text for result in results] == ["yes"]
