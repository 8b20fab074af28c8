"""Questions to a knowledge base: what the model is shown, what comes back, streaming and cancelling."""

import threading
from itertools import pairwise

import pytest

from weightwright.data.grounded import messages
from weightwright.errors import RequestError, StoreError
from weightwright.ports import ChatRequest, Document, Grounding, Hit, Message, Piece, SamplingParams
from weightwright.rag.answer import KnowledgeBase, KnowledgeChat
from weightwright.rag.chunk import chunk_document
from weightwright.rag.context import passages_of
from weightwright.rag.extract import Extract
from weightwright.rag.settings import AnswerSettings, ChunkSettings
from weightwright.testing.embedder import HashEmbedder

from .conftest import Says

QUESTION = "How many days of annual leave does everybody have?"


@pytest.fixture
def knowledge(filled, embedder):
    return KnowledgeBase(filled, embedder, AnswerSettings(k=2))


def grounded(question, **sampling):
    params = SamplingParams(**{"max_tokens": 50, **sampling})
    return ChatRequest(messages=(Message("user", question),), params=params)


def test_the_model_is_shown_numbered_passages_and_the_answer_is_checked(knowledge):
    chat = Says("Everybody has 27 days of annual leave [1][2]. More [9].")
    answer = knowledge.answer(chat, QUESTION)
    assert answer.text == "Everybody has 27 days of annual leave [1]. More."
    [citation] = answer.citations
    assert (citation.document, citation.path) == ("leave.md", "/h/leave.md")
    assert citation.quote == "Everybody has 27 days of annual leave."
    assert answer.trace["citations"] == {"kept": 1, "dropped": 2, "added": 0}
    assert [p["n"] for p in answer.trace["passages"]] == [1, 2]
    [request] = chat.requests
    passages = tuple(passage.shown for passage in knowledge.passages(QUESTION))
    assert request.messages == messages(QUESTION, passages, knowledge.settings.prompt)
    assert request.grounding == Grounding(QUESTION, passages)
    assert (request.params.temperature, request.params.max_tokens) == (0.0, 256)


def test_streamed_pieces_are_the_checked_answer(knowledge):
    reply = knowledge.submit(
        Says("Everybody has 27 days of annual leave [1][2]. Bye [2]."), grounded(QUESTION)
    )
    pieces = list(reply)
    assert "".join(piece.text for piece in pieces) == "Everybody has 27 days of annual leave [1]. Bye."
    assert [piece.finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + ["stop"]
    assert len(pieces) >= 2
    tokens = sum(len(piece.token_ids) for piece in pieces)
    assert tokens == -(-len("Everybody has 27 days of annual leave [1][2]. Bye [2].") // 3)


def test_a_sentence_comes_before_the_end(knowledge):
    chat = Says(hold=True)
    reply = knowledge.submit(chat, grounded(QUESTION))
    seen = []
    reply.on_piece(lambda piece: seen.append(piece.text))
    inner = chat.replies[0]
    inner.push(Piece(0, "Everybody has 27 days of annual leave [1]. And"))
    assert seen == ["Everybody has 27 days of annual leave [1]."]
    inner.push(Piece(0, " so on.", finish_reason="stop"))
    assert "".join(seen) == "Everybody has 27 days of annual leave [1]. And so on."


def test_without_passages_no_model_is_asked(store, embedder):
    chat = Says("I make things up.")
    answer = KnowledgeBase(store, embedder).answer(chat, QUESTION)
    assert answer.text == "The documents do not say."
    assert answer.citations == ()
    assert chat.requests == []
    assert KnowledgeBase(store, embedder).answer(chat, "年假有几天？").text == "资料中没有说明。"


def test_extract_over_a_knowledge_base(knowledge):
    answer = knowledge.answer(Extract(), "员工每年有几天年假？")
    assert answer.text == "每位员工每年有27天年假[1]。"
    assert answer.citations[0].document == "zh.md"


def test_a_page_is_that_of_the_sentence_not_of_its_chunk(store, embedder):
    text = "The first page speaks of apples.\n\nThe second page speaks of 44 pears."
    document = Document("d", text, page_starts=(0, text.index("The second")))
    chunks = chunk_document(document, ChunkSettings(), embedder.count_tokens, 1000)
    store.replace(document, chunks, embedder.embed([c.text for c in chunks], kind="passage"))
    assert [chunk.page for chunk in chunks] == [1]
    answer = KnowledgeBase(store, embedder).answer(Says("It speaks of 44 pears [1]."), "What of pears?")
    assert answer.citations[0].page == 2


def test_several_completions_are_each_checked(knowledge):
    chat = Says("27 days [1].", "28 days [1].")
    result = knowledge.submit(chat, grounded(QUESTION, n=2)).result()
    assert [answer.text for answer in result.completions] == ["27 days [1].", "28 days."]
    assert [len(answer.citations) for answer in result.completions] == [1, 0]


# --- as a Chat --------------------------------------------------------------------------------------


def test_a_knowledge_chat_answers_the_last_message_with_the_turns_before(knowledge):
    inner = Says("27 days [1].")
    chat = KnowledgeChat(knowledge, inner, adapter="mine")
    turns = (
        Message("system", "Be brief."),
        Message("user", "Hello"),
        Message("assistant", "Hi"),
        Message("user", QUESTION),
    )
    reply = chat.submit(ChatRequest(messages=turns, params=SamplingParams(max_tokens=9)))
    [answer] = reply.result().completions
    assert (answer.text, len(answer.citations)) == ("27 days [1].", 1)
    [request] = inner.requests
    assert [message.role for message in request.messages] == ["system", "user", "assistant", "user"]
    assert request.messages[0].content.startswith("Be brief.\n\nAnswer from the sources")
    assert (request.adapter, request.params.max_tokens) == ("mine", 9)
    chat.close()


@pytest.mark.parametrize(
    "request_", [ChatRequest(prompt="x"), ChatRequest(messages=(Message("assistant", "x"),))]
)
def test_a_wrong_request_fails_alone(knowledge, request_):
    chat = KnowledgeChat(knowledge, Says("27 days [1]."))
    with pytest.raises(RequestError, match="user's question"):
        chat.submit(request_).result()
    assert chat.submit(grounded(QUESTION)).result().text == "27 days [1]."
    chat.close()


def test_a_failing_search_fails_the_reply(knowledge):
    chat = KnowledgeChat(knowledge, Says("x"))
    knowledge.store.close()
    with pytest.raises(StoreError, match="closed"):
        chat.submit(grounded(QUESTION)).result()
    chat.close()


def test_a_failing_model_fails_the_reply(knowledge):
    inner = Says(hold=True)
    reply = knowledge.submit(inner, grounded(QUESTION))
    inner.replies[0].fail(RequestError("too long"))
    with pytest.raises(RequestError, match="too long"):
        reply.result()


def test_cancelling_frees_the_model(knowledge):
    inner = Says(hold=True)
    reply = knowledge.submit(inner, grounded(QUESTION))
    inner.replies[0].push(Piece(0, "Everybody has"))
    reply.cancel()
    [completion] = reply.result().completions
    assert (completion.finish_reason, completion.text) == ("cancelled", "Everybody has")


def test_cancelling_before_the_search_is_done_asks_nobody(knowledge):
    inner, gate = Says("27 days [1]."), threading.Event()
    found = knowledge.passages
    knowledge.passages = lambda question, where: (gate.wait(), found(question, where))[1]
    chat = KnowledgeChat(knowledge, inner)
    reply = chat.submit(grounded(QUESTION))
    reply.cancel()
    gate.set()
    assert reply.result().completions[0].finish_reason == "cancelled"
    assert inner.requests == []
    chat.close()


def test_many_questions_at_once(knowledge):
    chat = KnowledgeChat(knowledge, Extract())
    replies = [chat.submit(grounded(QUESTION)) for _ in range(40)]
    assert {reply.result().text for reply in replies} == {"Everybody has 27 days of annual leave [1]."}
    chat.close()


# --- context ----------------------------------------------------------------------------------------


def hits_of(text, tokens, overlap):
    document = Document("d", text, "/d")
    settings = ChunkSettings(chunk_tokens=tokens, overlap_tokens=overlap)
    chunks = chunk_document(document, settings, HashEmbedder().count_tokens, 1000)
    return [Hit(chunk, 1.0 / n, "/d") for n, chunk in enumerate(chunks, 1)]


def test_overlapping_chunks_become_one_passage():
    text = " ".join(f"Sentence number {n} is here." for n in range(20))
    hits = hits_of(text, 40, 16)
    assert any(a.chunk.end > b.chunk.start for a, b in pairwise(hits))
    for order in (hits, hits[::-1], hits[::2] + hits[1::2]):
        [passage] = passages_of(order, 10_000, HashEmbedder().count_tokens)
        assert (passage.start, passage.end, passage.text) == (0, len(text), text)
        assert passage.score == 1.0


def test_the_context_keeps_to_its_budget_best_first():
    text = "\n\n".join(f"Paragraph {n}. " + "It has some words. " * 5 for n in range(10))
    hits = hits_of(text, 40, 0)
    count = HashEmbedder().count_tokens
    passages = passages_of(hits, 100, count)
    assert 1 < len(passages) < len(hits)
    assert sum(count([passage.shown for passage in passages])) <= 100
    assert [passage.start for passage in passages] == [hit.chunk.start for hit in hits[: len(passages)]]
    assert len(passages_of(hits, 1, count)) == 1


def test_the_same_text_is_shown_once_and_marks_of_its_own_are_not():
    chunk = hits_of("As they say [3], it is so.", 40, 0)[0]
    twin = Hit(type(chunk.chunk)("other", "v", 0, chunk.chunk.end, chunk.chunk.text), 0.5)
    [passage] = passages_of([chunk, twin], 1000, HashEmbedder().count_tokens)
    assert passage.shown == "As they say , it is so."
    assert passage.text == "As they say [3], it is so."
