"""Rewards of sampled answers: a Python function of the user's, or one of ours, by its name (`tune.rewards`)."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from weightwright.config import nearest
from weightwright.data.language import language_of
from weightwright.errors import DataError, SettingsError
from weightwright.extras import require
from weightwright.judge.metrics import METRICS, score
from weightwright.judge.numbers import CJK
from weightwright.judge.refusal import is_refusal
from weightwright.judge.reward_function import load, of_function
from weightwright.tune.rewards import RewardName, parse_reward
from weightwright.tune.rollout import Answer, Reward

_WORD = re.compile(rf"[{CJK}]|[^\s{CJK}]+")
_REFERENCES = (
    "answer",
    "answers",
    "reference",
    "solution",
    "ground_truth",
)  # fields that hold what is right, in this order


def open_rewards(names: Sequence[str]) -> Reward:
    """The weighted sum of rewards by name.

    A reward that judges no answer to a prompt (None for each) is left out of that prompt's sums: rewards of several
    kinds of rows can be named together. An answer that one of the others cannot judge has none.

    Raises SettingsError for a name, a file or a function that is not there, or cannot be used.
    """
    parsed = [parse_reward(name) for name in names]
    opened = [(one.weight, _opened(one)) for one in parsed]

    def of(answers: Sequence[Answer]) -> list[float | None]:
        prompts = [id(answer.prompt) for answer in answers]
        parts: list[list[float | None]] = [[] for _ in answers]
        for weight, reward in opened:
            values = reward(answers)
            judged = {prompt for prompt, value in zip(prompts, values, strict=True) if value is not None}
            for part, prompt, value in zip(parts, prompts, values, strict=True):
                if prompt in judged:
                    part.append(None if value is None else weight * value)
        return [_sum(part) for part in parts]

    return of


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _opened(name: RewardName) -> Reward:
    if name.file is not None:
        return of_function(name, load(name, name.file))
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
