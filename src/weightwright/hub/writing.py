"""Writing safetensors one tensor at a time, however large the file is."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def write_tensors(
    shapes: Mapping[str, Any], read: Callable[[str], Any], target: Path, metadata: Mapping[str, str]
) -> None:
    """Write the tensors that `read` gives by name, of the shapes and types of `shapes` (meta tensors will do).

    No more than one is held; what shared memory is written twice.
    """
    import torch

    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in sorted(shapes.items()):
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": dtype_names()[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [end, end + size]
        }  # fmt: skip
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with target.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(shapes):
            stream.write(read(name).contiguous().reshape(-1).view(torch.uint8).numpy().data)


def dtype_names() -> dict[Any, str]:
    """The names that the safetensors format has for torch's types."""
    import torch

    names = {
        "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
        "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
    }  # fmt: skip
    return {getattr(torch, name): said for name, said in names.items()}
