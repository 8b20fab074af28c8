"""What every protocol has, as OpenAI has it: errors, the key, and the end of a stream."""

from collections.abc import Mapping
from typing import Any

from weightwright.wire.events import DONE
from weightwright.wire.protocol import Failure, Protocol


def write_error(failure: Failure) -> dict[str, Any]:
    """OpenAI's error object."""
    kind = "server_error" if failure.is_ours else "invalid_request_error"
    return {"error": {"message": failure.message, "type": kind, "param": failure.param, "code": failure.code}}


def read_error(answer: Any) -> str:
    """The message of an error object, or of what servers send in its place (a text, `{"message": …}`)."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    return str(error.get("message", error) if isinstance(error, dict) else error)


def key_headers(key: str) -> dict[str, str]:
    """The headers that carry a key."""
    return {"Authorization": f"Bearer {key}"}


def read_key(headers: Mapping[str, str]) -> str:
    """The key in a request's headers, "" without one."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key if scheme.lower() == "bearer" else ""


OPENAI = Protocol(
    "openai",
    write_error,
    read_error,
    key_headers,
    read_key,
    "'Authorization: Bearer KEY'",
    f"data: {DONE}\n\n",
)
