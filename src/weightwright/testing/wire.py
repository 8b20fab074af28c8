# ruff: noqa: D102 (the names of tests say what they test)
"""The contract of a wire protocol: subclass `WireContract` and give it the protocol's functions.

    class TestMine(WireContract):
        protocol = MINE
        uncarried = frozenset({"ChatRequest.grounding"})

        def write_request(self, request): ...
        def read_request(self, body): ...
        def write_whole(self, result, request): ...
        def write_chunks(self, pieces, result, request): ...
        def read(self, events, request): ...

What is drawn has a value in every field of a message, a request, a piece and a result, so a field that is new is
carried, or named in `uncarried` as one that the protocol has no place for. Needs hypothesis.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from weightwright.errors import RequestError
from weightwright.ports import (
    ChatRequest,
    ChatResult,
    Citation,
    Message,
    Piece,
    Reply,
    SamplingParams,
    TokenLogprob,
    ToolCall,
    Usage,
)
from weightwright.wire.protocol import Failure, Protocol
from weightwright.wire.template import OWN_OPTIONS

BASE = "base"
"""The name of the model without an adapter."""
FEW = settings(  # one test of the contract runs for several protocols
    deadline=None,
    max_examples=30,
    phases=[phase for phase in Phase if phase is not Phase.explain],  # which takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)

_OF_ROLE = {"tool_calls": "assistant", "reasoning": "assistant", "tool_call_id": "tool"}
_WORDS = st.text(max_size=8)
_WORD = st.text(min_size=1, max_size=8)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | _WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_WORDS, inner, max_size=2),
    max_leaves=4,
)
_OBJECTS = st.dictionaries(_WORD.filter(lambda name: name not in OWN_OPTIONS), _JSON.filter(bool), max_size=2)
_IDS = st.integers(0, 99)
_LOGPROB = st.floats(-99, 0)


def every_field(kind: type[Any], **known: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """`kind` with a drawn value for each of its fields, also for those that have defaults."""
    return st.builds(kind, **{field.name: known.get(field.name, ...) for field in fields(kind)})


def _of_its_role(message: Message) -> Message:
    """Without what another role carries."""
    others: dict[str, Any] = {name: "" for name, role in _OF_ROLE.items() if message.role != role}
    return replace(message, **(others | ({"tool_calls": ()} if "tool_calls" in others else {})))


MESSAGES = every_field(
    Message,
    content=_WORDS,
    name=_WORDS,
    tool_calls=st.lists(every_field(ToolCall, id=_WORDS), max_size=2).map(tuple),
).map(_of_its_role)

# A value for each field of SamplingParams; those of beams and those that beams exclude are not drawn together.
_NUMBERS = {
    "max_tokens": st.integers(9, 99),
    "min_tokens": st.integers(0, 9),
    "top_k": st.integers(1, 99),
    "seed": st.integers(0, 99),
    "prompt_logprobs": st.integers(0, 3),
}
_EITHER: dict[str, st.SearchStrategy[Any]] = {
    "max_tokens": _NUMBERS["max_tokens"],
    "min_tokens": _NUMBERS["min_tokens"],
    "seed": _NUMBERS["seed"],
    "prompt_logprobs": _NUMBERS["prompt_logprobs"],
    "n": st.integers(2, 4),
    "stop": st.lists(_WORD, min_size=1, max_size=2),
    "stop_token_ids": st.lists(_IDS, min_size=1, max_size=2),
    "include_stop_str_in_output": st.just(True),
    "ignore_eos": st.just(True),
    "skip_special_tokens": st.just(False),
}
_DRAWN: dict[str, st.SearchStrategy[Any]] = _EITHER | {
    "temperature": st.floats(0.5, 2),
    "top_p": st.floats(0.1, 1),
    "top_k": _NUMBERS["top_k"],
    "min_p": st.floats(0, 1),
    "repetition_penalty": st.floats(0.5, 2),
    "frequency_penalty": st.floats(-2, 2),
    "presence_penalty": st.floats(-2, 2),
    "logit_bias": st.dictionaries(_IDS, st.floats(-100, 100), min_size=1, max_size=2),
    "allowed_token_ids": st.lists(_IDS, min_size=1, max_size=2),
    "bad_words": st.lists(_WORD.filter(str.strip), min_size=1, max_size=2),
    "best_of": st.integers(5, 9),
    "logprobs": st.integers(0, 3),
    "structured_outputs": st.sampled_from([
        {"json": {"type": "object"}}, {"json_object": True}, {"regex": "a+"}, {"choice": ["a", "b"]},
        {"grammar": 'start: "a"'}, {"json": {"type": "object"}, "disable_any_whitespace": True},
    ]),
}  # fmt: skip
_BEAMS: dict[str, st.SearchStrategy[Any]] = _EITHER | {
    "use_beam_search": st.just(True),
    "temperature": st.just(0.0),
    "best_of": st.integers(5, 9),
    "length_penalty": st.floats(-2, 2),
    "early_stopping": st.sampled_from([True, "never"]),
}


def _params(values: dict[str, st.SearchStrategy[Any]], *needed: str) -> st.SearchStrategy[SamplingParams]:
    always = {name: values[name] for name in needed}
    others = {name: value for name, value in values.items() if name not in needed}
    return st.fixed_dictionaries(always, optional=others).map(lambda drawn: SamplingParams(**drawn))


PARAMS = _params(_DRAWN) | _params(_BEAMS, "use_beam_search", "temperature", "best_of")
_TOOLS = st.builds(
    lambda name, rest: {"type": "function", "function": {**rest, "name": name}}, _WORD, _OBJECTS
)
CONVERSATIONS = every_field(
    ChatRequest,
    messages=st.lists(MESSAGES, min_size=1, max_size=3).map(tuple),
    prompt=st.none(),
    prompt_token_ids=st.none(),
    adapter=st.none() | _WORD.filter(lambda name: name != BASE),
    params=PARAMS,
    priority=st.integers(-9, 9),
    template_options=_OBJECTS,
    tools=st.lists(_TOOLS, max_size=2).map(tuple),
    add_generation_prompt=st.just(False),
)
_WITHOUT_TEMPLATE: dict[str, Any] = {
    "template_options": {},
    "tools": (),
    "add_generation_prompt": True,
    "continue_final_message": False,
}


def _completed(request: ChatRequest, prompt: str | tuple[int, ...]) -> ChatRequest:
    asked: dict[str, Any] = {"prompt": prompt} if isinstance(prompt, str) else {"prompt_token_ids": prompt}
    return replace(request, messages=None, **asked, **_WITHOUT_TEMPLATE)


COMPLETIONS = st.builds(_completed, CONVERSATIONS, _WORDS | st.lists(_IDS, min_size=1, max_size=3).map(tuple))
REQUESTS = CONVERSATIONS | CONVERSATIONS.map(
    lambda r: replace(r, continue_final_message=False, add_generation_prompt=True)
)


@st.composite
def token_logprobs(draw: st.DrawFn, rank: int | None = None) -> TokenLogprob:
    """A token among its likeliest, which have bytes that need not be text; `rank` is at most their count + 1."""
    count = draw(st.integers(0, 3)) if rank is None else rank
    ids = draw(st.lists(_IDS, min_size=count + 1, max_size=count + 1, unique=True))
    spelt = draw(st.lists(st.binary(min_size=1, max_size=4), min_size=count + 1, max_size=count + 1))
    values = sorted(draw(st.lists(_LOGPROB, min_size=count + 1, max_size=count + 1)), reverse=True)
    every = [(i, b.decode(errors="replace"), v, b) for i, b, v in zip(ids, spelt, values, strict=True)]
    place = draw(st.integers(0, count))
    top = every[:count]
    known = {
        "token_id": st.just(every[place][0]),
        "text": st.just(every[place][1]),
        "logprob": st.just(every[place][2]),
        "bytes": st.just(every[place][3]),
        "top": st.just(tuple(each[:3] for each in top)),
        "rank": st.just(place + 1),
        "top_bytes": st.just(tuple(each[3] for each in top)),
    }
    return draw(every_field(TokenLogprob, **known))  # type: ignore[no-any-return]


@st.composite
def answers(draw: st.DrawFn, request: ChatRequest) -> list[Piece]:
    """The pieces of an answer to a request, those of its completions among one another."""
    pieces: list[Piece] = []
    explained = request.params.logprobs is not None
    logprobs = st.lists(token_logprobs(), min_size=1, max_size=2) if explained else st.just([])
    whole = every_field(
        Piece,
        text=_WORDS,
        reasoning=st.just("") if request.messages is None else _WORDS,  # thoughts are split off in chats
        token_ids=st.lists(_IDS, max_size=2).map(tuple),
        logprobs=logprobs.map(tuple),
        finish_reason=st.sampled_from(["stop", "length", "cancelled"]),
        stop_reason=st.none() | _WORDS | _IDS,
        citations=st.lists(every_field(Citation, page=st.none() | _IDS), max_size=2).map(tuple),
        trace=_OBJECTS,
    )
    for index in range(request.params.n):
        *first, last = draw(st.lists(whole, min_size=1, max_size=3))
        bare = [replace(each, finish_reason=None, stop_reason=None, citations=(), trace={}) for each in first]
        pieces += [replace(each, index=index) for each in (*bare, last)]
    return sorted(pieces, key=lambda piece: draw(st.integers(0, 9)) if piece.finish_reason is None else 9)


@st.composite
def exchanges(
    draw: st.DrawFn, requests: st.SearchStrategy[ChatRequest] = REQUESTS
) -> tuple[ChatRequest, list[Piece], Reply]:
    """A request, the pieces of its answer, and the whole of it as an ended Reply."""
    request = draw(requests)
    pieces = draw(answers(request))
    prompt = draw(st.lists(_IDS, min_size=1, max_size=3).map(tuple))
    asked, logprobs = request.params.prompt_logprobs, None
    if asked is not None:
        known = draw(st.lists(token_logprobs(asked), min_size=len(prompt) - 1, max_size=len(prompt) - 1))
        logprobs = (None, *known)
    usage = draw(every_field(Usage, prompt_tokens=_IDS, completion_tokens=_IDS, cached_tokens=_IDS))
    return request, pieces, replied(request, pieces, usage, logprobs, prompt)


def replied(
    request: ChatRequest,
    pieces: Sequence[Piece],
    usage: Usage,
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None,
    prompt_token_ids: tuple[int, ...] | None = None,
) -> Reply:
    """An ended Reply."""
    reply = Reply(request.params.n)
    if prompt_token_ids is not None:
        reply.begin(prompt_token_ids)
    for piece in pieces:
        reply.push(piece)
    reply.finish(usage, prompt_logprobs)
    return reply


class WireContract:
    """What holds of every protocol. The functions below are the protocol's; all bodies and events are JSON."""

    protocol: ClassVar[Protocol]
    uncarried: ClassVar[frozenset[str]] = frozenset()
    """Fields, as `Message.name`, that the protocol has no place for."""
    requests: ClassVar[st.SearchStrategy[ChatRequest]] = REQUESTS

    def write_request(self, request: ChatRequest) -> dict[str, Any]:
        """The body; the model is named BASE where the request has no adapter."""
        raise NotImplementedError

    def read_request(self, body: Any) -> ChatRequest:
        """The request in a body; raises RequestError for one that is wrong."""
        raise NotImplementedError

    def write_whole(self, result: ChatResult, request: ChatRequest) -> dict[str, Any]:
        """The answer that is not streamed."""
        raise NotImplementedError

    def write_chunks(
        self, pieces: Sequence[Piece], result: ChatResult, request: ChatRequest
    ) -> Iterator[dict[str, Any]]:
        """The events of a stream."""
        raise NotImplementedError

    def read(self, events: Sequence[Any], request: ChatRequest) -> Reply:
        """The ended reply that a client makes of events, or of the one whole answer."""
        raise NotImplementedError

    # -- what must hold ----------------------------------------------------------------------------

    @FEW
    @given(st.data())
    def test_no_field_of_a_request_is_lost(self, data: st.DataObject) -> None:
        request = data.draw(self.requests)
        read = self.read_request(_sent(self.write_request(request)))
        assert self._carried(read) == self._carried(request)

    @FEW
    @given(st.data())
    def test_no_field_of_a_whole_answer_is_lost(self, data: st.DataObject) -> None:
        request, _, reply = data.draw(exchanges(self.requests))
        read = self.read([_sent(self.write_whole(reply.result(), request))], request)
        assert self._carried(read.result()) == self._carried(reply.result())

    @FEW
    @given(st.data())
    def test_no_field_of_a_piece_is_lost(self, data: st.DataObject) -> None:
        request, pieces, reply = data.draw(exchanges(self.requests))
        if request.params.prompt_logprobs is not None:
            return  # known at the end alone, so not streamed
        events = [_sent(event) for event in self.write_chunks(pieces, reply.result(), request)]
        read = self.read(events, request)
        assert self._carried(read.result()) == self._carried(reply.result())
        assert [self._carried(piece) for piece in _pieces(read)] == [self._carried(one) for one in pieces]

    @pytest.mark.parametrize("body", [{}, [], None, 5, "x", {"messages": 5}, {"model": 5}])
    def test_what_is_no_request_is_refused(self, body: Any) -> None:
        with pytest.raises(RequestError):
            self.read_request(body)

    @pytest.mark.parametrize("status", [400, 401, 404, 413, 500, 502, 503])
    def test_an_errors_message_is_read_back(self, status: int) -> None:
        failure = Failure(status, "the value 5 is above 4; lower it — 低一点", "code", "field")
        assert self.protocol.read_error(_sent(self.protocol.write_error(failure))) == failure.message

    def test_the_key_is_read_back(self) -> None:
        sent = {name.lower(): value for name, value in self.protocol.key_headers("k-1 2").items()}
        assert self.protocol.read_key(sent) == "k-1 2"
        assert self.protocol.read_key({}) == ""

    def _carried(self, value: Any) -> Any:
        """Every field by name, without those that are not carried."""
        if isinstance(value, tuple):
            return tuple(self._carried(each) for each in value)
        if not is_dataclass(value):
            return value
        kind = type(value).__name__
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return {
            name: self._carried(each)
            for name, each in named.items()
            if f"{kind}.{name}" not in self.uncarried
        }


def _sent(body: Any) -> Any:
    """As the other side gets it."""
    return json.loads(json.dumps(body, allow_nan=False))


def _pieces(reply: Reply) -> list[Piece]:
    return list(reply)
