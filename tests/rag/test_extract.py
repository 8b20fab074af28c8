"""The Chat without a model: it quotes, or says that the documents do not say."""

import pytest

from weightwright.data.grounded import PromptSettings
from weightwright.errors import RequestError
from weightwright.ports import ChatRequest, Grounding, Message, SamplingParams
from weightwright.rag.extract import Extract, quote

PASSAGES = (
    "Everybody has 27 days of annual leave. Enter it in Tidebook.",
    "Fleet: The motor boat Grey Teal carries 5 people. It was built in 1998.",
    "每位员工每年有27天年假。灰水鸭号摩托艇可以载5人。",
)


def ask(question, passages=PASSAGES, n=1, **kwargs):
    request = ChatRequest(
        messages=(Message("user", question),),
        params=SamplingParams(n=n),
        grounding=Grounding(question, tuple(passages)),
    )
    return Extract(**kwargs).submit(request).result()


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many days of annual leave does everybody have?", "Everybody has 27 days of annual leave [1]."),
        (
            "How many people does the Grey Teal carry?",
            "Fleet: The motor boat Grey Teal carries 5 people [2].",
        ),
        ("员工每年有几天年假？", "每位员工每年有27天年假[3]。"),
    ],
)
def test_it_quotes_the_best_sentence_with_its_mark(question, answer):
    assert ask(question).text == answer


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who won the football match yesterday?", "The documents do not say."),
        ("公司总部的电话号码是多少？", "资料中没有说明。"),
    ],
)
def test_it_says_when_nothing_fits(question, answer):
    assert ask(question).text == answer
    assert ask(question, ["", " "]).text == answer


def test_a_second_sentence_is_quoted_where_it_brings_more():
    passages = ["The Grey Teal is a motor boat.", "Harlan Works built twelve ferries in 1998."]
    assert (
        quote("Which motor boat is the Grey Teal and what did Harlan Works build in 1998?", passages).count(
            "["
        )
        == 2
    )


def test_the_users_own_words_for_no_answer():
    assert ask("Who won?", prompt=PromptSettings(no_answer="Nothing found.")).text == "Nothing found."


def test_every_completion_ends_and_usage_is_told():
    result = ask("How many people does the Grey Teal carry?", n=2)
    assert [completion.finish_reason for completion in result.completions] == ["stop", "stop"]
    assert result.usage.completion_tokens > 0


def test_without_passages_the_request_fails_and_others_go_on():
    extract = Extract()
    with pytest.raises(RequestError, match="knowledge base"):
        extract.submit(ChatRequest(prompt="hello")).result()
    with pytest.raises(RequestError, match="no likelihoods"):
        extract.score("a", ["b"])
    extract.close()
    assert ask("How many people does the Grey Teal carry?").text.endswith("[2].")
