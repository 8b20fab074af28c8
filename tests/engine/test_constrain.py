"""Answers held to a form: all valid, from random logits at temperature 1, judged by `jsonschema`."""

import ipaddress
import json
import re
import uuid
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from weightwright import LLM
from weightwright.engine.sampling.choice import Choice
from weightwright.engine.sampling.constrain import Constraint, Grammars, allowed
from weightwright.engine.sampling.sample import NOTHING, choose, choose_drafted
from weightwright.errors import RequestError
from weightwright.ports.sampling import SamplingParams, StructuredOutputs
from weightwright.testing.models import tiny_llama

PADDED = 320  # the model's vocabulary; the tokenizer's ends at 259


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(tiny_llama(tmp_path_factory.mktemp("constrain")))


@pytest.fixture(scope="module")
def grammars(tokenizer) -> Grammars:
    return Grammars(tokenizer, [tokenizer.eos_token_id])


def write(
    grammars: Grammars, tokenizer, wanted: StructuredOutputs, seed: int, temperature: float = 1.0
) -> str:
    """An answer from random logits that lean towards closing what is open; every token is drawn."""
    end = tokenizer.eos_token_id
    params = SamplingParams(temperature=temperature, seed=seed, structured_outputs=wanted)
    own = Choice(params, 0, [1, 2], [end], grammars.constraint(wanted))
    lean = torch.zeros(PADDED)
    lean[tokenizer.convert_tokens_to_ids(list('"}]'))] = 4.0
    lean[end] = 3.0
    lean[tokenizer.encode(" \n\t\r")] = -2.0
    lean[259:] = 30.0  # what is no token at all is what the model likes best
    source = torch.Generator().manual_seed(seed)
    for _ in range(4_000):
        (token,) = choose((torch.randn(PADDED, generator=source) * 2 + lean)[None], [own])
        assert token != NOTHING, own.failure()
        if token == end:
            break
        own.accept(token)
        assert not own.constraint.error
        if own.finished:
            break
    else:
        raise AssertionError(f"no end after {tokenizer.decode(own.output_ids)!r}")
    return tokenizer.decode(own.output_ids)


# --- JSON schemas -------------------------------------------------------------------------------------


def record(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def many(items: Any, low: int = 0, high: int = 4) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": low, "maxItems": high}


INT, NUM, BOOL, NULL = {"type": "integer"}, {"type": "number"}, {"type": "boolean"}, {"type": "null"}
SHORT = {"type": "string", "maxLength": 8}
NODE = {"$ref": "#/$defs/node"}

SCHEMAS: dict[str, dict[str, Any]] = {
    "integer": INT,
    "number": NUM,
    "boolean": BOOL,
    "null": NULL,
    "short text": SHORT,
    "text of 3 to 5": {"type": "string", "minLength": 3, "maxLength": 5},
    "enum of texts": {"enum": ["red", "green", "blue"]},
    "enum of all kinds": {"enum": [1, "one", None, True, [1, 2], {"a": 1}]},
    "const": {"const": {"version": 2, "tags": ["a", "ü", "😀"]}},
    "two types": {"type": ["integer", "null"]},
    "0 to 9": {"type": "integer", "minimum": 0, "maximum": 9},
    "-17 to 123": {"type": "integer", "minimum": -17, "maximum": 123},
    "above 0 below 1": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "0.5 to 2.25": {"type": "number", "minimum": 0.5, "maximum": 2.25},
    "integer above 1000": {"type": "integer", "exclusiveMinimum": 1000},
    "multiple of 7": {"type": "integer", "multipleOf": 7, "minimum": 0},
    "a post code": {"type": "string", "pattern": "^[0-9]{5}(-[0-9]{4})?$"},
    "an identifier": {"type": "string", "pattern": "^[a-z_][a-z0-9_]{0,10}$"},
    "pattern and length": {"type": "string", "pattern": "^[a-f]+$", "minLength": 2, "maxLength": 6},
    "pattern of choices": {"type": "string", "pattern": "^(GET|POST) /[a-z]{1,6}(\\?q=[^&]{1,3})?$"},
    "a date": {"type": "string", "format": "date"},
    "a date and time": {"type": "string", "format": "date-time"},
    "an address of mail": {"type": "string", "format": "email", "maxLength": 60},
    "a uuid": {"type": "string", "format": "uuid"},
    "an ipv4": {"type": "string", "format": "ipv4"},
    "integers": many(INT, 1, 5),
    "exactly three": many(BOOL, 3, 3),
    "at least two": {"type": "array", "items": {"enum": [1, 2]}, "minItems": 2},
    "a pair": {"type": "array", "prefixItems": [SHORT, INT], "items": False, "minItems": 2},
    "a matrix": many(many({"type": "integer", "minimum": 0, "maximum": 1}, 2, 2), 2, 2),
    "a record": record(name=SHORT, age={"type": "integer", "minimum": 0, "maximum": 150}),
    "optional fields": {**record(a=INT, b=SHORT, c=BOOL), "required": ["b"]},
    "no required field": {**record(a=INT, b=BOOL), "required": []},
    "other fields of a type": {
        "type": "object",
        "properties": {"id": INT},
        "required": ["id"],
        "additionalProperties": {"type": "boolean"},
        "maxProperties": 3,
    },
    "fields by pattern": {
        "type": "object",
        "patternProperties": {"^x_[a-z]{1,3}$": INT},
        "additionalProperties": False,
        "maxProperties": 2,
    },
    "nested records": record(user=record(name=SHORT, home=record(street=SHORT, no=INT)), ok=BOOL),
    "five deep": record(a=record(b=record(c=record(d=record(e={"enum": ["deep"]}))))),
    "records in a list": many(record(sku={"type": "string", "pattern": "^[A-Z]{3}$"}, n=INT), 1, 3),
    "any of": {"anyOf": [INT, SHORT, NULL]},
    "any of records": {"anyOf": [record(kind={"const": "a"}, x=INT), record(kind={"const": "b"}, y=SHORT)]},
    "one of": {"oneOf": [BOOL, {"type": "integer", "minimum": 5, "maximum": 7}]},
    "one of by a tag": {
        "oneOf": [record(t={"const": "circle"}, r=NUM), record(t={"const": "box"}, w=NUM, h=NUM)]
    },
    "all of": {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 11}]},
    "a reference": {"$defs": {"point": record(x=INT, y=INT)}, **record(a={"$ref": "#/$defs/point"})},
    "references twice": {
        "$defs": {"color": {"enum": ["red", "blue"]}, "pen": record(color={"$ref": "#/$defs/color"})},
        **record(pens=many({"$ref": "#/$defs/pen"}, 1, 2), paper={"$ref": "#/$defs/color"}),
    },
    "a list by reference": {
        "$defs": {"node": {**record(v=BOOL, next={"anyOf": [NULL, NODE]}), "required": ["v"]}},
        **NODE,
    },
    "a tree by reference": {"$defs": {"node": record(v={"enum": [0, 1]}, kids=many(NODE, 0, 1))}, **NODE},
    "definitions of draft 7": {
        "definitions": {"id": {"type": "string", "pattern": "^[a-z]{2}$"}},
        **record(ids=many({"$ref": "#/definitions/id"}, 1, 3)),
    },
    "what pydantic writes": {
        "$defs": {"Role": {"enum": ["admin", "user"], "title": "Role", "type": "string"}},
        "title": "User",
        "type": "object",
        "properties": {
            "role": {"$ref": "#/$defs/Role"},
            "score": {"anyOf": [NUM, NULL], "default": None, "title": "Score"},
            "名": {"type": "string", "maxLength": 3, "description": "a name"},
        },
        "required": ["role", "名"],
        "additionalProperties": False,
    },
    "a call of a tool": record(
        name={"enum": ["search", "open"]},
        arguments={
            "anyOf": [
                record(query={"type": "string", "minLength": 1, "maxLength": 12}, k={"enum": [1, 5, 10]}),
                record(page={"type": "integer", "minimum": 1, "maximum": 99}),
            ]
        },
    ),
}

FORMATS = jsonschema.FormatChecker(formats=())


@FORMATS.checks("date", raises=ValueError)
def _date(text: object) -> bool:
    return bool(date.fromisoformat(str(text)))


@FORMATS.checks("date-time", raises=ValueError)
def _date_time(text: object) -> bool:
    # RFC 3339 knows a leap second, Python does not
    return bool(datetime.fromisoformat(re.sub(r":60(?=[.Z+-]|$)", ":59", str(text).upper())))


@FORMATS.checks("uuid", raises=ValueError)
def _uuid(text: object) -> bool:
    return bool(uuid.UUID(str(text)))


@FORMATS.checks("ipv4", raises=ValueError)
def _ipv4(text: object) -> bool:
    return bool(ipaddress.IPv4Address(str(text)))


@FORMATS.checks("email")
def _email(text: object) -> bool:
    return bool(re.fullmatch(r"[^@]+@[^@]+", str(text)))


def test_there_are_fifty_schemas_that_a_wrong_value_fails() -> None:
    assert len(SCHEMAS) == 50
    for name, schema in SCHEMAS.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        validator = jsonschema.Draft202012Validator(schema, format_checker=FORMATS)
        assert not validator.is_valid({"not": ["this"], "nor": 0.125}), name


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_answer_fits_its_schema(grammars: Grammars, tokenizer, name: str) -> None:
    schema = SCHEMAS[name]
    validator = jsonschema.Draft202012Validator(schema, format_checker=FORMATS)
    for seed in range(6):
        wanted = StructuredOutputs(json=schema, disable_any_whitespace=bool(seed % 2))
        text = write(grammars, tokenizer, wanted, seed, temperature=1.0 if seed < 4 else 0)
        validator.validate(json.loads(text))


@pytest.mark.parametrize("seed", range(4))
def test_json_object_is_any_object(grammars: Grammars, tokenizer, seed: int) -> None:
    assert isinstance(json.loads(write(grammars, tokenizer, StructuredOutputs(json_object=True), seed)), dict)


SMALL = (
    {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"],
     "additionalProperties": False},
    {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 3},
    {"enum": [1, [2, {"three": None}], "four"]},
    {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"enum": [7]}}, "required": ["b"],
     "additionalProperties": False}}, "required": ["a"], "additionalProperties": False},
)  # fmt: skip
BLANKS = 43  # in a row, at most: a blank, a line break and an indentation


@pytest.mark.parametrize("schema", SMALL)
def test_a_model_that_loves_white_space_comes_to_an_end(grammars: Grammars, tokenizer, schema) -> None:
    blanks = dict.fromkeys(tokenizer.encode(" \n\t\r"), 100.0)
    wanted = StructuredOutputs(json=schema)
    for seed in range(5):
        params = SamplingParams(seed=seed, structured_outputs=wanted, logit_bias=blanks)
        end = tokenizer.eos_token_id
        own = Choice(params, 0, [1, 2], [end], grammars.constraint(wanted))
        source = torch.Generator().manual_seed(seed)
        while not own.finished:
            (token,) = choose(torch.randn(1, PADDED, generator=source), [own])
            if token == end:
                break
            own.accept(token)
            assert len(own.output_ids) < 15 * BLANKS, tokenizer.decode(own.output_ids)
        text = tokenizer.decode(own.output_ids)
        jsonschema.validate(json.loads(text), schema)
        assert max(len(run) for run in re.findall(r"\s*", text)) <= BLANKS


@pytest.mark.parametrize("indent", [None, 1, 2, 4, "\t"])
def test_json_as_it_is_usually_printed_is_allowed(grammars: Grammars, tokenizer, indent) -> None:
    value = {"a": [1, {"b": [[True], {}], "c": "x  y\n"}], "d": None}
    constraint = grammars.constraint(StructuredOutputs(json={"type": "object"}))
    for text in (
        json.dumps(value, indent=indent),
        json.dumps(value, indent=indent, separators=(" , ", " : ")),
    ):
        constraint = grammars.constraint(StructuredOutputs(json={"type": "object"}))
        for token in tokenizer.encode(text.replace("\n", "\r\n")):
            constraint.accept(token)
        assert not constraint.error
        assert constraint.accepting


@pytest.fixture(scope="module")
def real() -> Iterator[LLM]:
    with LLM(model="smollm2-135m", precision="int8", max_num_seqs=50) as llm:
        yield llm


@pytest.mark.model
@pytest.mark.parametrize("schema", SMALL)
def test_answers_of_a_real_model_end(real: LLM, schema) -> None:
    params = SamplingParams(
        max_tokens=200, n=50, seed=1, structured_outputs=StructuredOutputs(json=schema), temperature=1
    )
    (answer,) = real.chat([{"role": "user", "content": "Answer in JSON, any value."}], params)
    assert [one.finish_reason for one in answer.outputs] == ["stop"] * 50
    for one in answer.outputs:
        jsonschema.validate(json.loads(one.text), schema)


# --- the other forms -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        r"[0-9]{3}-[0-9]{4}",
        r"(yes|no|maybe)!?",
        r"你好(，世界){1,2}",
        r"[^a-z]{2,5}",
        r"^(a|bc){2,4}$",
        r"\d+",
    ],
)
def test_every_answer_matches_its_regex(grammars: Grammars, tokenizer, pattern: str) -> None:
    for seed in range(5):
        text = write(grammars, tokenizer, StructuredOutputs(regex=pattern), seed)
        assert re.fullmatch(pattern, text), text


def test_every_answer_is_one_of_the_choices_and_each_comes(grammars: Grammars, tokenizer) -> None:
    choices = ("yes", "no", 'a "quoted" one', "back\\slash | bar", "two\nlines", "你好 😀")
    wanted = StructuredOutputs(choice=choices)
    seen = {write(grammars, tokenizer, wanted, seed) for seed in range(60)}
    assert seen == set(choices)


def test_every_answer_follows_its_grammar(grammars: Grammars, tokenizer) -> None:
    grammar = """
        start: sum
        sum: NUMBER | "(" sum SIGN sum ")"
        SIGN: "+" | "-"
        NUMBER: /[1-9][0-9]{0,2}/
    """
    for seed in range(10):
        text = write(grammars, tokenizer, StructuredOutputs(grammar=grammar), seed)
        assert re.fullmatch(r"[0-9()+-]+", text)
        assert isinstance(eval(text), int)


# --- one constraint -----------------------------------------------------------------------------------------


def names(tokenizer, mask: np.ndarray) -> set[str]:
    return set(tokenizer.convert_ids_to_tokens(np.flatnonzero(mask).tolist()))


def test_white_space_may_be_left_out(grammars: Grammars, tokenizer) -> None:
    for tight, expected in ((False, {'"', "Ġ", "Ċ", "ĉ", "č"}), (True, {'"'})):
        wanted = StructuredOutputs(json=record(a=INT), disable_any_whitespace=tight)
        constraint = grammars.constraint(wanted)
        constraint.accept(tokenizer.encode("{")[0])
        assert names(tokenizer, allowed([constraint])[0]) == expected


def test_masks_of_many_rows_and_the_end(grammars: Grammars, tokenizer) -> None:
    a, b = tokenizer.encode("ab")
    rows = [grammars.constraint(StructuredOutputs(regex=regex)) for regex in ("ab", "a?b", "[^x]", "a*")]
    masks = allowed(rows)
    assert masks.shape == (4, 259)
    assert names(tokenizer, masks[0]) == {"a"}
    assert names(tokenizer, masks[1]) == {"a", "b"}
    assert names(tokenizer, masks[3]) == {"a", "<|im_end|>"}
    assert not masks[:, 257:].any()
    assert [(row.accepting, row.finished) for row in rows] == [(False, False)] * 3 + [(True, False)]
    for token in (a, b):
        rows[0].accept(token)
    assert (rows[0].accepting, rows[0].finished) == (True, True)
    assert names(tokenizer, allowed(rows[:1])[0]) == {"<|im_end|>"}


def test_a_forbidden_token_stops_the_row_and_no_other(grammars: Grammars, tokenizer) -> None:
    params = SamplingParams(temperature=0)
    wanted = StructuredOutputs(regex="ab")
    rows = [Choice(params, 0, (), [256], grammars.constraint(wanted)) for _ in range(2)]
    a, b = tokenizer.encode("ab")
    rows[0].accept(b)
    rows[1].accept(a)
    assert choose(torch.zeros(2, PADDED), rows) == [NOTHING, b]
    assert "structured_outputs cannot go on: " in str(rows[0].failure())
    assert "satisfy the grammar" in str(rows[0].failure())


def test_a_constraint_waits_for_the_end_of_a_thought(grammars: Grammars, tokenizer) -> None:
    close = tokenizer.encode("</t>")
    constraint = grammars.constraint(StructuredOutputs(regex="ab"), after=close)
    own = Choice(SamplingParams(temperature=0), 0, (), [256], constraint)
    logits = torch.zeros(1, PADDED)
    logits[0, tokenizer.encode("z")] = 9.0
    for token in [*tokenizer.encode("z</"), *close]:
        assert choose(logits, [own]) == tokenizer.encode("z")
        assert not own.finished
        own.accept(token)
    assert choose(logits, [own]) == tokenizer.encode("a")


def test_completions_of_one_grammar_do_not_share_their_place(grammars: Grammars, tokenizer) -> None:
    first, second = (grammars.constraint(StructuredOutputs(regex="ab")) for _ in range(2))
    first.accept(tokenizer.encode("a")[0])
    assert [names(tokenizer, mask) for mask in allowed([first, second])] == [{"b"}, {"a"}]


def test_min_tokens_give_way_to_an_answer_that_is_whole(grammars: Grammars, tokenizer) -> None:
    params = SamplingParams(temperature=0, min_tokens=9)
    own = Choice(params, 0, (), [256], grammars.constraint(StructuredOutputs(regex="ab?")))
    own.accept(tokenizer.encode("a")[0])
    logits = torch.zeros(1, PADDED)
    logits[0, 256] = 9.0
    assert choose(logits, [own]) == tokenizer.encode("b")  # the end is allowed, but too early
    own.accept(tokenizer.encode("b")[0])
    assert choose(logits, [own]) == [256]


def test_drafts_pass_through_the_grammar(grammars: Grammars, tokenizer) -> None:
    own = Choice(
        SamplingParams(temperature=0), 0, (), [256], grammars.constraint(StructuredOutputs(regex="abc"))
    )
    a, b, c = tokenizer.encode("abc")
    assert choose_drafted(torch.zeros(3, PADDED), [own], [[a, c]]) == [[a, b]]
    assert choose_drafted(torch.zeros(4, PADDED), [own], [[c, 256, 256]]) == [[c]]
    assert own.finished


def test_grammars_are_compiled_once_and_the_oldest_forgotten(tokenizer, monkeypatch) -> None:
    from weightwright.engine.sampling import constrain

    compiled = []
    compile_ = constrain._compile
    monkeypatch.setattr(constrain, "_compile", lambda *a: compiled.append(a[2].regex) or compile_(*a))
    grammars = Grammars(tokenizer, [256], keep=2)
    for regex in ("a", "b", "a", "c", "a", "b"):
        assert isinstance(grammars.constraint(StructuredOutputs(regex=regex)), Constraint)
    assert compiled == ["a", "b", "c", "b"]
    assert len(grammars) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"json": {"type": "objekt"}}, "structured_outputs.json cannot be used: Invalid type: objekt"),
        ({"json": {"$ref": "#/$defs/no"}}, "Pointer '/$defs/no' does not exist"),
        ({"json": {"type": "string", "pattern": "(a"}}, "unclosed group"),
        ({"json": {"type": "array", "uniqueItems": True}}, 'Unimplemented keys: ["uniqueItems"]'),
        ({"json": {"type": "array", "minItems": 3, "maxItems": 2}}, "Unsatisfiable schema"),
        ({"json": {"oneOf": [INT, NUM]}}, "oneOf"),
        ({"json": {"const": {1, 2}}}, "structured_outputs.json cannot be used: Object of type set"),
        ({"regex": "(a"}, "structured_outputs.regex cannot be used: "),
        ({"grammar": "start: nowhere"}, 'unknown name: "nowhere"'),
        ({"grammar": 'root ::= "a"'}, "looks like GBNF"),
    ],
)
def test_what_is_wrong_with_a_form_is_said(grammars: Grammars, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        grammars.constraint(StructuredOutputs(**fields))
    assert message in str(caught.value)


def test_a_slow_tokenizer_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match="need a fast tokenizer; object is none"):
        Grammars(object(), [0]).constraint(StructuredOutputs(regex="a"))
