"""Rewards of sampled answers: a Python function of the user's, or one of ours, by its name (`tune.rewards`)."""

import importlib.util
import inspect
import json
import math
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from weightwright.config import nearest
from weightwright.data.language import language_of
from weightwright.errors import DataError, SettingsError
from weightwright.extras import require
from weightwright.judge.metrics import METRICS, score
from weightwright.judge.numbers import CJK
from weightwright.judge.refusal import is_refusal
from weightwright.tune.rewards import RewardName, parse_reward
from weightwright.tune.rollout import Answer, Reward

_WORD = re.compile(rf"[{CJK}]|[^\s{CJK}]+")
_REFERENCES = ("answer", "answers", "reference", "solution")  # fields that hold what is right, in this order


def open_rewards(names: Sequence[str]) -> Reward:
    """The weighted sum of rewards by name; an answer that one of them cannot judge (None) has none.

    Raises SettingsError for a name, a file or a function that is not there, or cannot be used.
    """
    parsed = [parse_reward(name) for name in names]
    opened = [(one.weight, _opened(one)) for one in parsed]

    def of(answers: Sequence[Answer]) -> list[float | None]:
        columns = [[None if x is None else weight * x for x in reward(answers)] for weight, reward in opened]
        return [_sum(row) for row in zip(*columns, strict=True)]

    return of


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _opened(name: RewardName) -> Reward:
    if name.file is not None:
        return _of_function(name, _load(name, name.file))
    one = _OURS.get(name.name)
    if one is not None:
        return _each(one(name))
    if name.name in METRICS:
        return _each(_metric(name))
    raise SettingsError(f"there is no reward {name.name!r}{nearest(name.name, [*_OURS, *METRICS])}")


def _each(judge: Callable[[Answer], float]) -> Reward:
    return lambda answers: [judge(answer) for answer in answers]


# --- ours -----------------------------------------------------------------------------------------


def _metric(name: RewardName) -> Callable[[Answer], float]:
    """A reference metric of `judge` against the row's answer."""

    def of(answer: Answer) -> float:
        prompt = answer.prompt
        references = [prompt.answer] if prompt.answer else _references(prompt.fields)
        if not references:
            raise DataError(
                prompt.place, f"the reward {name.name} needs what is right in {', '.join(_REFERENCES[:-1])} or "
                f"{_REFERENCES[-1]}; the row has: {', '.join(map(str, prompt.fields))}"
            )  # fmt: skip
        return score(_question(answer), answer.text, references, [name.name])[name.name]

    return of


def _references(fields: Mapping[str, Any]) -> list[str]:
    values: Any = next((fields[name] for name in _REFERENCES if fields.get(name) not in (None, "", [])), [])
    return [str(value) for value in (values if isinstance(values, list) else [values])]


def _question(answer: Answer) -> str:
    return str(answer.prompt.fields.get("question") or answer.prompt.messages[-1].content)


def _citations(_name: RewardName) -> Callable[[Answer], float]:
    """The share of right marks among those that stand in an answer or are missing from it."""
    from weightwright.rag.cite import check
    from weightwright.rag.context import Passage

    def of(answer: Answer) -> float:
        prompt, language = answer.prompt, language_of(_question(answer))
        texts = prompt.fields.get("passages")
        if not isinstance(texts, list) or not texts:
            raise DataError(prompt.place, "the reward citations needs passages, a list of texts, in the row")
        if is_refusal(answer.text, language):
            return float(not prompt.answer or is_refusal(prompt.answer, language))
        passages = [Passage(str(n), "", 0, len(text), text) for n, text in enumerate(texts, 1)]
        checked = check(answer.text, passages)
        marks = checked.kept + checked.dropped + checked.added
        return checked.kept / marks if marks else 0.0

    return of


def _json(_name: RewardName) -> Callable[[Answer], float]:
    """1 for an answer that is JSON and nothing else, and meets the row's `schema` where it has one."""

    def of(answer: Answer) -> float:
        try:
            value = json.loads(answer.text)
        except ValueError:
            return 0.0
        schema = answer.prompt.fields.get("schema")
        if schema is None:
            return 1.0
        checker = require("jsonschema", extra="schema")
        try:
            given = json.loads(schema) if isinstance(schema, str) else schema
            validator = checker.validators.validator_for(given)
            validator.check_schema(given)
            return float(validator(given).is_valid(value))
        except (ValueError, TypeError, checker.SchemaError) as error:
            said = str(error).split("\n", maxsplit=1)[0]
            raise DataError(answer.prompt.place, f"its schema is no JSON schema: {said}") from error

    return of


def _length(name: RewardName) -> Callable[[Answer], float]:
    """1 up to so many words (Chinese: characters), then less, 0 from twice as many; 0 for an empty answer."""
    try:
        most = int(name.argument)
    except ValueError:
        most = 0
    if most < 1:
        raise SettingsError(f"reward={name.text}: give the number of words that is good, as in length:50")

    def of(answer: Answer) -> float:
        count = len(_WORD.findall(answer.text))
        return min(1.0, max(0.0, 2 - count / most)) if count else 0.0

    return of


_OURS: dict[str, Callable[[RewardName], Callable[[Answer], float]]] = {
    "citations": _citations, "json": _json, "length": _length,
}  # fmt: skip


# --- the user's -----------------------------------------------------------------------------------


def _load(name: RewardName, file: Path) -> Callable[..., Any]:
    """The function; its file may import others beside it."""
    if not file.is_file():
        raise SettingsError(f"reward={name.text}: there is no file {file}")
    spec = importlib.util.spec_from_file_location(f"weightwright_reward_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise SettingsError(f"reward={name.text}: {_raised(error, file)}") from error
    finally:
        sys.path.pop(0)
    function = getattr(module, name.name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise SettingsError(
            f"reward={name.text}: {file} has no function {name.name}{nearest(name.name, known)}"
        )
    if inspect.iscoroutinefunction(function):
        raise SettingsError(f"reward={name.text} is an async function; write it without async")
    return function  # type: ignore[no-any-return]


def _of_function(name: RewardName, function: Callable[..., Any]) -> Reward:
    """Called once for all answers where it takes `completions`, as TRL's are, else once for each."""
    parameters = inspect.signature(function).parameters
    if "completions" in parameters:
        return lambda answers: _all_at_once(name, function, answers)
    if "completion" not in parameters:
        raise SettingsError(
            f"reward={name.text}: {name.name} takes ({', '.join(parameters)}); it needs completion (one answer) or "
            "completions (all of a step), and may take prompt or prompts and the row's fields by name"
        )

    def one(answer: Answer) -> float | None:
        given = {**answer.prompt.fields, "prompt": _prompt(answer), "completion": answer.text}
        value = _called(name, function, _accepted(name, function, given, answer), [answer])
        return _number(name, value, answer)

    return lambda answers: [one(answer) for answer in answers]


def _all_at_once(
    name: RewardName, function: Callable[..., Any], answers: Sequence[Answer]
) -> list[float | None]:
    """TRL's way: each argument is a list; a prompt of messages has answers of messages."""
    fields = dict.fromkeys(field for answer in answers for field in answer.prompt.fields)
    given: dict[str, Any] = {
        field: [answer.prompt.fields.get(field) for answer in answers] for field in fields
    }
    given["prompts"] = [_prompt(answer) for answer in answers]
    given["completions"] = [
        [{"role": "assistant", "content": answer.text}] if isinstance(prompt, list) else answer.text
        for prompt, answer in zip(given["prompts"], answers, strict=True)
    ]
    values = _called(name, function, _accepted(name, function, given, answers[0]), answers)
    try:
        found = list(values)
    except TypeError:
        found = []
    if len(found) != len(answers):
        raise DataError(
            answers[0].prompt.place,
            f"the reward {name.text} gave {len(found)} values for {len(answers)} answers; give one for each",
        )
    return [_number(name, value, answer) for value, answer in zip(found, answers, strict=True)]


def _prompt(answer: Answer) -> Any:
    """The row's `prompt` as it stands there; the last question of a row that has none."""
    return answer.prompt.fields.get("prompt", answer.prompt.messages[-1].content)


def _accepted(
    name: RewardName, function: Callable[..., Any], given: Mapping[str, Any], answer: Answer
) -> dict[str, Any]:
    """What the function takes of what is given. Raises DataError where the row lacks a field that it needs."""
    parameters = inspect.signature(function).parameters.values()
    lacking = [
        one.name for one in parameters
        if one.default is one.empty and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        and one.name not in given
    ]  # fmt: skip
    if lacking:
        raise DataError(
            answer.prompt.place,
            f"the reward {name.text} needs {lacking[0]!r}; the row has: {', '.join(map(str, answer.prompt.fields))}",
        )
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return dict(given)
    return {one.name: given[one.name] for one in parameters if one.name in given}


def _called(
    name: RewardName, function: Callable[..., Any], given: Mapping[str, Any], answers: Sequence[Answer]
) -> Any:
    try:
        return function(**given)
    except Exception as error:
        assert name.file is not None
        raise DataError(
            answers[0].prompt.place, f"the reward {name.text}: {_raised(error, name.file)}"
        ) from error


def _raised(error: BaseException, file: Path) -> str:
    """An error and the line of the user's file where it was raised."""
    if isinstance(error, SyntaxError):
        return f"{file}, line {error.lineno}: {error.msg}"
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).name == file.name
    ]
    line = f", line {frames[-1].lineno}" if frames else ""
    said = str(error).strip().split("\n", maxsplit=1)[0]
    return f"{file}{line}: {type(error).__name__}{': ' + said if said else ''}"


def _number(name: RewardName, value: Any, answer: Answer) -> float | None:
    """The reward as a number. Raises DataError for what is none."""
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        shown = repr(value)
        raise DataError(
            answer.prompt.place,
            f"the reward {name.text} gave {shown[:40]}; it must be a finite number, or None for an answer that it "
            "cannot judge",
        )
    return number
