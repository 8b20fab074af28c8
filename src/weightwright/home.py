"""Where weightwright keeps what it makes and fetches: WEIGHTWRIGHT_HOME."""

import os
import sys
from pathlib import Path


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
