"""Messages as text, by a model's chat template; what it refuses or cannot show is said in one line."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from weightwright.data.sample import Tools
from weightwright.errors import DataError, ModelError, Place, RequestError
from weightwright.ports import ChatRequest, Message, Tokenizer
from weightwright.wire.template import OWN_OPTIONS, call_arguments, turn


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
    day: datetime.date | None = None,
) -> str:
    """The text that the tokenizer's chat template makes of `messages` and `tools`, with `options` for the template.

    `day` is what a template that writes today's date takes for today. Raises ModelError without a template, DataError
    naming the row that the template refuses, RequestError for options that are not the template's.
    """
    try:
        return _text(messages, tokenizer, tools, options, day, add_generation_prompt=generation_prompt)
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


def writes_date(tokenizer: Tokenizer, options: Mapping[str, Any] | None = None) -> bool:
    """Whether the chat template writes the day on which it is rendered."""
    question, days = (Message("user", "a"),), (datetime.date(2000, 1, 1), datetime.date(2001, 2, 3))
    try:
        first, second = (
            _text(question, tokenizer, (), options, day, add_generation_prompt=True) for day in days
        )
    except _RefusalError:
        return False
    return first != second


def _text(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    tools: Tools,
    options: Mapping[str, Any] | None,
    day: datetime.date | None = None,
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
    given: dict[str, Any] = {} if day is None else {"strftime_now": day.strftime}
    given |= options or {}

    def rendered(*, arguments_as_text: bool) -> str:
        return str(
            tokenizer.apply_chat_template(
                [turn(message, arguments_as_text=arguments_as_text) for message in messages],
                tools=[dict(tool) for tool in tools] or None,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
                **given,
            )
        )

    return _rendered(rendered, messages, continues=continue_final_message)


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
