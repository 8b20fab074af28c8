"""Each option is defined once: settings that share a name share type, default and help, or a reason stands here."""

import pkgutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib import import_module

import pytest
from pydantic import BaseModel, Field

import weightwright
from weightwright import config
from weightwright.config import Settings
from weightwright.tune.settings import TuneSettings

# names that stand for more than one thing, and why
DIFFERENT = {
    "adapter": "chat has one; serve names several; a comparison's may stand on a server",
    "alpha": "in a comparison the chance of a false difference, in tuning LoRA's",
    "data": "tuning needs rows, a comparison may have an adapter already",
    "device": "plan asks no card: what it means by auto it says itself",
    "embedder": "a knowledge base knows its own, a comparison makes one, data check needs none",
    "eval_data": "tuning measures a loss on them, data check looks for them among the others",
    "folder": "of documents, or of a run",
    "k": "what a person reads, or what a model is given",
    "kb": "required where nothing can be done without, several with names for serve",
    "max_tokens": "of a talk, or of an answer from passages",
    "metrics": "of answers, or of retrieval; a comparison puts the one that decides first",
    "model": "each verb says which addresses it takes",
    "name": "of a model in the API, or of a settings file",
    "no_answer": "what is to be said, or what counts as having said it",
    "out": "each verb says what it writes there",
    "paths": "to be read, or to be removed",
    "precision": "training holds fewer, and each part says what its auto is",
    "rows": "how many to plan for, or the file that is judged",
    "search": "plan looks for the largest value that fits, tuning for the best of those given",
    "seed": "of training, of resampling, or of an answer, which has none unless it is asked for",
    "to": "a copy needs a place; what is made anew takes the old one's by default",
    "temperature": "an answer from passages is greedy; a talk is as its model's makers advise",
}


def models() -> list[type[Settings]]:
    for module in pkgutil.walk_packages(weightwright.__path__, "weightwright."):
        if "setting" in module.name or ".cli." in module.name or module.name.endswith((".verbs", "grounded")):
            import_module(module.name)
    found, left = [], list(Settings.__subclasses__())
    while left:
        one = left.pop()
        left += one.__subclasses__()
        if one.__module__.startswith("weightwright.") and one.__module__ != config.__name__:
            found.append(one)
    return found


def differing(settings: Iterable[type[BaseModel]]) -> dict[str, set[str]]:
    """Names whose definitions are not all alike, with the models that hold them."""
    defined: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in settings:
        for name, field in own_options(one):
            defined[name][repr((field.annotation, field.metadata, field.get_default(call_default_factory=True),
                                field.description))].add(one.__name__)  # fmt: skip
    return {name: set().union(*kinds.values()) for name, kinds in defined.items() if len(kinds) > 1}


def own_options(one: type[BaseModel]) -> Iterator[tuple[str, object]]:
    for name in one.__annotations__:
        if name in one.model_fields and config.nested_settings(one.model_fields[name].annotation) is None:
            yield name, one.model_fields[name]


def test_an_option_means_the_same_everywhere_or_a_reason_is_said() -> None:
    found = differing(models())
    assert {name: sorted(found[name]) for name in found.keys() - DIFFERENT.keys()} == {}
    assert DIFFERENT.keys() - found.keys() == set(), "reasons for what is alike by now"
    assert len(models()) > 25


def test_another_default_another_type_and_another_help_are_found() -> None:
    class One(Settings):
        rank: int = Field(8, description="LoRA rank")
        same: int = Field(1, description="one")

    class Other(Settings):
        rank: int = Field(16, description="LoRA rank")
        same: int = Field(1, description="one")

    assert differing([One, Other]) == {"rank": {"One", "Other"}}


def test_some_options_of_another_model_keep_its_limits_and_help() -> None:
    some = config.partial(TuneSettings, ("rank", "dropout", "precision"))
    assert some().model_dump(exclude_none=True) == {}
    assert some(rank=4).model_dump(exclude_none=True) == {"rank": 4}
    assert some.model_fields["rank"].description == TuneSettings.model_fields["rank"].description
    for wrong in ({"rank": 2000}, {"dropout": 1.0}, {"precision": "int3"}, {"model": "x"}):
        with pytest.raises(ValueError, match=r"1 validation error"):
            some(**wrong)
