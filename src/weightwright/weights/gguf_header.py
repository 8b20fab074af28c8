"""The metadata of GGUF files, read once and quickly.

transformers reads a GGUF file's metadata anew for the config, the tokenizer and the weights, some five
seconds each time for a vocabulary of 50,000, and builds one table of names for each module. Here the reader takes
whole arrays at a time, and the table is built once.
"""

import contextlib
import functools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weightwright.hub import gguf_reader, weight_files

_NAMED_TEMPLATE = "tokenizer.chat_template."
_swapping = threading.Lock()


def metadata(file: Path) -> dict[str, Any]:
    """The single values in a GGUF file's header, without its arrays, and `parameters`. Raises ModelError."""
    for part in weight_files.weight_files(file):
        weight_files.check_whole(part)
    return dict(_metadata(file, file.stat().st_mtime_ns))


def with_tokenizer(file: Path) -> dict[str, Any]:
    """Every value in a GGUF file's header, its tokenizer's arrays too. Raises ModelError."""
    opened = gguf_reader.reader(file, keep_tokenizer=True)
    return {name: field.contents() for name, field in opened.fields.items() if not name.startswith("GGUF.")}


@functools.lru_cache(maxsize=2)  # loading asks several times, and a read takes up to seconds
def _metadata(file: Path, mtime_ns: int) -> dict[str, Any]:
    del mtime_ns
    from gguf import GGUFValueType

    opened = gguf_reader.reader(file)
    values = {
        name: field.contents()
        for name, field in opened.fields.items()
        if not name.startswith("GGUF.") and field.types[0] != GGUFValueType.ARRAY
    }
    values["parameters"] = sum(int(tensor.n_elements) for _, tensor in gguf_reader.tensors(file))
    return values


def named_templates(file: Path) -> dict[str, str]:
    """The chat templates beside the default one, by name."""
    named = {name.removeprefix(_NAMED_TEMPLATE): text for name, text in metadata(file).items()
             if name.startswith(_NAMED_TEMPLATE)}  # fmt: skip
    return {name: str(text) for name, text in named.items()}


@contextlib.contextmanager
def quick_reader(*, keep_tokenizer: bool = True) -> Iterator[None]:
    """Let transformers read GGUF files with the quick reader, one table of names, and no bar of its own."""
    import gguf
    from transformers import modeling_gguf_pytorch_utils as reading

    swapped = (
        (gguf, "GGUFReader", gguf_reader.reader_type(keep_tokenizer=keep_tokenizer)),
        (gguf, "get_tensor_name_map", functools.cache(gguf.get_tensor_name_map)),
        (reading, "tqdm", _without_bar),
    )
    with _swapping:
        originals = [getattr(module, name) for module, name, _ in swapped]
        for module, name, replacement in swapped:
            setattr(module, name, replacement)
        try:
            yield
        finally:
            for (module, name, _), original in zip(swapped, originals, strict=True):
                setattr(module, name, original)


def _without_bar(items: Any, desc: str = "") -> Any:
    del desc
    return items
