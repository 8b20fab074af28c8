"""How a model's makers advise to sample from it: generation_config.json, or the header of a GGUF file."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from weightwright.address.models import parse_model
from weightwright.hub.store import locate
from weightwright.hub.weight_files import read_json
from weightwright.ports import SamplingParams

log = logging.getLogger(__name__)

_NAMES = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_IN_GGUF = {
    "temperature": "general.sampling.temp",
    "top_p": "general.sampling.top_p",
    "top_k": "general.sampling.top_k",
    "min_p": "general.sampling.min_p",
    "repetition_penalty": "general.sampling.penalty_repeat",
}
_DRAWING = ("temperature", "top_p", "top_k", "min_p")


def advised_by(address: str) -> dict[str, Any]:
    """Fields of SamplingParams that the model at an address comes with; none for one that is not on this machine."""
    model = parse_model(address)
    path = None if model.kind in ("server", "extract") else locate(replace(model, adapter=None))
    return advised_sampling(path) if path is not None else {}


def advised_sampling(path: Path) -> dict[str, Any]:
    """Fields of SamplingParams that the model at `path` (a folder or a GGUF file) comes with; none if it says none.

    `do_sample: false` is transformers' default, no advice: what would be drawn with is then left out.
    """
    if path.is_dir():
        file = path / "generation_config.json"
        said: Mapping[str, Any] = read_json(file) if file.is_file() else {}
        names = [name for name in _NAMES if name not in _DRAWING or said.get("do_sample") is not False]
        given = {name: said.get(name) for name in names}
    else:
        from weightwright.weights.gguf_header import metadata

        header = metadata(path)
        given = {name: header.get(key) for name, key in _IN_GGUF.items()}
    return {name: value for name, value in given.items() if value is not None and _allowed(name, value, path)}


def _allowed(name: str, value: Any, path: Path) -> bool:
    try:
        SamplingParams(**{name: value})
    except ValidationError:
        log.warning("%s advises %s=%r, which is no such value; it is left out", path, name, value)
        return False
    return True
