"""The Chat without a model: it quotes, or says that the documents do not say."""

import pytest

from weightwright.data.grounded import PromptSettings
from weightwright.errors import RequestError
from weightwright.ports import ChatRequest, Grounding, Message, SamplingParams
from weightwright.rag.asked import knows
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


FLEET = (
    "The Fennick 14 costs 900 euros. In zone A the allowance is 30 euros. In 2019 the Otter 3 cost 5 euros."
)


@pytest.mark.parametrize(
    ("question", "known"),
    [
        ("What does the Fennick 14 cost?", True), ("What does the Fennick 16 cost?", False),
        ("What is the allowance in zone A?", True), ("What is the allowance in zone D?", False),
        ("What did the Otter 3 cost in 2019?", True), ("What did the Otter 5 cost in 2019?", False),
        ("How many euros does the Fennick 14 cost?", True), ("What does the Fennick cost?", True),
        ("Does the Fennick 14 cost 900 euros?", True), ("What did it cost in May 2?", True),
        ("芬尼克14的价格？", True), ("芬尼克16的价格？", False), ("2019年芬尼克14多少钱？", True),
    ],
)  # fmt: skip
def test_codes_that_the_passages_do_not_know(question, known):
    passages = [FLEET, "芬尼克14的价格为900欧元。"]
    assert knows(passages, question) == known
    assert known or not quote(question, passages)


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
