"""An Ollama Modelfile for an exported GGUF file, its template made from the model's own chat template.

Ollama renders conversations with Go templates and reads no Jinja but its own list. So the chat template is
rendered with conversations whose words are known, what it writes around them is read off, and the Go template is
put together from that. It is only written where it gives the same text on conversations that were not used to
find it. ChatML, Llama 3, Mistral, Gemma, Phi-3 and Zephyr templates are of this kind.
"""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace

from weightwright.data.render import render
from weightwright.data.turn_end import turn_ends
from weightwright.errors import DataError, Place
from weightwright.export.gguf.vocabulary import adds_token
from weightwright.ports import Message, Role, Tokenizer

Turns = Sequence[tuple[Role, str]]  # role, content
_Render = Callable[[Turns, bool], str | None]

_SYSTEM, _USER, _ANSWER, _SECOND = (f"\u2e28{word}\u2e29" for word in ("zero", "one", "two", "three"))
_PROBES: tuple[Turns, ...] = (
    (("user", "hello"),),
    (("user", "1 + 1 = ?"), ("assistant", "2."), ("user", "and\n2 + 2?")),
    (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a chat template writes around each message.

    `start` stands before all else (a BOS token), `opening` after it where there is no system message. `system` is
    what stands before and after the system message, None where the template takes none; with `inside` it stands
    within the first user message, before its content. `default_system` is said where no other is given. `asks` asks
    for an answer: mostly, but not always, what stands before answers.
    """

    start: str
    opening: str
    before_user: str
    after_user: str
    before_answer: str
    after_answer: str
    asks: str
    system: tuple[str, str] | None = None
    inside: bool = False
    default_system: str = ""


def modelfile(tokenizer: Tokenizer, file_name: str) -> str:
    """The text of a Modelfile for the GGUF file `file_name`, to be kept beside it."""
    shape = shape_of(tokenizer)
    lines = [f"FROM ./{file_name}"]
    if isinstance(shape, str):
        lines.append(
            f"# no TEMPLATE here: {shape}; Ollama looks for one by the chat template inside the file"
        )
    else:
        lines.append(f'TEMPLATE """{go_template(shape)}"""')
        if shape.default_system:
            lines.append(f'SYSTEM """{shape.default_system}"""')
    lines += [f'PARAMETER stop "{stop}"' for stop in _stops(tokenizer) if '"' not in stop]
    return "\n".join(lines) + "\n"


def shape_of(tokenizer: Tokenizer) -> Shape | str:
    """The shape of the tokenizer's chat template, or why it has none that a Go template can follow."""
    if not tokenizer.chat_template:
        return "the model has no chat template"
    render, bos = _renderer(tokenizer), str(tokenizer.bos_token or "")
    shape = _read_off(render, bos, str(tokenizer.eos_token or ""))
    if isinstance(shape, str):
        return shape
    for turns in _PROBES:
        for given in ((), (("system", "Be kind."),)):
            if (not given or shape.system) and render([*given, *turns], True) != rendered(
                shape, [*given, *turns]
            ):
                return "the chat template does more than write marks around messages"
    if any(mark in str(part) for part in astuple(shape) for mark in ("{{", "}}", '"""')):
        return "the chat template writes marks that a Go template cannot hold"
    if not bos or not adds_token(tokenizer):
        return shape
    # llama.cpp puts BOS before a text by itself then: it must not stand there twice
    if not shape.start and (shape.opening or shape.before_user).startswith(bos):
        return "the chat template writes BOS before every question, and llama.cpp puts one before the text"
    return replace(shape, start="")


def rendered(shape: Shape, turns: Turns) -> str:
    """A conversation in that shape, asked to go on: what the Go template gives of it."""
    text, waiting = shape.start, ""
    if shape.inside or turns[0][0] != "system":
        text += shape.opening
    if shape.default_system and turns[0][0] != "system":
        turns = [("system", shape.default_system), *turns]
    for role, content in turns:
        if role == "user":
            text += shape.before_user + waiting + content + shape.after_user
            waiting = ""
        elif role == "assistant":
            text += shape.before_answer + content + shape.after_answer
        elif shape.system:
            block = shape.system[0] + content + shape.system[1]
            text, waiting = (text, block) if shape.inside else (text + block, "")
    return text + shape.asks


def go_template(shape: Shape) -> str:
    """The shape as a Go template over Ollama's `.Messages`."""
    before, after = shape.system or ("", "")
    head, system, inner = shape.opening, "", ""
    if shape.inside:
        head = '{{ $system := "" }}' + head
        system = '{{ if eq .Role "system" }}{{ $system = .Content }}{{ end }}'
        inner = "{{ if $system }}" + before + "{{ $system }}" + after + '{{ $system = "" }}{{ end }}'
    else:
        if head:
            head = '{{ if ne (index .Messages 0).Role "system" }}' + head + "{{ end }}"
        if shape.system:
            system = '{{ if eq .Role "system" }}' + before + "{{ .Content }}" + after + "{{ end }}"
    user = shape.before_user + inner + "{{ .Content }}" + shape.after_user
    # the last answer is left open: Ollama lets the model go on with it
    answer = shape.before_answer + "{{ .Content }}{{ if not $last }}" + shape.after_answer + "{{ end }}"
    return (
        f"{shape.start}{head}"
        "{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"
        f"{system}"
        f'{{{{ if eq .Role "user" }}}}{user}{{{{ end }}}}'
        f'{{{{ if eq .Role "assistant" }}}}{answer}{{{{ end }}}}'
        f'{{{{ if and $last (ne .Role "assistant") }}}}{shape.asks}{{{{ end }}}}'
        "{{ end }}"
    )


def _stops(tokenizer: Tokenizer) -> list[str]:
    """The tokens that end an answer, as text."""
    ends = turn_ends(tokenizer)
    ids = (*ends.token_ids, tokenizer.eos_token_id)
    return list(
        dict.fromkeys((*(tokenizer.convert_ids_to_tokens(i) for i in ids if i is not None), *ends.texts))
    )


# -- reading off -------------------------------------------------------------------------------------


def _renderer(tokenizer: Tokenizer) -> _Render:
    """Renders a conversation, asked to go on or not; None where the template refuses it."""

    def rendered(turns: Turns, go_on: bool) -> str | None:
        messages = [Message(role, content) for role, content in turns]
        try:
            return render(messages, tokenizer, Place(), generation_prompt=go_on)
        except DataError:
            return None

    return rendered


def _read_off(render: _Render, bos: str, eos: str) -> Shape | str:
    """What stands around the messages of conversations with known words."""
    whole = _cut(
        render([("user", _USER), ("assistant", _ANSWER), ("user", _SECOND)], True), _USER, _ANSWER, _SECOND
    )
    ended = _cut(render([("user", _USER), ("assistant", _ANSWER)], False), _USER, _ANSWER)
    asked = _cut(render([("user", _USER)], False), _USER)
    if whole is None or ended is None or asked is None:
        return "the chat template does not show a plain conversation as it stands"
    first, to_answer, to_user, going_on = whole
    after_user, after_answer = _ending(asked[-1], to_answer, eos), _ending(ended[-1], to_user, eos)
    if (
        not to_user.startswith(after_answer)
        or not to_answer.startswith(after_user)
        or not going_on.startswith(after_user)
    ):
        return "the chat template ends a message otherwise within a conversation than at its end"
    before_user = to_user.removeprefix(after_answer)
    if not first.endswith(before_user):
        return "the chat template begins its first message otherwise than the others"
    head = first.removesuffix(before_user)
    # where every turn begins with that token (SmolLM2, Llama 2) it is a mark like others
    start = bos if bos and head.startswith(bos) and not before_user.startswith(bos) else ""
    before_answer, asks = to_answer.removeprefix(after_user), going_on.removeprefix(after_user)
    shape = Shape(start, head.removeprefix(start), before_user, after_user, before_answer, after_answer, asks)
    told = _cut(render([("system", _SYSTEM), ("user", _USER)], True), _SYSTEM, _USER)
    return shape if told is None else _with_system(shape, told[0], told[1])


def _ending(tail: str, within: str, eos: str) -> str:
    """What ends a message: its `tail` at the end of a text, there without the EOS that only ends texts."""
    return tail if within.startswith(tail) else tail.removesuffix(eos)


def _with_system(shape: Shape, before: str, between: str) -> Shape:
    """The shape with its system message, `before` which stands one text and `between` it and the user's another."""
    if between.endswith(shape.before_user):  # a turn of its own
        mark, after = before.removeprefix(shape.start), between.removesuffix(shape.before_user)
        said = shape.opening.removeprefix(mark).removesuffix(after)
        if said.strip() and shape.opening == mark + said + after:
            return replace(shape, system=(mark, after), opening="", default_system=said)
        return replace(shape, system=(mark, after))
    head = shape.start + shape.opening + shape.before_user
    if before.startswith(head):
        return replace(shape, system=(before.removeprefix(head), between), inside=True)
    return shape


def _cut(text: str | None, *words: str) -> list[str] | None:
    """What stands before, between and after `words`; None where one does not stand there once."""
    if text is None or any(text.count(word) != 1 for word in words):
        return None
    parts = []
    for word in words:
        part, separator, text = text.partition(word)
        if not separator:
            return None  # in another order
        parts.append(part)
    return [*parts, text]
