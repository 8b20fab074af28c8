"""Which tokens end a text, as a model's own files say: generation_config.json, or the header of a GGUF file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from weightwright.data.turn_end import turn_ends
from weightwright.hub.weight_files import read_json

if TYPE_CHECKING:
    from weightwright.ports import Tokenizer

GENERATION_FILE = "generation_config.json"


def end_ids(path: Path) -> tuple[int, ...]:
    """The tokens that end a text for the model at `path`, a folder or a GGUF file; none if it says none."""
    from weightwright.weights.gguf_folder import side_folder

    file = (path if path.is_dir() else side_folder(path)) / GENERATION_FILE
    said = read_json(file).get("eos_token_id") if file.is_file() else None
    return tuple(said) if isinstance(said, list) else () if said is None else (said,)


def write_turn_ends(folder: Path, tokenizer: "Tokenizer") -> None:
    """Name the ends of the chat template's turns in a folder's generation_config.json, where other programs look.

    Nothing is written where they stand there, or where EOS alone ends turns and the file says nothing else.
    """
    file, known, eos = folder / GENERATION_FILE, end_ids(folder), tokenizer.eos_token_id
    missing = [
        token for token in turn_ends(tokenizer).token_ids if token not in known and (known or token != eos)
    ]
    if missing:
        said = read_json(file) if file.is_file() else {}
        own = () if eos is None else (eos,)
        said["eos_token_id"] = list(dict.fromkeys((*known, *own, *missing)))
        file.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
