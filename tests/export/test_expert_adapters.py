"""Adapters of a mixture's experts: stacked as today, or one by one as transformers 4 had them; merged, else refused.

The reference of the first is peft's model with its adapter, of the second the products added by hand.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, MixtralConfig, Qwen3MoeConfig

from weightwright.errors import ModelError
from weightwright.export.folder import write_folder
from weightwright.export.gguf.write import write_gguf
from weightwright.export.merge import whole
from weightwright.weights.adapter import read_adapter
from weightwright.weights.load import load

NEAR = 2e-6  # of the logits' norm
EXPERTS, HIDDEN, INNER = 4, 32, 24
IDS = torch.tensor([[3, 100, 41, 77, 250, 9, 9, 12]])
BOTH = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
STACKED: dict[str, dict[str, Any]] = {
    "both matrices": {"target_modules": [], "target_parameters": BOTH},
    "beside attention": {"target_modules": ["q_proj"], "target_parameters": ["experts.down_proj"]},
    "the router": {"target_modules": ["v_proj"], "target_parameters": ["mlp.gate.weight"]},
    "a layer's weight": {"target_modules": ["v_proj"], "target_parameters": ["q_proj.weight"]},
    "patterns": {
        "target_modules": ["q_proj"], "target_parameters": BOTH,
        "rank_pattern": {"experts.down_proj": 2}, "alpha_pattern": {"experts.down_proj": 32},
    },
    "rslora": {"target_modules": ["q_proj"], "target_parameters": BOTH, "use_rslora": True},
    "all-linear": {"target_modules": "all-linear"},
}  # fmt: skip
SINGLE: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "all": (("gate", "up", "down"), {}),
    "down alone": (("down",), {}),
    "gate without up": (("gate",), {}),
    "rslora": (("gate", "up", "down"), {"use_rslora": True}),
    "patterns": (("gate", "up", "down"), {"alpha_pattern": {"up_proj": 40, "w3": 40}}),
}
NAMES = {
    "mixtral": ("block_sparse_moe.experts.{}.{}", {"gate": "w1", "up": "w3", "down": "w2"}),
    "qwen3_moe": ("mlp.experts.{}.{}", {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root, spec = (
        tmp_path_factory.mktemp("mixtures"),
        importlib.util.spec_from_file_location("gguf_export", Path(__file__).parent / "test_gguf_export.py"),
    )
    assert spec is not None
    assert spec.loader is not None
    neighbour = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(neighbour)
    tokenizer = neighbour.byte_level("qwen2")
    common: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.2, "num_experts_per_tok": 2,
        "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None,
    }  # fmt: skip
    configs = {
        "mixtral": MixtralConfig(**common, intermediate_size=INNER, num_local_experts=EXPERTS),
        "qwen3_moe": Qwen3MoeConfig(
            **common,
            intermediate_size=48,
            moe_intermediate_size=INNER,
            num_experts=EXPERTS,
            head_dim=8,
            norm_topk_prob=True,
        ),
    }
    for name, config in configs.items():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return {name: root / name for name in configs}


def opened(base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(input_ids=IDS).logits[0].float()


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("on", NAMES)
@pytest.mark.parametrize("name", STACKED)
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_of_stacked_experts_is_merged_as_in_peft_and_not_served(
    bases: dict[str, Path], tmp_path: Path, name: str, on: str
) -> None:
    base, adapter = bases[on], tmp_path / "adapter"
    torch.manual_seed(1)
    made = get_peft_model(opened(base), LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **STACKED[name]))
    with torch.no_grad():
        for weight in made.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
    made.save_pretrained(adapter)
    expected = logits(PeftModel.from_pretrained(opened(base), str(adapter), torch_device="cpu"))
    assert far(expected, logits(opened(base))) > 1e-2
    model = whole(f"{base}+{adapter}", precision="f32")
    write_folder(model, tmp_path / "merged")
    assert far(logits(opened(tmp_path / "merged")), expected) < NEAR
    write_gguf(model, tmp_path / "merged.gguf", "f32")
    assert (
        far(logits(load(str(tmp_path / "merged.gguf"), precision="f32", device="cpu").model), expected) < NEAR
    )
    with pytest.raises(
        ModelError, match=r"target_parameters=.*stacked experts of a mixture.*merge it into its base"
    ):
        read_adapter("mine", adapter)


def of_single_experts(
    base: Path, folder: Path, on: str, matrices: tuple[str, ...], **config: Any
) -> torch.Tensor:
    """Write an adapter as transformers 4 named its layers; the logits of its products added by hand."""
    form, names = NAMES[on]
    model, tensors = opened(base), {}
    torch.manual_seed(2)
    for n, layer in enumerate(model.model.layers):
        stacks = layer.mlp.experts
        for expert in range(EXPERTS):
            for matrix in matrices:
                out, into = (HIDDEN, INNER) if matrix == "down" else (INNER, HIDDEN)
                a, b = torch.randn(4, into) * 0.3, torch.randn(out, 4) * 0.3
                key = f"base_model.model.model.layers.{n}.{form.format(expert, names[matrix])}"
                tensors |= {f"{key}.lora_A.weight": a, f"{key}.lora_B.weight": b}
                alpha = 40 if "alpha_pattern" in config and matrix == "up" else 8
                part = {
                    "gate": stacks.gate_up_proj.data[expert, :INNER], "up": stacks.gate_up_proj.data[expert, INNER:],
                    "down": stacks.down_proj.data[expert],
                }[matrix]  # fmt: skip
                part += alpha / (2 if config.get("use_rslora") else 4) * b @ a
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    said = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8} | config
    targets = [names[matrix] for matrix in matrices]
    (folder / "adapter_config.json").write_text(json.dumps(said | {"target_modules": targets}))
    return logits(model)


@pytest.mark.parametrize("on", NAMES)
@pytest.mark.parametrize("name", SINGLE)
def test_an_adapter_of_single_experts_is_added_to_the_stack(
    bases: dict[str, Path], tmp_path: Path, name: str, on: str
) -> None:
    matrices, config = SINGLE[name]
    expected = of_single_experts(bases[on], tmp_path / "adapter", on, matrices, **config)
    assert far(expected, logits(opened(bases[on]))) > 1e-2
    write_folder(whole(f"{bases[on]}+{tmp_path / 'adapter'}", precision="f32"), tmp_path / "merged")
    assert far(logits(opened(tmp_path / "merged")), expected) < NEAR


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"mlp.experts.7.up_proj": (4, HIDDEN, INNER)},
            r"experts\.7\.up_proj \[24, 32\], the model has no such",
        ),
        (
            {"mlp.experts.1.up_proj": (4, HIDDEN, 20)},
            r"experts\.1\.up_proj \[20, 32\], the model has \[24, 32\] there",
        ),
        ({"mlp.expert.up_proj": (4, HIDDEN, INNER)}, r"mlp\.expert\.up_proj .*the model has no such layer"),
        (
            {"init_lora_weights": "pissa"},
            "has init_lora_weights='pissa'; only low-rank matrices .* transformers 4",
        ),
        ({"lm_head.weight": None}, r"has base_model\.model\.lm_head\.weight; only low-rank matrices"),
    ],
)
def test_what_does_not_fit_single_experts_is_named(
    bases: dict[str, Path], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = tmp_path / "adapter"
    of_single_experts(bases["qwen3_moe"], folder, "qwen3_moe", ("down",))
    tensors = load_file(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    for key, value in change.items():
        if value is None:
            tensors[f"base_model.model.{key}"] = torch.zeros(2, 2)
        elif isinstance(value, tuple):
            rank, into, out = value
            path = f"base_model.model.model.layers.0.{key}"
            tensors |= {
                f"{path}.lora_A.weight": torch.ones(rank, into),
                f"{path}.lora_B.weight": torch.ones(out, rank),
            }
        else:
            config[key] = value
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        whole(f"{bases['qwen3_moe']}+{folder}", precision="f32")


@pytest.mark.parametrize("on", NAMES)
@pytest.mark.parametrize("matrix", ["experts.3.up", "experts.1.down", "attention"])
@pytest.mark.parametrize("how", ["missing", "short"])
def test_a_mixture_that_lacks_a_matrix_names_it(
    bases: dict[str, Path], tmp_path: Path, on: str, matrix: str, how: str
) -> None:
    form, names = NAMES[on]
    _, _, rest = matrix.partition(".")
    number, _, kind = rest.partition(".")
    place = form.format(number, names[kind]) if rest else "self_attn.q_proj"
    key = f"model.layers.1.{place}.weight"
    tensors = load_file(bases[on] / "model.safetensors")
    if how == "missing":
        del tensors[key]
    else:
        tensors[key] = tensors[key][:-1].clone()
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((bases[on] / file).read_bytes())
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"lacks 1 weights of its architecture \(first {key}\)"):
        whole(str(tmp_path), precision="f32")
