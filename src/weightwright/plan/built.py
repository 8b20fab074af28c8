"""The shape of a family that is not among ours: transformers builds it without memory in a child process, once."""

import hashlib
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from weightwright.errors import ModelError
from weightwright.files import write_whole
from weightwright.home import cache
from weightwright.plan.parts import Experts, Layer, Linear

_TIMEOUT_S = 120.0
_MOST_CHARACTERS = 300  # of what transformers says


def built(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `ModelSpec` for a config of a family that transformers knows; kept by the config's content.

    Raises ModelError where it does not know the family, cannot build it, or takes too long.
    """
    text = json.dumps(config, sort_keys=True)
    version = importlib.metadata.version("transformers")
    note = cache() / "shapes" / f"{hashlib.sha256(f'{version} {text}'.encode()).hexdigest()[:32]}.json"
    if note.is_file():
        return _read(json.loads(note.read_text(encoding="utf-8")))
    command = (sys.executable, "-m", "weightwright.plan.building")
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"transformers did not build the family {config['model_type']!r} within {_TIMEOUT_S:.0f} s"
        ) from error
    lines = done.stdout.strip().splitlines()
    found = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {"error": _last(done.stderr)}
    if "error" in found:
        raise ModelError(f"cannot plan for the family {config['model_type']!r}, which transformers {version} "
                         f"does not build from this config: {found['error'][:_MOST_CHARACTERS]}")  # fmt: skip
    write_whole(note, json.dumps(found))
    return _read(found)


def _read(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **found,
        "head": Linear(**found["head"]),
        "kinds": tuple(map(_layer, found["kinds"])),
        "outer": tuple(Linear(**one) for one in found["outer"]),
    }


def _layer(values: Mapping[str, Any]) -> Layer:
    experts = values["experts"]
    parts = {
        "linears": tuple(Linear(**one) for one in values["linears"]),
        "experts": Experts(**experts) if experts else None,
    }
    return Layer(**{**values, **parts})


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"
