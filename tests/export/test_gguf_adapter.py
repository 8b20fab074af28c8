"""An adapter alone as GGUF: what llama.cpp computes with it is the merged model, tensor by tensor."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGUFReader
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from weightwright.errors import ModelError, SettingsError, UsageError
from weightwright.export.gguf.adapter import write_adapter
from weightwright.export.gguf.write import write_gguf
from weightwright.export.merge import whole
from weightwright.export.run import ExportSettings, export

SPEC = importlib.util.spec_from_file_location("models_in_gguf", Path(__file__).parent / "test_gguf_export.py")
assert SPEC is not None
assert SPEC.loader is not None
models = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(models)

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama, its rows in pairs": ("llama, byte-level", {"target_modules": "all-linear"}),
    "head": ("llama, byte-level", {"target_modules": ["k_proj", "lm_head"]}),
    "rslora": ("llama, byte-level", {"target_modules": ["q_proj", "v_proj"], "use_rslora": True}),
    "rslora, ranks": (
        "llama, byte-level",
        {"target_modules": ["q_proj", "v_proj"], "use_rslora": True, "rank_pattern": {"v_proj": 2}},
    ),
    "patterns": (
        "qwen2",
        {"target_modules": "all-linear", "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 50}},
    ),
    "phi3, in one matrix": ("phi3", {"target_modules": ["qkv_proj", "gate_up_proj"]}),
    "gemma2": ("gemma2", {"target_modules": "all-linear"}),
}


def trained(base: Path, folder: Path, **options: Any) -> Path:
    torch.manual_seed(1)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    made = get_peft_model(plain, LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **options))
    with torch.no_grad():
        for weight in made.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
    made.save_pretrained(folder)
    return folder


def tensors(file: Path) -> dict[str, Any]:
    return {tensor.name: np.array(tensor.data, np.float32) for tensor in GGUFReader(file).tensors}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_base_and_adapter_make_the_merged_model(tmp_path: Path, name: str) -> None:
    """As llama.cpp adds it: alpha / rank × B A, rank as B has it (llama-adapter.h: get_scale)."""
    kind, options = KINDS[name]
    base = models.model_folder(kind, tmp_path / "base")
    adapter = trained(base, tmp_path / "adapter", **options)
    written = write_adapter(base, adapter, tmp_path / "adapter.gguf")
    write_gguf(whole(str(base), precision="f32"), tmp_path / "base.gguf", "f32")
    write_gguf(whole(f"{base}+{adapter}", precision="f32"), tmp_path / "merged.gguf", "f32")
    said = models.fields(tmp_path / "adapter.gguf")
    assert said["general.type"] == "adapter"
    assert said["adapter.type"] == "lora"
    assert said["general.architecture"] == models.fields(tmp_path / "base.gguf")["general.architecture"]
    assert written.architecture == said["general.architecture"]
    weights, added = tensors(tmp_path / "base.gguf"), tensors(tmp_path / "adapter.gguf")
    changed = {key.removesuffix(".lora_b") for key in added if key.endswith(".lora_b")}
    for key in changed:
        a, b = added[f"{key}.lora_a"], added[f"{key}.lora_b"]
        weights[key] = weights[key] + said["adapter.lora.alpha"] / b.shape[1] * b @ a
    for key, expected in tensors(tmp_path / "merged.gguf").items():
        assert np.abs(weights[key] - expected).max() < 2e-6 * np.abs(expected).max(), key
    assert len(added) == 2 * len(changed) > 0


def test_rslora_has_its_alpha_times_the_root_of_its_rank(tmp_path: Path) -> None:
    base = models.model_folder("qwen2", tmp_path / "base")
    adapter = trained(base, tmp_path / "adapter", target_modules=["q_proj"], use_rslora=True)
    write_adapter(base, adapter, tmp_path / "a.gguf")
    assert models.fields(tmp_path / "a.gguf")["adapter.lora.alpha"] == pytest.approx(8 * math.sqrt(4))


def test_the_verb_writes_it_in_the_form_asked_for(tmp_path: Path) -> None:
    base = models.model_folder("qwen2", tmp_path / "base")
    adapter = trained(base, tmp_path / "adapter", target_modules=["q_proj"])
    (adapter / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    settings = ExportSettings(
        model=f"{base}+{adapter}", out=tmp_path / "a.gguf", adapter_only=True, quantize="f16"
    )
    data = export(settings).data()
    assert data["quantization"] == "f16"
    assert data["modelfile"] is None
    assert ["--chat-template-file" in note for note in data["notes"]] == [True]
    kinds = {tensor.tensor_type for tensor in GGUFReader(tmp_path / "a.gguf").tensors}
    assert kinds == {gguf.GGMLQuantizationType.F16}


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("qwen2", {"target_modules": ["q_proj"], "use_dora": True}, "is DoRA .*which llama.cpp cannot add"),
        ("qwen2", {"target_modules": ["q_proj"], "lora_bias": True}, "adds biases"),
        ("qwen2", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, "whole copies of modules"),
        ("gemma2", {"target_modules": ["q_proj", "lm_head"]}, "shares its matrix with the embedding"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_llama_cpp_cannot_add_is_refused(
    tmp_path: Path, kind: str, options: dict[str, Any], message: str
) -> None:
    base = models.model_folder(kind, tmp_path / "base")
    adapter = trained(base, tmp_path / "adapter", **options)
    with pytest.raises(ModelError, match=message):
        write_adapter(base, adapter, tmp_path / "a.gguf")
    assert not (tmp_path / "a.gguf").exists()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    adapter = trained(
        models.model_folder("qwen2", tmp_path / "one"), tmp_path / "a", target_modules=["q_proj"]
    )
    other = models.model_folder("qwen2", tmp_path / "other", hidden_size=32)
    with pytest.raises(ModelError, match=r"\[out, in\] differ: .*q_proj"):
        write_adapter(other, adapter, tmp_path / "a.gguf")
    with pytest.raises(SettingsError, match=r"must end in .gguf"):
        write_adapter(other, adapter, tmp_path / "adapter")
    with pytest.raises(UsageError, match=r"adapter_only writes a GGUF file of MODEL\+"):
        export(ExportSettings(model=str(other), out=tmp_path / "a.gguf", adapter_only=True))
