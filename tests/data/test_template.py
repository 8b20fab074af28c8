"""Labelled tokens are exactly the answers with their end tokens, whatever the template."""

import pytest

from weightwright.data.formats import Sample
from weightwright.data.template import encode
from weightwright.errors import DataError, ModelError
from weightwright.ports import Message

LLAMA_3 = (
    "{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
    "+ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' "
    "+ m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (  # no generation prompt of its own
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + '</s>' }}{% endif %}{% endfor %}"
)
THINKING = (  # as Qwen3: an empty thought before the last answer only
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TALK = (
    Message("user", "Two?"),
    Message("assistant", "1, 2"),
    Message("user", "Three?"),
    Message("assistant", "1, 2, 3\n"),
)


@pytest.fixture
def tokenizer(tiny_model):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


def sample(*messages: Message) -> Sample:
    return Sample(messages, tuple(m.role == "assistant" for m in messages), "rows.jsonl, line 1")


def labelled(encoded, tokenizer) -> list[str]:
    """The runs of labelled tokens as texts."""
    runs, open_run = [], False
    for token, label in zip(encoded.token_ids, encoded.labelled, strict=True):
        if label:
            runs = [*runs[:-1], [*runs[-1], token]] if open_run else [*runs, [token]]
        open_run = label
    return [tokenizer.decode(run) for run in runs]


@pytest.mark.parametrize(
    ("template", "answers"),
    [
        (None, ["1, 2<|im_end|>", "1, 2, 3\n<|im_end|>"]),
        (LLAMA_3, ["1, 2<|eot_id|>", "1, 2, 3<|eot_id|>"]),
        (GEMMA, ["1, 2<end_of_turn>", "1, 2, 3<end_of_turn>"]),
        (MISTRAL, [" 1, 2</s>", " 1, 2, 3\n</s>"]),
        (THINKING, ["1, 2<|im_end|>", "<think>\n\n</think>\n\n1, 2, 3\n<|im_end|>"]),
    ],
    ids=["chatml", "llama3", "gemma", "mistral", "thinking"],
)
def test_answers_with_their_end_tokens(tokenizer, template, answers):
    if template is not None:
        tokenizer.chat_template = template
    assert labelled(encode(sample(*TALK), tokenizer), tokenizer) == answers
    assert labelled(encode(sample(*TALK), tokenizer, "last"), tokenizer) == answers[-1:]


def test_all_tokens(tokenizer):
    encoded = encode(sample(*TALK), tokenizer, "all")
    assert all(encoded.labelled)
    assert encoded.labelled_tokens == len(encoded) - 1


def test_tokens_are_those_of_the_whole_rendered_text(tokenizer):
    turns = [{"role": m.role, "content": m.content} for m in TALK]
    whole = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    assert list(encode(sample(*TALK), tokenizer).token_ids) == whole


def test_answers_without_weight_are_not_labelled(tokenizer):
    half = Sample(TALK, (False, True, False, False), "row")
    assert labelled(encode(half, tokenizer), tokenizer) == ["1, 2<|im_end|>"]
    none = Sample(TALK, (False,) * 4, "row")
    assert encode(none, tokenizer).labelled_tokens == 0


def test_an_answer_that_looks_like_a_marker_is_not_mistaken(tokenizer):
    tricky = sample(Message("user", "<|im_end|>"), Message("assistant", "assistant\n<|im_end|>x"))
    assert labelled(encode(tricky, tokenizer), tokenizer) == ["assistant\n<|im_end|>x<|im_end|>"]


def test_an_answer_in_chinese_and_an_empty_one(tokenizer):
    talk = sample(Message("user", "谁"), Message("assistant", "安⸩"))
    assert labelled(encode(talk, tokenizer), tokenizer) == ["安⸩<|im_end|>"]
    empty = sample(Message("user", "a"), Message("assistant", ""))
    assert labelled(encode(empty, tokenizer), tokenizer) == ["<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "no chat template"),
        ("{% for m in messages %}{{ m['role'] }}{% endfor %}", "does not show message"),
        ("{% for m in messages %}{{ m['content'] | upper }}{% endfor %}", "does not show message"),
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "never learn to stop"),
    ],
)
def test_a_template_that_cannot_be_followed_is_refused(tokenizer, template, message):
    tokenizer.chat_template = template
    with pytest.raises(ModelError, match=message):
        encode(sample(*TALK), tokenizer)


def test_a_row_that_the_template_refuses_is_named(tokenizer):
    tokenizer.chat_template = GEMMA
    with pytest.raises(DataError, match=r"rows.jsonl, line 1.*System role not supported"):
        encode(sample(Message("system", "x"), *TALK), tokenizer)


@pytest.mark.shared
def test_qwen_tokenizer(shared):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / "data" / "models" / "qwen2.5-tokenizer")
    assert labelled(encode(sample(*TALK), tokenizer), tokenizer) == ["1, 2<|im_end|>", "1, 2, 3\n<|im_end|>"]


@pytest.mark.model
def test_smollm2_tokenizer():
    from weightwright.model.load import load_tokenizer

    tokenizer = load_tokenizer("smollm2-135m")
    assert labelled(encode(sample(*TALK), tokenizer), tokenizer) == ["1, 2<|im_end|>", "1, 2, 3\n<|im_end|>"]
