"""log.jsonl: one line a step and one an evaluation."""

import json
from pathlib import Path
from typing import TextIO

from weightwright.files import write_whole
from weightwright.tune.events import Events
from weightwright.tune.settings import TuneSettings


class Log:
    """The log of a run, which goes on after `done` steps: lines of later ones are taken out.

    Event files for TensorBoard get the same lines where they are asked for. With `on` false nothing is written.
    """

    def __init__(self, folder: Path, done: int, settings: TuneSettings, *, on: bool) -> None:
        self._path = folder / "log.jsonl"
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
