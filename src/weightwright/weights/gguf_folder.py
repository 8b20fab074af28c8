"""A GGUF file's config, tokenizer and ends of texts as a folder of transformers' files, made once."""

import json
from pathlib import Path

from weightwright.files import whole_folder
from weightwright.home import cache
from weightwright.hub import weight_files
from weightwright.weights import gguf_header
from weightwright.weights.gguf_config import config_of
from weightwright.weights.gguf_tokenizer import end_ids, tokenizer_of
from weightwright.weights.quiet import quiet
from weightwright.weights.templates import name_known_class

_FORM = 2  # of what is in the folder: a later one is made anew


def side_folder(file: Path) -> Path:
    """The folder of what is inside a GGUF file beside its weights, made at the first call.

    It lies under WEIGHTWRIGHT_HOME, keyed by the file's sha256. Raises ModelError for a tokenizer that is not known.
    """
    folder = cache() / "gguf" / f"{weight_files.sha256_kept(file)[:32]}-{_FORM}"
    if folder.is_dir():
        return folder
    fields = gguf_header.with_tokenizer(file)
    with whole_folder(folder, shared=True) as beside, quiet():
        tokenizer_of(fields, file.name).save_pretrained(beside)
        name_known_class(beside)
        config_of(file).save_pretrained(beside)
        said = json.dumps({"eos_token_id": end_ids(fields)})
        (beside / "generation_config.json").write_text(said, encoding="utf-8")
    return folder
