"""What a GGUF file says beside the weights: rotary scaling, heads, experts, caps. Logits are the folder's."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForCausalLM

from weightwright.errors import ModelError
from weightwright.export.gguf.write import write_gguf
from weightwright.export.merge import whole
from weightwright.weights import load
from weightwright.weights.gguf_rope import llama3_divisors, rope_parameters

from ..export.test_gguf_export import model_folder
from .gguf_converted import write

LINEAR = {"rope_type": "linear", "factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
ATTENTION = YARN | {"attention_factor": 1.3}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
OWN = LLAMA3 | {"low_freq_factor": 1.5, "high_freq_factor": 6.0, "original_max_position_embeddings": 50}
LONG = {
    "rope_type": "longrope",
    "original_max_position_embeddings": 32,
    "long_factor": [1.0 + i / 4 for i in range(8)],
    "short_factor": [1.0 + i / 16 for i in range(8)],
}
CASES = [
    ("llama, byte-level", LINEAR, {}),
    ("llama, byte-level", YARN, {}),
    ("llama, byte-level", ATTENTION, {}),
    ("llama, byte-level", LLAMA3, {}),
    ("llama, byte-level", OWN, {}),
    ("mistral", YARN, {}),
    ("mistral", LLAMA3, {}),
    ("qwen2", LINEAR, {}),
    ("qwen2", YARN, {}),
    ("qwen2", ATTENTION, {}),
    ("qwen3", YARN, {"head_dim": 24}),
    ("phi3", LONG, {"original_max_position_embeddings": 32}),
    ("phi3", {"rope_type": "default"}, {"sliding_window": 24}),
    ("phi3", {"rope_type": "default", "partial_rotary_factor": 0.5}, {}),
    (
        "gemma2",
        LINEAR,
        {
            "final_logit_softcapping": 9.0,
            "attn_logit_softcapping": 11.0,
            "sliding_window": 24,
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
        },
    ),
]
IDS = torch.randint(5, 250, (1, 200), generator=torch.Generator().manual_seed(0))


def difference(found: Any, expected: Any) -> float:
    """The largest, relative to the largest logit, below and beyond the original context."""
    errors = []
    for tokens in (12, 200):
        with torch.inference_mode():
            theirs, ours = (model(input_ids=IDS[:, :tokens]).logits for model in (expected, found))
        errors.append(float((theirs - ours).abs().max() / theirs.abs().max()))
    return max(errors)


@pytest.mark.parametrize(
    ("kind", "rope", "more"),
    CASES,
    ids=lambda part: part.get("rope_type", "") if isinstance(part, dict) else part,
)
def test_logits_are_the_folders(
    tmp_path: Path, kind: str, rope: dict[str, Any], more: dict[str, Any]
) -> None:
    folder = model_folder(kind, tmp_path / "model", rope_parameters={"rope_theta": 1e4, **rope}, **more)
    write_gguf(whole(str(folder)), tmp_path / "model.gguf", "f32")
    source, found = (
        load.load(str(path), precision="f32", device="cpu") for path in (folder, tmp_path / "model.gguf")
    )
    assert difference(found.model, source.model) < 1e-4
    assert found.context_tokens == source.context_tokens


def test_gemma3s_full_layers_are_scaled(tmp_path: Path) -> None:
    layers = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    }
    folder = model_folder(
        "gemma3",
        tmp_path / "model",
        rope_parameters=layers,
        sliding_window=24,
        head_dim=32,
        query_pre_attn_scalar=32,
    )
    write_gguf(whole(str(folder)), tmp_path / "model.gguf", "f32")
    source, found = (
        load.load(str(path), precision="f32", device="cpu") for path in (folder, tmp_path / "model.gguf")
    )
    assert difference(found.model, source.model) < 1e-4


# --- mixtures and latent attention, written as llama.cpp's converter writes them --------------------------

SHAPE: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,
    "num_experts_per_tok": 2,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
DEEPSEEK = {
    "kv_lora_rank": 32,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 8,
    "v_head_dim": 24,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
}
MIXTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("MixtralConfig", {"num_local_experts": 4, "head_dim": 16}),
    "qwen2moe": (
        "Qwen2MoeConfig",
        {"num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 48},
    ),
    "qwen3moe": (
        "Qwen3MoeConfig",
        {"num_experts": 4, "moe_intermediate_size": 32, "head_dim": 24, "norm_topk_prob": True},
    ),
    "deepseek_v2": ("DeepseekV2Config", DEEPSEEK | {"topk_method": "greedy", "routed_scaling_factor": 1.5}),
    "deepseek_v3": ("DeepseekV3Config", DEEPSEEK | {"n_group": 1, "topk_group": 1}),
}
MSCALE = {"deepseek_v2": 0.707, "deepseek_v3": 1.0}


def mixture(kind: str, rope: str) -> Any:
    parameters: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e4}
    if rope == "yarn":
        parameters |= YARN | (
            {"mscale": MSCALE[kind], "mscale_all_dim": MSCALE[kind]} if kind in MSCALE else {}
        )
    name, options = MIXTURES[kind]
    config = getattr(transformers, name)(**SHAPE | options, rope_parameters=parameters)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for weight in model.state_dict().values():  # norms and biases, which begin as ones and zeros
            if weight.ndim == 1:
                weight.add_(torch.randn_like(weight) * 0.1)
    return model


def tokens() -> list[str]:
    return [*sorted(ByteLevel.alphabet()), "ab", "<|im_end|>", "<pad>"]


@pytest.mark.parametrize("rope", ["default", "yarn"])
@pytest.mark.parametrize("kind", MIXTURES)
def test_a_mixture_is_read(tmp_path: Path, kind: str, rope: str) -> None:
    source = mixture(kind, rope)
    write(source, tmp_path / "model.gguf", tokens=tokens())
    found = load.load(str(tmp_path / "model.gguf"), precision="f32", device="cpu")
    assert found.model.config.model_type == source.config.model_type
    assert difference(found.model, source) < 1e-4


def test_deepseeks_old_files_hold_keys_and_values_in_one(tmp_path: Path) -> None:
    source = mixture("deepseek_v3", "default")
    write(source, tmp_path / "model.gguf", tokens=tokens(), old_latent=True)
    found = load.load(str(tmp_path / "model.gguf"), precision="f32", device="cpu")
    assert difference(found.model, source) < 1e-4


# --- what would be something else is not loaded -----------------------------------------------------------


def test_tensors_that_have_no_place_are_said(tmp_path: Path) -> None:
    folder = model_folder("qwen2", tmp_path / "model")
    write_gguf(whole(str(folder)), tmp_path / "model.gguf", "f32")
    again(
        tmp_path / "model.gguf", tmp_path / "more.gguf", {"blk.0.attn_q_norm.weight": np.ones(16, np.float32)}
    )
    with pytest.raises(
        ModelError, match=r"holds 1 tensors that qwen2 has no place for \(first blk\.0\.attn_q_norm\.weight\)"
    ):
        load.load(str(tmp_path / "more.gguf"))
    # rotary factors are read, old files' copies and layers that predict further tokens leave the model as it is
    again(
        tmp_path / "model.gguf",
        tmp_path / "fine.gguf",
        {
            "blk.3.nextn.eh_proj.weight": np.ones((4, 4), np.float32),
            "blk.0.attn_rot_embd": np.ones(8, np.float32),
        },
    )
    load.load(str(tmp_path / "fine.gguf"))


def again(file: Path, out: Path, tensors: dict[str, Any], **fields: Any) -> None:
    """The same file with more tensors, and other fields; None leaves one out."""
    reader = gguf.GGUFReader(file)
    writer = gguf.GGUFWriter(out, str(reader.fields["general.architecture"].contents()))
    changed = {name.replace("__", "."): value for name, value in fields.items()}
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture" or name in changed:
            continue
        inner = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(name, field.contents(), field.types[0], inner)
    for name, value in changed.items():
        if value is not None:
            kind = {
                bool: gguf.GGUFValueType.BOOL,
                int: gguf.GGUFValueType.UINT32,
                str: gguf.GGUFValueType.STRING,
                float: gguf.GGUFValueType.FLOAT32,
            }[type(value)]
            writer.add_key_value(name, value, kind)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- the parameters themselves ------------------------------------------------------------------------------


def rope_of(values: dict[str, Any], **factors: list[float]) -> dict[str, Any]:
    return rope_parameters(values.get, factors, 16, 4096)


def test_llama_cpps_rules_for_rotary_scaling() -> None:
    plain = {"rope_type": "default", "rope_theta": 10000.0}
    assert rope_of({}) == plain  # llama.cpp's base where a file names none
    assert rope_of({"rope.freq_base": 5e5})["rope_theta"] == 5e5
    assert rope_of({"rope.scaling.type": "none", "rope.scaling.factor": 4.0}) == plain
    # a factor alone is linear, also under its first name
    assert rope_of({"rope.scaling.factor": 4.0}) == plain | {"rope_type": "linear", "factor": 4.0}
    assert rope_of({"rope.scale_linear": 2.0}) == plain | {"rope_type": "linear", "factor": 2.0}
    yarn = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}
    assert rope_of(yarn)["original_max_position_embeddings"] == 4096
    said = rope_of(yarn | {"rope.scaling.yarn_beta_fast": 16.0, "rope.scaling.yarn_beta_slow": 2.0})
    assert (said["beta_fast"], said["beta_slow"]) == (16.0, 2.0)
    # attn_factor is multiplied by YaRN's own; yarn_attn_factor is the model's attention_factor as its config has it
    factor = rope_of(yarn | {"rope.scaling.attn_factor": 2.0})["attention_factor"]
    assert factor == pytest.approx(2 * (0.1 * np.log(4) + 1))
    assert rope_of(yarn | {"rope.scaling.yarn_attn_factor": 1.25})["attention_factor"] == 1.25
    assert rope_of({"rope.dimension_count": 8})["partial_rotary_factor"] == 0.5


def test_llama_3s_scaling_is_found_in_its_factors() -> None:
    divisors = np.array(llama3_divisors(LLAMA3, 1e4, 16), np.float32).tolist()
    assert rope_of({}, rope_freqs=divisors) == {"rope_theta": 1e4, **LLAMA3}
    own = rope_of({}, rope_freqs=[1.0, 1.0, 2.0, 3.0, 5.0, 7.0, 7.0, 7.0])  # nobody's: the factors themselves
    assert own["rope_type"] == "longrope"
    assert own["short_factor"] == own["long_factor"] == [1.0, 1.0, 2.0, 3.0, 5.0, 7.0, 7.0, 7.0]
    assert (own["attention_factor"], own["original_max_position_embeddings"]) == (1.0, 4096)
