"""Labelled tokens are exactly the answers with their end tokens, whatever the template."""

import pytest

from weightwright.data.formats import Judged, Pair, Sample, Text
from weightwright.data.render import render
from weightwright.data.template import encode, encode_row, encode_text
from weightwright.errors import DataError, ModelError, Place
from weightwright.ports import Message, ToolCall

from .families import GEMMA, GEMMA_2, LLAMA_3, MISTRAL, QWEN_3, SMOLLM_2

TALK = (
    Message("user", "Two?"),
    Message("assistant", "1, 2"),
    Message("user", "Three?"),
    Message("assistant", "1, 2, 3\n"),
)
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = ToolCall("weather", '{"city": "Oslo"}', "call00001")
TOOL_TALK = (
    Message("user", "Rain?"),
    Message("assistant", "", (CALL,)),
    Message("tool", "yes", tool_call_id="call00001"),
    Message("assistant", "It rains."),
    Message("user", "Thanks."),
    Message("assistant", "Bye."),
)


@pytest.fixture
def tokenizer(tiny_model):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


def sample(*messages: Message, tools=()) -> Sample:
    return Sample(
        messages, tuple(m.role == "assistant" for m in messages), Place("rows.jsonl", line=1), tools
    )


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
        (MISTRAL, [" 1, 2</s>", " 1, 2, 3</s>"]),
        (QWEN_3, ["1, 2<|im_end|>", "<think>\n\n</think>\n\n1, 2, 3\n<|im_end|>"]),
        (SMOLLM_2, ["1, 2<|im_end|>", "1, 2, 3\n<|im_end|>"]),
    ],
    ids=["chatml", "llama3", "gemma", "mistral", "qwen3", "smollm2"],
)
def test_answers_with_their_end_tokens(tokenizer, template, answers):
    if template is not None:
        tokenizer.chat_template = template
    assert labelled(encode(sample(*TALK), tokenizer), tokenizer) == answers
    assert labelled(encode(sample(*TALK), tokenizer, "last"), tokenizer) == answers[-1:]


SEEING = (
    "{% for message in messages %}{{ message.role }}: "
    "{% for part in message.content if part.type == 'image' %}<image>{% endfor %}"
    "{% for part in message.content if part.type == 'text' %}{{ part.text }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def test_a_template_that_wants_contents_in_parts(tokenizer):
    """Given texts it shows nothing of them, without a word."""
    tokenizer.chat_template = SEEING
    encoded = encode(sample(*TALK), tokenizer)
    assert labelled(encoded, tokenizer) == ["1, 2<|im_end|>", "1, 2, 3\n<|im_end|>"]
    whole = tokenizer.decode(encoded.token_ids)
    assert whole.startswith("user: Two?<|im_end|>\nassistant: 1, 2<|im_end|>\nuser: Three?")


QWEN_CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("template", "answers"),
    [
        (QWEN_3, [QWEN_CALL + "<|im_end|>", "It rains.<|im_end|>", "<think>\n\n</think>\n\nBye.<|im_end|>"]),
        (
            LLAMA_3,
            [
                '{"name": "weather", "parameters": {"city": "Oslo"}}<|eot_id|>',
                "It rains.<|eot_id|>",
                "Bye.<|eot_id|>",
            ],
        ),
    ],
    ids=["qwen3", "llama3"],
)
def test_calls_of_tools_are_learnt_and_their_results_are_not(tokenizer, template, answers):
    tokenizer.chat_template = template
    encoded = encode(sample(*TOOL_TALK, tools=(WEATHER,)), tokenizer)
    assert labelled(encoded, tokenizer) == answers
    assert '"name": "weather", "parameters"' in tokenizer.decode(encoded.token_ids)


def test_calls_of_tools_as_mistral_shows_them(tokenizer):
    tokenizer.chat_template = MISTRAL
    one_question = sample(*TOOL_TALK[:4], tools=(WEATHER,))
    assert labelled(encode(one_question, tokenizer), tokenizer) == [
        '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Oslo"}}]</s>',
        " It rains.</s>",
    ]
    # with a second question the tools stand before that one: the call's prompt was another than the row shows
    with pytest.raises(ModelError, match=r"message 2 otherwise inside a conversation .*--train-on last"):
        encode(sample(*TOOL_TALK, tools=(WEATHER,)), tokenizer)
    last = encode(sample(*TOOL_TALK, tools=(WEATHER,)), tokenizer, "last")
    assert labelled(last, tokenizer) == [" Bye.</s>"]


def test_words_before_a_call_are_part_of_the_answer(tokenizer):
    tokenizer.chat_template = QWEN_3
    talk = sample(
        TOOL_TALK[0], Message("assistant", "Let me see.", (CALL,)), *TOOL_TALK[2:4], tools=(WEATHER,)
    )
    first, _ = labelled(encode(talk, tokenizer), tokenizer)
    assert first == f"Let me see.\n{QWEN_CALL}<|im_end|>"
    tokenizer.chat_template = LLAMA_3
    with pytest.raises(ModelError, match="does not show message 2 as it stands"):
        encode(talk, tokenizer)


@pytest.mark.parametrize("template", [None, GEMMA, SMOLLM_2], ids=["chatml", "gemma", "smollm2"])
def test_a_template_that_leaves_tools_out_is_refused(tokenizer, template):
    if template is not None:
        tokenizer.chat_template = template
    with pytest.raises(
        ModelError, match="does not show tools; use a model whose template does, a template that does"
    ):
        encode(sample(*TALK, tools=(WEATHER,)), tokenizer)
    with pytest.raises(ModelError, match="does not show the calls of tools"):
        encode(sample(*TALK[:3], Message("assistant", "Wait.", (CALL,))), tokenizer)


THOUGHT = Message("assistant", "4", reasoning="2 + 2")
INLINE = Message("assistant", "<think>\n2 + 2\n</think>\n\n4")


@pytest.mark.parametrize("answer", [THOUGHT, INLINE], ids=["field", "inline"])
def test_a_thought_is_learnt_with_the_answer(tokenizer, answer):
    tokenizer.chat_template = QWEN_3
    encoded = encode(sample(Message("user", "Sum?"), answer), tokenizer)
    assert labelled(encoded, tokenizer) == ["<think>\n2 + 2\n</think>\n\n4<|im_end|>"]


@pytest.mark.parametrize("answer", [THOUGHT, INLINE], ids=["field", "inline"])
def test_an_answer_whose_thought_the_history_loses_is_not_learnt_without_it(tokenizer, answer):
    tokenizer.chat_template = QWEN_3
    talk = sample(Message("user", "Sum?"), answer, Message("user", "Again?"), answer)
    with pytest.raises(ModelError, match=r"rows.jsonl, line 1: .*--train-on last"):
        encode(talk, tokenizer)
    last = labelled(encode(talk, tokenizer, "last"), tokenizer)
    assert last == ["<think>\n2 + 2\n</think>\n\n4<|im_end|>"]


def test_thoughts_between_calls_stay(tokenizer):
    tokenizer.chat_template = QWEN_3
    call = Message("assistant", "", (CALL,), reasoning="look")
    talk = sample(TOOL_TALK[0], call, TOOL_TALK[2], THOUGHT, tools=(WEATHER,))
    assert labelled(encode(talk, tokenizer), tokenizer) == [
        f"<think>\nlook\n</think>\n\n{QWEN_CALL}<|im_end|>",
        "<think>\n2 + 2\n</think>\n\n4<|im_end|>",
    ]


def test_a_model_that_does_not_think_refuses_thoughts(tokenizer):
    with pytest.raises(ModelError, match="does not show the thought"):
        encode(sample(Message("user", "Sum?"), THOUGHT), tokenizer)


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
    tokenizer.chat_template = GEMMA_2
    with pytest.raises(DataError, match=r"rows.jsonl, line 1.*System role not supported"):
        encode(sample(Message("system", "x"), *TALK), tokenizer)
    tokenizer.chat_template = GEMMA
    with pytest.raises(DataError, match=r"rows.jsonl, line 1.*roles must alternate"):
        encode(sample(*TALK, TALK[-1]), tokenizer)


def test_the_template_runs_in_a_sandbox(tokenizer):
    tokenizer.chat_template = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(
        DataError, match=r"rows.jsonl, line 1: the model's chat template refuses the row: .*unsafe"
    ):
        encode(sample(*TALK), tokenizer)


def test_a_text_is_learnt_whole_and_ends(tokenizer):
    encoded = encode_text("Once 安.", Place("book.txt"), tokenizer)
    assert tokenizer.decode(encoded.token_ids) == "Once 安.<|im_end|>"
    assert all(encoded.labelled)
    assert encoded.place == Place("book.txt")
    tokenizer.bos_token = "<|im_start|>"
    assert tokenizer.decode(encode_text("Once", "x", tokenizer).token_ids) == "<|im_start|>Once<|im_end|>"
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no end-of-text token"):
        encode_text("Once", Place("book.txt"), tokenizer)


def test_every_kind_of_row_is_encoded(tokenizer):
    chosen, rejected = sample(*TALK[:2]), sample(TALK[0], Message("assistant", "3"))
    pair = encode_row(Pair(chosen, rejected, "p"), tokenizer)
    assert [labelled(one, tokenizer) for one in pair] == [["1, 2<|im_end|>"], ["3<|im_end|>"]]
    (judged,) = encode_row(Judged(sample(*TALK), True, "j"), tokenizer)
    assert labelled(judged, tokenizer) == ["1, 2, 3\n<|im_end|>"]
    (text,) = encode_row(Text("a", "t"), tokenizer)
    assert labelled(text, tokenizer) == ["a<|im_end|>"]
    assert encode_row(sample(*TALK), tokenizer) == (encode(sample(*TALK), tokenizer),)


@pytest.mark.shared
def test_qwen_tokenizer(shared):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / "data" / "models" / "qwen2.5-tokenizer")
    assert labelled(encode(sample(*TALK), tokenizer), tokenizer) == ["1, 2<|im_end|>", "1, 2, 3\n<|im_end|>"]
    encoded = encode(sample(*TOOL_TALK, tools=(WEATHER,)), tokenizer)
    # this template writes the line break after the role only where words or a call follow: it is the call's
    assert labelled(encoded, tokenizer) == [f"{QWEN_CALL}<|im_end|>", "It rains.<|im_end|>", "Bye.<|im_end|>"]
    with_words = sample(
        TOOL_TALK[0], Message("assistant", "See.", (CALL,)), *TOOL_TALK[2:4], tools=(WEATHER,)
    )
    assert labelled(encode(with_words, tokenizer), tokenizer)[0] == f"See.\n{QWEN_CALL}<|im_end|>"


@pytest.mark.shared
def test_real_tool_calls_are_all_labelled(shared):
    from transformers import AutoTokenizer

    from weightwright.data.formats import read_samples

    tokenizer = AutoTokenizer.from_pretrained(shared / "data" / "models" / "qwen2.5-tokenizer")
    for one in read_samples(shared / "data" / "tune" / "glaive_toolcall_en_demo.json")[:60]:
        runs = labelled(encode(one, tokenizer), tokenizer)
        assert len(runs) == sum(one.answers)
        assert all(run.endswith("<|im_end|>") for run in runs)
        assert sum("<tool_call>" in run for run in runs) == sum(bool(m.tool_calls) for m in one.messages)
        assert not any("<tool_response>" in run for run in runs)


@pytest.mark.model
def test_smollm2_tokenizer():
    from weightwright.weights.load import load_tokenizer

    tokenizer = load_tokenizer("smollm2-135m")
    assert labelled(encode(sample(*TALK), tokenizer), tokenizer) == ["1, 2<|im_end|>", "1, 2, 3\n<|im_end|>"]
    with pytest.raises(ModelError, match="does not show tools"):
        encode(sample(*TALK, tools=(WEATHER,)), tokenizer)


def test_what_is_learnt_follows_what_the_model_is_asked(tokenizer):
    """The generation prompt and the labelled tokens after it are the row, for training, chat and serving alike."""
    for template in (LLAMA_3, GEMMA, SMOLLM_2):
        tokenizer.chat_template = template
        asked = render(TALK[:3], tokenizer, "x", generation_prompt=True)
        (_, answer) = labelled(encode(sample(*TALK), tokenizer), tokenizer)
        assert render(TALK, tokenizer, "x").startswith(asked + answer)
