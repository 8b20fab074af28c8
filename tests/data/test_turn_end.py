"""What ends a turn, found in the chat template, on the templates that TRL ships and on others."""

from pathlib import Path

import pytest

from weightwright.data.turn_end import TurnEnds, turn_ends
from weightwright.testing.models import CHAT_TEMPLATE

from .families import LLAMA_3, MISTRAL, marked_tokenizer


def names(tokenizer) -> list[str]:
    return [tokenizer.decode([token]) for token in turn_ends(tokenizer).token_ids]


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("qwen3", ["<|im_end|>"]),
        ("llama3_1", ["<|eot_id|>"]),
        ("gemma3", ["<end_of_turn>"]),
        ("phi3", ["<|end|>"]),
        ("gptoss", ["<|return|>", "<|call|>"]),
        ("gemma4", ["<turn|>", "<|tool_response>"]),
        ("glm4moe", ["<|user|>", "<|observation|>"]),
        ("deepseekv3", ["<｜end▁of▁sentence｜>"]),
        ("cohere2", ["<|END_RESPONSE|>"]),
        ("muse_glimmer", ["<|eot|>"]),
    ],
)
def test_the_ends_of_words_and_calls(name, ends):
    trl = pytest.importorskip("trl")
    text = (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")
    assert names(marked_tokenizer(text)) == ends


def test_an_end_that_is_no_token_is_a_text():
    plain = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<END>\n{% endfor %}"
    assert turn_ends(marked_tokenizer(plain)) == TurnEnds(texts=("<END>",))


@pytest.mark.parametrize("template", [LLAMA_3, MISTRAL, CHAT_TEMPLATE])
def test_one_end_for_all(template):
    assert len(names(marked_tokenizer(template, eos="</s>"))) == 1


@pytest.mark.parametrize(
    "template", [None, "{{ 1 / 0 }}", "{{ raise_exception('no') }}", "no answer is shown"]
)
def test_none_where_there_is_no_template_or_it_cannot_be_followed(template):
    assert turn_ends(marked_tokenizer(template or "")) == TurnEnds()
