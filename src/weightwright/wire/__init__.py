"""Protocols over HTTP: how each writes and reads messages, requests, replies, errors, and the key.

One folder or file a protocol; `protocol_of` says which one a path speaks. No HTTP library is imported here.
"""

from weightwright.wire.openai.protocol import OPENAI
from weightwright.wire.protocol import Protocol

__all__ = ["events", "openai", "protocol", "protocol_of", "reading", "template"]

# by the beginning of a path, the longest first; what no other claims speaks OpenAI's
_BY_PREFIX: tuple[tuple[str, Protocol], ...] = (("/", OPENAI),)


def protocol_of(path: str) -> Protocol:
    """The protocol that a path of the server speaks."""
    return next(protocol for prefix, protocol in _BY_PREFIX if path.startswith(prefix))
