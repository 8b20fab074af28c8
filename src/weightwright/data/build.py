"""One row of each format: its fields as a conversation, a pair, a judged answer or a text."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from weightwright.data import grounded
from weightwright.data.conversation import read_tools, read_turn, read_turns
from weightwright.data.grounded import PromptSettings
from weightwright.data.row import INFO_FILE, Row
from weightwright.data.sample import Built, Judged, Kind, Pair, Sample, Text
from weightwright.errors import DataError
from weightwright.ports import Message


@dataclass(frozen=True, slots=True)
class Format:
    """How rows with certain fields become what they are of use for."""

    name: str
    kind: Kind
    fields: tuple[str, ...]
    build: Callable[[Row, PromptSettings], Built]

    def fits(self, row: Row) -> bool:
        """Whether a row has the format's fields; a `label` is one only where it is true or false."""
        return all(name in row.values for name in self.fields) and (
            "label" not in self.fields or isinstance(row.values["label"], bool)
        )


def format_of(row: Row) -> Format:
    """The format of a row: as `dataset_info.json` says, else as its fields do.

    Raises DataError listing the formats that can be read.
    """
    if row.layout.formatting is not None:
        return _laid_out(row)
    layout = next((one for one in FORMATS if one.fits(row)), None)
    if layout is None:
        known = "; ".join(dict.fromkeys(f"{one.name}: {', '.join(one.fields)}" for one in FORMATS))
        raise DataError(
            row.place,
            f"no known format has the fields {', '.join(map(str, row.values)) or '(none)'}; "
            f"{known}; other names can be given in a {INFO_FILE}",
        )
    return layout


def _laid_out(row: Row) -> Format:
    """The format that a `dataset_info.json` entry describes."""
    layout = row.layout
    columns = layout.columns if layout.columns is not None else row.values
    if layout.ranking:
        return _BY_NAME["pairs"]
    if "kto_tag" in columns:
        return _BY_NAME["kto"]
    if layout.formatting != "alpaca":
        return _BY_NAME["messages" if layout.columns is None and "messages" in columns else "sharegpt"]
    if layout.columns is not None and "output" not in columns:
        return Format("text", "texts", ("instruction",), lambda row, _prompt: _text(row, "instruction"))
    return _BY_NAME["text" if layout.columns is None and "text" in columns else "alpaca"]


def _alpaca(row: Row, _prompt: PromptSettings) -> Sample:
    turns = [*_asked(row), Message("assistant", row.filled("output"))]
    has_input = bool(row.text("input", default="").strip())
    return replace(_sample(turns, row), task=row.text("instruction", default="") if has_input else "")


def _asked(row: Row) -> list[Message]:
    """System, history and question of an Alpaca row; `input` stands on a line of its own below the instruction."""
    extra = row.text("input", default="")
    question = row.text("instruction", default="") if extra.strip() else row.filled("instruction")
    parts = [part for part in (question, extra) if part.strip()]
    between = "" if parts[0].endswith("\n") else "\n"
    turns = _system(row)
    for past_question, past_answer in _history(row):
        turns += [Message("user", past_question), Message("assistant", past_answer)]
    return [*turns, Message("user", between.join(parts))]


def _system(row: Row) -> list[Message]:
    system = row.text("system", default="")
    return [Message("system", system)] if system else []


def _history(row: Row) -> Iterator[tuple[str, str]]:
    history = row.get("history") or []
    if not isinstance(history, list):
        raise row.wrong("history", "a list of [question, answer] pairs", history)
    for pair in history:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise row.wrong("history", "a list of [question, answer] pairs of texts", pair)
        yield pair[0], pair[1]


def _messages(row: Row, _prompt: PromptSettings) -> Sample:
    return _conversation(row, "messages")


def _sharegpt(row: Row, _prompt: PromptSettings) -> Sample:
    return _conversation(row, "conversations")


def _conversation(row: Row, field: str) -> Sample:
    _refuse_media(row)
    turns, learnt = read_turns(row, field)
    system = _system(row)
    if system and turns[0].role == "system":
        if turns[0] != system[0]:
            raise DataError(
                row.place, "'system' and the first message are two different system texts; keep one"
            )
        system = []
    return Sample((*system, *turns), (*[False] * len(system), *learnt), row.place, read_tools(row))


def _completion(row: Row, _prompt: PromptSettings) -> Sample:
    return _sample([*_prompt_turns(row), _answer(row, "completion")], row)


def _grounded(row: Row, prompt: PromptSettings) -> Sample:
    passages = row.get("passages") or []
    if not isinstance(passages, list) or not all(isinstance(passage, str) for passage in passages):
        raise row.wrong("passages", "a list of texts", passages)
    question = row.filled("question")
    turns = grounded.messages(question, passages, prompt)
    sample = _sample([*turns, Message("assistant", row.filled("answer"))], row)
    return replace(sample, question=question, task=turns[0].content)


def _pair(row: Row, _prompt: PromptSettings) -> Pair:
    _refuse_media(row)
    before = _before_answers(row)
    chosen, rejected = (_with_answer(row, name, before) for name in ("chosen", "rejected"))
    if chosen.messages[:-1] != rejected.messages[:-1]:
        raise DataError(
            row.place, "'chosen' and 'rejected' differ before their last message; only it may differ"
        )
    if chosen.messages == rejected.messages:
        raise DataError(row.place, "'chosen' and 'rejected' are the same; there is nothing to prefer")
    return Pair(chosen, rejected, row.place)


def _before_answers(row: Row) -> list[Message]:
    """The messages before the answers of a pair, in whichever field they stand; none where the answers hold them."""
    chosen = row.get("chosen")
    whole = isinstance(chosen, list) and len(chosen) > 1  # "messages" may then hold the answer as well
    for field in ("conversations", "messages"):
        if row.has(field) and not whole:
            return list(_conversation(row, field).messages)
    if row.has("instruction"):
        return _asked(row)
    return _prompt_turns(row) if row.has("prompt") else _system(row)


def _with_answer(row: Row, field: str, before: list[Message]) -> Sample:
    """A conversation that ends with the answer in `field`, which may be the conversation's other messages too."""
    if not isinstance(row.get(field), list):
        return _judged_sample([*before, _answer(row, field)], row, field)
    turns, _ = read_turns(row, field)
    if turns[0].role != "assistant" and before:  # the whole conversation stands in the answer's field, too
        if turns[: len(before)] != before:
            raise DataError(row.place, f"{field!r} does not begin with the messages of 'prompt'")
        before = []
    if turns[0].role == "assistant" and not before:
        raise DataError(row.place, f"there is nothing before the answer in {field!r}; give a 'prompt'")
    return _judged_sample([*before, *turns], row, field)


def _prompt_turns(row: Row) -> list[Message]:
    """TRL's `prompt`: a question as text, or messages."""
    if isinstance(row.get("prompt"), list):
        return [*_system(row), *read_turns(row, "prompt")[0]]
    return [*_system(row), Message("user", row.filled("prompt"))]


def _answer(row: Row, field: str) -> Message:
    """The answer in a field: a text, one message, or a list of one message."""
    value = row.get(field)
    if isinstance(value, dict):
        return read_turn(row, field)
    if isinstance(value, list):
        turns, _ = read_turns(row, field)
        if len(turns) != 1:
            raise row.wrong(field, f"one answer (it has {len(turns)} messages)", value)
        return turns[0]
    return Message("assistant", row.filled(field))


def _judged_sample(turns: Sequence[Message], row: Row, field: str) -> Sample:
    """A conversation whose last message alone is learnt from. Raises DataError where that is no answer."""
    last = turns[-1]
    if last.role != "assistant":
        raise DataError(row.place, f"{field!r} must end with an assistant's answer, found {last.role!r}")
    if not last.content.strip() and not last.tool_calls:
        raise DataError(row.place, f"the answer in {field!r} is empty; fill it or remove the row")
    answers = (*[False] * (len(turns) - 1), True)
    return Sample(tuple(turns), answers, row.place.within(field), read_tools(row))


def _kto(row: Row, _prompt: PromptSettings) -> Judged:
    """LLaMA-Factory's `kto_tag` beside a conversation, or `label` with TRL's fields or messages."""
    _refuse_media(row)
    good = row.truth("kto_tag" if row.has("kto_tag") else "label")
    if row.has("completion"):
        sample = _judged_sample([*_prompt_turns(row), _answer(row, "completion")], row, "completion")
    elif field := next((name for name in ("conversations", "messages") if row.has(name)), None):
        whole = _conversation(row, field)
        sample = _judged_sample(whole.messages, row, field)
    else:
        sample = _judged_sample([*_asked(row), _answer(row, "output")], row, "output")
    return Judged(Sample(sample.messages, sample.answers, row.place, sample.tools), good, row.place)


def _text(row: Row, field: str = "text") -> Text:
    return Text(row.filled(field), row.place)


def _sample(turns: Sequence[Message], row: Row) -> Sample:
    _refuse_media(row)
    return Sample(tuple(turns), tuple(turn.role == "assistant" for turn in turns), row.place, read_tools(row))


def _refuse_media(row: Row) -> None:
    for field in ("images", "videos", "audios"):
        if row.get(field):
            raise DataError(
                row.place, f"{field!r} cannot be learnt, only text can; remove the row or the field"
            )


# the first that fits is taken: what has more fields stands before what has fewer
FORMATS: tuple[Format, ...] = (
    Format("pairs", "pairs", ("chosen", "rejected"), _pair),
    Format("kto", "judged", ("kto_tag",), _kto),
    Format("kto", "judged", ("prompt", "completion", "label"), _kto),
    Format("kto", "judged", ("messages", "label"), _kto),
    Format("kto", "judged", ("conversations", "label"), _kto),
    Format("messages", "conversations", ("messages",), _messages),
    Format("sharegpt", "conversations", ("conversations",), _sharegpt),
    Format("alpaca", "conversations", ("instruction", "output"), _alpaca),
    Format("grounded", "conversations", ("question", "answer"), _grounded),
    Format("completion", "conversations", ("prompt", "completion"), _completion),
    Format("text", "texts", ("text",), lambda row, _prompt: _text(row)),
)
_BY_NAME: dict[str, Format] = {one.name: one for one in FORMATS}
