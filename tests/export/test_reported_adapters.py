"""What users of other tools reported of adapters, merging and export, each kind on an input of our own."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration

from weightwright.errors import ModelError
from weightwright.executor.lora import AdapterBank, wrap
from weightwright.export.folder import write_folder
from weightwright.export.gguf.adapter import write_adapter
from weightwright.export.gguf.write import write_gguf
from weightwright.export.merge import whole
from weightwright.hub import weight_files
from weightwright.weights.adapter import read_adapter

SPEC = importlib.util.spec_from_file_location("gguf_models", Path(__file__).parent / "test_gguf_export.py")
assert SPEC is not None
assert SPEC.loader is not None
models = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(models)

NEAR = 2e-6  # of the logits' norm
LORA: dict[str, Any] = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"}
Adapter = tuple[Path, Path, torch.Tensor]
pytestmark = pytest.mark.filterwarnings("ignore")


def opened(base: Path, dtype: torch.dtype = torch.float32) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=dtype).eval()


def trained(model: Any, folder: Path, **options: Any) -> torch.Tensor:
    """Write an adapter that was moved away from its start; the logits of model and adapter."""
    torch.manual_seed(1)
    made = get_peft_model(model, LoraConfig(**LORA, **options))
    with torch.no_grad():
        for weight in made.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
    made.save_pretrained(folder)
    logits: torch.Tensor = models.logits(made.eval())
    return logits


def far(model: Any, expected: torch.Tensor) -> float:
    return float((models.logits(model.eval()) - expected).norm() / expected.norm())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """A base model, an adapter of it, and their logits."""
    root = tmp_path_factory.mktemp("plain")
    base = models.model_folder("qwen2", root / "base")
    return (
        base,
        root / "adapter",
        trained(opened(base), root / "adapter", target_modules=["q_proj", "down_proj"]),
    )


NAMES: dict[str, Callable[[str], str]] = {
    "the adapter's own name": lambda key: key.replace(".weight", ".default.weight"),
    "torch.compile": lambda key: f"_orig_mod.{key}",
    "torch.compile inside": lambda key: key.replace("base_model.model.", "base_model.model._orig_mod."),
    "DDP": lambda key: f"module.{key}",
    "FSDP": lambda key: key.replace("base_model.model.", "base_model.model._fsdp_wrapped_module."),
    "recomputing": lambda key: key.replace(".self_attn.", "._checkpoint_wrapped_module.self_attn."),
    "twice": lambda key: f"base_model.model.{key}",
    "no prefix": lambda key: key.removeprefix("base_model.model."),
}


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_saved_from_a_wrapped_model_is_the_same_everywhere(
    plain: Adapter, tmp_path: Path, name: str
) -> None:
    """peft#2764, unsloth#2009: the names fitted nothing, and the merged model was the base model, without a word."""
    base, adapter, expected = plain
    other = Path(shutil.copytree(adapter, tmp_path / "other"))
    tensors = load_file(adapter / "adapter_model.safetensors")
    renamed = {NAMES[name](key): tensor for key, tensor in tensors.items()}
    assert renamed.keys() != tensors.keys()
    save_file(renamed, other / "adapter_model.safetensors")
    assert far(whole(f"{base}+{other}", precision="f32").model, expected) < NEAR
    model, bank = opened(base), AdapterBank(torch.float32)
    wrap(model, bank)
    bank.load(read_adapter("mine", other))
    bank.rows = bank.batch([0] * 8)
    assert far(model, expected) < NEAR
    for folder in (adapter, other):
        write_adapter(base, folder, tmp_path / f"{folder.name}.gguf")
    named = {tensor.name for tensor in models.gguf.GGUFReader(tmp_path / "other.gguf").tensors}
    assert named == {tensor.name for tensor in models.gguf.GGUFReader(tmp_path / "adapter.gguf").tensors}


def test_a_name_that_fits_nothing_is_refused_with_the_users_folder(plain: Adapter, tmp_path: Path) -> None:
    base, adapter, _ = plain
    other = Path(shutil.copytree(adapter, tmp_path / "other"))
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file({f"module.{key}".replace("q_proj", "query"): t for key, t in tensors.items()},
              other / "adapter_model.safetensors")  # fmt: skip
    with pytest.raises(
        ModelError, match=rf"the adapter at {other} does not fit this model: .*self_attn\.query"
    ):
        whole(f"{base}+{other}")


def test_an_adapter_of_mlx_is_named(tmp_path: Path, plain: Adapter) -> None:
    """llama.cpp#10551: MLX writes other names, shapes and files."""
    save_file(
        {"model.layers.0.self_attn.q_proj.lora_a": torch.zeros(64, 4)}, tmp_path / "adapters.safetensors"
    )
    (tmp_path / "adapter_config.json").write_text('{"fine_tune_type": "lora", "num_layers": 1}')
    for attempt in (lambda: read_adapter("a", tmp_path), lambda: whole(f"{plain[0]}+{tmp_path}")):
        with pytest.raises(ModelError, match=r"in MLX's format \(adapters.safetensors\); fuse it there"):
            attempt()


def test_a_merged_model_is_the_base_of_the_next_adapter(plain: Adapter, tmp_path: Path) -> None:
    """LlamaFactory#10186: the second merge failed over sizes. peft#1381: the folder still held an adapter."""
    base, adapter, _ = plain
    write_folder(whole(f"{base}+{adapter}", precision="f32"), tmp_path / "once")
    assert not [*(tmp_path / "once").glob("adapter_*")]
    expected = trained(opened(tmp_path / "once"), tmp_path / "second", target_modules=["v_proj"])
    write_folder(whole(f"{tmp_path / 'once'}+{tmp_path / 'second'}", precision="f32"), tmp_path / "twice")
    assert far(opened(tmp_path / "twice"), expected) < NEAR


def test_the_base_models_files_are_never_taken_for_the_merged(plain: Adapter, tmp_path: Path) -> None:
    """LlamaFactory#9051: with shards of the base model's size the base model's weights were exported."""
    base, adapter, expected = plain
    opened(base).save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    for file in base.glob("tokenizer*"):
        shutil.copy(file, tmp_path / "sharded")
    assert len([*(tmp_path / "sharded").glob("*.safetensors")]) > 2
    write_folder(whole(f"{tmp_path / 'sharded'}+{adapter}", precision="f32"), tmp_path / "merged")
    held = {
        name
        for file in (tmp_path / "merged").glob("*.safetensors")
        for name in weight_files.safetensors_header(file)
    }
    assert len(held) == len(opened(base).state_dict()) - 1  # the head is the embedding
    assert far(opened(tmp_path / "merged"), expected) < NEAR


@pytest.mark.parametrize("form", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(plain: Adapter, tmp_path: Path, form: torch.dtype) -> None:
    """LlamaFactory#4913: merged in half precision, the model answered otherwise than before."""
    base, adapter, _ = plain
    opened(base, form).save_pretrained(tmp_path / "half")
    for file in base.glob("tokenizer*"):
        shutil.copy(file, tmp_path / "half")
    exact = whole(f"{tmp_path / 'half'}+{adapter}", precision="f32").model.state_dict()
    write_folder(whole(f"{tmp_path / 'half'}+{adapter}"), tmp_path / "merged")
    kept = opened(tmp_path / "merged", form).state_dict()
    assert all(torch.equal(weight.to(form), kept[name]) for name, weight in exact.items())


def test_an_adapter_goes_into_a_quantised_base_model(plain: Adapter, tmp_path: Path) -> None:
    """unsloth#2142: of a 4-bit base model the merged one was the base model again."""
    base, adapter, _ = plain
    write_gguf(whole(str(base), precision="f32"), tmp_path / "base.gguf", "q8_0")
    quantised, merged = (
        whole(f"{tmp_path / 'base.gguf'}{added}", precision="f32").model.state_dict()
        for added in ("", f"+{adapter}")
    )
    change = {name: weight - quantised[name] for name, weight in merged.items()}
    for path, one in read_adapter("a", adapter).modules.items():
        torch.testing.assert_close(
            change.pop(f"{path}.weight"), one.scale * one.b @ one.a, rtol=1e-4, atol=1e-6
        )
    assert not any(rest.any() for rest in change.values())


def test_an_adapters_file_holds_nothing_but_its_matrices(tmp_path: Path) -> None:
    """llama.cpp#9114: for Llama 3.1 the rope's factors were written as well, and the file was refused."""
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64}  # fmt: skip
    base = models.model_folder("llama, byte-level", tmp_path / "base", rope_parameters=rope)
    trained(opened(base), tmp_path / "adapter", target_modules=["q_proj"])
    write_adapter(base, tmp_path / "adapter", tmp_path / "a.gguf")
    names = [tensor.name for tensor in models.gguf.GGUFReader(tmp_path / "a.gguf").tensors]
    assert names == [f"blk.{n}.attn_q.weight.lora_{side}" for n in range(3) for side in "ab"]


def test_an_adapter_of_a_model_that_sees_is_merged(tmp_path: Path) -> None:
    """llama.cpp#12551 and #23047: Gemma 3's adapters were of no use elsewhere, for its names."""
    text = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8,
            "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2}  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    torch.manual_seed(0)
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    model = Gemma3ForConditionalGeneration(config)
    model.save_pretrained(tmp_path / "base")
    models.byte_level().save_pretrained(tmp_path / "base")
    expected = trained(model, tmp_path / "adapter", target_modules=r".*language_model.*\.(q_proj|v_proj)")
    merged = whole(f"{tmp_path / 'base'}+{tmp_path / 'adapter'}", precision="f32")
    write_folder(merged, tmp_path / "merged")
    assert far(opened(tmp_path / "merged"), expected) < NEAR
    with pytest.raises(ModelError, match="GGUF files of the architecture gemma3 are not written here"):
        write_adapter(tmp_path / "base", tmp_path / "adapter", tmp_path / "a.gguf")


def test_both_matrices_of_a_tied_model_are_written_where_the_adapter_changed_both(tmp_path: Path) -> None:
    """transformers#45127, LlamaFactory#10832: the config still said tied, and one matrix was lost in loading."""
    base = models.model_folder("qwen2", tmp_path / "base")
    trained(
        opened(base),
        tmp_path / "adapter",
        target_modules=["q_proj"],
        modules_to_save=["embed_tokens", "lm_head"],
    )
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    head = next(key for key in tensors if "lm_head" in key)
    tensors[head] = tensors[head] * 2
    save_file(tensors, file)
    write_folder(whole(f"{base}+{tmp_path / 'adapter'}", precision="f32"), tmp_path / "merged")
    model = opened(tmp_path / "merged")
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["tie_word_embeddings"] is False
    assert torch.equal(model.lm_head.weight, tensors[head])
    assert torch.equal(
        model.model.embed_tokens.weight, tensors[next(key for key in tensors if "embed_tokens" in key)]
    )
