"""`weightwright merge` and `weightwright export`: one model of base and adapter, for other programs too."""

from pathlib import Path

from weightwright.cli.flags import Outcome, verb
from weightwright.cli.progress import bar
from weightwright.export import run
from weightwright.export.run import ExportSettings, MergeSettings
from weightwright.files import as_path


@verb(MergeSettings, section="merge", positional=("model",))
def merge(settings: MergeSettings) -> Outcome:
    """Add an adapter's weights into its base model's and write the result as a safetensors folder.

    The folder loads in transformers, vLLM and here, and answers as base model and adapter together do.
    """
    with bar("merge") as progress:
        written = run.merge(settings, progress)
    size = f"{written.size_bytes / 1e9:.2f} GB in {written.quantization}"
    return Outcome(written.merged(), _lines(f"{written.out}: {size}", _try(settings.out), *written.notes))


@verb(ExportSettings, section="export", positional=("model",))
def export(settings: ExportSettings) -> Outcome:
    """Write a model, with an adapter merged into it if the address names one, for other programs.

    A GGUF file loads in llama.cpp, Ollama and here; a Modelfile for Ollama stands beside it.
    """
    with bar("export") as progress:
        written = run.export(settings, progress)
    size = f"{written.size_bytes / 1e9:.2f} GB"
    if written.format == "gguf":
        size += f", {written.quantization}, architecture {written.architecture}"
    else:
        size += f" in {written.quantization}"
    ollama = [f"or in Ollama: ollama create NAME -f {written.modelfile}"] if written.modelfile else []
    return Outcome(
        written.data(), _lines(f"{written.out}: {size}", _try(settings.out), *ollama, *written.notes)
    )


def _lines(*lines: str) -> str:
    return "\n".join(lines)


def _try(out: Path) -> str:
    return f"try it: weightwright chat {as_path(out)}"
