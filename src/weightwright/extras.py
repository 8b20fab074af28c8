"""Optional packages: import them, or say which command installs them."""

import importlib
import importlib.util
from types import ModuleType

from weightwright.errors import MissingExtraError


def require(module: str, *, extra: str) -> ModuleType:
    """Import `module`, which the extra `extra` installs.

    Raises MissingExtraError with the install command when it is absent.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if missing.split(".")[0] != module.split(".", maxsplit=1)[0]:
            raise  # the package is there, one of its own requirements is not
        raise MissingExtraError(
            f"{module} is not installed; run: pip install 'weightwright[{extra}]'"
        ) from error


def installed(module: str) -> bool:
    """Whether `module` could be imported, without importing it."""
    return importlib.util.find_spec(module) is not None
