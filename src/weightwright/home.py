"""Where weightwright keeps what it makes and fetches: WEIGHTWRIGHT_HOME."""

import atexit
import functools
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)


def home() -> Path:
    """WEIGHTWRIGHT_HOME, or the platform's cache folder: models, converted tokenizers, notes."""
    given = os.environ.get("WEIGHTWRIGHT_HOME")
    if given:
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "weightwright"


def cache() -> Path:
    """Where what can be made again is kept: `home()`, or where it cannot be written a folder for this process."""
    return _writable(home())


@functools.cache
def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        instead = Path(tempfile.mkdtemp(prefix="weightwright-"))
        atexit.register(shutil.rmtree, instead, ignore_errors=True)
        log.warning(
            "nothing can be kept in %s (%s): tokenizers and kernels are made anew at each start; "
            "set WEIGHTWRIGHT_HOME to a folder that can be written",
            folder, error.strerror,
        )  # fmt: skip
        return instead
    return folder
