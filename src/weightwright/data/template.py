"""A row as tokens, and which of them carry loss."""

from dataclasses import dataclass

from weightwright.data.render import render
from weightwright.data.sample import Built, Judged, Pair, Prompt, Sample, Text
from weightwright.data.spans import Rendered, answer_span, check_shown
from weightwright.errors import ModelError, Place, TemplateError
from weightwright.options import TrainOn
from weightwright.ports import Tokenizer

_NO_EOS = "this model's tokenizer has no end-of-text token, so no text would end"


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
    every token. Raises ModelError when the template cannot be followed, DataError for a row that it does not accept.
    """
    if sample.plain and not tokenizer.chat_template:
        return _continued(sample, tokenizer, everything=train_on == "all")
    whole = Rendered(sample, tokenizer)
    check_shown(whole)
    if train_on == "all":
        spans = [(0, len(whole.text))]
    else:
        wanted = [i for i, answer in enumerate(sample.answers) if answer]
        spans = [answer_span(whole, i) for i in (wanted[-1:] if train_on == "last" else wanted)]
    _require_offsets(tokenizer)
    tokens = tokenizer(whole.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    labelled = tuple(
        any(start < span_end and end > span_start for span_start, span_end in spans)
        for start, end in tokens["offset_mapping"]
    )
    return Encoded(tuple(tokens["input_ids"]), labelled, sample.place)


def _continued(sample: Sample, tokenizer: Tokenizer, *, everything: bool) -> Encoded:
    """A text and its continuation, as a model without a chat template is asked; the continuation is learnt, with EOS.

    A token that holds the end of one and the beginning of the other is learnt.
    """
    prompt, completion = (message.content for message in sample.messages)
    if tokenizer.eos_token_id is None:
        raise TemplateError(sample.place, _NO_EOS)
    _require_offsets(tokenizer)
    tokens = tokenizer(prompt + completion, return_offsets_mapping=True, verbose=False)
    ids = list(tokens["input_ids"])
    labelled = [everything or end > len(prompt) for _, end in tokens["offset_mapping"]]
    if ids[-1:] != [tokenizer.eos_token_id]:
        ids, labelled = [*ids, tokenizer.eos_token_id], [*labelled, True]
    labelled[-1] = True
    return Encoded(tuple(ids), tuple(labelled), sample.place)


def _require_offsets(tokenizer: Tokenizer) -> None:
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            "this model's tokenizer cannot tell which characters a token covers, so the labelled tokens "
            "cannot be found; use a model with a fast tokenizer (tokenizer.json)"
        )


def encode_text(text: str, place: Place, tokenizer: Tokenizer) -> Encoded:
    """A plain text as tokens that all carry loss: after BOS, where the tokenizer has one, and up to EOS.

    Raises ModelError for a tokenizer without an EOS token: the model would never learn to stop.
    """
    if tokenizer.eos_token_id is None:
        raise TemplateError(place, _NO_EOS)
    ids = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    whole = (*begin, *ids, tokenizer.eos_token_id)
    return Encoded(whole, (True,) * len(whole), place)


def encode_prompt(prompt: Prompt, tokenizer: Tokenizer) -> Encoded:
    """A prompt as tokens up to where the answer begins; none carries loss. Raises as `render` does."""
    text = render(prompt.messages, tokenizer, prompt.place, generation_prompt=True, tools=prompt.tools)
    ids = tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    return Encoded(ids, (False,) * len(ids), prompt.place)


def encode_row(row: Built, tokenizer: Tokenizer, train_on: TrainOn = "answers") -> tuple[Encoded, ...]:
    """Whatever a row is, as tokens: a pair as two, the chosen answer first. Raises as `encode` does."""
    if isinstance(row, Pair):
        return tuple(encode(sample, tokenizer, "last") for sample in (row.chosen, row.rejected))
    if isinstance(row, Judged):
        return (encode(row.sample, tokenizer, "last"),)
    if isinstance(row, Text):
        return (encode_text(row.text, row.place, tokenizer),)
    if isinstance(row, Prompt):
        return (encode_prompt(row, tokenizer),)
    return (encode(row, tokenizer, train_on),)
