"""Logging to stderr; stdout belongs to results."""

import logging
import os
import sys
import warnings

_NOISY = (
    "httpx",
    "httpcore",
    "urllib3",
    "filelock",
    "transformers",
    "sentence_transformers",
    "huggingface_hub",
    "bitsandbytes",
)


def configure(level: str | None) -> None:
    """Log weightwright at `level` (default: warning), other packages only from warnings up."""
    chosen = (level or os.environ.get("WEIGHTWRIGHT_LOG_LEVEL") or "warning").upper()
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("weightwright").setLevel(chosen)
    _show_progress(logging.getLogger("weightwright.progress"))
    if chosen != "DEBUG":
        for name in _NOISY:
            logging.getLogger(name).setLevel("ERROR")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        warnings.filterwarnings("ignore", module=r"(torch|transformers|peft|sentence_transformers)\b.*")


def _show_progress(logger: logging.Logger) -> None:
    """What deep parts tell of long work, as plain lines beside the bars, whatever the level."""
    handler = logging.StreamHandler(sys.stderr)
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel("INFO")
