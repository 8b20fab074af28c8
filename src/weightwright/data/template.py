"""A conversation as tokens, and which of them carry loss, found by rendering the chat template.

No marker of any template is known here. An answer begins where the rendered generation prompt ends
(there the model will be asked to go on) and ends with the end-of-turn token that the template writes
after it. A template that cannot be followed in this way is refused, never guessed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from weightwright.data.formats import Sample
from weightwright.errors import DataError, ModelError, RequestError
from weightwright.ports import Message

TrainOn = Literal["answers", "last", "all"]

# Stand for an answer while its place is sought; the one is taken that the answer does not end like.
_STAND_INS = ("\u2e28answer\u2e29", "\u2e26answer\u2e27")


# what the chat template is given by us, or what would put another in its place
OWN_OPTIONS = frozenset({
    "add_generation_prompt", "chat_template", "continue_final_message", "conversation", "documents", "max_length",
    "messages", "padding", "return_assistant_tokens_mask", "return_dict", "return_tensors", "tokenize",
    "tokenizer_kwargs", "tools", "truncation",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Encoded:
    """Tokens of a conversation; `labelled[i]` says whether token i carries loss."""

    token_ids: tuple[int, ...]
    labelled: tuple[bool, ...]
    place: str

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def labelled_tokens(self) -> int:
        """How many tokens carry loss; the first token is never predicted."""
        return sum(self.labelled[1:])


def encode(sample: Sample, tokenizer: Any, train_on: TrainOn = "answers") -> Encoded:
    """Tokens of a sample with those labelled that `train_on` names.

    `answers`: every answer, each with its end-of-turn token; `last`: the last answer only; `all`:
    every token. Raises ModelError when the template cannot be followed, DataError for a row that it
    does not accept.
    """
    text = render(sample.messages, tokenizer, sample.place)
    if train_on == "all":
        spans = [(0, len(text))]
    else:
        wanted = [i for i, answer in enumerate(sample.answers) if answer]
        spans = [
            _answer_span(text, sample, i, tokenizer) for i in (wanted[-1:] if train_on == "last" else wanted)
        ]
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            "this model's tokenizer cannot tell which characters a token covers, so the labelled tokens "
            "cannot be found; use a model with a fast tokenizer (tokenizer.json)"
        )
    tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    labelled = tuple(
        any(start < span_end and end > span_start for span_start, span_end in spans)
        for start, end in tokens["offset_mapping"]
    )
    return Encoded(tuple(tokens["input_ids"]), labelled, sample.place)


def render(
    messages: Sequence[Message],
    tokenizer: Any,
    place: str,
    *,
    generation_prompt: bool = False,
    options: Mapping[str, Any] | None = None,
) -> str:
    """The text that the tokenizer's chat template makes of `messages`, with `options` for the template.

    Raises ModelError without a template, DataError naming the row that the template refuses, RequestError for options
    that are not the template's.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise ModelError(
            "this model has no chat template, so it does not say where an answer begins; "
            "tune the instruct version of the model"
        )
    if own := OWN_OPTIONS & set(options or ()):
        raise RequestError(
            f"the chat template is given {', '.join(sorted(own))} by us; leave it out of its options"
        )
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text = tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=generation_prompt, **(options or {})
        )
    except TemplateError as error:
        raise DataError(f"{place}: the model's chat template refuses the row: {error}") from error
    return str(text)


def _answer_span(text: str, sample: Sample, index: int, tokenizer: Any) -> tuple[int, int]:
    """Where answer `index` stands in the rendered `text`, its end-of-turn mark included."""
    content_start, content_end = _content_span(text, sample.messages, index, sample.place, tokenizer)
    if index == len(sample.messages) - 1:
        end_mark = _visible(text[content_end:])
    else:
        end_mark = _end_mark(sample, index, tokenizer)
    prompt = render(sample.messages[:index], tokenizer, sample.place, generation_prompt=True) if index else ""
    begins = len(prompt) if text.startswith(prompt) and len(prompt) <= content_start else content_start
    if not end_mark:
        raise ModelError(
            f"{sample.place}: the chat template writes nothing after an answer, so the model would never "
            "learn to stop; use a model whose template ends its turns"
        )
    if not text.startswith(end_mark, content_end):
        raise ModelError(
            f"{sample.place}: the chat template ends answer {index + 1} differently inside a conversation "
            "than at its end, so its labelled tokens cannot be found; use --train-on last"
        )
    return begins, content_end + len(end_mark)


def _end_mark(sample: Sample, index: int, tokenizer: Any) -> str:
    """What the template writes after an answer, up to its end-of-turn token (`<|im_end|>`)."""
    so_far = sample.messages[: index + 1]
    alone = render(so_far, tokenizer, sample.place)
    _, end = _content_span(alone, so_far, index, sample.place, tokenizer)
    return _visible(alone[end:])


def _visible(mark: str) -> str:
    """Without the blank space after the end-of-turn token, which the model is never asked to write."""
    return mark.rstrip() or mark


def _content_span(
    text: str, messages: Sequence[Message], index: int, place: str, tokenizer: Any
) -> tuple[int, int]:
    """Where the content of message `index` stands: between what does not change when it does."""
    changed = [*messages]
    content = changed[index].content.strip()
    stand_in = next(one for one in _STAND_INS if content[-1:] != one[-1])
    changed[index] = Message(changed[index].role, stand_in)
    other = render(changed, tokenizer, place)
    start = _common(text, other)
    common_end = _common(text[start:][::-1], other[start:][::-1])
    if not other[start : len(other) - common_end].endswith(stand_in):
        raise ModelError(
            f"{place}: the chat template does not show message {index + 1} as it stands, so its "
            "labelled tokens cannot be found; check the row with: weightwright data show"
        )
    return start, len(text) - common_end


def _common(a: str, b: str) -> int:
    """How many characters `a` and `b` begin with in common."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
