"""What `weightwright` alone says: three commands that work here and now."""

import weightwright
from weightwright.address import packages
from weightwright.hub import store

SMALL = "smollm2-135m"  # to begin with, where there is no model yet


def screen() -> str:
    """The first screen: what this is, three commands for this machine, and where the rest stands."""
    lines = [
        f"weightwright {weightwright.__version__}: from an open model's weights to a served, measured assistant on "
        "your own data",
        "",
        "Try:",
        *(f"  {command:{_WIDTH}}  {says}" for command, says in suggestions()),
        "",
        "All verbs: weightwright --help",
    ]
    return "\n".join(lines)


_WIDTH = 44


def suggestions() -> list[tuple[str, str]]:
    """Three commands that work on this machine as it is, each with what it does."""
    look = ("weightwright doctor", "what this machine has, and what will be fast on it")
    model = next(iter(models_here()), None)
    if model is None:
        return [
            look,
            (f"weightwright pull {SMALL}", "download a small model (0.1 GB), then: weightwright chat"),
            ("weightwright init tune", "a commented settings file to start from"),
        ]
    return [
        (f"weightwright chat {model}", "talk with a model that is here"),
        (
            f"weightwright plan {model} --task lora",
            "would tuning it fit into this machine, and with which settings",
        ),
        look,
    ]


def models_here() -> list[str]:
    """Addresses of the models on this machine: those that came as packages, then those that were pulled."""
    packaged = [name for name, one in packages.MODELS.items() if packages.files_of(one) is not None]
    embedders = {one.hub_id for one in packages.EMBEDDERS.values()}
    return packaged + [one.hub_id for one in store.list_models() if one.hub_id not in embedders]
