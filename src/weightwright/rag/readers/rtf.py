"""Rich Text Format (striprtf)."""

import re

from weightwright.errors import DataError
from weightwright.ports import Place
from weightwright.rag.readers.base import Content
from weightwright.rag.readers.encoding import clean
from weightwright.rag.settings import LoadSettings

_HIDDEN_GROUP = re.compile(r"\{\\v(?:\s|\\)[^{}]*\}")
_NO_LENGTH = re.compile(r"\\bin(?![a-z0-9])")  # before hexadecimal digits; striprtf wants a number there
_CELL_ENDS = re.compile(r"\|+\n")


def read_rtf(data: bytes, _settings: LoadSettings) -> Content:
    """The text. Raises DataError where it is no RTF file."""
    from striprtf.striprtf import rtf_to_text

    if not data.lstrip().startswith(b"{\\rtf"):
        raise DataError(None, "not an RTF file; it begins otherwise than {\\rtf")
    source = _NO_LENGTH.sub("", _HIDDEN_GROUP.sub("", data.decode("latin-1")))
    try:
        text = rtf_to_text(source, errors="replace")
    except (ValueError, IndexError, KeyError, LookupError, RecursionError) as error:
        raise DataError(None, f"not a readable RTF file ({error}); save it again") from error
    return Content(clean(_CELL_ENDS.sub("\n", text)).strip(), "rtf", places=(Place(0, "", lines=1),))
