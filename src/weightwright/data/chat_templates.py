"""Chat templates for models that come without one: ChatML, Llama 2's, Vicuna's, Alpaca's, or a file's.

Written from the formats' own documents: OpenAI's ChatML, Llama 2's model card, FastChat's Vicuna, Stanford Alpaca.
"""

from pathlib import Path
from typing import Any

from weightwright.data.render import render, with_template
from weightwright.data.turn_end import TurnEnds, turn_ends
from weightwright.errors import DataError, Place, SettingsError
from weightwright.ports import Message

_END = "<|im_end|>"
_ANSWER = "{% elif message['role'] == 'assistant' %}"
_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_LLAMA2 = (
    "{% set ns = namespace(system='') %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}"
    "{% set ns.system = '<<SYS>>\\n' + message['content'] + '\\n<</SYS>>\\n\\n' %}"
    "{% elif message['role'] == 'user' %}"
    "BOS{{ '[INST] ' + ns.system + message['content'] + ' [/INST]' }}{% set ns.system = '' %}"
    + _ANSWER + "{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)  # fmt: skip
_VICUNA = (
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + ' ' }}{% else %}"
    "{{ \"A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user's questions. \" }}{% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ASSISTANT:' }}"
    + _ANSWER + "{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)  # fmt: skip
_ALPACA = (
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\\n\\n' }}{% else %}"
    "{{ 'Below is an instruction that describes a task. Write a response that appropriately completes the request."
    "\\n\\n' }}{% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "{{ '### Instruction:\\n' + message['content'] + '\\n\\n### Response:\\n' }}"
    + _ANSWER + "{{ message['content'] + eos_token + '\\n\\n' }}{% endif %}{% endfor %}"
)  # fmt: skip
TEMPLATES = {"chatml": _CHATML, "llama2": _LLAMA2, "vicuna": _VICUNA, "alpaca": _ALPACA}


def chosen_template(name: str, tokenizer: Any) -> Any:
    """The tokenizer with the chat template of that name, or in that file; other tokenizers of the model keep theirs.

    A text begins with BOS where the tokenizer puts one before texts. EOS stands for ChatML's `<|im_end|>` where that
    is no token. Raises SettingsError for an unknown name, a file that cannot be read, and a template
    that cannot be followed.
    """
    text = _fitted(name, tokenizer) if name in TEMPLATES else _of_file(name)
    chosen = with_template(tokenizer, text)
    try:
        render((Message("user", "question"),), chosen, Place(), generation_prompt=True)
    except DataError as error:
        raise SettingsError(f"template={name}: {error.problem}") from error
    if turn_ends(chosen) == TurnEnds():
        raise SettingsError(
            f"template={name}: nothing that a program could stop at stands behind an answer; "
            "end the assistant's turns with {{ eos_token }} in it"
        )
    return chosen


def _of_file(name: str) -> str:
    if not Path(name).is_file():
        raise SettingsError(
            f"template={name!r} is none of {', '.join(TEMPLATES)}, and no file; give one of these or a Jinja file"
        )
    try:
        return Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"template={name} cannot be read: {error}") from error


def _fitted(name: str, tokenizer: Any) -> str:
    """One of our templates with the tokenizer's own BOS and end."""
    if tokenizer.eos_token_id is None:
        raise SettingsError(
            f"template={name}: this model's tokenizer has no end-of-text token for the end of answers"
        )
    text, bos = TEMPLATES[name], tokenizer.bos_token_id
    if tokenizer.convert_tokens_to_ids(_END) in (None, tokenizer.unk_token_id):
        text = text.replace(_END, tokenizer.eos_token)
    begins = "{{ bos_token }}" if bos is not None and tokenizer("a")["input_ids"][:1] == [bos] else ""
    return text.replace("BOS", begins) if "BOS" in text else begins + text
