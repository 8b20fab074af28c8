"""A user's reward: a Python function of a file, given what it names of an answer and its row."""

import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from pathlib import Path
from typing import Any

from weightwright.config import nearest
from weightwright.errors import DataError, SettingsError
from weightwright.tune.rewards import RewardName
from weightwright.tune.rollout import Answer, Reward


def load(name: RewardName, file: Path) -> Callable[..., Any]:
    """The function; its file may import others beside it."""
    if not file.is_file():
        raise SettingsError(f"reward={name.text}: there is no file {file}")
    spec = importlib.util.spec_from_file_location(f"weightwright_reward_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        with _running(file):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise SettingsError(f"reward={name.text}: {_raised(error, file)}") from error
    function = getattr(module, name.name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise SettingsError(
            f"reward={name.text}: {file} has no function {name.name}{nearest(name.name, known)}"
        )
    if inspect.iscoroutinefunction(function):
        raise SettingsError(f"reward={name.text} is an async function; write it without async")
    return function  # type: ignore[no-any-return]


@contextmanager
def _running(file: Path) -> Iterator[None]:
    """A file's code runs as it does by itself: it finds modules beside it. What it prints is no output of ours."""
    folder = str(file.resolve().parent)
    sys.path.insert(0, folder)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path.remove(folder)


def of_function(name: RewardName, function: Callable[..., Any]) -> Reward:
    """Called once for all answers where it takes `completions`, as TRL's are, else once for each."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError as error:
        raise SettingsError(
            f"reward={name.text}: Python cannot say what {name.name} takes; wrap it: def score(completion)"
        ) from error
    if "completions" in parameters:
        return lambda answers: _all_at_once(name, function, answers)
    if "completion" not in parameters:
        raise SettingsError(
            f"reward={name.text}: {name.name} takes ({', '.join(parameters)}); it needs completion (one answer) or "
            "completions (all of a step), and may take prompt or prompts and the row's fields by name"
        )

    def one(answer: Answer) -> float | None:
        given = {
            **answer.prompt.fields, "prompt": _prompt(answer), "completion": answer.text,
            "completion_ids": list(answer.token_ids),
        }  # fmt: skip
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
    given["completion_ids"] = [list(answer.token_ids) for answer in answers]
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
    assert name.file is not None
    try:
        with _running(name.file):
            value = function(**deepcopy(dict(given)))  # what it does to them stays with it
            return list(value) if inspect.isgenerator(value) else value
    except (Exception, SystemExit) as error:
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
