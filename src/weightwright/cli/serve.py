"""`weightwright serve`: the HTTP server."""

from weightwright.cli.flags import verb
from weightwright.cli.progress import bar
from weightwright.serve.settings import ServeSettings


@verb(ServeSettings, section="serve", positional=("model",))
def serve(settings: ServeSettings) -> None:
    """Serve a model, its adapters and knowledge bases over OpenAI's API."""
    from weightwright.serve import run

    run.serve(settings, bar)
