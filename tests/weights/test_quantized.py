"""Checkpoints in GPTQ and AWQ against a de-quantisation of their own in numpy f64; others are refused by name."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from weightwright.engine.assemble import assemble
from weightwright.engine.settings import EngineSettings
from weightwright.errors import ModelError
from weightwright.hub import quantized
from weightwright.kernels.int8 import int8_kernel
from weightwright.kernels.step import Step
from weightwright.weights import load, support
from weightwright.weights.describe import describe
from weightwright.weights.safetensors import QuantizedWeights, SafetensorsWeights

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True}
KINDS: dict[str, dict[str, Any]] = {
    "gptq": GPTQ,
    "gptq act-order": GPTQ | {"desc_act": True},
    "gptq v2": GPTQ | {"checkpoint_format": "gptq_v2"},
    "gptq 8 bits": GPTQ | {"bits": 8},
    "gptq one group": GPTQ | {"group_size": -1},
    "awq": AWQ,
    "awq groups of 64": AWQ | {"group_size": 64},
}


def packed(codes: np.ndarray, bits: int, order: tuple[int, ...] | None = None) -> np.ndarray:
    """Codes [rows, n] -> int32 [rows, n · bits / 32], one code after the other from the lowest bits up."""
    count = 32 // bits
    out = np.zeros((len(codes), codes.shape[1] // count), dtype=np.uint32)
    for column in range(out.shape[1]):
        for place in range(count):
            at = column * count + (order[place] if order else place)
            out[:, column] |= codes[:, at].astype(np.uint32) << np.uint32(bits * place)
    return out.view(np.int32)


def quantised(
    rng: np.random.Generator, outputs: int, inputs: int, said: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """The tensors of a random linear layer, and its weight [out, in] in f64."""
    bits, group = said["bits"], said["group_size"] if said["group_size"] > 0 else inputs
    count = inputs // group
    codes = rng.integers(0, 2**bits, (inputs, outputs))
    zeros = rng.integers(0, 2**bits, (count, outputs))
    scales = rng.uniform(0.01, 0.03, (count, outputs)).astype(np.float16) / np.float16(2 ** (bits - 4))
    groups = np.arange(inputs) // group
    if said.get("desc_act"):
        rng.shuffle(groups)
    weight = ((codes - zeros[groups]) * scales[groups].astype(np.float64)).T
    if said["quant_method"] == "awq":
        order = (0, 2, 4, 6, 1, 3, 5, 7)
        found = {"qweight": packed(codes, 4, order), "qzeros": packed(zeros, 4, order)}
    else:
        stored = zeros if said.get("checkpoint_format") == "gptq_v2" else (zeros - 1) % 2**bits
        found = {
            "qweight": packed(codes.T, bits).T,
            "qzeros": packed(stored, bits),
            "g_idx": groups.astype(np.int32),
        }
    tensors = {name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in found.items()}
    return tensors | {"scales": torch.from_numpy(scales)}, weight


def make(tiny_model: Path, folder: Path, said: dict[str, Any]) -> tuple[Path, Path]:
    """The tiny model with random quantised layers, and the same with plain f32 weights."""
    rng = np.random.default_rng(0)
    plain = Path(shutil.copytree(tiny_model, folder / "plain"))
    other = Path(shutil.copytree(tiny_model, folder / "quantised"))
    tensors = load_file(tiny_model / "model.safetensors")
    exact = {}
    for name, tensor in list(tensors.items()):
        if name.endswith("_proj.weight"):
            parts, weight = quantised(rng, *tensor.shape, said)
            exact[name] = torch.from_numpy(weight).float().contiguous()
            del tensors[name]
            tensors |= {f"{name.removesuffix('weight')}{part}": value for part, value in parts.items()}
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    save_file(load_file(tiny_model / "model.safetensors") | exact, plain / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    tell(other, quantization_config=said)
    return plain, other


def tell(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def logits(loaded: Any, precision: str) -> torch.Tensor:
    """What the engine computes for a few tokens, [12, vocab] f32."""
    given: Any = SimpleNamespace(**vars(loaded) | {"precision": precision})
    parts = assemble(given, EngineSettings(kv_memory="1MB", deterministic=True))
    ids, places = torch.arange(12) * 20, torch.arange(12)
    step = Step(
        parts.cache, places, 12, torch.zeros(12, 1, dtype=torch.int32), places + 1, native=parts.native
    )
    return parts.executor.forward(ids, places, step, places)[0]


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_those_of_an_f64_dequantisation(tmp_path: Path, kind: str) -> None:
    said = KINDS[kind]
    rng = np.random.default_rng(1)
    tensors, weight = quantised(rng, 96, 128, said)
    save_file({f"a.{name}": tensor for name, tensor in tensors.items()} | {"b.weight": torch.ones(2, 3)},
              tmp_path / "model.safetensors")  # fmt: skip
    scheme = quantized.scheme(said)
    assert scheme is not None
    source = QuantizedWeights(SafetensorsWeights.open(tmp_path, torch.float32), scheme)
    assert source.shape("a.weight") == (96, 128)
    assert source.shape("b.weight") == (2, 3)
    assert source.shape("c.weight") is None
    assert source.grouped("a.weight") == (kind not in ("gptq act-order", "gptq 8 bits"))
    assert not source.grouped("b.weight")
    expected = torch.from_numpy(weight).float()
    torch.testing.assert_close(source.read("a.weight"), expected, rtol=1e-6, atol=1e-6)
    if source.grouped("a.weight"):
        groups = source.read_groups("a.weight")
        torch.testing.assert_close(groups.dense(torch.float32), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(source.read("b.weight"), torch.ones(2, 3))


@pytest.mark.usefixtures("exact_int8")
@pytest.mark.parametrize("kind", ["gptq", "gptq act-order", "awq"])
def test_a_checkpoint_answers_like_its_plain_weights(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    plain, other = make(tiny_model, tmp_path, KINDS[kind])
    expected = logits(load.load(str(plain), precision="f32", device="cpu"), "f32")
    for precision, limit in (
        ("f32", 1e-5),
        ("int8", 0.04 * 127 / int8_kernel().levels),  # a step is as much larger as there are fewer levels
        ("int4", 0.03 if kind != "gptq act-order" else 0.2),  # activations have 8 bits
    ):
        loaded = load.load(str(other), precision="f32", device="cpu", deferred=True)
        assert isinstance(loaded.source, QuantizedWeights)
        assert difference(logits(loaded, precision), expected) < limit, precision
    tuned = load.load(str(other), precision="f32", device="cpu")  # as tuning does
    assert tuned.source is None
    with torch.inference_mode():
        answered = tuned.model(torch.arange(12)[None] * 20).logits[0]
    assert difference(answered, expected) < 1e-5


def test_a_safetensors_folder_is_read_tensor_by_tensor(tiny_model: Path) -> None:
    loaded = load.load(str(tiny_model), precision="f32", device="cpu", deferred=True)
    assert isinstance(loaded.source, SafetensorsWeights)
    assert any(weight.is_meta for weight in loaded.model.parameters())
    plain = load.load(str(tiny_model), precision="f32", device="cpu")
    for precision in ("f32", "bf16", "int8", "int4"):
        again = load.load(str(tiny_model), precision="f32", device="cpu", deferred=True)
        assert torch.equal(
            logits(again, precision),
            logits(load.load(str(tiny_model), precision="f32", device="cpu"), precision),
        )
    assert plain.source is None


def test_what_transformers_must_convert_is_loaded_whole(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    tensors = load_file(folder / "model.safetensors")
    save_file({name.removeprefix("model."): tensor for name, tensor in tensors.items()},
              folder / "model.safetensors", metadata={"format": "pt"})  # fmt: skip
    loaded = load.load(str(folder), precision="f32", device="cpu", deferred=True)
    assert loaded.source is None
    assert (
        difference(
            logits(loaded, "f32"), logits(load.load(str(tiny_model), precision="f32", device="cpu"), "f32")
        )
        < 1e-6
    )


def test_fp8_is_left_to_transformers(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    expected = tensors[name].to(torch.float8_e4m3fn).float() / 4
    for other in [other for other in tensors if other.endswith("_proj.weight")]:
        tensors[other] = tensors[other].to(torch.float8_e4m3fn)
        tensors[f"{other}_scale_inv"] = torch.full([-(-size // 128) for size in tensors[other].shape], 0.25)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tell(folder, quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128],
                                      "activation_scheme": "dynamic"})  # fmt: skip
    loaded = load.load(str(folder), precision="f32", device="cpu", deferred=True)
    assert loaded.source is None
    assert torch.equal(loaded.model.state_dict()[name], expected)


def test_a_layer_without_scales_is_missing(tiny_model: Path, tmp_path: Path) -> None:
    _, other = make(tiny_model, tmp_path, GPTQ)
    tensors = load_file(other / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.scales"]
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights .* \(first model.layers.1.mlp.up_proj.weight\)"):
        load.load(str(other))


# --- the verdict ----------------------------------------------------------------------------------


def test_show_says_how_it_is_quantised(tiny_model: Path, tmp_path: Path) -> None:
    for said, words in ((GPTQ, "GPTQ, 4 bits in groups of 32"), (AWQ, "AWQ, 4 bits in groups of 32"),
                        (GPTQ | {"group_size": -1}, "GPTQ, 4 bits one scale an output")):  # fmt: skip
        plain, other = make(tiny_model, tmp_path / words, said)
        found = describe(other)
        assert found.support.ok
        assert found.weights_type == words
        assert found.parameters == describe(plain).parameters


def test_a_checkpoint_of_2023_says_it_in_a_file_of_its_own(tiny_model: Path, tmp_path: Path) -> None:
    plain, other = make(tiny_model, tmp_path, GPTQ)
    config = json.loads((other / "config.json").read_text())
    del config["quantization_config"]
    (other / "config.json").write_text(json.dumps(config))
    (other / "quantize_config.json").write_text(json.dumps({"bits": 4, "group_size": 32, "desc_act": False}))
    assert describe(other).weights_type == "GPTQ, 4 bits in groups of 32"
    expected = logits(load.load(str(plain), precision="f32", device="cpu"), "f32")
    assert difference(logits(load.load(str(other), precision="f32", device="cpu"), "f32"), expected) < 1e-5


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (GPTQ | {"bits": 3}, "GPTQ in 3 bits, of which only 4 and 8 can be read"),
        (GPTQ | {"bits": 2}, "GPTQ in 2 bits"),
        (
            GPTQ | {"checkpoint_format": "marlin"},
            "GPTQ in the layout marlin, which only a GPU kernel can read",
        ),
        (GPTQ | {"is_marlin_format": True}, "GPTQ in the layout marlin"),
        (GPTQ | {"dynamic": {"-:lm_head": {}}}, "GPTQ with other bits for some layers"),
        (AWQ | {"bits": 3}, "AWQ in 3 bits"),
        (AWQ | {"version": "gemv"}, "AWQ in the layout GEMV"),
        (AWQ | {"zero_point": False}, "AWQ without zero points"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes, which cannot be read"),
        ({"load_in_8bit": True}, "bitsandbytes, which cannot be read"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors, which"),
        ({"quant_method": "hqq"}, "HQQ, which"),
        ({"quant_method": "intel/auto-round"}, "AutoRound, which"),
        ({"quant_method": "martian"}, "martian, which"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    tiny_model: Path, tmp_path: Path, said: dict[str, Any], words: str
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    tell(folder, quantization_config=said)
    verdict = support.check(folder)
    assert not verdict.ok
    assert words in verdict.why
    assert "take the original model" in verdict.why
    assert not describe(folder).support.ok
    with pytest.raises(ModelError, match="its weights are quantised with"):
        load.load(str(folder))
