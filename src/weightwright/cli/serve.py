"""`weightwright serve`: the HTTP server."""

from pathlib import Path
from typing import Any

from weightwright.cli.flags import Reader, said, verb
from weightwright.cli.progress import bar
from weightwright.serve.settings import ServeSettings


def _llamafactory(file: Path) -> dict[str, Any]:
    from weightwright.tune.llamafactory_asking import read_llamafactory_serve

    return said(str(file), read_llamafactory_serve(file))


_READERS = {"llamafactory": Reader(_llamafactory, "read settings from LLaMA-Factory's file for its API")}


@verb(ServeSettings, section="serve", positional=("model",), readers=_READERS)
def serve(settings: ServeSettings) -> None:
    """Serve a model, its adapters and knowledge bases over OpenAI's API."""
    from weightwright.serve import run

    run.serve(settings, bar)
