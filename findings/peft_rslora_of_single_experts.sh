#!/usr/bin/env bash
# peft 0.21.2 with transformers 5.24.0: a LoRA adapter that was trained on single experts of a mixture (transformers 4
# had a layer for each, transformers 5 stacks them) is converted when it is loaded. The gate and the up matrix become
# one stack whose rank and alpha are doubled, which keeps the scale alpha / rank, but not rsLoRA's alpha / sqrt(rank)
# (arXiv 2312.03732): with use_rslora both matrices are added 1.41 times too strongly, without a word.
# Seen: logits without rsLoRA equal the base with the products added by hand (1e-5); with rsLoRA they differ, and equal
# those with the gate's and the up's products times sqrt(2).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 peft==0.21.2
cd "$folder"
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import copy
import json
import math
from pathlib import Path

import peft
import torch
import transformers
from peft import PeftModel
from safetensors.torch import save_file
from transformers import MixtralConfig, MixtralForCausalLM

torch.manual_seed(0)
hidden, inner, rank, alpha = 32, 24, 4, 8
config = MixtralConfig(
    vocab_size=64, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=1, num_attention_heads=4,
    num_key_value_heads=2, num_local_experts=3, num_experts_per_tok=2, initializer_range=0.2,
)
base = MixtralForCausalLM(config).eval()
ids = torch.arange(16)[None]


def by_hand(scale, gate_and_up=1.0):
    """The base with every adapter product added, those of gate and up times a factor."""
    model = copy.deepcopy(base)
    stacks = model.model.layers[0].mlp.experts
    for expert in range(3):
        parts = {"w1": stacks.gate_up_proj.data[expert, :inner], "w3": stacks.gate_up_proj.data[expert, inner:],
                 "w2": stacks.down_proj.data[expert]}
        for name, part in parts.items():
            a, b = (tensors[f"{prefix(expert, name)}.lora_{one}.weight"] for one in "AB")
            part += scale * (gate_and_up if name != "w2" else 1.0) * b @ a
    with torch.no_grad():
        return model(ids).logits


def prefix(expert, name):
    return f"base_model.model.model.layers.0.block_sparse_moe.experts.{expert}.{name}"


tensors = {}
for expert in range(3):
    for name, (outputs, inputs) in {"w1": (inner, hidden), "w3": (inner, hidden), "w2": (hidden, inner)}.items():
        tensors[f"{prefix(expert, name)}.lora_A.weight"] = torch.randn(rank, inputs) * 0.1
        tensors[f"{prefix(expert, name)}.lora_B.weight"] = torch.randn(outputs, rank) * 0.1


def by_peft(use_rslora):
    folder = Path(f"adapter-{use_rslora}")
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    said = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": alpha, "use_rslora": use_rslora,
            "target_modules": ["w1", "w2", "w3"]}
    (folder / "adapter_config.json").write_text(json.dumps(said))
    with torch.no_grad():
        return PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()(ids).logits


def far(one, other):
    return float((one - other).abs().max())


print("peft", peft.__version__, "transformers", transformers.__version__)
plain = far(by_peft(False), by_hand(alpha / rank))
found = by_peft(True)
right = far(found, by_hand(alpha / math.sqrt(rank)))
root = far(found, by_hand(alpha / math.sqrt(rank), math.sqrt(2)))
print(f"without rsLoRA off by {plain:.1e}; with it by {right:.1e}, from sqrt(2) times gate and up by {root:.1e}")
assert plain < 1e-4, "the control is off"
assert right > 1e-2 and root < 1e-4, "the behaviour has changed"
PY
