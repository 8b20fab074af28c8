"""What all embedders of a folder have in common: prompts, limits, what they can read, and their identity."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

Kind = Literal["query", "passage"]

CLOSED = "the embedder is closed; open it again"
_MOST_UNKNOWN = 0.2  # of XQuAD's questions MiniLM knows all in English; in Chinese it lacks 25% to 100%
_HASH_BYTES = 1 << 22
_E5_PROMPTS = {"query": "query: ", "passage": "passage: "}  # arXiv 2212.03533, §3.4; not in older configs


def marks(special: Sequence[int], prompts: Sequence[Sequence[int]]) -> int:
    """Tokens of the model's own beside a text's: its marks and the longest prompt."""
    return len(special) + max(len(prompt) for prompt in prompts)


def knows(ids: Sequence[int], unknown: int) -> bool:
    """Whether the tokenizer knows nearly all of a text (an English model: no Chinese)."""
    return not ids or sum(token == unknown for token in ids) <= _MOST_UNKNOWN * len(ids)


def prompts_of(own: Mapping[str, str], label: str) -> dict[Kind, str]:
    """What stands before a query and a passage: the model's own prompts, or E5's where they are missing."""
    passage = next((own[key] for key in ("passage", "document", "corpus") if own.get(key)), "")
    query = own.get("query", "")
    if not query and not passage and "e5" in label.lower().replace("-", "/").replace("_", "/").split("/"):
        return {"query": _E5_PROMPTS["query"], "passage": _E5_PROMPTS["passage"]}
    return {"query": query, "passage": passage}


def identity(folder: Path, width: int, model: Any = None) -> str:
    """The same weights, the same name, wherever they lie: `bert-6x384@` and a hash of the weights.

    `model` is needed where the folder holds no file of weights.
    """
    config = _config_of(folder)
    kind = f"{config.get('model_type', 'model')}-{config.get('num_hidden_layers', '?')}x{width}"
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin")) if folder.is_dir() else []
    digest = hashlib.sha256()
    if files:
        for file in files:
            with file.open("rb") as stream:
                while block := stream.read(_HASH_BYTES):
                    digest.update(block)
    else:
        for name, tensor in sorted(model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return f"{kind}@{digest.hexdigest()[:12]}"


def _config_of(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
