"""A whole model written as a folder that transformers, vLLM and this engine load: all of it, or nothing."""

import errno
import shutil
from pathlib import Path

from weightwright.errors import SettingsError
from weightwright.export.merge import Whole
from weightwright.files import whole_folder
from weightwright.hub.store import TOKENIZER_FILES
from weightwright.ports import Progress, silent
from weightwright.weights.ends import write_turn_ends
from weightwright.weights.quiet import quiet
from weightwright.weights.templates import name_known_class

# a base model's own files, copied as they are where nothing in them changed
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "vocab.txt", "spiece.model", "tiktoken.model", "chat_template.jinja",
    "chat_template.json", "additional_chat_templates/*.jinja",
)  # fmt: skip
_TERMS = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
_SPARE_BYTES = 20_000_000  # tokenizer, config, headers


def write_folder(model: Whole, out: Path, *, progress: Progress = silent) -> int:
    """Write a model with tokenizer, template and config to the new folder `out`; the bytes written.

    Raises SettingsError where `out` exists, OSError where the disk is full: then nothing is left of it.
    """
    refuse_existing(out)
    need = sum(weight.numel() * weight.element_size() for weight in model.model.parameters())
    refuse_full(out, need + _SPARE_BYTES)
    progress(3, 3, "writing")
    with whole_folder(out) as beside:
        _write(model, beside)
    return sum(file.stat().st_size for file in out.rglob("*") if file.is_file())


def refuse_existing(out: Path) -> None:
    """Raise SettingsError where there is something at `out`: nothing is ever written over."""
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        raise SettingsError(f"{out} exists; choose another --out, or remove it first")


def refuse_full(out: Path, need_bytes: int) -> None:
    """Raise OSError where the disk of `out` has not `need_bytes` left."""
    place = next(parent for parent in (out.absolute(), *out.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(place).free
    if free < need_bytes:
        why = f"needs {need_bytes / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free"
        raise OSError(errno.ENOSPC, why, str(out))


def _write(model: Whole, folder: Path) -> None:
    from transformers import GenerationConfig

    own = model.path if model.path.is_dir() else None
    generation = own / "generation_config.json" if own else None
    kept = (
        own is not None
        and not model.own_tokenizer
        and any((own / name).is_file() for name in TOKENIZER_FILES)
    )
    copied = generation is not None and generation.is_file()
    if copied:
        # the base's own is copied below; transformers refuses to write some that it reads
        model.model.generation_config = GenerationConfig()
    with quiet():
        model.model.save_pretrained(str(folder))
        if not kept:
            model.tokenizer.save_pretrained(str(folder))
    files = [file for name in _TOKENIZER_FILES for file in own.glob(name)] if own and kept else []
    files += [generation] if copied and generation else []
    files += [file for pattern in _TERMS for file in own.glob(pattern)] if own else []
    for file in files:
        if own and file.is_file():
            copy = folder / file.relative_to(own)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, copy)
    write_turn_ends(folder, model.tokenizer)
    name_known_class(folder)
