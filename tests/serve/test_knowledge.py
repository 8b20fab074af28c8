"""A knowledge base offered as a model: answers with citations beside the message."""

from pathlib import Path

import openai
import pytest

from weightwright.address.stores import parse_store
from weightwright.ports import SamplingParams
from weightwright.rag import index
from weightwright.rag.answer import KnowledgeBase, KnowledgeChat
from weightwright.rag.extract import Extract
from weightwright.rag.stores import open_store
from weightwright.serve.offers import Offer
from weightwright.testing.embedder import HashEmbedder

FERRY = "The ferry to Marsh Island leaves at 07:40. Dogs travel free."
QUESTION = [{"role": "user", "content": "When does the ferry to Marsh Island leave?"}]


@pytest.fixture(scope="module")
def client(serving, tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("kb")
    (folder / "ferry.txt").write_text(FERRY)
    embedder = HashEmbedder()
    store = open_store(parse_store(str(folder / "kb.db")), embedder=embedder, create=True)
    index.add(store, embedder, [str(folder / "ferry.txt")])
    knowledge = KnowledgeBase(store, embedder)
    chat = KnowledgeChat(knowledge, Extract())
    params = SamplingParams(max_tokens=50, temperature=0)
    url = serving([Offer("ferry", chat, grounded=True, parent="extract", params=params)])
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as opened:
        yield opened
    chat.close()
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


def test_a_knowledge_base_refuses_what_would_be_lost_on_it(client) -> None:
    extra = {"chat_template_kwargs": {"enable_thinking": False}, "priority": 1}
    said = "is a knowledge base and takes no chat_template_kwargs, priority; leave out"
    with pytest.raises(openai.BadRequestError, match=said):
        client.chat.completions.create(model="ferry", messages=QUESTION, extra_body=extra)
