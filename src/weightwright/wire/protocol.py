"""What every protocol has of its own beside its requests and replies: the shape of its errors, and its key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from weightwright.errors import EngineError, NoSuchModelError, RemoteError, WeightwrightError
from weightwright.wire.reading import FieldError


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request was not answered, in no protocol's words: the HTTP status, and what each of them may say.

    `code` is a word for programs ("model_not_found"), `param` the field that is wrong.
    """

    status: int
    message: str
    code: str | None = None
    param: str | None = None

    @property
    def is_ours(self) -> bool:
        """The server's fault, not the request's."""
        return self.status >= 500


def failure_of(error: WeightwrightError) -> Failure:
    """An error of ours as the answer to a request."""
    match error:
        case NoSuchModelError():
            return Failure(404, str(error), "model_not_found", "model")
        case RemoteError():
            return Failure(502, str(error), "upstream_failed")
        case EngineError():
            return Failure(500, str(error))
        case FieldError():
            return Failure(400, str(error), param=error.param)
    return Failure(400, str(error))


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol's name and the parts that a server and a client need of it before they know the request."""

    name: str
    write_error: Callable[[Failure], dict[str, Any]]
    read_error: Callable[[Any], str]
    """The message in the JSON that a server answered with an error status."""
    key_headers: Callable[[str], dict[str, str]]
    """The headers by which a client sends its key."""
    read_key: Callable[[Mapping[str, str]], str]
    """The key in a request's headers (their names in lower case), "" without one."""
    key_hint: str
    """How to send the key, for the one who did not."""
    stream_end: str = ""
    """What stands after the last event of a stream."""
