"""One row of each format: its fields as a conversation, a pair, a judged answer or a text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from weightwright.data import grounded
from weightwright.data.conversation import read_tools, read_turn, read_turns
from weightwright.data.grounded import PromptSettings
from weightwright.data.row import INFO_FILE, Row, is_filled
from weightwright.data.sample import Built, Judged, Kind, Pair, Prompt, Sample, Text
from weightwright.errors import DataError, Place
from weightwright.ports import Message


@dataclass(frozen=True, slots=True)
class Format:
    """How rows with certain fields become what they are of use for."""

    name: str
    kind: Kind
    fields: tuple[str, ...]
    build: Callable[[Row, PromptSettings], Built]

    def fits(self, row: Row, *, judged: bool) -> bool:
        """Whether a row has the format's fields; a `label` is one where it is true or false, or with `judged`."""
        if "label" in self.fields and not (judged or isinstance(row.values.get("label"), bool)):
            return False
        return all(name in row.values for name in self.fields)

    def is_filled(self, row: Row) -> bool:
        """Whether all its fields but a judgement hold something."""
        return all(row.values.get(name) is not None for name in self.fields if name != "label")


def format_of(row: Row, *, judged: bool = False) -> Format:
    """The format of a row: as `dataset_info.json` says, else as its fields do.

    `judged` takes any `label` for a judgement. Raises DataError listing the formats that can be read.
    """
    if row.layout.formatting is not None:
        return _laid_out(row)
    fitting = [one for one in FORMATS if one.fits(row, judged=judged)]
    layout = next((one for one in fitting if one.is_filled(row)), None) or next(iter(fitting), None)
    if layout is None:
        known = "; ".join(f"{one.name}: {', '.join(one.fields)}" for one in reversed(_BY_NAME.values()))
        raise DataError(
            row.place,
            f"no known format has the fields {', '.join(map(str, row.values)) or '(none)'}; "
            f"{known}; other names can be given in a {INFO_FILE}",
        )
    return layout


def has_format(values: Mapping[str, Any]) -> bool:
    """Whether an object has the fields of any format."""
    row = Row(values, Place())
    return any(one.fits(row, judged=True) for one in FORMATS)


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


# where the question of a row stands, by format; the first that is filled is it
_ALPACA = ("instruction", "input")
_ANYWHERE = ("instruction", "prompt", "question", "query", "input")
_SYSTEM = ("system", "system_prompt", "system_message")
_REJECTED = ("rejected", "rejected_response", "rejected_messages")
_COMPLETION = ("completion", "response", "output")


def _alpaca(row: Row, _prompt: PromptSettings) -> Sample:
    turns = [*_asked(row, _ALPACA), Message("assistant", row.filled("output"))]
    has_input = bool(row.text("input", default="").strip())
    return replace(_sample(turns, row), task=row.text("instruction", default="") if has_input else "")


def _asked(row: Row, fields: Sequence[str]) -> list[Message]:
    """System text, history and question of a row; the question, a text or turns, stands in one of `fields`.

    The `input` of an `instruction` stands on a line of its own below it.
    """
    field = row.first(fields)
    asked = row.get(field)
    if isinstance(asked, list):
        return [*_system(row), *read_turns(row, field)[0]]
    question = row.filled(field)
    extra = row.text("input", default="") if field == "instruction" else ""
    if extra.strip():
        question += extra if question.endswith("\n") else f"\n{extra}"
    turns = _system(row)
    for past_question, past_answer in _history(row):
        turns += [Message("user", past_question), Message("assistant", past_answer)]
    return [*turns, Message("user", question)]


def _system(row: Row) -> list[Message]:
    system = row.text(row.first(_SYSTEM), default="")
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
    return _learnable(_conversation(row, "messages"))


def _sharegpt(row: Row, _prompt: PromptSettings) -> Sample:
    return _learnable(_conversation(row, "conversations"))


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


def _learnable(sample: Sample) -> Sample:
    """The sample. Raises DataError where it has no answer to learn, or an empty one."""
    if not any(sample.answers):
        raise DataError(
            sample.place, "no answer to learn: no assistant's turn, or each is marked as not to be learnt"
        )
    for number, (message, learn) in enumerate(zip(sample.messages, sample.answers, strict=True), 1):
        if learn and _is_empty(message):
            raise DataError(
                sample.place.within(f"message {number}"),
                "the answer is empty; fill it, mark it with a weight of 0, or remove the row",
            )
    return sample


def _is_empty(answer: Message) -> bool:
    return not (answer.content.strip() or answer.tool_calls or answer.reasoning.strip())


def _completion(row: Row, _prompt: PromptSettings) -> Sample:
    """A question and its answer in TRL's, ms-swift's and others' names; of turns only the completion's are learnt."""
    _refuse_media(row)
    field = row.first(_COMPLETION)
    before = _asked(row, ("prompt", *_ANYWHERE))
    answer, learnt = _answer(row, field)
    # answers in a history are learnt, as in Alpaca's rows; those in a prompt of turns are not
    history = [turn.role == "assistant" and bool(row.get("history")) for turn in before]
    plain = len(before) == 1 and all(isinstance(row.get(name), str) for name in ("prompt", "completion"))
    answers = (*history, *learnt)
    return _learnable(Sample((*before, *answer), answers, row.place, read_tools(row), plain=plain))


def _asked_only(row: Row, _prompt: PromptSettings) -> Prompt:
    """A prompt without an answer; the row's other fields are for those who judge answers to it."""
    _refuse_media(row)
    turns = _asked(row, ("prompt",))
    if turns[-1].role == "assistant":
        raise DataError(
            row.place, "'prompt' ends with an assistant's turn; end it with what is to be answered"
        )
    return Prompt(tuple(turns), row.values, row.place, tools=read_tools(row))


def prompt_of(row: Row, built: Built) -> Prompt:
    """A row as a prompt whose answers are sampled: a conversation without its last answer, which judges may use.

    Raises DataError for a conversation that does not end with one.
    """
    if isinstance(built, Prompt):
        return built
    assert isinstance(built, Sample)
    last = built.messages[-1]
    if last.role != "assistant" or len(built.messages) == 1:
        raise DataError(
            row.place, "ends with no answer to a question; objective=grpo samples others in its place"
        )
    return Prompt(built.messages[:-1], row.values, row.place, last.content, built.tools)


def _grounded(row: Row, prompt: PromptSettings) -> Sample:
    passages = row.get("passages") or []
    if not isinstance(passages, list) or not all(isinstance(passage, str) for passage in passages):
        raise row.wrong("passages", "a list of texts", passages)
    question = row.filled("question")
    turns = grounded.messages(question, passages, prompt)
    sample = _sample([*turns, Message("assistant", row.filled("answer"))], row)
    return replace(sample, question=question, task=turns[0].content)


def _pair(row: Row, _prompt: PromptSettings) -> Pair:
    """A question with two answers; their fields may be called as Argilla and ms-swift call them."""
    _refuse_media(row)
    names = (row.first(("chosen", "chosen_response")), row.first(_REJECTED))
    before = _before_answers(row, names[0])
    if not row.has(names[0]) and before and before[-1].role == "assistant":  # the messages end with it
        chosen = _judged_sample(before, row, "messages")
        before = before[:-1]
    else:
        chosen = _with_answer(row, names[0], before)
    rejected = _with_answer(row, names[1], before)
    if chosen.messages[:-1] != rejected.messages[:-1]:
        raise DataError(
            row.place, "'chosen' and 'rejected' differ before their last message; only it may differ"
        )
    if chosen.messages == rejected.messages:
        raise DataError(row.place, "'chosen' and 'rejected' are the same; there is nothing to prefer")
    return Pair(chosen, rejected, row.place)


def _before_answers(row: Row, chosen: str) -> list[Message]:
    """The messages before the answers of a pair, in whichever field they stand; none where the answers hold them."""
    answer = row.get(chosen)
    whole = isinstance(answer, list) and len(answer) > 1  # "messages" may then hold the answer as well
    for field in ("conversations", "messages"):
        if row.has(field) and not whole and is_filled(row.get(field)):
            return list(_conversation(row, field).messages)
    return _asked(row, _ANYWHERE) if is_filled(row.get(row.first(_ANYWHERE))) else _system(row)


def _with_answer(row: Row, field: str, before: list[Message]) -> Sample:
    """A conversation that ends with the answer in `field`, which may be the conversation's other messages too."""
    turns, learnt = _answer(row, field)
    if turns[0].role != "assistant" and before:  # the whole conversation stands in the answer's field, too
        own_system, given_system = turns[0].role == "system", before[0].role == "system"
        if given_system and not own_system:
            turns = [before[0], *turns]
        begin = int(own_system and not given_system)
        if turns[begin : begin + len(before)] != before:
            raise DataError(row.place, f"{field!r} does not begin with the messages of 'prompt'")
        before = []
    return _judged_sample([*before, *turns], row, field, learn=learnt[-1])


def _answer(row: Row, field: str) -> tuple[list[Message], list[bool]]:
    """The messages in a field that holds a text, one message or several, and which of them are to be learnt."""
    value = row.get(field)
    if isinstance(value, dict):
        turn, learn = read_turn(row, field)
        return [turn], [learn]
    if isinstance(value, list):
        return read_turns(row, field)
    return [Message("assistant", row.filled(field))], [True]


def _judged_sample(turns: Sequence[Message], row: Row, field: str, *, learn: bool = True) -> Sample:
    """A conversation whose last message alone is learnt. Raises DataError where that is no answer to anything."""
    last = turns[-1]
    if last.role != "assistant":
        raise DataError(row.place, f"{field!r} must end with an assistant's answer, found {last.role!r}")
    if not learn:
        raise DataError(row.place, f"the answer in {field!r} is marked as not to be learnt; remove the row")
    if _is_empty(last):
        raise DataError(row.place, f"the answer in {field!r} is empty; fill it or remove the row")
    if not any(turn.role in ("user", "tool") for turn in turns):
        raise DataError(
            row.place,
            f"nothing is asked before the answer in {field!r}; a question stands in one of {', '.join(_ANYWHERE)}, "
            f"messages or conversations, the row has: {', '.join(map(str, row.values))}",
        )
    answers = (*[False] * (len(turns) - 1), True)
    return Sample(tuple(turns), answers, row.place.within(field), read_tools(row))


def _kto(row: Row, _prompt: PromptSettings) -> Judged:
    """LLaMA-Factory's `kto_tag` beside a conversation, or `label` with TRL's fields or messages."""
    _refuse_media(row)
    good = row.truth("kto_tag" if row.has("kto_tag") else "label")
    if field := next((name for name in ("conversations", "messages") if row.get(name)), None):
        whole = _conversation(row, field)
        sample = _judged_sample(whole.messages, row, field, learn=whole.answers[-1])
    else:
        field = "completion" if row.has("completion") else "output"
        answer, learnt = _answer(row, field)
        sample = _judged_sample([*_asked(row, _ANYWHERE), *answer], row, field, learn=learnt[-1])
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


def _formats() -> Iterator[Format]:
    """All formats; the first that fits is taken, so what has more fields stands before what has fewer."""
    yield Format("pairs", "pairs", ("chosen", "rejected"), _pair)
    yield Format("pairs", "pairs", ("chosen_response", "rejected_response"), _pair)
    yield Format("pairs", "pairs", ("messages", "rejected_response"), _pair)
    yield Format("pairs", "pairs", ("messages", "rejected_messages"), _pair)
    yield Format("kto", "judged", ("kto_tag",), _kto)
    for question in _ANYWHERE:
        yield Format("kto", "judged", (question, "completion", "label"), _kto)
    yield Format("kto", "judged", ("instruction", "output", "label"), _kto)
    yield Format("kto", "judged", ("messages", "label"), _kto)
    yield Format("kto", "judged", ("conversations", "label"), _kto)
    yield Format("messages", "conversations", ("messages",), _messages)
    yield Format("sharegpt", "conversations", ("conversations",), _sharegpt)
    yield Format("alpaca", "conversations", ("instruction", "output"), _alpaca)
    yield Format("grounded", "conversations", ("question", "answer"), _grounded)
    yield Format("completion", "conversations", ("prompt", "completion"), _completion)
    for question in _ANYWHERE:
        yield Format("completion", "conversations", (question, "response"), _completion)
    for question in ("question", "query", "input"):
        yield Format("completion", "conversations", (question, "output"), _completion)
    yield Format("prompts", "prompts", ("prompt",), _asked_only)
    yield Format("text", "texts", ("text",), lambda row, _prompt: _text(row))


FORMATS: tuple[Format, ...] = tuple(_formats())
_BY_NAME: dict[str, Format] = {one.name: one for one in reversed(FORMATS)}
