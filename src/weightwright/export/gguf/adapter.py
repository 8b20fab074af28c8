"""An adapter alone as a GGUF file, which llama.cpp adds to its base model's file (`llama-server --lora`).

llama.cpp adds alpha / rank × B A to a matrix, with one alpha for all and each matrix' own rank: rsLoRA's alpha is
written times the root of its rank, and where patterns give other scales the difference goes into B.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from weightwright.errors import ModelError
from weightwright.export.folder import refuse_existing, refuse_full
from weightwright.export.gguf.architectures import Family, family_of
from weightwright.export.gguf.write import (
    SPARE_BYTES,
    Planned,
    Quantization,
    Written,
    check_name,
    form_of,
    put,
)
from weightwright.files import whole_file
from weightwright.ports import Progress, silent
from weightwright.weights import gguf_folder
from weightwright.weights.adapter import Adapter, read_adapter
from weightwright.weights.templates import read_template

_MERGE = "export MODEL+ADAPTER without --adapter-only"


def write_adapter(
    base: Path, folder: Path, out: Path, quantization: Quantization = "f32", *, progress: Progress = silent
) -> Written:
    """Write the adapter in `folder` for the model whose files are at `base` to the new file `out`.

    Raises ModelError for what llama.cpp cannot add or what does not fit the base model, SettingsError where `out`
    exists.
    """
    import torch
    from gguf import GGUFType, GGUFWriter, Keys
    from transformers import AutoConfig

    from weightwright.weights.empty import empty

    check_name(out)
    refuse_existing(out)
    adapter = read_adapter(folder.name.replace(".", "-"), folder)
    source = gguf_folder.side_folder(base) if base.is_file() else base
    model = empty(AutoConfig.from_pretrained(str(source), local_files_only=True), torch.float32)
    family = family_of(model.config)
    alpha = Counter(one.scale * one.rank for one in adapter.modules.values()).most_common(1)[0][0]
    planned = list(_plan(adapter, model, family, alpha, quantization))
    refuse_full(out, sum(tensor.size for tensor in planned) + SPARE_BYTES)
    with whole_file(out, shared=False) as beside, closing(GGUFWriter(beside, family.name)) as writer:
        writer.add_type(GGUFType.ADAPTER)
        writer.add_string(Keys.Adapter.TYPE, "lora")
        writer.add_float32(Keys.Adapter.LORA_ALPHA, alpha)
        writer.add_name(folder.name)
        put(writer, planned, family, model.config, progress)
    return Written(out, family.name, out.stat().st_size, tuple(_notes(folder, source)))


def _plan(
    adapter: Adapter, model: Any, family: Family, alpha: float, quantization: Quantization
) -> Iterator[Planned]:
    """A and B of each matrix by llama.cpp's names, B times what alpha / rank does not say of the scale."""
    import gguf

    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[family.name], model.config.num_hidden_layers)
    shapes = {path: tuple(weight.shape) for path, weight in model.state_dict().items()}
    form = gguf.GGMLQuantizationType[quantization.upper()]
    for path, one in adapter.modules.items():
        _check(adapter, model, path, shapes)
        name = names.get_name(f"{path}.weight", try_suffixes=(".weight",))
        if name is None:
            raise ModelError(
                f"{path} has no place in a GGUF file of the architecture {family.name}; {_MERGE}"
            )
        b = one.b.float() * (one.scale * one.rank / alpha)
        for side, weight in (("lora_a", one.a.float()), ("lora_b", b)):
            yield Planned(f"{name}.{side}", form_of(name, weight, form), weight)


def _check(adapter: Adapter, model: Any, path: str, shapes: dict[str, tuple[int, ...]]) -> None:
    one, shape = adapter.modules[path], shapes.get(f"{path}.weight")
    if shape is None:
        raise adapter.misfit(f"it has no linear layer {path}")
    if shape != (want := (len(one.b), one.a.shape[1])):
        raise adapter.misfit(f"[out, in] differ: {path} {list(want)} for {list(shape)}")
    what = (
        "is DoRA" if one.magnitude is not None else "adds biases (lora_bias)" if one.bias is not None else ""
    )
    if model.get_submodule(path) is model.get_output_embeddings() and model.config.tie_word_embeddings:
        what = "changes an output head that shares its matrix with the embedding"
    if what:
        raise ModelError(
            f"adapter {adapter.name!r} {what} ({path}), which llama.cpp cannot add to a model; {_MERGE}"
        )


def _notes(folder: Path, base: Path) -> Iterator[str]:
    template = read_template(folder)
    if template and template != read_template(base):
        yield ("the adapter was trained with another chat template than the base model's, which is no part of the "
               "file: give llama-server --jinja --chat-template-file and its chat_template.jinja")  # fmt: skip
