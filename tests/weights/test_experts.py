"""Mixtures of experts whose weights stay in their files until they are packed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from weightwright.errors import ModelError
from weightwright.executor.linear import pack
from weightwright.weights import load
from weightwright.weights.experts import ExpertSource, ExpertWeights, stacked_names
from weightwright.weights.families import model_class

from ..executor.families import families, tiny_config
from .gguf_converted import ARCHITECTURES, write
from .test_quantized import AWQ, GPTQ, difference, logits, quantised, tell

# renamed on their way; as they are; with parts in f32; with a shared expert; stacked in the files, too; dense layers
KINDS = ("mixtral", "qwen3_moe", "deepseek_v3", "qwen2_moe", "granitemoe", "glm4_moe", "minimax_m2", "olmoe")
COMMON = ("mixtral", "deepseek_v3", "granitemoe")


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, tiny_model: Path) -> Path:
    """A tiny model of a family as transformers saves it, with a tokenizer."""
    torch.manual_seed(0)
    config = tiny_config(request.param)
    config.vocab_size = 512
    model = model_class(config).from_config(config).bfloat16()
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            weight.data.normal_(std=0.1)
        elif "bias" in name:
            weight.data.normal_(std=1.0)  # of a router: f32 tells experts apart that bf16 does not
    for name, buffer in model.named_buffers():
        if "correction_bias" in name:
            buffer.normal_()
    model.save_pretrained(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "model" / name).write_bytes((tiny_model / name).read_bytes())
    return tmp_path / "model"


@pytest.mark.parametrize("folder", families(KINDS, COMMON), indirect=True)
@pytest.mark.parametrize("precision", ["bf16", "int8", "int4"])
def test_deferred_weights_are_those_that_transformers_loads(folder: Path, precision: Any) -> None:
    whole = load.load(str(folder), precision=precision, device="cpu")
    deferred = load.load(str(folder), precision=precision, device="cpu", deferred=True)
    assert whole.source is None
    assert isinstance(deferred.source, ExpertWeights)
    kept = {name: weight.dtype for name, weight in whole.model.state_dict().items()}
    for name, weight in deferred.model.state_dict().items():
        assert weight.dtype == kept[name], name
    assert torch.equal(logits(deferred, precision), logits(whole, precision))


@pytest.mark.usefixtures("exact_int8")
@pytest.mark.parametrize("apart", [False, True], ids=["stacked", "apart"])
@pytest.mark.parametrize("four_bits", [False, True], ids=["f32", "Q4_0"])
@pytest.mark.parametrize("model_type", families(ARCHITECTURES, ("mixtral", "deepseek_v3")))
def test_experts_of_gguf_files(tmp_path: Path, model_type: str, four_bits: bool, apart: bool) -> None:
    torch.manual_seed(0)
    config = tiny_config(model_type)
    config.vocab_size = 512
    model = model_class(config).from_config(config).float()
    tokens = [f"t{i}" for i in range(512)]
    write(model, tmp_path / "model.gguf", tokens=tokens, four_bits=four_bits, apart=apart)
    deferred = load.load(str(tmp_path / "model.gguf"), precision="f32", device="cpu", deferred=True)
    assert isinstance(deferred.source, ExpertSource)
    name = next(iter(sorted(stacked_names(deferred.model))))
    expert = deferred.source.expert(name, 2)
    assert expert.grouped == four_bits
    whole = load.load(str(tmp_path / "model.gguf"), precision="f32", device="cpu")
    torch.testing.assert_close(expert.dense(), whole.model.state_dict()[name][2], rtol=0, atol=0)
    for precision in ("f32", "int8") if four_bits else ("f32", "int8", "int4"):
        again = load.load(str(tmp_path / "model.gguf"), precision="f32", device="cpu", deferred=True)
        assert difference(logits(again, precision), logits(whole, precision)) < 1e-6, precision
        whole = load.load(str(tmp_path / "model.gguf"), precision="f32", device="cpu")
    if four_bits:  # it is not rounded again, but its scales to 8 bits
        assert difference(pack(expert, None, "int4")(torch.eye(expert.inputs)).T, expert.dense()) < 5e-3
    with pytest.raises(IndexError, match="holds 4 matrices, not 5"):
        deferred.source.expert(name, 4)


@pytest.mark.parametrize("folder", ["mixtral"], indirect=True)
def test_an_expert_that_is_missing_is_named(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.block_sparse_moe.experts.2.w3.weight"
    assert name in tensors
    for damaged in ({}, {name: tensors[name][:-1].contiguous()}):
        save_file({k: v for k, v in tensors.items() if k != name} | damaged, folder / "model.safetensors",
                  metadata={"format": "pt"})  # fmt: skip
        with pytest.raises(ModelError, match=f"lacks 1 weights .*{name}"):
            load.load(str(folder), precision="int4", device="cpu", deferred=True)


@pytest.mark.usefixtures("exact_int8")
@pytest.mark.parametrize(
    "folder", ["qwen3_moe", "qwen2_moe"], indirect=True
)  # the second with a shared expert
@pytest.mark.parametrize("said", [GPTQ, AWQ], ids=["gptq", "awq"])
def test_quantised_experts(folder: Path, said: dict[str, Any]) -> None:
    tensors, exact = load_file(folder / "model.safetensors"), {}
    rng = np.random.default_rng(0)
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        parts, weight = quantised(rng, *tensors[name].shape, said)
        exact[name] = torch.from_numpy(weight).float().contiguous()
        tensors |= {f"{name.removesuffix('weight')}{part}": value for part, value in parts.items()}
    plain = {
        name: exact.get(name, tensor) for name, tensor in load_file(folder / "model.safetensors").items()
    }
    save_file(plain, folder / "model.safetensors", metadata={"format": "pt"})
    expected = logits(load.load(str(folder), precision="f32", device="cpu"), "f32")
    save_file({name: tensor for name, tensor in tensors.items() if name not in exact},
              folder / "model.safetensors", metadata={"format": "pt"})  # fmt: skip
    tell(folder, quantization_config=said)
    for precision, limit in (("f32", 1e-5), ("int4", 0.05)):
        loaded = load.load(str(folder), precision="f32", device="cpu", deferred=precision != "f32")
        assert difference(logits(loaded, precision), expected) < limit, precision


@pytest.mark.parametrize("folder", ["gpt_oss"], indirect=True)
def test_quantised_experts_of_a_layout_that_is_not_known(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": GPTQ}))
    with pytest.raises(ModelError, match="GPTQ, 4 bits in groups of 32 of a model whose layers are not read"):
        load.load(str(folder), precision="int4", device="cpu")
