"""Labelled tokens beside those of TRL's training templates, on every template that TRL ships and every shape of row.

TRL marks by hand, in a changed copy of each template, what an assistant says. Ours are found in the template itself.
What differs is named here, and explained in the guide (docs/data.md, "Beside TRL's masks").
"""

import datetime
import re
from pathlib import Path

import pytest

from weightwright.data.render import on_day, render, writes_date
from weightwright.data.sample import Sample
from weightwright.data.template import encode
from weightwright.errors import DataError, Place, TemplateError
from weightwright.ports import Message, ToolCall
from weightwright.wire.template import turn

from .families import GLM_4, GLM_4_6, GLM_4_7, marked_tokenizer

trl = pytest.importorskip("trl")
FOLDER = Path(trl.__file__).parent / "chat_templates"
NAMES = sorted(file.stem for file in FOLDER.glob("*.jinja") if not file.stem.endswith("_training"))

TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "d",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "where"}}},
    },
}
CALL, SECOND = (
    ToolCall("f", f'{{"city": "{city}"}}', f"call0000{i}") for i, city in ((1, "Bern"), (2, "Oslo"))
)
ASKED = Message("user", "Weather?")
CALLED = Message("assistant", "", (CALL,))
TOLD = Message("tool", "rain", tool_call_id=CALL.id, name="f")
RAIN = Message("assistant", "It rains.")
TALK = (
    Message("user", "Hi"),
    Message("assistant", "Hello!"),
    Message("user", "Again"),
    Message("assistant", "Yes."),
)
SUM, FOUR = Message("user", "2+2?"), Message("assistant", "4", reasoning="Two and two.")
ROWS = {
    "one": TALK[:2],
    "several": TALK,
    "system": (Message("system", "Be kind."), *TALK),
    "thought": (SUM, FOUR),
    "thoughts": (SUM, FOUR, Message("user", "3?"), Message("assistant", "5", reasoning="More.")),
    "inline": (SUM, Message("assistant", "<think>\nTwo and two.\n</think>\n\n4")),
    "call": (ASKED, CALLED),
    "calls": (ASKED, Message("assistant", "", (CALL, SECOND))),
    "result": (ASKED, CALLED, TOLD, RAIN),
    "words": (ASKED, Message("assistant", "Let me see.", (CALL,)), TOLD, RAIN),
    "chain": (ASKED, CALLED, TOLD, Message("assistant", "", (SECOND,)),
              Message("tool", "snow", tool_call_id=SECOND.id, name="f"), RAIN),
    "thoughtful": (ASKED, Message("assistant", "", (CALL,), reasoning="look"), TOLD,
                   Message("assistant", "It rains.", reasoning="so")),
}  # fmt: skip
WITH_TOOLS = {"call", "calls", "result", "words", "chain", "thoughtful"}

# a role's mark that TRL counts among what is said, and an empty thought that the template takes out of the past
PROMPT = re.compile(r"(<｜Assistant｜>|<\|start\|>assistant|\n|<think>\n*(</think>\n*)?)*")
# after a result DiffusionGemma is asked without its mark, and must write it; its call ends with a token that stops it
MORE = {"diffusion_gemma": re.compile(r"(<\|turn>model\n)?(?P<same>.*?)(<\|tool_response>)?", re.DOTALL)}
REASONS = (
    "does not show the thought", "does not show tools", "does not show call", "does not show the calls",
    "does not show message", "refuses the row", "otherwise inside a conversation",
)  # fmt: skip
# refused though TRL learns all that the row says: gpt-oss ends earlier answers with <|end|>, which stops no program;
# DiffusionGemma shows words of a call behind its result; Qwen3 and R1 cut thoughts out, which TRL's copies do not;
# Idefics and SmolVLM show lists of parts only, which rows of texts become here; TRL learns their empty answers
IN_PARTS = {"idefics3", "smolvlm"}
REFUSED_WHOLE = {
    ("deepseek_r1_distill", "inline"),
    ("gptoss", "several"), ("gptoss", "system"), ("diffusion_gemma", "words"),
    *((name, row) for name in ("qwen3", "qwen3_5_nothink", "qwen3_5_think", "qwen3_6") for row in ("thoughts",)),
    *((name, row) for name in IN_PARTS for row in ROWS.keys() - {"one", "several", "system", "inline"}),
}  # fmt: skip


@pytest.fixture(scope="module", params=NAMES)
def template(request):
    return request.param, marked_tokenizer((FOLDER / f"{request.param}.jinja").read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", ROWS)
def test_labels_are_those_of_trl_or_the_difference_is_known(template, row):
    name, tokenizer = template
    theirs = _theirs(name, row)
    ours = _ours_or_refusal(tokenizer, row)
    if isinstance(ours, str):
        assert ours.startswith("rows.jsonl, line 1: ")
        assert any(reason in ours for reason in REASONS), ours
        tools = "does not show tools" in ours  # TRL learns to call what the model is not told of
        whole = theirs is not None and not tools and all(word in "".join(theirs) for word in _said(row))
        assert not whole or (name, row) in REFUSED_WHOLE, f"{ours}; TRL learns {theirs}"
        return
    assert (name, row) not in REFUSED_WHOLE
    if theirs is None:
        return  # the template refuses what TRL would give it, or TRL has none: see the tests by hand
    assert len(ours) == len(theirs)
    if name in IN_PARTS:
        assert all(
            other.strip() == "<end_of_utterance>" != mine.strip()
            for mine, other in zip(ours, theirs, strict=True)
        )
        return
    for mine, other in zip(map(str.rstrip, ours), map(str.rstrip, theirs), strict=True):
        same = MORE[name].fullmatch(mine)["same"] if name in MORE else mine
        assert other.endswith(same)
        assert PROMPT.fullmatch(other.removesuffix(same)), (mine, other)


def test_a_day_that_is_kept_changes_nothing_else(template):
    name, tokenizer = template
    assert writes_date(tokenizer) == (name in ("gptoss", "llama3_2", "muse_glimmer"))
    today = on_day(tokenizer, datetime.datetime.now().date())
    for row in ("several", "result"):
        assert _ours_or_refusal(tokenizer, row) == _ours_or_refusal(today, row)
    question = (Message("user", "Hi"),)
    assert render(question, today, Place()) == render(question, tokenizer, Place())


GEMMA_CALL, LLAMA_CALL = (
    '<|tool_call>call:f{city:<|"|>Bern<|"|>}<tool_call|>',
    '{"name": "f", "parameters": {"city": "Bern"}}',
)


@pytest.mark.parametrize(
    ("names", "call", "end"),
    [
        (("gemma4", "gemma4_v3", "gemma4_v4", "gemma4_v5"), f"{GEMMA_CALL}<|tool_response>", "<turn|>"),
        (("gemma4_v2",), f"{GEMMA_CALL}<turn|>", "<turn|>"),
        (("llama3_1", "llama3_2"), f"{LLAMA_CALL}<|eot_id|>", "<|eot_id|>"),
    ],
    ids=["gemma4", "gemma4_v2", "llama3"],
)
def test_labels_by_hand_where_trl_has_no_training_template(names, call, end):
    for name in names:
        tokenizer = marked_tokenizer((FOLDER / f"{name}.jinja").read_text(encoding="utf-8"))
        assert _theirs(name, "one") is None
        for row in ("one", "several", "system"):
            assert _ours(tokenizer, row) == [text + end for text in ("Hello!", "Yes.")][: 1 + (row != "one")]
        assert _ours(tokenizer, "call") == [call]
        assert _ours(tokenizer, "result") == [call, f"It rains.{end}"]
        assert _ours(tokenizer, "chain") == [call, call.replace("Bern", "Oslo"), f"It rains.{end}"]


@pytest.mark.parametrize(
    ("name", "row", "labels"),
    [
        # the file's last token is learnt where it stands, behind the end of the last answer only
        ("phi3", "several", ["Hello!<|end|>", "Yes.<|end|>\n<eos>"]),
        ("phi3_5", "several", ["Hello!<|end|>", "Yes.<|end|>\n<eos>"]),
        # nothing ends a turn but the next role's mark
        ("glm4moe", "several", ["\n<think></think>\nHello!<|user|>", "\n<think></think>\nYes.<|user|>"]),
        ("glm4moe", "call", ["\n<think></think>\n<tool_call>f\n<arg_key>city</arg_key>\n<arg_value>Bern</arg_value>\n"
                             "</tool_call><|observation|>"]),
        # a thought that the prompt opens and the row does not have is closed by the model
        ("nemotron_3_nano", "one", ["</think>Hello!<|im_end|>"]),
        ("gptoss", "thought", ["<|channel|>analysis<|message|>Two and two.<|end|><|start|>assistant<|channel|>final"
                               "<|message|>4<|return|>"]),
        ("lfm2_2_5", "thought", ["<think>Two and two.</think>4<|im_end|>"]),
        ("deepseekv3", "one", ["Hello!<｜end▁of▁sentence｜>"]),
    ],
)  # fmt: skip
def test_labels_as_written(name, row, labels):
    tokenizer = marked_tokenizer((FOLDER / f"{name}.jinja").read_text(encoding="utf-8"))
    assert _ours(tokenizer, row) == labels


GLM_CALL = "{0}<tool_call>f{0}<arg_key>city</arg_key>{0}<arg_value>Bern</arg_value>{0}</tool_call>"


@pytest.mark.parametrize(
    ("family", "row", "labels"),
    [
        (GLM_4, "several", ["\nHello!<|user|>", "\nYes.<|user|>"]),
        (GLM_4, "call", "does not show call 1 of message 2 whole"),  # its calls stand in a field of their own
        (GLM_4, "result", "does not show the calls"),
        (GLM_4, "thought", "does not show the thought"),
        (GLM_4_6, "several", ["\n<think></think>\nHello!<|user|>", "\n<think></think>\nYes.<|user|>"]),
        (GLM_4_6, "thought", ["\n<think>Two and two.</think>\n4<|user|>"]),
        (GLM_4_6, "inline", ["\n<think>Two and two.</think>\n4<|user|>"]),
        (GLM_4_6, "thoughts", "does not show the thought .* of message 2"),
        (GLM_4_6, "result", ["\n<think></think>" + GLM_CALL.format("\n") + "<|observation|>",
                             "\n<think></think>\nIt rains.<|user|>"]),
        # the prompt opens the thought: a row without one closes it, as the template writes of past turns
        (GLM_4_7, "several", ["</think>Hello!<|user|>", "</think>Yes.<|user|>"]),
        (GLM_4_7, "thought", ["Two and two.</think>4<|user|>"]),
        (GLM_4_7, "thoughts", "does not show the thought .* of message 2"),
        (GLM_4_7, "result", ["</think>" + GLM_CALL.format("") + "<|observation|>", "</think>It rains.<|user|>"]),
        (GLM_4_7, "thoughtful", ["look</think>" + GLM_CALL.format("") + "<|observation|>",
                                 "so</think>It rains.<|user|>"]),
    ],
)  # fmt: skip
def test_labels_of_the_glm_family(family, row, labels):
    """By hand, after the formats of GLM-4-0414, 4.6 and 4.7: the next role's mark ends a turn and is learnt."""
    found = _ours_or_refusal(marked_tokenizer(family), row)
    assert re.search(labels, found) if isinstance(labels, str) else found == labels


@pytest.mark.parametrize("name", ["deepseek_r1_distill", "deepseekv3"])
def test_a_template_that_shows_no_tools_is_told_of_with_the_ways_out(name):
    tokenizer = marked_tokenizer((FOLDER / f"{name}.jinja").read_text(encoding="utf-8"))
    said = _ours_or_refusal(tokenizer, "call")
    assert said == (
        "rows.jsonl, line 1: this model's chat template does not show tools; use a model whose template does, "
        "a template that does (--template FILE.jinja), or rows without tools"
    )


@pytest.mark.parametrize("name", ["deepseek_r1_distill", "deepseekv3"])
@pytest.mark.parametrize("row", ["thought", "inline"])
def test_a_thought_that_the_template_cuts_out_is_refused_wherever_it_stands(name, row):
    tokenizer = marked_tokenizer((FOLDER / f"{name}.jinja").read_text(encoding="utf-8"))
    with pytest.raises(
        TemplateError, match=r"line 1: .*does not show the thought \(reasoning\) of message 2"
    ):
        _ours(tokenizer, row)


def test_calls_are_given_as_text_to_a_template_that_joins_them():
    tokenizer = marked_tokenizer((FOLDER / "deepseekv3.jinja").read_text(encoding="utf-8"))
    (call,) = _labels(tokenizer, Sample((ASKED, CALLED), (False, True), Place("rows.jsonl", line=1)))
    assert '\n```json\n{"city": "Bern"}\n```' in call
    assert call.endswith("<｜tool▁calls▁end｜><｜end▁of▁sentence｜>")


def _ours(tokenizer, row: str) -> list[str]:
    messages, tools = ROWS[row], (TOOL,) if row in WITH_TOOLS else ()
    answers = tuple(message.role == "assistant" for message in messages)
    return _labels(tokenizer, Sample(messages, answers, Place("rows.jsonl", line=1), tools))


def _ours_or_refusal(tokenizer, row: str) -> list[str] | str:
    try:
        return _ours(tokenizer, row)
    except (TemplateError, DataError) as error:
        return str(error)


def _labels(tokenizer, sample: Sample) -> list[str]:
    encoded = encode(sample, tokenizer)
    return _runs(tokenizer, encoded.token_ids, encoded.labelled)


def _theirs(name: str, row: str) -> list[str] | None:
    """What TRL labels; None where it has no template with marks, or that one refuses the row."""
    from jinja2 import TemplateError as Refusal

    file = FOLDER / f"{name}_training.jinja"
    text = (file if file.exists() else FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    if not re.search(r"\{%-?\s*generation", text):
        return None
    tokenizer = marked_tokenizer(text)
    for as_text in (False, True):
        try:
            whole = tokenizer.apply_chat_template(
                [turn(message, arguments_as_text=as_text) for message in ROWS[row]],
                tools=[TOOL] if row in WITH_TOOLS else None, return_dict=True, return_assistant_tokens_mask=True,
            )  # fmt: skip
        except (Refusal, TypeError):
            continue
        return _runs(tokenizer, whole["input_ids"], whole["assistant_masks"])
    return None


def _said(row: str) -> list[str]:
    """What a row has an assistant say."""
    said = []
    for message in ROWS[row]:
        if message.role == "assistant":
            words = message.content.removeprefix("<think>\n").split("\n</think>\n\n")
            said += [
                *words,
                message.reasoning,
                *(call.arguments.split('"')[3] for call in message.tool_calls),
            ]
    return said


def _runs(tokenizer, ids, labelled) -> list[str]:
    """The runs of labelled tokens as texts."""
    runs, before = [], False
    for token, label in zip(ids, labelled, strict=True):
        if label:
            runs = [*runs[:-1], [*runs[-1], token]] if before else [*runs, [token]]
        before = label
    return [tokenizer.decode(run) for run in runs]
