"""Where the answers stand in a row's text, found by rendering the chat template.

No marker of any template is known here. An answer begins where the rendered generation prompt ends (there the model
will be asked to go on) and ends with the end-of-turn token that the template writes after it; calls of tools are part
of it. Where a template ends no turn (GLM's), the next role's mark is that token. A template that cannot be followed
in this way is refused, never guessed, and so is one that leaves out a part of the row.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from weightwright.data.render import render
from weightwright.data.sample import Sample
from weightwright.data.turn_end import next_mark
from weightwright.errors import DataError, Place, TemplateError
from weightwright.ports import Message, Tokenizer

# Stand for an answer while its place is sought; the one is taken that the answer does not end like.
_STAND_INS = ("\u2e28answer\u2e29", "\u2e26answer\u2e27")


class Rendered:
    """A sample's text, and that of what it would be with something changed."""

    def __init__(self, sample: Sample, tokenizer: Tokenizer) -> None:
        self.sample, self._tokenizer = sample, tokenizer
        self.text = self.of(sample.messages)

    def of(self, messages: Sequence[Message], *, generation_prompt: bool = False) -> str:
        """These messages as the template shows them with the sample's tools.

        A last answer that the template does not end is followed by what would follow it: the next role's mark.
        """
        text = self._render(messages, generation_prompt=generation_prompt)
        if generation_prompt or not messages or messages[-1].role != "assistant" or not self._marks:
            return text
        mark = self._marks[bool(messages[-1].tool_calls)]
        return text.rstrip() + mark if mark else text

    def without_tools(self) -> str:
        """The sample where no tool may be called."""
        return render(self.sample.messages, self._tokenizer, self.sample.place)

    def with_message(self, messages: Sequence[Message], index: int, **changes: Any) -> str:
        """These messages with message `index` changed."""
        changed = [*messages]
        changed[index] = replace(changed[index], **changes)
        return self.of(changed)

    def same(self, index: int, **changes: Any) -> bool:
        """Whether the template shows the sample as before when message `index` is changed."""
        try:
            return self.with_message(self.sample.messages, index, **changes) == self.text
        except DataError:  # the template minds, so it looks
            return False

    @property
    def eos(self) -> str:
        """The text of the tokenizer's end-of-text token."""
        token = self._tokenizer.eos_token_id
        return "" if token is None else self._tokenizer.decode([token])

    @cached_property
    def _marks(self) -> tuple[str, str] | None:
        """What follows answers of words, and those that call tools, where the template itself ends neither."""
        return next_mark(self._tokenizer)

    def _render(self, messages: Sequence[Message], *, generation_prompt: bool) -> str:
        return render(
            messages, self._tokenizer, self.sample.place, generation_prompt=generation_prompt,
            tools=self.sample.tools,
        )  # fmt: skip


def check_shown(whole: Rendered) -> None:
    """Raise TemplateError where the template leaves out tools, calls, or what a message says."""
    sample = whole.sample
    hidden = "tools" if sample.tools and whole.without_tools() == whole.text else _hidden_call(whole)
    if hidden:
        raise TemplateError(
            sample.place,
            f"this model's chat template does not show {hidden}; use a model whose template does, a template that "
            "does (--template FILE.jinja), or rows without tools",
        )
    said = [
        i for i, message in enumerate(sample.messages) if message.content.strip() and not sample.answers[i]
    ]
    stand_ins = {i: f"zq{i}x7qz" for i in said}
    changed = [replace(message, content=stand_ins.get(i, message.content))
               for i, message in enumerate(sample.messages)]  # fmt: skip
    try:
        text = whole.of(changed)
    except DataError:
        text = ""
    silent = next((i for i in said if stand_ins[i] not in text and whole.same(i, content=stand_ins[i])), None)
    if silent is not None:
        raise TemplateError(
            sample.place,
            f"this model's chat template does not show message {silent + 1} (role {sample.messages[silent].role}); "
            "use a model whose template does, or rows without it",
        )


def _hidden_call(whole: Rendered) -> str:
    """The first call that the template leaves out, or whose arguments it does, in words; "" where there is none."""
    for index, message in enumerate(whole.sample.messages):
        if message.tool_calls and whole.same(index, tool_calls=()):
            return "the calls of tools"
        for at, call in enumerate(message.tool_calls):
            before, after = message.tool_calls[:at], message.tool_calls[at + 1 :]
            if before or after:
                calls = (*before, *after)
            elif json.loads(call.arguments or "{}"):
                calls = (replace(call, arguments="{}"),)
            else:
                continue
            if whole.same(index, tool_calls=calls):
                return f"call {at + 1} of message {index + 1} whole"
    return ""


def answer_span(whole: Rendered, index: int) -> tuple[int, int]:
    """Where answer `index` stands in the rendered text, its end-of-turn mark included. Raises TemplateError."""
    sample, text = whole.sample, whole.text
    message, messages = sample.messages[index], sample.messages[: index + 1]
    _check_thought(whole, index)
    alone = text if len(messages) == len(sample.messages) else whole.of(messages)
    if message.tool_calls and not message.content.strip():
        span = _call_span(whole, alone, index)
        if span is not None:
            return span
    content = _content_span(whole, sample.messages, text, index)
    if content is None:
        wrong = _not_shown if message.content.strip() else _differs
        raise wrong(sample.place, index)
    start, end = content
    own = content if alone is text else _content_span(whole, messages, alone, index)
    if own is None or alone[own[0] : own[1]] != text[start:end]:
        raise _differs(sample.place, index)
    begins, turn_begins = _begin(whole, index, start, end)
    _check_content(whole, index, text[turn_begins:end])
    return begins, end + len(_end_mark(whole, index, alone[own[1] :], end))


def _begin(whole: Rendered, index: int, start: int, end: int) -> tuple[int, int]:
    """Where an answer whose content stands at `start` begins, and where its turn does, the role's mark included.

    The answer begins behind the generation prompt, or behind what the row shares with it: a thought that the prompt
    opens and the row closes at once is closed by the model.
    """
    text, before = whole.text, whole.sample.messages[:index]
    if not before:
        return 0, 0
    prompt = whole.of(before, generation_prompt=True)
    shared = _common(prompt, text)
    history = _common(prompt, whole.of(before))
    if shared < history:  # what was said before is shown otherwise
        return start, start
    if shared == len(prompt) and shared <= end:
        return shared, history
    return min(shared, start), min(history, start)


def _end_mark(whole: Rendered, index: int, tail: str, end: int) -> str:
    """What ends answer `index` at `end` of the row: `tail`, which stands after it at the end of a text."""
    place, text = whole.sample.place, whole.text
    mark = _visible(tail)
    if not mark:
        raise TemplateError(
            place,
            "the chat template writes nothing after an answer, so the model would never "
            "learn to stop; use a model whose template ends its turns",
        )
    if text.startswith(mark, end):
        return mark
    within = _visible(mark.removesuffix(whole.eos)) if whole.eos else mark  # EOS ends the whole text (Phi-3)
    if not within or not text.startswith(within, end):
        raise _differs(place, index)
    return within


def _call_span(whole: Rendered, alone: str, index: int) -> tuple[int, int] | None:
    """Where a call without words stands: what the template adds to the prompt for it, up to what ends it.

    None where it does not stand so in the row.
    """
    before = whole.sample.messages[:index]
    prompt = whole.of(before, generation_prompt=True) if before else ""
    ends = _visible(alone)
    if not whole.text.startswith(ends) and whole.eos:
        ends = _visible(ends.removesuffix(whole.eos))
    shared = _common(prompt, ends)
    begun = shared == len(prompt) or shared > _common(prompt, whole.of(before))
    return (shared, len(ends)) if begun and whole.text.startswith(ends) and shared < len(ends) else None


def _check_thought(whole: Rendered, index: int) -> None:
    """Raise TemplateError where an answer is to be learnt whose thought the template does not show."""
    if whole.sample.messages[index].reasoning and whole.same(index, reasoning=""):
        raise _without_thought(whole.sample.place, index)


def _check_content(whole: Rendered, index: int, shown: str) -> None:
    """Raise TemplateError where `shown`, the whole turn, lacks something that the answer says."""
    content, place = whole.sample.messages[index].content, whole.sample.place
    if _squeezed(content) in _squeezed(shown):
        return
    if "</think>" in content and _squeezed(content.rpartition("</think>")[2]) in _squeezed(shown):
        raise _without_thought(place, index)
    raise _not_shown(place, index)


def _squeezed(text: str) -> str:
    """Without blank space, which templates put and trim as they like."""
    return "".join(text.split())


def _without_thought(place: Place, index: int) -> TemplateError:
    return TemplateError(
        place,
        f"the chat template does not show the thought (reasoning) of message {index + 1}, "
        "so the model would learn to answer without it; use --train-on last if it is not the last answer, "
        "else a model that thinks",
    )


def _not_shown(place: Place, index: int) -> TemplateError:
    return TemplateError(
        place,
        f"the chat template does not show message {index + 1} as it stands, so its "
        "labelled tokens cannot be found; check the row with: weightwright data show",
    )


def _differs(place: Place, index: int) -> TemplateError:
    return TemplateError(
        place,
        f"the chat template shows message {index + 1} otherwise inside a conversation than at its end, or ends it "
        "otherwise, so the model would learn what it is never asked to write; use --train-on last",
    )


def _visible(mark: str) -> str:
    """Without the blank space after the end-of-turn token, which the model is never asked to write."""
    return mark.rstrip() or mark


def _content_span(
    whole: Rendered, messages: Sequence[Message], text: str, index: int
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
