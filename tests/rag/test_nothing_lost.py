"""A knowledge base in front of a model loses no field of a message, a request, a piece or a result."""

from contextlib import closing
from dataclasses import fields, replace
from functools import reduce
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightwright.address.stores import parse_store
from weightwright.errors import RequestError
from weightwright.ports import (
    Block,
    ChatRequest,
    ChatResult,
    Completion,
    Document,
    Grounding,
    Message,
    Piece,
    Place,
    Reply,
    SamplingParams,
    StructuredOutputs,
    TokenLogprob,
    ToolCall,
    Usage,
    joined,
    place_at,
)
from weightwright.rag.answer import ask
from weightwright.rag.chunk import chunk_document
from weightwright.rag.context import Passage, passages_of
from weightwright.rag.settings import AnswerSettings, ChunkSettings, CiteSettings
from weightwright.rag.stores.base import DocumentInfo
from weightwright.rag.stores.opening import open_store
from weightwright.testing.embedder import HashEmbedder

PASSAGES = [Passage("tide.md", "v1", 0, 41, "High water on Monday stands at 06:12 here.")]
SETTINGS = AnswerSettings(cite=CiteSettings(add=False))


class Replays:
    """A Chat that gives back the same pieces and result to every request, and keeps the request."""

    def __init__(self, pieces: list[Piece], ended: ChatResult | None = None) -> None:
        self._pieces, self._ended = pieces, ended or ChatResult((), Usage())

    def submit(self, request: ChatRequest) -> Reply:
        self.request, reply = request, Reply(request.params.n)
        for piece in self._pieces:
            reply.push(piece)
        reply.finish(self._ended.usage, self._ended.prompt_logprobs, self._ended.prompt_token_ids)
        return reply


FEW = settings(deadline=None, max_examples=40)


def every_field(kind: type, **known: st.SearchStrategy) -> st.SearchStrategy:
    """`kind` with a drawn value for each of its fields, also those that have defaults."""
    return st.builds(kind, **{field.name: known.get(field.name, ...) for field in fields(kind)})


WORDS = st.text(st.sampled_from("ab é天\n"), max_size=6)
LOGPROBS = st.lists(
    every_field(TokenLogprob, logprob=st.floats(-9, 0), bytes=st.binary(), top_bytes=st.just((b"x",))),
    max_size=2,
).map(tuple)
TRACES = st.dictionaries(WORDS, st.integers(), max_size=2)
MESSAGES = st.lists(
    every_field(
        Message, role=st.sampled_from(["system", "user", "assistant", "tool"]), content=WORDS,
        tool_calls=st.lists(every_field(ToolCall), max_size=2).map(tuple),
    ),
    max_size=4,
)  # fmt: skip
REQUESTS = every_field(
    ChatRequest,
    messages=st.builds(
        lambda turns, last: (*turns, replace(last, role="user")),
        MESSAGES,
        every_field(Message, content=WORDS),
    ),
    prompt=st.none(),
    prompt_token_ids=st.none(),
    params=st.just(SamplingParams(n=2, top_k=3, stop=("x",), logprobs=1)),
    template_options=TRACES,
    tools=st.lists(TRACES, max_size=1).map(tuple),
    add_generation_prompt=st.just(False),
)


@FEW
@given(REQUESTS)
def test_the_model_is_asked_all_that_was_asked(request_):
    chat = Replays([Piece(index, "", finish_reason="stop") for index in range(2)])
    ask(chat, request_, PASSAGES, SETTINGS)
    for field in fields(ChatRequest):
        if field.name not in ("messages", "grounding"):
            assert getattr(chat.request, field.name) == getattr(request_, field.name), field.name
    question = request_.messages[-1].content
    assert chat.request.grounding == Grounding(question, (PASSAGES[0].shown,))
    asked = list(chat.request.messages)
    if request_.messages[0].role != "system":
        assert "cite them" in asked.pop(0).content or "标明出处" in chat.request.messages[0].content
    assert len(asked) == len(request_.messages)
    assert PASSAGES[0].shown in asked[-1].content
    for before, after in zip(request_.messages, asked, strict=True):
        assert replace(after, content=before.content) == before
        assert before.content in after.content


@st.composite
def streams(draw):
    """The pieces of two completions, interleaved, and what is known at the end."""
    pieces = draw(st.lists(every_field(Piece, index=st.sampled_from([0, 1]), text=WORDS, logprobs=LOGPROBS,
                                       finish_reason=st.none(), stop_reason=st.none(), citations=st.just(()),
                                       trace=st.just({}), reasoning=WORDS), max_size=8))  # fmt: skip
    for index in draw(st.permutations([0, 1])):
        reason, stop = (
            draw(st.sampled_from(["stop", "length", "cancelled"])),
            draw(st.sampled_from([None, 7, "."])),
        )
        pieces.append(Piece(index, draw(WORDS), finish_reason=reason, stop_reason=stop))
    ended = draw(
        every_field(ChatResult, completions=st.just(()), usage=every_field(Usage), prompt_logprobs=LOGPROBS)
    )
    return pieces, ended


REQUEST = ChatRequest(messages=(Message("user", "When is high water?"),), params=SamplingParams(n=2))


@FEW
@given(streams())
def test_all_that_the_model_says_comes_back(stream):
    chat = Replays(*stream)
    plain, grounded = chat.submit(REQUEST).result(), ask(chat, REQUEST, PASSAGES, SETTINGS).result()
    for field in fields(ChatResult):
        if field.name != "completions":
            assert getattr(grounded, field.name) == getattr(plain, field.name), field.name
    for before, after in zip(plain.completions, grounded.completions, strict=True):
        for field in fields(Completion):
            if field.name != "trace":
                assert getattr(after, field.name) == getattr(before, field.name), field.name
        assert after.trace["citations"] == {"kept": 0, "dropped": 0, "added": 0}


@FEW
@given(streams())
def test_no_piece_is_empty_and_thoughts_are_not_held_back(stream):
    pieces = list(ask(Replays(*stream), REQUEST, PASSAGES, SETTINGS))
    assert all(piece.text or piece.reasoning or piece.finish_reason for piece in pieces)
    thinking = [piece for piece in stream[0] if piece.reasoning or piece.finish_reason]
    assert [p.reasoning for p in pieces if p.reasoning] == [p.reasoning for p in thinking if p.reasoning]


@FEW
@given(
    st.lists(every_field(Piece, index=st.just(0), logprobs=LOGPROBS, trace=TRACES), min_size=1, max_size=4)
)
def test_pieces_are_joined_in_any_grouping(pieces):
    whole = joined(pieces)
    assert reduce(lambda a, b: joined([a, b]), pieces) == whole
    assert joined([whole]) == whole
    for field in fields(Piece):
        values = [getattr(piece, field.name) for piece in pieces]
        of_the_last = field.name in ("index", "finish_reason", "stop_reason", "trace")
        expected = values[-1] if of_the_last else reduce(lambda a, b: a + b, values)
        assert getattr(whole, field.name) == expected, field.name


def test_the_citations_come_with_the_last_piece():
    says = [
        Piece(0, "High water stands at 06:12 [1]. And"),
        Piece(0, " so on [4].", finish_reason="stop", stop_reason=9),
    ]
    first, last = ask(Replays(says), replace(REQUEST, params=SamplingParams()), PASSAGES, AnswerSettings())
    assert (first.text, first.citations, dict(first.trace)) == ("High water stands at 06:12 [1].", (), {})
    assert (last.text, last.stop_reason, [c.n for c in last.citations]) == (" And so on.", 9, [1])
    assert last.trace["citations"] == {"kept": 1, "dropped": 1, "added": 0}


def test_a_model_that_tells_no_reason_why_it_ends_loses_no_words():
    result = ask(
        Replays([Piece(0, "At 06:12 [1]"), Piece(1, "Late [3]")]), REQUEST, PASSAGES, SETTINGS
    ).result()
    assert [(c.text, c.finish_reason) for c in result.completions] == [("At 06:12 [1]", None), ("Late", None)]


FORM = SamplingParams(structured_outputs=StructuredOutputs(json_object=True))


def test_an_answer_that_has_a_form_keeps_it():
    said = '{"gates": [1, 2], "at": "06:12 [7]"}'
    reply = ask(
        Replays([Piece(0, said, finish_reason="stop")]),
        replace(REQUEST, params=FORM),
        PASSAGES,
        AnswerSettings(),
    )
    [completion] = reply.result().completions
    assert (completion.text, completion.citations) == (said, ())


def test_the_sentence_that_nothing_is_said_is_not_put_in_the_place_of_a_form():
    with pytest.raises(RequestError, match="leave out structured_outputs"):
        ask(Replays([]), replace(REQUEST, params=FORM), [], SETTINGS)


# --- from a document to a citation ----------------------------------------------------------------------


@st.composite
def documents(draw):
    """A document with a value in every field, its places and blocks anywhere."""
    text = draw(st.text(st.sampled_from("ab. \n|天。"), min_size=1, max_size=150))
    starts = sorted(draw(st.sets(st.integers(0, len(text) - 1), max_size=5)))
    places = tuple(Place(at, draw(WORDS), draw(st.sampled_from([0, 1, 7]))) for at in starts)
    blocks, begin = [], 0
    while begin < len(text) and draw(st.booleans()):
        end = draw(st.integers(begin + 1, len(text)))
        blocks.append(Block(draw(st.sampled_from(["heading", "table", "code"])), begin, end, 1, draw(WORDS)))
        begin = end
    return Document(
        "d", text, "/d", draw(WORDS), tuple(starts), {"n": 1}, places, tuple(blocks), "2026-11-30T09:00:00Z"
    )


@FEW
@given(documents())
def test_a_citation_knows_the_place_of_every_character(document):
    everywhere = document.places_in(0, len(document.text))
    cut = ChunkSettings(chunk_tokens=12, overlap_tokens=4)
    embedder = HashEmbedder(8)
    chunks = chunk_document(document, cut, embedder.count_tokens, 100)
    with (
        TemporaryDirectory() as folder,
        closing(
            open_store(parse_store(f"{folder}/kb.db"), embedder=embedder, chunks=cut, create=True)
        ) as store,
    ):
        store.replace(document, chunks, embedder.embed([chunk.text for chunk in chunks], kind="passage"))
        assert store.get([chunk.id for chunk in chunks]) == chunks
        [info] = store.documents()
        hits = store.search_vector(embedder.embed(["a"], kind="query")[0], 100)
    for field in fields(DocumentInfo):
        if field.name != "chunks":
            assert getattr(info, field.name) == getattr(document, field.name), field.name
    for passage in passages_of(hits, 10_000, embedder.count_tokens):
        for offset in range(passage.start, passage.end):
            assert place_at(passage.places, offset) == place_at(everywhere, offset)
