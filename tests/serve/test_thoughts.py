"""A thinking model's thought stands apart from its answer, and template options reach the template."""

from collections.abc import Iterator

import openai
import pytest

from weightwright.serve.offers import Offer

TURNS = [{"role": "user", "content": "Hello"}]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% elif opened is defined %}<think>\n{% endif %}{% endif %}"
)


@pytest.fixture(scope="module")
def client(serving, tiny_model) -> Iterator[openai.OpenAI]:
    from weightwright.engine.engine import Engine
    from weightwright.weights.load import load

    loaded = load(str(tiny_model), precision="f32")
    loaded.tokenizer.chat_template = TEMPLATE
    engine = Engine(loaded)
    url = serving([Offer("thinker", engine)])
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as opened:
        yield opened
    engine.close()


def asked(client, stream: bool, max_tokens: int = 60, **extra):
    return client.chat.completions.create(
        model="thinker", messages=TURNS, temperature=0, max_tokens=max_tokens, stream=stream, extra_body=extra
    )


def test_a_thought_is_reasoning_content_whole_and_streamed(client) -> None:
    form = {"regex": "<think>\nwell, well\n</think>\n\nYes\\."}
    message = asked(client, False, structured_outputs=form).choices[0].message
    assert (message.content, message.reasoning_content) == ("Yes.", "well, well")
    assert message.reasoning == message.reasoning_content
    deltas = [chunk.choices[0].delta for chunk in asked(client, True, structured_outputs=form)]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == "Yes."
    thought = [delta for delta in deltas if getattr(delta, "reasoning_content", None)]
    assert "".join(delta.reasoning_content for delta in thought) == "well, well"
    assert all(delta.content is None for delta in thought)
    assert all(delta.reasoning == delta.reasoning_content for delta in thought)


def test_a_thought_that_the_prompt_opened_and_nothing_closes_is_all_there_is(client) -> None:
    message = asked(client, False, chat_template_kwargs={"opened": True}, max_tokens=8).choices[0].message
    assert message.reasoning_content
    assert not message.content


def test_template_options_reach_the_template(client) -> None:
    """Thinking turned off closes the thought in the prompt, which then is longer."""
    plain = asked(client, False, max_tokens=4)
    closed = asked(client, False, max_tokens=4, chat_template_kwargs={"enable_thinking": False})
    assert closed.usage.prompt_tokens - plain.usage.prompt_tokens == len("<think>\n\n</think>\n\n")
