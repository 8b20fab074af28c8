"""A knowledge base offered as a model: answers with citations beside the message."""

from pathlib import Path

import openai
import pytest

from weightwright.address.stores import parse_store
from weightwright.ports import ChatRequest, Piece, Reply, SamplingParams, Usage
from weightwright.rag import index
from weightwright.rag.answer import KnowledgeBase, KnowledgeChat
from weightwright.rag.extract import Extract
from weightwright.rag.stores.opening import open_store
from weightwright.serve.offers import Offer
from weightwright.testing.embedder import HashEmbedder

FERRY = "The ferry to Marsh Island leaves at 07:40. Dogs travel free."
QUESTION = [{"role": "user", "content": "When does the ferry to Marsh Island leave?"}]


class Thinks:
    """A Chat that thinks before it answers and ends at a stop text."""

    def __init__(self) -> None:
        self.requests: list[ChatRequest] = []

    def submit(self, request: ChatRequest) -> Reply:
        self.requests.append(request)
        reply = Reply()
        for piece in (
            Piece(0, "", reasoning="the ferry [9]"),
            Piece(0, "At", reasoning=", then"),
            Piece(0, " 07:40 [1]", finish_reason="stop", stop_reason="STOP"),
        ):
            reply.push(piece)
        reply.finish(Usage(9, 3, 4))
        return reply


@pytest.fixture(scope="module")
def thinker() -> Thinks:
    return Thinks()


@pytest.fixture(scope="module")
def client(serving, thinker, tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("kb")
    (folder / "ferry.txt").write_text(FERRY)
    embedder = HashEmbedder()
    store = open_store(parse_store(str(folder / "kb.db")), embedder=embedder, create=True)
    index.add(store, embedder, [str(folder / "ferry.txt")])
    knowledge = KnowledgeBase(store, embedder)
    chat = KnowledgeChat(knowledge, Extract())
    params = SamplingParams(max_tokens=50, temperature=0)
    thinking = KnowledgeChat(knowledge, thinker)
    offers = [Offer("ferry", chat, parent="extract", grounded=True, params=params)]
    url = serving([*offers, Offer("thinks", thinking, grounded=True, params=params)])
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as opened:
        yield opened
    chat.close()
    thinking.close()
    knowledge.close()


def check(citations: list[dict]) -> None:
    assert [c["n"] for c in citations] == [1]
    assert citations[0]["document"] == "ferry.txt"
    assert FERRY[citations[0]["start"] : citations[0]["end"]] == citations[0]["quote"]
    assert "07:40" in citations[0]["quote"]


def test_an_answer_has_its_citations_beside_the_message(client) -> None:
    answer = client.chat.completions.create(model="ferry", messages=QUESTION)
    assert "07:40" in answer.choices[0].message.content
    assert "[1]" in answer.choices[0].message.content
    check(answer.choices[0].model_extra["citations"])


def test_a_stream_ends_with_the_citations(client) -> None:
    chunks = list(client.chat.completions.create(model="ferry", messages=QUESTION, stream=True))
    assert "07:40" in "".join(chunk.choices[0].delta.content for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    check(chunks[-1].choices[0].model_extra["citations"])


def test_a_knowledge_base_is_listed_below_its_model_and_completes_no_plain_prompts(client) -> None:
    assert client.models.retrieve("ferry").model_extra["parent"] == "extract"
    with pytest.raises(openai.BadRequestError, match="use /v1/chat/completions"):
        client.completions.create(model="ferry", prompt="x")


def test_what_extract_cannot_do_is_refused_by_name(client) -> None:
    extra = {"chat_template_kwargs": {"enable_thinking": False}, "guided_choice": ["yes", "no"]}
    with pytest.raises(
        openai.BadRequestError, match="no structured_outputs, chat_template_kwargs; leave them out"
    ):
        client.chat.completions.create(model="ferry", messages=QUESTION, extra_body=extra)


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_and_the_reason_of_the_end_come_through_a_knowledge_base(client, thinker, stream) -> None:
    extra = {"chat_template_kwargs": {"enable_thinking": True}, "priority": 3, "top_k": 5}
    answer = client.chat.completions.create(
        model="thinks", messages=QUESTION, stream=stream, extra_body=extra
    )
    choices = [chunk.choices[0] for chunk in answer] if stream else answer.choices
    said = [choice.delta if stream else choice.message for choice in choices]
    assert "".join(part.model_extra.get("reasoning", "") for part in said) == "the ferry [9], then"
    assert "".join(part.content or "" for part in said) == "At 07:40 [1]"
    assert (choices[-1].finish_reason, choices[-1].model_extra["stop_reason"]) == ("stop", "STOP")
    check(choices[-1].model_extra["citations"])
    asked = thinker.requests[-1]
    assert (asked.template_options, asked.priority, asked.params.top_k) == ({"enable_thinking": True}, 3, 5)
