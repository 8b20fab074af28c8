"""Messages as text, by a model's chat template; what it refuses or cannot show is said in one line."""

import copy
import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from weightwright.data.sample import Tools
from weightwright.errors import DataError, ModelError, Place, RequestError
from weightwright.ports import ChatRequest, Message, Tokenizer
from weightwright.wire.template import OWN_OPTIONS, call_arguments, turn

_DATE_CODES = (
    "%-d",
    "%-m",
    "%-H",
    "%-I",
    "%-M",
    "%-S",
    "%-j",
    "%-y",
    *(f"%{code}" for code in "aAbBcdDeFHIjmMpSTuUVwWxXyYzZGCgh"),
)


class _RefusalError(Exception):
    """What the template refuses, or breaks at, in one line."""


def render(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    place: Place,
    *,
    generation_prompt: bool = False,
    options: Mapping[str, Any] | None = None,
    tools: Tools = (),
) -> str:
    """The text that the tokenizer's chat template makes of `messages` and `tools`, with `options` for the template.

    Raises ModelError without a template, DataError naming the row that the template refuses, RequestError for options
    that are not the template's.
    """
    try:
        return _text(messages, tokenizer, tools, options, add_generation_prompt=generation_prompt)
    except _RefusalError as error:
        raise DataError(place, f"the model's chat template refuses the row: {error}") from error


def render_request(request: ChatRequest, tokenizer: Tokenizer) -> str:
    """The text of a conversation that is asked, with its tools, up to where the answer begins or goes on.

    Raises ModelError without a template, RequestError for what the template refuses, or leaves out without a word:
    tools, and calls of them.
    """
    messages = request.messages or ()
    if not tokenizer.chat_template:
        raise ModelError(
            "this model has no chat template, so it does not say where an answer begins; give it a text to go on "
            "with (/v1/completions, LLM.generate), or take the instruct version of the model"
        )

    def text(messages: Sequence[Message], tools: Tools) -> str:
        try:
            return _text(
                messages,
                tokenizer,
                tools,
                request.template_options,
                add_generation_prompt=request.add_generation_prompt,
                continue_final_message=request.continue_final_message,
            )
        except _RefusalError as error:
            raise RequestError(f"the model's chat template refuses the messages: {error}") from error

    def same(messages: Sequence[Message], tools: Tools) -> bool:
        try:
            return text(messages, tools) == whole
        except RequestError:  # the template minds, so it looks
            return False

    whole = text(messages, request.tools)
    silent = [replace(message, tool_calls=()) for message in messages]
    hidden = ["tools"] if request.tools and same(messages, ()) else []
    if any(message.tool_calls for message in messages) and same(silent, request.tools):
        hidden.append("tool_calls")
    if hidden:
        raise RequestError(
            f"this model's chat template does not show {' and '.join(hidden)}; leave them out, "
            "or use a model whose template does"
        )
    return whole


def with_template(tokenizer: Any, template: str | Mapping[str, str]) -> Any:
    """The tokenizer with another chat template; the one given keeps its own."""
    if tokenizer.chat_template == template:
        return tokenizer
    other = copy.copy(tokenizer)
    other.chat_template = template
    return other


def on_day(tokenizer: Any, day: datetime.date) -> Any:
    """The tokenizer whose chat template takes `day`, at midnight, for now.

    transformers gives templates a `strftime_now` of its own and no other function, so a macro of that name is put
    before the template.
    """
    said = "".join(f" | replace({code!r}, {day.strftime(code)!r})" for code in _DATE_CODES)
    # the line break behind the macro is its own: Jinja drops it (trim_blocks)
    macro = "{% macro strftime_now(format) %}{{ format" + said + " }}{% endmacro %}\n"
    template = tokenizer.chat_template
    if isinstance(template, str):
        return with_template(tokenizer, macro + template)
    return with_template(tokenizer, {name: macro + text for name, text in template.items()})


def writes_date(tokenizer: Any) -> bool:
    """Whether the chat template writes the day on which it is rendered."""
    if not tokenizer.chat_template:
        return False
    question, days = (Message("user", "a"),), (datetime.date(2000, 1, 1), datetime.date(2001, 2, 3))
    try:
        first, second = (
            _text(question, on_day(tokenizer, day), (), None, add_generation_prompt=True) for day in days
        )
    except _RefusalError:
        return False
    return first != second


def _text(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    tools: Tools,
    options: Mapping[str, Any] | None,
    *,
    add_generation_prompt: bool,
    continue_final_message: bool = False,
) -> str:
    """Raises _RefusalError where the template refuses, or breaks at, what it is given."""
    if not tokenizer.chat_template:
        raise ModelError(
            "this model has no chat template, so it does not say where an answer begins; give one with --template "
            "(chatml, llama2, vicuna, alpaca or a file), or tune the instruct version of the model"
        )
    if own := OWN_OPTIONS & set(options or ()):
        raise RequestError(
            f"the chat template is given {', '.join(sorted(own))} by us; leave it out of its options"
        )

    in_parts = _wants_parts(tokenizer)

    def rendered(*, arguments_as_text: bool) -> str:
        return str(
            tokenizer.apply_chat_template(
                [turn(one, arguments_as_text=arguments_as_text, in_parts=in_parts) for one in messages],
                tools=[dict(tool) for tool in tools] or None,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
                **(options or {}),
            )
        )

    return _rendered(rendered, messages, continues=continue_final_message)


_PROBE = "weightwright asks"


def _wants_parts(tokenizer: Any) -> bool:
    """Whether the template shows contents that come in parts, and not those that are a text (LLaVA's and others')."""
    template = str(tokenizer.chat_template)
    if "type" not in template:
        return False
    if template not in _in_parts:
        _in_parts[template] = not _shows(tokenizer, in_parts=False) and _shows(tokenizer, in_parts=True)
    return _in_parts[template]


_in_parts: dict[str, bool] = {}


def _shows(tokenizer: Any, *, in_parts: bool) -> bool:
    asked = [turn(Message("user", _PROBE), in_parts=in_parts)]
    try:
        return _PROBE in tokenizer.apply_chat_template(asked, tokenize=False)
    except Exception:  # noqa: BLE001 - a template is a program: it does not show what it breaks at
        return False


def _rendered(rendered: Callable[..., str], messages: Sequence[Message], *, continues: bool) -> str:
    """The text, with the arguments of calls as JSON text where the template joins or prints them as such."""
    shown = [str(call_arguments(call)) for message in messages for call in message.tool_calls]
    try:
        text = rendered(arguments_as_text=False)
        if not any(len(one) > 2 and one in text for one in shown):  # Python's own form of an object
            return text
        return rendered(arguments_as_text=True)
    except RequestError:
        raise
    except Exception as error:
        if shown:
            try:
                return rendered(arguments_as_text=True)
            except Exception:  # noqa: BLE001 - the first error is the one that is told
                pass
        raise _told(error, continues=continues) from error


def _told(error: Exception, *, continues: bool) -> Exception:
    """What a template raised, as one line: a template is a program, and raises whatever programs do."""
    import jinja2

    line = " ".join(str(error).split())
    if isinstance(error, ValueError) and continues and "continue_final_message" in line:
        return RequestError(
            "the chat template does not show the last message as it stands, so it cannot be continued; "
            "leave out continue_final_message"
        )
    return _RefusalError(
        line if isinstance(error, jinja2.TemplateError) else f"{line} ({type(error).__name__})"
    )
