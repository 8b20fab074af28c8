"""Chat templates in the shape of well-known families: their turns, special tokens and order, in our own words.

Written from the families' documented prompt formats, because the real files cannot be shipped; the real ones of
Qwen2.5 and SmolLM2 are tried where they are at hand.
"""

import re

_RAISE_UNLESS_ALTERNATE = (
    "{% for m in turns %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}{% endfor %}"
)
_QWEN_TOOLS = (
    "{{ '# Tools\n\nYou may call functions.\n<tools>' }}{% for tool in tools %}{{ '\n' + tool | tojson }}{% endfor %}"
    "{{ '\n</tools>' }}"
)
_QWEN_CALLS = (
    "{% for call in m.tool_calls %}{{ '\n' if m.content or not loop.first else '' }}"
    '{{ \'<tool_call>\n{"name": "\' + call.function.name + \'", "arguments": \' }}'
    "{{ call.function.arguments | tojson }}{{ '}\n</tool_call>' }}{% endfor %}"
)
_QWEN_RESULTS = (
    "{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif %}"
    "{{ '\n<tool_response>\n' + m.content + '\n</tool_response>' }}"
    "{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\n' }}{% endif %}"
)

# tools in the system turn; calls in the assistant's; results as a user's; thoughts only after the last question
QWEN_3 = (
    "{% if tools %}{{ '<|im_start|>system\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content + '\n\n' }}{% endif %}"
    + _QWEN_TOOLS
    + "{{ '<|im_end|>\n' }}"
    "{% elif messages[0].role == 'system' %}{{ '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}"
    "{% endif %}"
    "{% set ns = namespace(asked=-1) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.asked = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}"
    "{% if m.role == 'user' or (m.role == 'system' and not loop.first) %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% elif m.role == 'assistant' %}"
    "{% set content = m.content %}{% set thought = m.reasoning_content or '' %}"
    "{% if '</think>' in content %}"
    "{% set thought = content.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>assistant\n' }}"
    "{% if loop.index0 > ns.asked and (loop.last or thought) %}"
    "{{ '<think>\n' + thought.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}"
    "{% else %}{{ content }}{% endif %}" + _QWEN_CALLS + "{{ '<|im_end|>\n' }}"
    "{% elif m.role == 'tool' %}" + _QWEN_RESULTS + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)

# a header before each turn; a call is bare JSON in place of words, one at a time; results come from `ipython`
LLAMA_3 = (
    "{{ '<|begin_of_text|>' }}"
    "{% if tools %}{{ '<|start_header_id|>system<|end_header_id|>\n\nEnvironment: ipython\n' }}"
    "{% for tool in tools %}{{ tool | tojson(indent=4) + '\n\n' }}{% endfor %}{{ '<|eot_id|>' }}{% endif %}"
    "{% for m in messages %}"
    "{% if m.tool_calls %}{% if m.tool_calls | length != 1 %}"
    "{{ raise_exception('only single tool-calls are supported') }}{% endif %}"
    '{{ \'<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "\' + m.tool_calls[0].function.name }}'
    "{{ '\", \"parameters\": ' }}{{ m.tool_calls[0].function.arguments | tojson }}{{ '}<|eot_id|>' }}"
    "{% else %}{{ '<|start_header_id|>' + ('ipython' if m.role == 'tool' else m.role) + '<|end_header_id|>\n\n' "
    "+ m.content | trim + '<|eot_id|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)

# no system turn of its own (it goes before the first question), no tools, strict alternation
GEMMA = (
    "{{ '<bos>' }}{% set first = '' %}{% set turns = messages %}"
    "{% if messages[0].role == 'system' %}"
    "{% set first = messages[0].content + '\n\n' %}{% set turns = messages[1:] %}"
    "{% endif %}" + _RAISE_UNLESS_ALTERNATE + "{% for m in turns %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + (first if loop.first else '') "
    "+ m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
GEMMA_2 = GEMMA.replace(
    "{% set first = messages[0].content + '\n\n' %}{% set turns = messages[1:] %}",
    "{{ raise_exception('System role not supported') }}",
)

# tools before the last question only; no generation prompt; ids of calls have nine letters or digits
MISTRAL = (
    "{{ '<s>' }}{% set ns = namespace(asked=-1) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.asked = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m.role == 'user' %}"
    "{% if tools and loop.index0 == ns.asked %}{{ '[AVAILABLE_TOOLS] ' + tools | tojson + '[/AVAILABLE_TOOLS]' }}"
    "{% endif %}{{ '[INST] ' + m.content + '[/INST]' }}"
    "{% elif m.tool_calls %}{{ '[TOOL_CALLS] [' }}{% for call in m.tool_calls %}"
    "{% if call.id | length != 9 %}{{ raise_exception('Tool call IDs should have length 9') }}{% endif %}"
    "{{ call.function | tojson }}{{ ', ' if not loop.last else '' }}{% endfor %}{{ ']</s>' }}"
    "{% elif m.role == 'tool' %}{{ '[TOOL_RESULTS] ' + m.content + ' ' + m.tool_call_id + '[/TOOL_RESULTS]' }}"
    "{% else %}{{ ' ' + m.content | trim + '</s>' }}{% endif %}{% endfor %}"
)

# ChatML; a system text of its own where none is given
SMOLLM_2 = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


_MARKS = re.compile(
    r"<[|｜][^|｜<>\s]{1,40}[|｜]>|<[a-z_|]+\|>|<\|[a-z_\"]+>|</?s>|\[/?[A-Z_]{3,}\]|<(?:start|end)_of_(?:turn|utterance)>|"
    r"\[gMASK\]|<sop>|</?think>"
)


def marked_tokenizer(template: str, *, eos: str = "<eos>"):
    """A byte tokenizer that has each mark of a chat template as a special token, with that template."""
    from weightwright.testing.models import _byte_tokenizer

    tokenizer = _byte_tokenizer(4096)
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(set(_MARKS.findall(template)))})
    tokenizer.add_special_tokens({"bos_token": "<bos>", "eos_token": eos})
    tokenizer.chat_template = template
    return tokenizer


def glm(line: str, unthought: str, opened: str) -> str:
    """GLM from 4.5 on: no turn has an end of its own, thoughts stay only after the last question.

    `line` stands between the parts of a turn, `unthought` in the place of a thought that there is not, and `opened`
    behind the mark where the model goes on.
    """
    return (
        (
            "{# <|system|> <|user|> <|observation|> #}{{ '[gMASK]<sop>' }}"
            "{% if tools %}{{ '<|system|>LINETools: ' }}{{ tools | tojson }}{% endif %}"
            "{% set ns = namespace(asked=-1) %}"
            "{% for m in messages %}{% if m.role == 'user' %}{% set ns.asked = loop.index0 %}{% endif %}{% endfor %}"
            "{% for m in messages %}"
            "{% if m.role in ('user', 'system') %}{{ '<|' + m.role + '|>LINE' + m.content }}"
            "{% elif m.role == 'assistant' %}"
            "{% set thought = m.reasoning_content or '' %}{% set said = m.content or '' %}"
            "{% if not thought and '</think>' in said %}"
            "{% set thought = said.split('</think>')[0].split('<think>')[-1] %}"
            "{% set said = said.split('</think>')[-1] %}{% endif %}"
            "{% set kept = clear_thinking is defined and not clear_thinking %}"
            "{% set kept = thought and (kept or loop.index0 > ns.asked) %}"
            "{{ '<|assistant|>LINE' + ('<think>' + thought.strip() + '</think>' if kept else 'UNTHOUGHT') }}"
            "{{ 'LINE' + said.strip() if said.strip() else '' }}"
            "{% for call in m.tool_calls or [] %}{{ 'LINE<tool_call>' + call.function.name }}"
            "{% for key, value in call.function.arguments.items() %}"
            "{{ 'LINE<arg_key>' + key + '</arg_key>LINE<arg_value>' }}"
            "{{ value if value is string else value | tojson }}{{ '</arg_value>' }}{% endfor %}"
            "{{ 'LINE</tool_call>' }}{% endfor %}"
            "{% elif m.role == 'tool' %}"
            "{{ '<|observation|>' if loop.first or messages[loop.index0 - 1].role != 'tool' else '' }}"
            "{{ 'LINE<tool_response>' + m.content + '</tool_response>' }}"
            "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>OPENED' }}{% endif %}"
        )
        .replace("LINE", line)
        .replace("UNTHOUGHT", unthought)
        .replace("'<|assistant|>OPENED'", opened)
    )


GLM_4 = (
    "{# <|system|> <|user|> <|observation|> #}{{ '[gMASK]<sop>' }}"
    "{% if tools %}{{ '<|system|>\nTools: ' }}{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}"
    "{{ '<|' + ('observation' if m.role == 'tool' else m.role) + '|>\n' + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
GLM_4_6 = glm("\\n", "<think></think>", "'<|assistant|>'")
GLM_4_7 = glm(
    "", "</think>",
    "'<|assistant|>' + ('</think>' if enable_thinking is defined and not enable_thinking else '<think>')",
)  # fmt: skip
