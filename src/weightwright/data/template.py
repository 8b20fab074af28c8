"""A row as tokens, and which of them carry loss, found by rendering the chat template.

No marker of any template is known here. An answer begins where the rendered generation prompt ends (there the model
will be asked to go on) and ends with the end-of-turn token that the template writes after it; calls of tools are part
of it. A template that cannot be followed in this way is refused, never guessed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from weightwright.data.sample import Built, Judged, Pair, Sample, Text, Tools
from weightwright.errors import DataError, ModelError, Place, RequestError, TemplateError
from weightwright.options import TrainOn
from weightwright.ports import ChatRequest, Message, Tokenizer
from weightwright.wire.template import OWN_OPTIONS, turn

# Stand for an answer while its place is sought; the one is taken that the answer does not end like.
_STAND_INS = ("\u2e28answer\u2e29", "\u2e26answer\u2e27")


@dataclass(frozen=True, slots=True)
class Encoded:
    """Tokens of a row; `labelled[i]` says whether token i carries loss."""

    token_ids: tuple[int, ...]
    labelled: tuple[bool, ...]
    place: Place

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def labelled_tokens(self) -> int:
        """How many tokens carry loss; the first token is never predicted."""
        return sum(self.labelled[1:])


def encode(sample: Sample, tokenizer: Tokenizer, train_on: TrainOn = "answers") -> Encoded:
    """Tokens of a sample with those labelled that `train_on` names.

    `answers`: every answer, each with its end-of-turn token; `last`: the last answer only; `all`:
    every token. Raises ModelError when the template cannot be followed, DataError for a row that it
    does not accept.
    """
    whole = _Rendered(sample, tokenizer)
    _check_tools(whole)
    if train_on == "all":
        spans = [(0, len(whole.text))]
    else:
        wanted = [i for i, answer in enumerate(sample.answers) if answer]
        spans = [_answer_span(whole, i) for i in (wanted[-1:] if train_on == "last" else wanted)]
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            "this model's tokenizer cannot tell which characters a token covers, so the labelled tokens "
            "cannot be found; use a model with a fast tokenizer (tokenizer.json)"
        )
    tokens = tokenizer(whole.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    labelled = tuple(
        any(start < span_end and end > span_start for span_start, span_end in spans)
        for start, end in tokens["offset_mapping"]
    )
    return Encoded(tuple(tokens["input_ids"]), labelled, sample.place)


def encode_text(text: str, place: Place, tokenizer: Tokenizer) -> Encoded:
    """A plain text as tokens that all carry loss: after BOS, where the tokenizer has one, and up to EOS.

    Raises ModelError for a tokenizer without an EOS token: the model would never learn to stop.
    """
    if tokenizer.eos_token_id is None:
        raise TemplateError(place, "this model's tokenizer has no end-of-text token, so no text would end")
    ids = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    whole = (*begin, *ids, tokenizer.eos_token_id)
    return Encoded(whole, (True,) * len(whole), place)


def encode_row(row: Built, tokenizer: Tokenizer, train_on: TrainOn = "answers") -> tuple[Encoded, ...]:
    """Whatever a row is, as tokens: a pair as two, the chosen answer first. Raises as `encode` does."""
    if isinstance(row, Pair):
        return tuple(encode(sample, tokenizer, "last") for sample in (row.chosen, row.rejected))
    if isinstance(row, Judged):
        return (encode(row.sample, tokenizer, "last"),)
    if isinstance(row, Text):
        return (encode_text(row.text, row.place, tokenizer),)
    return (encode(row, tokenizer, train_on),)


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
    import jinja2

    try:
        return _text(messages, tokenizer, tools, options, add_generation_prompt=generation_prompt)
    except jinja2.TemplateError as error:
        raise DataError(place, f"the model's chat template refuses the row: {error}") from error


def render_request(request: ChatRequest, tokenizer: Tokenizer) -> str:
    """The text of a conversation that is asked, with its tools, up to where the answer begins or goes on.

    Raises ModelError without a template, RequestError for what the template refuses, or leaves out without a word:
    tools, and calls of them.
    """
    import jinja2

    messages = request.messages or ()

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
        except jinja2.TemplateError as error:
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


def _text(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    tools: Tools,
    options: Mapping[str, Any] | None,
    *,
    add_generation_prompt: bool,
    continue_final_message: bool = False,
) -> str:
    """Raises jinja2.TemplateError where the template refuses, or breaks at, what it is given."""
    import jinja2

    if not tokenizer.chat_template:
        raise ModelError(
            "this model has no chat template, so it does not say where an answer begins; "
            "tune the instruct version of the model"
        )
    if own := OWN_OPTIONS & set(options or ()):
        raise RequestError(
            f"the chat template is given {', '.join(sorted(own))} by us; leave it out of its options"
        )

    def rendered(*, arguments_as_text: bool) -> str:
        return str(
            tokenizer.apply_chat_template(
                [turn(message, arguments_as_text=arguments_as_text) for message in messages],
                tools=[dict(tool) for tool in tools] or None,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
                **(options or {}),
            )
        )

    try:
        try:
            return rendered(arguments_as_text=False)
        except TypeError:  # a template that joins a call's arguments to a text
            return rendered(arguments_as_text=True)
    except TypeError as error:
        raise jinja2.TemplateError(str(error)) from error
    except ValueError as error:
        if not continue_final_message:
            raise
        raise RequestError(
            "the chat template does not show the last message as it stands, so it cannot be continued; "
            "leave out continue_final_message"
        ) from error


class _Rendered:
    """A sample's text, and that of what it would be with something changed."""

    def __init__(self, sample: Sample, tokenizer: Tokenizer) -> None:
        self.sample, self._tokenizer = sample, tokenizer
        self.text = self.of(sample.messages)

    def of(self, messages: Sequence[Message], *, generation_prompt: bool = False) -> str:
        """These messages as the template shows them with the sample's tools."""
        return self._render(messages, self.sample.tools, generation_prompt)

    def without_tools(self) -> str:
        """The sample where no tool may be called."""
        return self._render(self.sample.messages, (), False)

    def with_message(self, messages: Sequence[Message], index: int, **changes: Any) -> str:
        """These messages with message `index` changed."""
        changed = [*messages]
        changed[index] = replace(changed[index], **changes)
        return self.of(changed)

    def _render(self, messages: Sequence[Message], tools: Tools, generation_prompt: bool) -> str:
        return render(
            messages, self._tokenizer, self.sample.place, generation_prompt=generation_prompt, tools=tools
        )


def _check_tools(whole: _Rendered) -> None:
    """Raise ModelError where the template leaves out the tools or their calls without a word."""
    sample = whole.sample
    hidden = ""
    if sample.tools and whole.without_tools() == whole.text:
        hidden = "tools"
    for index, message in enumerate(sample.messages):
        if message.tool_calls and not hidden and _same(whole, index, tool_calls=()):
            hidden = "the calls of tools"
    if hidden:
        raise TemplateError(
            sample.place,
            f"this model's chat template does not show {hidden}; use a model whose template does, "
            "or rows without tools",
        )


def _same(whole: _Rendered, index: int, **changes: Any) -> bool:
    """Whether the template shows the sample as before when message `index` is changed."""
    try:
        return whole.with_message(whole.sample.messages, index, **changes) == whole.text
    except DataError:  # the template minds, so it looks
        return False


def _answer_span(whole: _Rendered, index: int) -> tuple[int, int]:
    """Where answer `index` stands in the rendered text, its end-of-turn mark included."""
    sample, text = whole.sample, whole.text
    message, messages = sample.messages[index], sample.messages[: index + 1]
    _check_thought(whole, index)
    prompt = whole.of(messages[:-1], generation_prompt=True) if index else ""
    alone = text if len(messages) == len(sample.messages) else whole.of(messages)
    content = _content_span(whole, sample.messages, text, index)
    if content is None:
        if message.tool_calls and not message.content.strip():
            return _call_span(whole, prompt, alone, index)
        raise TemplateError(
            sample.place,
            f"the chat template does not show message {index + 1} as it stands, so its "
            "labelled tokens cannot be found; check the row with: weightwright data show",
        )
    start, end = content
    begins = len(prompt) if text.startswith(prompt) and len(prompt) <= start else start
    own = content if alone is text else _content_span(whole, messages, alone, index)
    if own is None or alone[own[0] : own[1]] != text[start:end]:
        raise _differs(sample.place, index)
    end_mark = _visible(alone[own[1] :])
    if not end_mark:
        raise TemplateError(
            sample.place,
            "the chat template writes nothing after an answer, so the model would never "
            "learn to stop; use a model whose template ends its turns",
        )
    if not text.startswith(end_mark, end):
        raise _differs(sample.place, index)
    return begins, end + len(end_mark)


def _call_span(whole: _Rendered, prompt: str, alone: str, index: int) -> tuple[int, int]:
    """Where a call without words stands: what the template adds to the prompt for it."""
    ends = _visible(alone)
    if not alone.startswith(prompt) or not whole.text.startswith(ends) or len(ends) <= len(prompt):
        raise _differs(whole.sample.place, index)
    return len(prompt), len(ends)


def _check_thought(whole: _Rendered, index: int) -> None:
    """Raise ModelError where an answer is to be learnt whose thought the template does not show."""
    if whole.sample.messages[index].reasoning and _same(whole, index, reasoning=""):
        raise TemplateError(
            whole.sample.place,
            f"the chat template does not show the thought (reasoning) of message {index + 1}, "
            "so the model would learn to answer without it; use --train-on last if it is not the last answer, "
            "else a model that thinks",
        )


def _differs(place: Place, index: int) -> TemplateError:
    return TemplateError(
        place,
        f"the chat template shows message {index + 1} otherwise inside a conversation than at its end (it "
        "may take thoughts out of what was said before), so the model would learn what it is never asked to write; "
        "use --train-on last",
    )


def _visible(mark: str) -> str:
    """Without the blank space after the end-of-turn token, which the model is never asked to write."""
    return mark.rstrip() or mark


def _content_span(
    whole: _Rendered, messages: Sequence[Message], text: str, index: int
) -> tuple[int, int] | None:
    """Where the content of message `index` stands in `text`: between what does not change when it does.

    None where the template does not show the content as it stands.
    """
    content = messages[index].content.strip()
    stand_in = next(one for one in _STAND_INS if content[-1:] != one[-1])
    other = whole.with_message(messages, index, content=stand_in)
    start = _common(text, other)
    common_end = _common(text[start:][::-1], other[start:][::-1])
    shown = other[start : len(other) - common_end]
    # an empty content has nothing to be shown otherwise, but words may bring a line break before a call along
    if not (shown.endswith(stand_in) if content else stand_in in shown):
        return None
    return start, len(text) - common_end


def _common(a: str, b: str) -> int:
    """How many characters `a` and `b` begin with in common."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
