"""What a model is, read from its files and header without loading weights: for `weightwright show`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from weightwright.address.models import parse_model
from weightwright.config import Settings
from weightwright.errors import ModelError
from weightwright.hub import converted, pickled, quantized, weight_files
from weightwright.hub.mapping import families
from weightwright.hub.mapping import folder as mapping
from weightwright.hub.pull import expected
from weightwright.hub.store import locate
from weightwright.weights import gguf_header, support
from weightwright.weights.support import Support

_UNKNOWN_LICENCE = ""


class ShowSettings(Settings):
    """Which model to describe."""

    model: str = Field(description="model address: hub id that was pulled, path or short name")


@dataclass(frozen=True, slots=True)
class Description:
    """A model's files in numbers and words. None and "" where the files do not say."""

    path: Path
    support: Support
    parameters: int | None
    weights_bytes: int
    weights_type: str
    context_tokens: int | None
    has_template: bool
    licence: str
    fingerprint: str

    def data(self) -> dict[str, Any]:
        """The description as JSON."""
        return {
            "path": str(self.path),
            "supported": self.support.ok,
            "why": self.support.why,
            "architecture": self.support.architecture,
            "parameters": self.parameters,
            "context_tokens": self.context_tokens,
            "chat_template": self.has_template,
            "weights_bytes": self.weights_bytes,
            "weights_type": self.weights_type,
            "licence": self.licence,
            "fingerprint": self.fingerprint,
        }


def show(settings: ShowSettings) -> dict[str, Any]:
    """The description of the model at an address, as JSON. Raises ModelError where it is not on this machine."""
    address = parse_model(settings.model)
    path = locate(address)
    if path is None:
        known = f": {facts}" if (facts := expected(address)) else ""
        remedy = f"; run: weightwright pull {address}" if address.hub_id else ""
        raise ModelError(f"{address} is not on this machine{known}{remedy}")
    found = describe(path)
    usual = "" if found.has_template else address.usual_template
    return {"model": str(address), "template_by_name": usual} | found.data()


def describe(path: Path) -> Description:
    """Describe the folder or GGUF file at `path`. Raises ModelError only where nothing can be read."""
    if not path.exists():
        raise ModelError(f"there is no {path}")
    return _of_gguf(path) if path.is_file() else _of_folder(converted.conversion_of(path) or path)


def _of_folder(folder: Path) -> Description:
    verdict = support.check(folder)
    tensors: dict[str, weight_files.Tensor] = {}
    size_bytes, fingerprint = 0, ""
    names = pickled.only_pickled(folder)
    try:
        for file in [] if names else weight_files.weight_files(folder):
            size_bytes += file.stat().st_size
            tensors |= weight_files.safetensors_header(file)
        fingerprint = "" if names else weight_files.fingerprint(folder)
    except ModelError as error:
        verdict = verdict if not verdict.ok else Support(False, verdict.architecture, str(error))
    known = (folder / "config.json").is_file()
    config = weight_files.read_json(folder / "config.json") if known else {}
    target = families.mapped_config(config) if mapping.is_mapped(folder) else {}
    said = quantized.quantization(folder) if known else {}
    scheme = quantized.scheme(said) if not quantized.refusal(said) else None
    return Description(
        path=folder,
        support=verdict,
        parameters=_parameters(tensors, scheme) or None,
        weights_bytes=size_bytes or sum((folder / name).stat().st_size for name in names),
        weights_type=(
            f"pickle ({names[0]}), converted to safetensors at its first use"
            if names
            else str(scheme or ", ".join(sorted({tensor.dtype for tensor in tensors.values()})))
        )
        + (f", mapped onto {target['model_type']} at its first use" if target else ""),
        context_tokens=target.get("max_position_embeddings") or (_context_of(folder) if verdict.ok else None),
        has_template=_has_template(folder),
        licence=_licence(folder) or str(config.get("license", _UNKNOWN_LICENCE)),
        fingerprint=fingerprint,
    )


def _parameters(tensors: Mapping[str, weight_files.Tensor], scheme: quantized.Scheme | None) -> int:
    """How many weights there are; a number of GPTQ or AWQ holds several, and beside them are scales."""
    if scheme is None:
        return sum(tensor.elements for tensor in tensors.values())
    sizes = {name: tensor.elements for name, tensor in tensors.items()
             if not name.endswith((".qzeros", ".scales", ".g_idx"))}  # fmt: skip
    return sum(size * (32 // scheme.bits if name.endswith(".qweight") else 1) for name, size in sizes.items())


def _of_gguf(file: Path) -> Description:
    values = gguf_header.metadata(file)
    architecture = str(values.get("general.architecture", ""))
    return Description(
        path=file,
        support=support.check_gguf(values),
        parameters=int(values["parameters"]),
        weights_bytes=sum(part.stat().st_size for part in weight_files.weight_files(file)),
        weights_type=_gguf_type(values.get("general.file_type")),
        context_tokens=values.get(f"{architecture}.context_length"),
        has_template="tokenizer.chat_template" in values,
        licence=str(values.get("general.license", _UNKNOWN_LICENCE)) or _licence(file.parent),
        fingerprint=weight_files.fingerprint(file),
    )


def _gguf_type(file_type: Any) -> str:
    from gguf import LlamaFileType

    try:
        return str(LlamaFileType(file_type).name.removeprefix("MOSTLY_").removeprefix("ALL_"))
    except ValueError:
        return ""


def _context_of(folder: Path) -> int | None:
    from transformers import AutoConfig

    from weightwright.weights.load import context_tokens

    try:
        return context_tokens(AutoConfig.from_pretrained(str(folder), local_files_only=True))
    except (OSError, ValueError, ModelError):
        return None


def _has_template(folder: Path) -> bool:
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    tokenizer = folder / "tokenizer_config.json"
    return tokenizer.is_file() and bool(weight_files.read_json(tokenizer).get("chat_template"))


def _licence(folder: Path) -> str:
    """`license:` in the head of the model card."""
    card = folder / "README.md"
    if not card.is_file():
        return _UNKNOWN_LICENCE
    start, mark, rest = card.read_text(encoding="utf-8", errors="replace").partition("---\n")
    if start.strip() or not mark:
        return _UNKNOWN_LICENCE
    try:
        head = yaml.safe_load(rest.partition("\n---")[0])
    except yaml.YAMLError:
        return _UNKNOWN_LICENCE
    if not isinstance(head, dict):
        return _UNKNOWN_LICENCE
    named = head.get("license_name") if head.get("license") == "other" else head.get("license")
    return str(named or _UNKNOWN_LICENCE)
