#!/usr/bin/env bash
# transformers 5.24.0, rope_type "dynamic" (NTK by length): the frequencies are those of the longest input seen so far.
# They go back only for an input shorter than the original context. So the logits of one and the same input of 90 tokens
# (original context 64) depend on whether one of 200 tokens went through the model before: a loss measured in training
# or evaluation depends on the order of the rows, and a server's answer on what others asked.
# Seen: the same 90 tokens, twice alone: equal to the last bit; after one of 200: logits off by more than 1e-3.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0
"$folder/venv/bin/python" - <<'PY'
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=100, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2,
    rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
)
model = LlamaForCausalLM(config).eval()
longer, shorter = torch.arange(200)[None] % 100, torch.arange(90)[None] % 100
with torch.no_grad():
    first, again = (model(shorter, use_cache=False).logits for _ in range(2))
    model(longer, use_cache=False)
    after = model(shorter, use_cache=False).logits
off = float((after - first).abs().max())
print("transformers", transformers.__version__, "the same 90 tokens after 200 others: logits off by", off)
assert torch.equal(first, again)
assert off > 1e-3, "the behaviour has changed"
PY
