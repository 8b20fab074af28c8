"""`weightwright merge` and `weightwright export`: one model of base and adapter, for other programs too."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from weightwright.address.models import parse_model
from weightwright.cli.flags import Outcome, verb
from weightwright.cli.progress import bar
from weightwright.config import Settings
from weightwright.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from weightwright.export.merge import Whole


class MergeSettings(Settings):
    """Which adapter goes into which model, and where the result is written."""

    model: str = Field(description="MODEL+ADAPTER: a model address with the adapter's folder")
    out: Path = Field(description="new folder of the merged model")
    precision: Literal["keep", "f32", "bf16"] = Field(
        "keep", description="of the weights written; keep: the base model's, bf16 where that is quantised"
    )


class ExportSettings(Settings):
    """Which model is written for which programs."""

    model: str = Field(description="model address, with +ADAPTER to merge an adapter first")
    out: Path = Field(description="new file (gguf) or folder (safetensors)")
    format: Literal["gguf", "safetensors"] = Field(
        "gguf", description="gguf: one file for llama.cpp and Ollama; safetensors: a folder"
    )
    quantize: Literal["keep", "f32", "f16", "bf16", "q8_0", "q4_0"] = Field(
        "keep", description="of the matrices written; keep: f16 in a GGUF file, else as the model has them"
    )
    modelfile: bool = Field(True, description="write an Ollama Modelfile beside a GGUF file")


@verb(MergeSettings, section="merge", positional=("model",))
def merge(settings: MergeSettings) -> Outcome:
    """Add an adapter's weights into its base model's and write the result as a safetensors folder.

    The folder loads in transformers, vLLM and here, and answers as base model and adapter together do.
    """
    from weightwright.export.folder import refuse_existing, write_folder
    from weightwright.export.merge import whole

    if parse_model(settings.model).adapter is None:
        raise UsageError(f"model={settings.model!r} names no adapter; write MODEL+./path/to/adapter")
    refuse_existing(settings.out)  # before minutes of loading
    with bar("merge") as progress:
        merged = whole(settings.model, precision=settings.precision, progress=progress)
        size = write_folder(merged, settings.out, progress=progress)
    data = {
        "model": str(settings.out),
        "precision": merged.precision,
        "bytes": size,
        "notes": list(merged.notes),
    }
    lines = [f"{settings.out}: {size / 1e9:.2f} GB in {merged.precision}", _try(settings.out), *merged.notes]
    return Outcome(data, "\n".join(lines))


@verb(ExportSettings, section="export", positional=("model",))
def export(settings: ExportSettings) -> Outcome:
    """Write a model, with an adapter merged into it if the address names one, for other programs.

    A GGUF file loads in llama.cpp, Ollama and here; a Modelfile for Ollama stands beside it.
    """
    from weightwright.export.folder import refuse_existing

    refuse_existing(settings.out)
    return _gguf(settings) if settings.format == "gguf" else _safetensors(settings)


def _gguf(settings: ExportSettings) -> Outcome:
    from weightwright.export.folder import refuse_existing
    from weightwright.export.gguf.write import check_name, write_gguf
    from weightwright.export.merge import whole
    from weightwright.export.modelfile import modelfile
    from weightwright.files import write_whole

    check_name(settings.out)
    beside = settings.out.with_suffix(".Modelfile") if settings.modelfile else None
    if beside:
        refuse_existing(beside)
    form = "f16" if settings.quantize == "keep" else settings.quantize
    with bar("export") as progress:
        model = whole(settings.model, precision="bf16" if form == "bf16" else "keep", exact=form != "bf16",
                      progress=progress)  # fmt: skip
        written = write_gguf(model, settings.out, form, progress=progress)
    if beside:
        write_whole(beside, modelfile(model.tokenizer, settings.out.name))
    data: dict[str, Any] = {
        "file": str(written.file), "format": "gguf", "architecture": written.architecture, "quantization": form,
        "bytes": written.size_bytes, "modelfile": str(beside) if beside else None, "notes": list(written.notes),
    }  # fmt: skip
    lines = [
        f"{written.file}: {written.size_bytes / 1e9:.2f} GB, {form}, architecture {written.architecture}",
        _try(settings.out),
        *([f"or in Ollama: ollama create NAME -f {beside}"] if beside else []),
        *written.notes,
    ]
    return Outcome(data, "\n".join(lines))


def _safetensors(settings: ExportSettings) -> Outcome:
    from weightwright.export.folder import write_folder
    from weightwright.export.merge import whole

    form = settings.quantize
    if form == "q8_0" or form == "q4_0":  # noqa: PLR1714 - mypy follows this one
        raise SettingsError(f"quantize={form} is a form of GGUF files; with --format safetensors give "
                            "f32, f16 or bf16")  # fmt: skip
    with bar("export") as progress:
        model: Whole = whole(settings.model, precision=form, progress=progress)
        size = write_folder(model, settings.out, progress=progress)
    data = {
        "file": str(settings.out), "format": "safetensors", "architecture": model.model.config.model_type,
        "quantization": model.precision, "bytes": size, "modelfile": None, "notes": list(model.notes),
    }  # fmt: skip
    lines = [f"{settings.out}: {size / 1e9:.2f} GB in {model.precision}", _try(settings.out), *model.notes]
    return Outcome(data, "\n".join(lines))


def _try(out: Path) -> str:
    text = out.as_posix()
    return f"try it: weightwright chat {text if text.startswith(('/', './', '../', '~')) else f'./{text}'}"
