"""log.jsonl: one line a step and one an evaluation."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from weightwright.files import write_whole
from weightwright.tune.events import Events
from weightwright.tune.settings import TuneSettings

_FILE = "log.jsonl"
_MEASURES = ("answer_tokens", "cut_answers", "equal_groups", "unjudged", "kl")  # of a step's sampled answers


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """The log of the run in `folder`; none where nothing is written yet, nor a line that is being written."""
    path = folder / _FILE
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def measures_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, ...]]:
    """What a log says of sampled answers beside their reward, by name: one value a step."""
    found = {name: tuple(line[name] for line in lines if name in line) for name in _MEASURES}
    return {name: values for name, values in found.items() if values}


class Log:
    """The log of a run, which goes on after `done` steps: lines of later ones are taken out.

    Event files for TensorBoard get the same lines where they are asked for. With `on` false nothing is written.
    """

    def __init__(self, folder: Path, done: int, settings: TuneSettings, *, on: bool) -> None:
        self._path = folder / _FILE
        self._file: TextIO | None = None
        self._events: Events | None = None
        self._on = on
        if not on:
            return
        kept = []
        if done and self._path.is_file():
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= done]
        write_whole(self._path, "".join(kept).encode())
        if settings.tensorboard:
            self._events = Events(folder, done, kept)

    def __enter__(self) -> "Log":
        if self._on:
            self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_error: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()

    def write(self, line: dict[str, float]) -> None:
        """Add a line, and see that it is there for whoever watches."""
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        if self._events is not None:
            self._events.write(line)
