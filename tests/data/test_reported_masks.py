"""What users of other trainers reported of labels and masks, each kind on an input of our own."""

import json
from pathlib import Path

import pytest

from weightwright.data.chat_templates import TEMPLATES, chosen_template
from weightwright.data.formats import read_samples
from weightwright.data.pack import fit
from weightwright.data.sample import Sample
from weightwright.data.template import encode, encode_text
from weightwright.errors import Place, TemplateError
from weightwright.ports import Message

from .families import GEMMA, GLM_4_7, LLAMA_3, MISTRAL, QWEN_3, SMOLLM_2, marked_tokenizer

FAMILIES = {
    "llama3": LLAMA_3,
    "gemma": GEMMA,
    "mistral": MISTRAL,
    "qwen3": QWEN_3,
    "smollm2": SMOLLM_2,
    "glm": GLM_4_7,
}
ENDS = {"llama3": "<|eot_id|>", "gemma": "<end_of_turn>", "mistral": "</s>", "qwen3": "<|im_end|>",
        "smollm2": "<|im_end|>", "glm": "<|user|>"}  # fmt: skip


def row(*texts: str, system: str = "") -> Sample:
    """A conversation in turn, the user first."""
    turns = [Message("assistant" if n % 2 else "user", text) for n, text in enumerate(texts)]
    messages = (*((Message("system", system),) if system else ()), *turns)
    return Sample(messages, tuple(m.role == "assistant" for m in messages), Place("rows.jsonl", line=1))


def labelled(encoded, tokenizer) -> list[tuple[int, str]]:
    """The runs of labelled tokens: where each begins, and its text."""
    runs: list[tuple[int, list[int]]] = []
    for at, (token, label) in enumerate(zip(encoded.token_ids, encoded.labelled, strict=True)):
        if label and at and encoded.labelled[at - 1]:
            runs[-1][1].append(token)
        elif label:
            runs.append((at, [token]))
    return [(at, tokenizer.decode(run)) for at, run in runs]


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param, marked_tokenizer(
        FAMILIES[request.param], eos="</s>" if request.param == "mistral" else "<eos>"
    )


def test_with_the_last_answer_alone_no_earlier_end_is_learnt(family):
    """LlamaFactory#10827: mask_history left the EOS of earlier turns labelled."""
    name, tokenizer = family
    [(_, text)] = labelled(encode(row("a", "one", "b", "two", "c", "three"), tokenizer, "last"), tokenizer)
    assert "three" in text
    assert "one" not in text
    assert "two" not in text
    assert text.count(ENDS[name]) == 1


def test_turns_of_the_same_words_are_each_found_in_their_own_place(family):
    """axolotl#2089: turns were looked for by their content, and not found or found elsewhere."""
    _, tokenizer = family
    sample = row("OK", "OK", "OK", "OK", system="OK")
    encoded = encode(sample, tokenizer)
    runs = labelled(encoded, tokenizer)
    assert len(runs) == 2
    before = [tokenizer.decode(encoded.token_ids[:at]).count("OK") for at, _ in runs]
    assert tokenizer.decode(encoded.token_ids).count("OK") == 5
    assert before == [2, 4]


def test_all_answers_are_learnt_beside_a_system_text(family):
    """axolotl#1761: the last answer alone was learnt; unsloth#1290 and #1262: of Mistral's rows none."""
    name, tokenizer = family
    runs = labelled(encode(row("a", "one", "b", "two", system="Be kind."), tokenizer), tokenizer)
    assert [word in text for word, (_, text) in zip(("one", "two"), runs, strict=True)] == [True, True]
    assert all(text.endswith(ENDS[name]) for _, text in runs)
    assert "kind" not in "".join(text for _, text in runs)


def test_the_templates_own_end_of_turn_is_learnt_where_eos_is_another(family):
    """axolotl#3754: Gemma's <end_of_turn> was never learnt, as EOS is <eos>."""
    name, tokenizer = family
    encoded = encode(row("a", "one"), tokenizer)
    end = tokenizer.convert_tokens_to_ids(ENDS[name])
    last = max(at for at, label in enumerate(encoded.labelled) if label)
    assert encoded.token_ids[last] == end != tokenizer.unk_token_id


def test_an_end_that_is_eos_stands_once(tmp_path):
    """axolotl#807: ChatML's <|im_end|> was written by the template and added as EOS once more."""
    tokenizer = marked_tokenizer(SMOLLM_2, eos="<|im_end|>")
    encoded = encode(row("a", "one", "b", "two"), tokenizer)
    assert (
        encoded.token_ids.count(tokenizer.eos_token_id) == 5
    )  # of five turns, the template's system among them
    assert [text for _, text in labelled(encoded, tokenizer)] == ["one<|im_end|>", "two<|im_end|>"]


def test_a_completion_in_turns_begins_behind_the_assistants_mark(family, tmp_path: Path):
    """trl#4147: the assistant's mark was learnt with the completion."""
    name, tokenizer = family
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({
        "prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "one"}],
    }))  # fmt: skip
    [sample] = read_samples(file)
    [(at, text)] = labelled(encode(sample, tokenizer), tokenizer)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "a"}], tokenize=False, add_generation_prompt=True
    )
    whole = encode(sample, tokenizer).token_ids
    opened = "<think>" if name == "glm" else ""  # the prompt opens a thought that the row does not have
    assert tokenizer.decode(whole[:at]) == asked.removesuffix(opened)
    assert text.strip().endswith(f"one{ENDS[name]}")


def test_rows_with_and_without_a_thought_are_learnt_side_by_side():
    """axolotl#3098: rows of which some answers held <think> were masked whole."""
    tokenizer = marked_tokenizer(QWEN_3)
    texts = [
        text
        for _, text in labelled(
            encode(row("Hi", "Hello!", "2+2?", "<think>sum</think>4"), tokenizer), tokenizer
        )
    ]
    assert texts == ["Hello!<|im_end|>", "<think>\nsum\n</think>\n\n4<|im_end|>"]
    alone = labelled(encode(row("Hi", "Hello!"), tokenizer), tokenizer)
    assert [text for _, text in alone] == ["<think>\n\n</think>\n\nHello!<|im_end|>"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_base_model_learns_to_stop_by_the_template_that_it_is_given(tiny_model, name):
    """LlamaFactory#2761 and #2884: a base model tuned with a template never wrote its end."""
    from transformers import AutoTokenizer

    tokenizer = chosen_template(name, AutoTokenizer.from_pretrained(tiny_model))
    encoded = encode(row("a", "one", "b", "two"), tokenizer)
    runs = labelled(encoded, tokenizer)
    assert [text.strip().removesuffix(tokenizer.eos_token).strip() for _, text in runs] == ["one", "two"]
    assert all(text.strip().endswith(tokenizer.eos_token) for _, text in runs)


def test_a_text_ends_with_eos(tiny_model):
    """LlamaFactory#5599: a model pretrained on texts went on until its limit."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    encoded = encode_text("bye", Place(), tokenizer)
    assert encoded.token_ids[-1] == tokenizer.eos_token_id
    assert encoded.labelled[-1]
    tokenizer.eos_token = None
    with pytest.raises(TemplateError, match="no end-of-text token"):
        encode_text("bye", Place(), tokenizer)


def test_what_is_cut_keeps_the_labels_of_what_is_left_and_nothing_labelled_is_left_out(family):
    """axolotl#2123: a cut moved the labels; unsloth#2900 and #2095: rows without a label made the loss nan."""
    _, tokenizer = family
    encoded = encode(row("a" * 40, "one", "b", "two"), tokenizer)
    first = next(at for at, label in enumerate(encoded.labelled) if label)
    cut = fit([encoded], first + 2, "truncate").rows
    assert [(one.token_ids, one.labelled) for one in cut] == [
        (encoded.token_ids[: first + 2], encoded.labelled[: first + 2])
    ]
    assert fit([encoded], first, "truncate").rows == ()
    assert fit([encoded], first, "truncate").dropped == 1
    pieces = fit([encoded], first + 2, "split").rows
    assert (
        encoded.labelled_tokens - 1
        <= sum(piece.labelled_tokens for piece in pieces)
        <= encoded.labelled_tokens
    )
