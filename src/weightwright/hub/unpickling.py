"""The child that reads one pickled weight file: python -m weightwright.hub.unpickling FILE TARGET BYTES SECONDS

torch's restricted reader makes tensors and nothing else, within BYTES of memory and SECONDS of CPU time; they are
written as safetensors. The last line on stdout is JSON: the tensors' names, or an error.
"""

import hashlib
import json
import re
import struct
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weightwright.hub.writing import dtype_names, write_tensors

_GLOBAL = re.compile(r"GLOBAL (\S+)")


class RefusedError(Exception):
    """What the file holds is no weights."""


def main(source: str, target: str, memory_bytes: str, cpu_s: str) -> int:
    """Convert one file; 0 where it was written."""
    _limit(int(memory_bytes), int(cpu_s))
    try:
        tensors = read(Path(source))
        metadata = {"format": "pt", "source_sha256": _sha256(Path(source))}
        write_tensors(tensors, tensors.__getitem__, Path(target), metadata)
    except RefusedError as error:
        print(json.dumps({"error": str(error)}))
        return 1
    except MemoryError:
        print(json.dumps({"error": "takes more memory to read than its size allows"}))
        return 1
    print(json.dumps({"tensors": sorted(tensors)}))
    return 0


def read(source: Path) -> dict[str, Any]:
    """The tensors of a file that `torch.save` wrote, by name. Raises RefusedError."""
    import pickle

    import torch

    start, archive = _start(source), zipfile.is_zipfile(source)
    if start.startswith(b"PK") and not archive:
        raise RefusedError("is cut off: it begins as an archive and lacks its end; get it again")
    try:
        values = torch.load(source, map_location="cpu", weights_only=True, mmap=archive or None)
    except pickle.UnpicklingError as error:
        found = _GLOBAL.search(str(error))
        if found is None:
            raise RefusedError(f"is no file that torch.save wrote: it begins with {start!r}") from error
        raise RefusedError(f"holds {found[1]}, which is no tensor and could run code") from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError,
            OSError, struct.error, zipfile.BadZipFile) as error:  # fmt: skip
        raise RefusedError(f"cannot be read ({_first_line(error)}); get it again") from error
    if not isinstance(values, Mapping):
        raise RefusedError(f"holds {type(values).__name__} instead of named tensors")
    return {_name(name): _tensor(name, value) for name, value in values.items()}


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise RefusedError(f"names a tensor {name!r} instead of with text")
    return name


def _tensor(name: str, value: object) -> Any:
    import torch

    if not isinstance(value, torch.Tensor):
        raise RefusedError(f"holds {name!r} as {type(value).__name__}, which is no tensor")
    if value.layout != torch.strided or value.is_quantized or value.dtype not in dtype_names():
        kind = f"{value.dtype} {value.layout}".replace("torch.", "")
        raise RefusedError(f"holds {name!r} as {kind}, which safetensors cannot hold")
    return value.detach()


def _start(source: Path) -> bytes:
    with source.open("rb") as stream:
        return stream.read(16)


def _sha256(source: Path) -> str:
    with source.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _limit(memory_bytes: int, cpu_s: int) -> None:
    """Hold this process to so much memory of its own, and so much time; only Linux holds it to the memory."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, limit in ((resource.RLIMIT_DATA, memory_bytes), (resource.RLIMIT_CPU, cpu_s)):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
