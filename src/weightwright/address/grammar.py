"""What all addresses share: checks of their text, paths with `~`, hosts."""

import os.path
import re
from pathlib import Path
from urllib.parse import urlsplit

from weightwright.errors import AddressError

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

EXAMPLES = {
    "model": "Qwen/Qwen2.5-0.5B-Instruct, ./model.gguf, smollm2-135m or http://host:8000/v1#name",
    "embedder": "minilm, sentence-transformers/all-MiniLM-L6-v2, ./embedder or http://host:8000/v1#name",
    "store": "kb.db, sqlite:///kb.db or milvus://host:19530",
}


def checked(text: str, what: str) -> str:
    """The text without white space around it. Raises AddressError for an empty or unprintable one."""
    stripped = text.strip()
    if not stripped:
        raise AddressError(f"the {what} address is empty; expected for example {EXAMPLES[what]}")
    if not stripped.isprintable():
        raise AddressError(f"{what} address {text!r} holds a character that cannot be printed")
    return stripped


def require_host(text: str, what: str, expected: str, shown: str = "") -> None:
    """Raise AddressError unless the URL names a host and, if any, a port; `shown` stands for it in the message."""
    shown = shown or text
    try:
        parts = urlsplit(text)
        good = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        if shown != text:  # the error may quote a part of the password
            raise AddressError(
                f"{what} {shown!r} cannot be read; write / ? # @ in a password as %2F %3F %23 %40; "
                f"expected {expected}"
            ) from None
        raise AddressError(f"{what} {text!r}: {error}; expected {expected}") from error
    if not good:
        raise AddressError(f"{what} {shown!r} names no host; expected {expected}")


def expanded(text: str) -> Path:
    """The path with `~` opened; `~nobody`, which has no home, stays as it is instead of failing.

    Raises AddressError for a name that ends in white space, which an address cannot hold.
    """
    path = Path(os.path.expanduser(text))  # noqa: PTH111
    if str(path) != str(path).rstrip():
        raise AddressError(f"the path {text!r} ends in white space; rename the file or folder")
    return path
