"""Rows and settings for small runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weightwright.tune.settings import TuneSettings


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Twelve short rows of different lengths."""
    file = tmp_path / "rows.jsonl"
    lines = [{"instruction": "Say " + "x" * (5 * n), "output": f"answer {n}"} for n in range(12)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


@pytest.fixture
def make(tmp_path: Path, tiny_model: Path, rows: Path) -> Callable[..., TuneSettings]:
    """Settings of a short run on the tiny model; keywords change them."""

    def settings(**changes: Any) -> TuneSettings:
        usual = {"model": str(tiny_model), "data": rows, "out": tmp_path / "run", "precision": "f32"}
        return TuneSettings(**{**usual, "batch": 3, "rank": 4, "device": "cpu", **changes})

    return settings
