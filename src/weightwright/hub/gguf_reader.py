"""The quick reader of GGUF files' headers: whole arrays at a time, without a tokenizer that nobody asks for.

gguf's own takes some 3 s of CPU for a vocabulary of 50,000, most of them for slices of a memmap.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weightwright.errors import ModelError
from weightwright.hub import weight_files


def reader(file: Path, *, keep_tokenizer: bool = False) -> Any:
    """The header of a GGUF file as gguf.GGUFReader. Raises ModelError where it is broken."""
    try:
        return reader_type(keep_tokenizer=keep_tokenizer)(file)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        if "GGMLQuantizationType" in str(error):
            form = re.search(r"\d+", str(error).removeprefix("np.uint32"))
            raise ModelError(f"{file} holds tensors in the form {form[0] if form else '?'} of ggml, which the gguf "
                             "package does not know; take another form of the model") from error  # fmt: skip
        raise ModelError(f"{file} has a broken GGUF header ({error}); get it again") from error


def tensors(file: Path) -> Iterator[tuple[Path, Any]]:
    """The tensors of a GGUF file and of its other parts, each with the part that it is in. Raises ModelError."""
    parts = [(part, reader(part)) for part in weight_files.weight_files(file)]
    numbers = [_said(opened, "split.no", n) for n, (_, opened) in enumerate(parts)]
    found = sum(len(opened.tensors) for _, opened in parts)
    expected = _said(parts[0][1], "split.tensors.count", found)
    if numbers != [*range(len(parts))] or expected != found:
        raise ModelError(f"{file} and its other parts do not belong together ({found:,} tensors of {expected:,}, "
                         f"parts {', '.join(map(str, numbers))}); get all parts of one file")  # fmt: skip
    for part, opened in parts:
        for tensor in opened.tensors:
            yield part, tensor


def _said(opened: Any, name: str, otherwise: int) -> int:
    field = opened.get_field(name)
    return otherwise if field is None else int(field.contents())


def reader_type(*, keep_tokenizer: bool) -> Any:
    """A gguf.GGUFReader that takes arrays whole and, unless told to keep them, leaves the tokenizer's out."""
    import numpy as np
    from gguf import GGUFReader, GGUFValueType

    class QuickReader(GGUFReader):  # type: ignore[misc]
        data: Any

        def _get(self, offset: int, *args: Any, **options: Any) -> Any:
            if isinstance(self.data, np.memmap):
                self.data = self.data.view(np.ndarray)  # slices of a memmap cost ten times as much
            return super()._get(offset, *args, **options)

        def _get_field_parts(self, start: int, raw_type: int) -> Any:
            if raw_type != GGUFValueType.ARRAY:
                return super()._get_field_parts(start, raw_type)
            item_type = GGUFValueType(int(self._get(start, np.uint32)[0]))
            count = int(self._get(start + 4, np.uint64)[0])
            head = [self._get(start, np.uint32), self._get(start + 4, np.uint64)]
            if item_type == GGUFValueType.STRING:
                parts, end = self._strings(start + 12, count)
            elif item_type in self.gguf_scalar_to_np:
                block = self._get(start + 12, self.gguf_scalar_to_np[item_type], count)
                parts, end = [block[i : i + 1] for i in range(count)], start + 12 + int(block.nbytes)
            else:
                return super()._get_field_parts(start, raw_type)
            types = [GGUFValueType.ARRAY, item_type] if count else [GGUFValueType.ARRAY]
            return end - start, head + parts, list(range(2, 2 + count)), types

        def _strings(self, offset: int, count: int) -> tuple[list[Any], int]:
            data, parts = self.data, []
            for _ in range(count):
                length = int.from_bytes(data[offset : offset + 8].tobytes(), "little")
                parts.append(data[offset + 8 : offset + 8 + length])
                offset += 8 + length
                if offset > len(data):
                    raise ValueError("a string reaches beyond the end of the file")
            return parts, offset

        def _push_field(self, field: Any, skip_sum: bool = False) -> int:
            if not keep_tokenizer and len(field.data) > 1 and field.name.startswith("tokenizer."):
                field = field._replace(data=[])
            return int(super()._push_field(field, skip_sum))

    return QuickReader
