"""An Ollama Modelfile: its Go template, run by a small interpreter, gives the text of the chat template."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from weightwright.export.modelfile import go_template, modelfile, rendered, shape_of
from weightwright.testing.models import CHAT_TEMPLATE, tiny_llama

CHATML_DEFAULT = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are kind.<|im_end|>\n{% endif %}"
    + CHAT_TEMPLATE
)
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] }}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
LLAMA_3_1 = (
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nKnowledge until 2023\n\n"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% set messages = messages[1:] %}{% endif %}"
    "<|eot_id|>" + LLAMA_3.removeprefix("{{ bos_token }}")
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }}[/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}{% else %}"
    "{{ raise_exception('no system') }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
GEMMA_3 = (
    "{{ bos_token }}{% set first = '' %}{% if messages[0]['role'] == 'system' %}"
    "{% set first = messages[0]['content'] + '\n\n' %}{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ first if loop.first else '' }}{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI_3 = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set told = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set told = '' %}{% endif %}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ bos_token }}[INST] {{ told if loop.first else '' }}{{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
)
TEMPLATES = {
    "chatml": CHAT_TEMPLATE, "chatml with a default": CHATML_DEFAULT, "llama 3": LLAMA_3, "llama 3.1": LLAMA_3_1,
    "phi 3": PHI_3, "mistral": MISTRAL, "gemma": GEMMA, "gemma 3": GEMMA_3, "zephyr": ZEPHYR, "llama 2": LLAMA_2,
}  # fmt: skip
TALKS = [
    [("user", "Who?")],
    [("user", "Who?"), ("assistant", "I."), ("user", "Why?\nSay.")],
    [("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4"), ("user", "5")],
]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Any:
    found = AutoTokenizer.from_pretrained(tiny_llama(tmp_path / "model"))
    found.add_special_tokens({"bos_token": "<s>"})
    return found


# --- Go's text/template, as much of it as our templates use -----------------------------------------


def run_go(template: str, messages: list[tuple[str, str]]) -> str:
    """What Go would make of `template` with `.Messages`."""
    parts = re.split(r"\{\{ ?(.*?) ?\}\}", template)
    steps = iter([("act" if i % 2 else "text", part) for i, part in enumerate(parts)])
    tree = block(steps)
    state: dict[str, Any] = {"$system": ""}
    return "".join(walk(tree, state, None, [{"Role": role, "Content": text} for role, text in messages]))


def block(steps: Iterator[tuple[str, str]]) -> list[Any]:
    """Text, actions, and (action, inner block) for if and range, up to their `end`."""
    found: list[Any] = []
    for kind, part in steps:
        if kind == "text":
            found.append(("text", part))
        elif part == "end":
            return found
        elif part.startswith(("if ", "range ")):
            found.append((part, block(steps)))
        else:
            found.append(("do", part))
    return found


def walk(tree: list[Any], state: dict[str, Any], dot: Any, messages: list[Any]) -> Iterator[str]:
    for what, inner in tree:
        if what == "text":
            yield inner
        elif what == "do":
            yield from action(inner, state, dot, messages)
        elif what == "range $i, $_ := .Messages":
            for i, message in enumerate(messages):
                state["$i"] = i
                yield from walk(inner, state, message, messages)
        elif truth(what.removeprefix("if "), state, dot, messages):
            yield from walk(inner, state, dot, messages)


def action(text: str, state: dict[str, Any], dot: Any, messages: list[Any]) -> Iterator[str]:
    if assigned := re.fullmatch(r"(\$\w+) :?= (.*)", text):
        state[assigned[1]] = value(assigned[2], state, dot, messages)
    else:
        yield value(text, state, dot, messages)


def truth(text: str, state: dict[str, Any], dot: Any, messages: list[Any]) -> bool:
    if text == 'and $last (ne .Role "assistant")':
        return state["$last"] and dot["Role"] != "assistant"
    if text == 'ne (index .Messages 0).Role "system"':
        return messages[0]["Role"] != "system"
    if compared := re.fullmatch(r'eq \.Role "(\w+)"', text):
        return dot["Role"] == compared[1]
    if text == "not $last":
        return not state["$last"]
    assert text == "$system", text
    return bool(state["$system"])


def value(text: str, state: dict[str, Any], dot: Any, messages: list[Any]) -> Any:
    if text == "eq (len (slice $.Messages $i)) 1":
        return len(messages[state["$i"] :]) == 1
    if text == '""':
        return ""
    return dot[text[1:]] if text.startswith(".") else state[text]


# --- the templates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_go_template_gives_the_text_of_the_chat_template(tokenizer: Any, name: str) -> None:
    tokenizer.chat_template = TEMPLATES[name]
    shape = shape_of(tokenizer)
    assert not isinstance(shape, str), shape
    system = [("system", "Be kind.\nSay please.")]
    for talk in TALKS:
        for given in ([], system):
            if given and shape.system is None:
                continue
            turns = [{"role": role, "content": text} for role, text in [*given, *talk]]
            expected = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            assert rendered(shape, [*given, *talk]) == expected
            told = given or (
                [("system", shape.default_system)] if shape.default_system else []
            )  # Ollama's SYSTEM
            assert run_go(go_template(shape), [*told, *talk]) == expected


@pytest.mark.parametrize(
    ("name", "takes"), [("gemma", False), ("mistral", False), ("gemma 3", True), ("llama 2", True)]
)
def test_whether_a_template_takes_a_system_message(tokenizer: Any, name: str, takes: bool) -> None:
    tokenizer.chat_template = TEMPLATES[name]
    shape = shape_of(tokenizer)
    assert not isinstance(shape, str)
    assert (shape.system is not None) == takes


def test_a_default_system_message_becomes_system(tokenizer: Any) -> None:
    tokenizer.chat_template = CHATML_DEFAULT
    text = modelfile(tokenizer, "model-q8_0.gguf")
    assert text == (
        "FROM ./model-q8_0.gguf\n"
        'TEMPLATE """{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}'
        '{{ if eq .Role "system" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n{{ end }}'
        '{{ if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n{{ end }}'
        '{{ if eq .Role "assistant" }}<|im_start|>assistant\n{{ .Content }}'
        "{{ if not $last }}<|im_end|>\n{{ end }}{{ end }}"
        '{{ if and $last (ne .Role "assistant") }}<|im_start|>assistant\n{{ end }}{{ end }}"""\n'
        'SYSTEM """You are kind."""\n'
        'PARAMETER stop "<|im_end|>"\n'
    )


def test_bos_stands_in_the_template_only_where_llama_cpp_does_not_put_it(tokenizer: Any) -> None:
    from tokenizers import processors

    tokenizer.chat_template = LLAMA_3
    assert 'TEMPLATE """<s>{{' in modelfile(tokenizer, "m.gguf")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    assert "<s>" not in modelfile(tokenizer, "m.gguf")


def test_every_token_that_ends_an_answer_is_a_stop(tokenizer: Any) -> None:
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|eot_id|>"]})
    tokenizer.chat_template = LLAMA_3
    lines = modelfile(tokenizer, "m.gguf").splitlines()
    assert [line for line in lines if line.startswith("PARAMETER")] == [
        'PARAMETER stop "<|eot_id|>"', 'PARAMETER stop "<|im_end|>"'
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (None, "the model has no chat template"),
        ("{% for m in messages %}{{ m['content'] | upper }}{% endfor %}", "does not show a plain conversation"),
        (CHAT_TEMPLATE.replace("<|im_end|>", "{{ '.' if loop.last else '<|im_end|>' }}"),
         "otherwise within a conversation than at its end"),
        (CHAT_TEMPLATE.replace("{{ message['content'] }}", "{{ message['content'] | replace('=', '==') }}"),
         "does more than write marks"),
        (CHAT_TEMPLATE.replace("<|im_end|>", "{{ '{{' }}"), "marks that a Go template cannot hold"),
        ("{{ raise_exception('never') }}", "does not show a plain conversation"),
    ],
)  # fmt: skip
def test_other_templates_are_left_out_with_the_reason(tokenizer: Any, template: str | None, why: str) -> None:
    tokenizer.chat_template = template
    text = modelfile(tokenizer, "m.gguf")
    assert text.startswith("FROM ./m.gguf\n# no TEMPLATE here: ")
    assert why in text
    assert 'TEMPLATE """' not in text


@pytest.mark.shared
def test_qwen(shared: Path) -> None:
    found = AutoTokenizer.from_pretrained(shared / "data" / "models" / "qwen2.5-tokenizer")
    text = modelfile(found, "m.gguf")
    assert 'SYSTEM """You are Qwen, created by Alibaba Cloud. You are a helpful assistant."""' in text
    assert 'PARAMETER stop "<|im_end|>"' in text
    shape = shape_of(found)
    assert not isinstance(shape, str)
    turns = [{"role": role, "content": text} for role, text in TALKS[1]]
    expected = found.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert run_go(go_template(shape), [("system", shape.default_system), *TALKS[1]]) == expected


@pytest.mark.model
def test_smollm2() -> None:
    from weightwright.weights.load import load_tokenizer

    text = modelfile(load_tokenizer("smollm2-135m"), "m.gguf")
    assert 'TEMPLATE """{{ range' in text  # its BOS token begins every turn
    assert '{{ if eq .Role "system" }}<|im_start|>system\n' in text
    assert 'SYSTEM """You are a helpful AI assistant named SmolLM' in text
