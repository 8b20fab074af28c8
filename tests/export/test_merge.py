"""A merged model answers like base model and adapter in peft: logits to 1e-5 in f32, whatever the adapter changes."""

import importlib.util
import json
import shutil
import subprocess
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from weightwright.errors import ModelError, SettingsError
from weightwright.export.folder import write_folder
from weightwright.export.merge import Whole, stored_precision, whole
from weightwright.files import full_disk
from weightwright.testing.models import CHAT_TEMPLATE, tiny_llama
from weightwright.tune import save
from weightwright.weights import load
from weightwright.weights.origin import TEMPLATE_FILE

IDS = torch.tensor([[3, 100, 41, 77, 250, 9, 9, 12]])
ATTENTION = ["q_proj", "v_proj"]
# on a base model whose head shares the embedding's matrix; all kinds: test_adapter_matrix
PARTED: dict[str, dict[str, Any]] = {
    "tied head": {"target_modules": ["q_proj", "lm_head"]},
    "saved tied embedding": {"target_modules": ATTENTION, "modules_to_save": ["embed_tokens"]},
}


def adapter(model: Any, folder: Path, **options: Any) -> Path:
    """A random adapter for `model` in PEFT's format; every weight that it trains is moved."""
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = LoraConfig(**{"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", **options})
        made = get_peft_model(model, config)
        with torch.no_grad():
            for weight in made.parameters():
                if weight.requires_grad:
                    weight.add_(torch.randn_like(weight) * 0.1)
        made.save_pretrained(folder)
    return folder


def base_model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(input_ids=IDS).logits[0].float()


def with_peft(base: Any, folder: Path) -> torch.Tensor:
    """What base model and adapter compute in peft."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return logits(PeftModel.from_pretrained(base, str(folder)))


def merged(base: Path, folder: Path, out: Path, precision: Any = "f32") -> Whole:
    result = whole(f"{base}+{folder}", precision=precision)
    write_folder(result, out)
    return result


@pytest.mark.parametrize("kind", PARTED)
def test_a_head_that_is_parted_is_written_and_the_config_says_so(
    tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    folder = adapter(base_model(tiny_model), tmp_path / "adapter", **PARTED[kind])
    out = tmp_path / "merged"
    notes = merged(tiny_model, folder, out).notes
    assert "tie_word_embeddings is false" in " ".join(notes)
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is False
    assert "lm_head.weight" in load_file(out / "model.safetensors")


def test_a_plain_adapter_leaves_a_shared_head_shared(tiny_model: Path, tmp_path: Path) -> None:
    folder = adapter(base_model(tiny_model), tmp_path / "adapter", target_modules=ATTENTION)
    out = tmp_path / "merged"
    assert merged(tiny_model, folder, out).notes == ()
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is True
    assert "lm_head.weight" not in load_file(out / "model.safetensors")


def test_added_tokens(tiny_model: Path, tmp_path: Path) -> None:
    model, tokenizer = base_model(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_tokens(["<new>", "<newer>"])
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    folder = adapter(
        model, tmp_path / "adapter", target_modules=ATTENTION, modules_to_save=["embed_tokens", "lm_head"]
    )
    tokenizer.save_pretrained(folder)
    larger = base_model(tiny_model)
    larger.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    expected = with_peft(larger, folder)
    out = tmp_path / "merged"
    notes = " ".join(merged(tiny_model, folder, out).notes)
    assert "brings 2 tokens of its own" in notes
    assert f"have {len(tokenizer)} rows now" in notes
    found = load.load(str(out), precision="f32", device="cpu")
    torch.testing.assert_close(logits(found.model), expected, rtol=1e-5, atol=1e-5)
    assert found.tokenizer.convert_tokens_to_ids("<newer>") == len(tokenizer) - 1
    assert found.model.config.vocab_size == len(tokenizer)


def test_added_tokens_without_their_embeddings_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    model = base_model(tiny_model)
    model.resize_token_embeddings(300, mean_resizing=False)
    folder = adapter(model, tmp_path / "adapter", target_modules=["lm_head"])
    tensors = {k: v for k, v in load_file(folder / "adapter_model.safetensors").items() if "lora" in k}
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(
        ModelError, match=r"trained with 300 embeddings and the base model has 259; save it with"
    ):
        whole(f"{tiny_model}+{folder}")


def helper(name: str) -> ModuleType:
    """The module of another folder's tests."""
    spec = importlib.util.spec_from_file_location(
        f"helper_{name}", Path(__file__).parents[1] / "weights" / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["gptq", "gptq act-order", "awq"])
def test_a_gptq_or_awq_base_is_dequantised_first(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    quantised = helper("test_quantized")
    plain, base = quantised.make(tiny_model, tmp_path, quantised.KINDS[kind])
    folder = adapter(base_model(plain), tmp_path / "adapter", target_modules="all-linear")
    out = tmp_path / "merged"
    result = merged(base, folder, out)
    assert any("were de-quantised first" in note for note in result.notes)
    torch.testing.assert_close(
        logits(base_model(out)), with_peft(base_model(plain), folder), rtol=1e-5, atol=1e-5
    )
    assert "quantization_config" not in json.loads((out / "config.json").read_text())
    kept = whole(f"{base}+{folder}")
    assert (kept.precision, kept.model.dtype) == ("bf16", torch.bfloat16)


@pytest.mark.parametrize("form", ["Q4_0", "Q8_0"])
def test_a_gguf_base_is_dequantised_first(tmp_path: Path, form: str) -> None:
    base = tmp_path / "base.gguf"
    helper("test_gguf").write(base, "llama", form)
    plain = load.load(str(base), precision="f32", device="cpu").model
    folder = adapter(plain, tmp_path / "adapter", target_modules="all-linear")
    expected = with_peft(load.load(str(base), precision="f32", device="cpu").model, folder)
    out = tmp_path / "merged"
    notes = merged(base, folder, out).notes
    assert f"quantised as {form}; they were de-quantised first" in " ".join(notes)
    found = load.load(str(out), precision="f32", device="cpu")
    torch.testing.assert_close(logits(found.model), expected, rtol=1e-5, atol=1e-5)
    assert found.tokenizer.eos_token == "<|im_end|>"


@pytest.mark.parametrize(("stored", "dtype"), [("bf16", torch.bfloat16), ("f16", torch.float16)])
def test_keep_rounds_once_to_what_the_base_is_stored_in(
    tiny_model: Path, tmp_path: Path, stored: str, dtype: torch.dtype
) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    folder = adapter(base_model(base), tmp_path / "adapter", target_modules="all-linear")
    out = tmp_path / "merged"
    assert merged(base, folder, out, "keep").precision == stored
    assert stored_precision(out)[0] == stored
    exact = whole(f"{base}+{folder}", precision="f32").model.state_dict()
    for name, tensor in load_file(out / "model.safetensors").items():
        assert torch.equal(tensor, exact[name].to(dtype)), name
    assert json.loads((out / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")


def test_values_too_large_for_f16_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    tensors = load_file(base / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][2, 3] = 1e5
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj\.weight holds values beyond what f16"):
        whole(str(base), precision="f16")
    assert whole(str(base), precision="bf16").precision == "bf16"


def test_the_engine_answers_like_base_and_adapter(tiny_model: Path, tmp_path: Path) -> None:
    from weightwright import LLM, SamplingParams

    folder = adapter(base_model(tiny_model), tmp_path / "adapter", target_modules=ATTENTION)
    out = tmp_path / "merged"
    merged(tiny_model, folder, out)
    params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
    said = []
    for address in (f"{tiny_model}+{folder}", str(out)):
        llm = LLM(model=address, precision="f32", device="cpu")
        said.append(llm.generate(["Hello", "3 + 4"], params))
        llm.close()
    together, alone = ([one.outputs[0].token_ids for one in outputs] for outputs in said)
    assert list(alone) == list(together)


# --- the ground that an adapter stands on -----------------------------------------------------------


def trained_here(model: Path, folder: Path, template: str = CHAT_TEMPLATE) -> Path:
    """An adapter with the notes that a training run leaves beside it."""
    loaded = load.load(str(model), precision="f32", device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = get_peft_model(loaded.model, LoraConfig(r=2, target_modules=ATTENTION, task_type="CAUSAL_LM"))
    loaded.tokenizer.chat_template = template
    save.save_adapter(made, loaded.tokenizer, folder, base_fingerprint=loaded.fingerprint)
    return folder


def test_the_same_template_and_base_are_not_mentioned(tiny_model: Path, tmp_path: Path) -> None:
    folder = trained_here(tiny_model, tmp_path / "adapter")
    assert whole(f"{tiny_model}+{folder}").notes == ()


def test_another_template_is_told_and_written(tiny_model: Path, tmp_path: Path) -> None:
    other = CHAT_TEMPLATE.replace("<|im_end|>\n", "<|im_end|>\n\n")
    folder = trained_here(tiny_model, tmp_path / "adapter", other)
    out = tmp_path / "merged"
    (note,) = merged(tiny_model, folder, out).notes
    assert "another chat template than the base model's; the adapter's is written" in note
    assert load.load_tokenizer(str(out)).chat_template == other


def test_a_template_that_changed_since_is_told(tiny_model: Path, tmp_path: Path) -> None:
    folder = trained_here(tiny_model, tmp_path / "adapter")
    (folder / TEMPLATE_FILE).write_text(CHAT_TEMPLATE + " ")
    notes = whole(f"{tiny_model}+{folder}").notes
    assert any("trained with another chat template than the one in use" in note for note in notes)


def test_other_base_weights_are_told(tiny_model: Path, tmp_path: Path) -> None:
    folder = trained_here(tiny_model, tmp_path / "adapter")
    other = tiny_llama(tmp_path / "other", seed=1)
    (note,) = whole(f"{other}+{folder}").notes
    assert "trained on a base model with the fingerprint" in note


# --- what cannot be merged --------------------------------------------------------------------------


def broken(folder: Path, kind: str) -> None:
    config, tensors = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    if kind == "empty":
        config.unlink()
    elif kind == "pickle":
        tensors.rename(folder / "adapter_model.bin")
    elif kind == "kind":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"peft_type": "LOHA"}))
    elif kind == "cut":
        tensors.write_bytes(tensors.read_bytes()[:-8])
    else:
        held = load_file(tensors)
        first = sorted(held)[0]
        if kind == "nan":
            held[first][0, 0] = np.nan
        elif kind == "missing":
            del held[first]
        elif kind == "foreign":  # of a deeper model
            held |= {
                first.replace("layers.0", f"layers.{deeper}"): held[first].clone() for deeper in range(2, 6)
            }
        elif kind == "shape":
            held[first] = held[first][:, :-1].contiguous()
        save_file(held, tensors)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "holds no adapter_config.json"),
        ("pickle", "pickled weights are not read"),
        ("kind", "is of kind LOHA; LoRA adapters"),
        ("cut", "cannot be read .* copy the adapter again"),
        ("nan", "holds values that are no numbers"),
        ("missing", r"lacks model\.layers\.0\.self_attn\.q_proj\.lora_A\.weight; save it again"),
        (
            "foreign",
            r"does not fit this model: it has no layer model\.layers\.2\.\S+, model\.layers\.3\.\S+, \S+ and 1 more$",
        ),
        ("shape", "cannot be merged into .*"),
    ],
)
def test_a_broken_adapter_is_refused_with_the_reason(
    tiny_model: Path, tmp_path: Path, kind: str, message: str
) -> None:
    folder = adapter(base_model(tiny_model), tmp_path / "adapter", target_modules=ATTENTION)
    broken(folder, kind)
    with pytest.raises(ModelError, match=message):
        whole(f"{tiny_model}+{folder}")


def test_packed_precisions_cannot_be_written(tiny_model: Path, tmp_path: Path) -> None:
    folder = adapter(base_model(tiny_model), tmp_path / "adapter", target_modules=ATTENTION)
    with pytest.raises(ModelError, match="leave out :int4"):
        whole(f"{tiny_model}:int4+{folder}")


# --- writing ----------------------------------------------------------------------------------------


def test_nothing_is_written_over(tiny_model: Path, tmp_path: Path) -> None:
    model = whole(str(tiny_model))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for out in ("there", "file"):
        with pytest.raises(SettingsError, match="exists; choose another --out"):
            write_folder(model, tmp_path / out)
    (tmp_path / "empty").mkdir()
    write_folder(model, tmp_path / "empty")
    assert (tmp_path / "empty" / "model.safetensors").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "there"]


def test_a_write_that_fails_leaves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    model = whole(str(tiny_model))
    model.model.config.architectures = object()  # cannot be written as JSON
    model.model.config.own = object()
    with pytest.raises(TypeError):
        write_folder(model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_files_of_the_base_are_kept_as_they_are(tiny_model: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    (base / "LICENSE").write_text("the licence")
    # transformers reads such a file, and refuses to write it
    (base / "generation_config.json").write_text(
        json.dumps({"do_sample": False, "temperature": 0.6, "eos_token_id": 7})
    )
    out = tmp_path / "out"
    write_folder(whole(str(base)), out)
    assert (out / "model.safetensors").stat().st_mode == (out / "config.json").stat().st_mode
    for name in ("tokenizer.json", "LICENSE"):
        assert (out / name).read_bytes() == (base / name).read_bytes()
    # the end of the template's turns is named beside the model's own
    assert json.loads((out / "generation_config.json").read_text()) == {
        "do_sample": False, "temperature": 0.6, "eos_token_id": [7, 256],
    }  # fmt: skip


@pytest.mark.parametrize("how", ["safetensors", "numpy"])
def test_a_disk_that_fills_up_meanwhile_is_an_os_error(tmp_path: Path, how: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")

    def write() -> None:
        with full_disk(tmp_path):
            if how == "safetensors":
                save_file({"a": torch.zeros(1 << 20)}, tmp_path / "a")
            else:
                np.zeros(1 << 20, np.uint8).tofile(tmp_path / "a")

    try:
        with pytest.raises(OSError, match="No space left") as raised:
            write()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert raised.value.errno == 28
