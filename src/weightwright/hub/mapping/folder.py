"""A folder with a model of a family that is mapped becomes one that transformers loads, tensor by tensor."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weightwright.errors import ModelError
from weightwright.files import write_whole
from weightwright.hub import weight_files
from weightwright.hub.mapping.families import (
    Config,
    Family,
    family_of,
    is_refused,
    mapped_config,
    mapped_tensors,
)
from weightwright.hub.mapping.tokenizer import small_files
from weightwright.hub.writing import dtype_names, write_tensors
from weightwright.ports import Progress, silent

_CARDS = ("README.md", "LICENSE", "LICENCE", "NOTICE")
_BAICHUAN2_TOKENS = 125_696


def is_mapped(folder: Path) -> bool:
    """Whether a folder's model has to be mapped, and can be."""
    file = folder / "config.json"
    if not file.is_file():
        return False
    config = weight_files.read_json(file)
    return family_of(config) is not None and not is_refused(config)


def sources(folder: Path) -> list[str]:
    """The small files that the mapped ones are made from, and cards."""
    made = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", "tokenizer.model",
            "vocab.json", "merges.txt", "chat_template.jinja", "special_tokens_map.json",
            "qwen.tiktoken")  # fmt: skip
    code = [file.name for file in folder.glob("*.py")]
    return sorted(name for name in (*made, *_CARDS, *code) if (folder / name).is_file())


def write_small(folder: Path, into: Path) -> None:
    """Write config.json, the tokenizer, generation_config.json and cards of a folder in transformers' terms."""
    config = weight_files.read_json(folder / "config.json")
    files: dict[str, bytes | dict[str, Any]] = {"config.json": mapped_config(config)}
    files |= small_files(folder, config)
    files |= {name: (folder / name).read_bytes() for name in _CARDS if (folder / name).is_file()}
    for name, content in files.items():
        text = (
            content
            if isinstance(content, bytes)
            else json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        )
        write_whole(into / name, text)


def write_weights(folder: Path, weights: Sequence[Path], into: Path, progress: Progress = silent) -> None:
    """Write safetensors files of `folder`'s model under transformers' names; one tensor is in memory at a time.

    Raises ModelError where they are not the tensors of the model that config.json describes.
    """
    config = weight_files.read_json(folder / "config.json")
    family, target = family_of(config), mapped_config(config)
    assert family is not None
    made = _Mapping(family, target, _unit_head(folder, config))
    names = [made.names_of(file) for file in weights]
    _check_complete(folder, target, names)
    places: dict[str, str] = {}
    for done, (file, shapes) in enumerate(zip(weights, names, strict=True)):
        progress(done, len(weights), file.name)
        name = (
            "model.safetensors"
            if len(weights) == 1
            else f"model-{done + 1:05d}-of-{len(weights):05d}.safetensors"
        )
        made.write(file, shapes, into / name)
        places |= dict.fromkeys(shapes, name)
    if len(weights) > 1:
        index = {"metadata": {}, "weight_map": places}
        write_whole(into / "model.safetensors.index.json", json.dumps(index, indent=1))


class _Mapping:
    """How the tensors of files become others."""

    def __init__(self, family: Family, target: Config, unit_head: bool) -> None:
        self._family, self._target, self._unit_head = family, target, unit_head

    def names_of(self, file: Path) -> dict[str, tuple[str, Any]]:
        """What a file's tensors become, by name: the tensor's own name, and the shape as a meta tensor."""
        found = {}
        for name, piece in weight_files.safetensors_header(file).items():
            for new, tensor in self._made(name, _empty(piece)).items():
                found[new] = (name, tensor)
        return found

    def write(self, file: Path, shapes: Mapping[str, tuple[str, Any]], target: Path) -> None:
        """Write what a file's tensors become."""
        from safetensors import safe_open

        with safe_open(file, "pt") as opened:

            def read(name: str) -> Any:
                source = shapes[name][0]
                return self._made(source, opened.get_tensor(source))[name]

            write_tensors(
                {name: tensor for name, (_, tensor) in shapes.items()}, read, target, {"format": "pt"}
            )

    def _made(self, name: str, tensor: Any) -> dict[str, Any]:
        made = mapped_tensors(name, tensor, self._family, self._target, unit_head=self._unit_head)
        if self._target.get("tie_word_embeddings"):
            made.pop("lm_head.weight", None)
        return made


def _empty(piece: weight_files.Tensor) -> Any:
    """A tensor's shape and type without its numbers."""
    import torch

    types = {name: dtype for dtype, name in dtype_names().items()}
    return torch.empty(piece.shape, dtype=types[piece.dtype], device="meta")


def _unit_head(folder: Path, config: Config) -> bool:
    """Whether the head's rows are normalised: as the code says that is beside it (Baichuan 2's), else by its size."""
    if config["model_type"] != "baichuan":
        return False
    code = folder / "modeling_baichuan.py"
    if code.is_file():
        return "NormHead" in code.read_text(encoding="utf-8")
    return bool(config["vocab_size"] == _BAICHUAN2_TOKENS)


def _check_complete(folder: Path, target: Config, names: Sequence[Mapping[str, tuple[str, Any]]]) -> None:
    """Raise ModelError unless the tensors are those of transformers' model of the config, in names and shapes."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = dict(target)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(values.pop("model_type"), **values))
    tied = {"lm_head.weight"} if target.get("tie_word_embeddings") else set()
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items() if name not in tied}
    found = {name: (tuple(tensor.shape), source) for one in names for name, (source, tensor) in one.items()}
    for name in sorted(wanted.keys() | found.keys()):
        shape, source = found.get(name, (None, ""))
        if shape != wanted.get(name):
            raise ModelError(
                f"{folder} cannot be mapped onto {target['model_type']}: "
                + (f"its tensor {source} {list(shape)}" if shape else f"no tensor becomes {name}")
                + (f" becomes {name}, which has {list(wanted[name])}" if shape and name in wanted else "")
                + (" has no place there" if shape and name not in wanted else "")
                + "; is its config.json that of these weights?"
            )
