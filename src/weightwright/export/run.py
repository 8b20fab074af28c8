"""`merge` and `export`: from settings to a model's folder or file on disk."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from weightwright.address.models import parse_model
from weightwright.config import Settings
from weightwright.errors import SettingsError, UsageError
from weightwright.ports import Progress, silent


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
    adapter_only: bool = Field(
        False,
        description="write the adapter alone as a GGUF file, which llama.cpp adds to its base model's (--lora)",
    )
    modelfile: bool = Field(True, description="write an Ollama Modelfile beside a GGUF file")


@dataclass(frozen=True, slots=True)
class Written:
    """A model on disk: where, its size, what its matrices are written in, and what is to be known about it."""

    out: Path
    size_bytes: int
    quantization: str
    notes: tuple[str, ...]
    format: Literal["gguf", "safetensors"] = "safetensors"
    architecture: str = ""
    modelfile: Path | None = None

    def data(self) -> dict[str, Any]:
        """The result of `export` as JSON."""
        return {
            "file": str(self.out), "format": self.format, "architecture": self.architecture,
            "quantization": self.quantization, "bytes": self.size_bytes,
            "modelfile": str(self.modelfile) if self.modelfile else None, "notes": list(self.notes),
        }  # fmt: skip

    def merged(self) -> dict[str, Any]:
        """The result of `merge` as JSON."""
        return {
            "model": str(self.out), "precision": self.quantization, "bytes": self.size_bytes,
            "notes": list(self.notes),
        }  # fmt: skip


def merge(settings: MergeSettings, progress: Progress = silent) -> Written:
    """Add an adapter into its base model and write the folder. Raises UsageError where none is named."""
    from weightwright.export.folder import refuse_existing

    if parse_model(settings.model).adapter is None:
        raise UsageError(f"model={settings.model!r} names no adapter; write MODEL+./path/to/adapter")
    refuse_existing(settings.out)  # before minutes of loading
    return _folder(settings.model, settings.out, settings.precision, progress)


def export(settings: ExportSettings, progress: Progress = silent) -> Written:
    """Write a model as a GGUF file or a safetensors folder. Raises SettingsError for what does not go together."""
    from weightwright.export.folder import refuse_existing

    refuse_existing(settings.out)
    if settings.adapter_only:
        return _adapter(settings, progress)
    if settings.format == "gguf":
        return _gguf(settings, progress)
    form = settings.quantize
    if form == "q8_0" or form == "q4_0":  # noqa: PLR1714 - mypy follows this one
        raise SettingsError(
            f"quantize={form} is a form of GGUF files; with --format safetensors give f32, f16 or bf16"
        )
    return _folder(settings.model, settings.out, form, progress)


def _folder(
    model: str, out: Path, precision: Literal["keep", "f32", "bf16", "f16"], progress: Progress
) -> Written:
    from weightwright.export.folder import write_folder
    from weightwright.export.merge import whole

    merged = whole(model, precision=precision, progress=progress)
    size = write_folder(merged, out, progress=progress)
    return Written(
        out, size, merged.precision, tuple(merged.notes), architecture=merged.model.config.model_type
    )


def _adapter(settings: ExportSettings, progress: Progress) -> Written:
    from weightwright.export.gguf.adapter import write_adapter
    from weightwright.export.merge import files_at

    asked = parse_model(settings.model)
    if asked.adapter is None or settings.format != "gguf":
        raise UsageError(f"adapter_only writes a GGUF file of MODEL+./path/to/adapter; got model={settings.model!r}, "
                         f"format={settings.format}")  # fmt: skip
    form = "f32" if settings.quantize == "keep" else settings.quantize
    base = files_at(replace(asked, adapter=None), progress)
    written = write_adapter(base, asked.adapter, settings.out, form, progress=progress)
    return Written(written.file, written.size_bytes, form, written.notes, "gguf", written.architecture)


def _gguf(settings: ExportSettings, progress: Progress) -> Written:
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
    model = whole(
        settings.model,
        precision="bf16" if form == "bf16" else "keep",
        exact=form != "bf16",
        progress=progress,
    )
    written = write_gguf(model, settings.out, form, progress=progress)
    if beside:
        write_whole(beside, modelfile(model.tokenizer, settings.out.name))
    return Written(
        written.file, written.size_bytes, form, tuple(written.notes), "gguf", written.architecture, beside
    )
