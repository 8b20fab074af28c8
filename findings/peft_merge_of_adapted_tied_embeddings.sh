#!/usr/bin/env bash
# peft 0.21.2, a model whose head shares its matrix with the embedding (tie_word_embeddings, as in Llama 3.2 1B, Gemma,
# SmolLM2, small Qwen2.5): after merge_and_unload it computes something else than base and adapter did, where the adapter is
# on embedding or head. The product is added in place into the shared matrix: it changes both, and twice where both are
# targeted. ensure_weight_tying=True, which peft's warning names as the remedy, keeps one adapter for both, and merges
# that twice as well. It is merged without an error.
# Seen (f32, random weights, 16 tokens; largest difference of a logit, KL in nats a token): lm_head 5.35, 0.75;
# embed_tokens 17.34, 5.63; both 17.11, 6.19; embed_tokens with ensure_weight_tying 8.88, 1.42. Of an untied model, or
# with q_proj alone: below 1e-5. With transformers 5.24.0 and torch 2.13.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 peft==0.21.2
"$folder/venv/bin/python" - <<'PY'
import warnings

import peft
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

warnings.simplefilter("ignore")
IDS = torch.arange(3, 19)[None]


def off(tied, **options):
    """How far the merged model's logits are from the adapted model's: the largest difference, KL in nats a token."""
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(
        vocab_size=100, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.2, tie_word_embeddings=tied,
    ))
    adapted = get_peft_model(base, LoraConfig(r=4, task_type="CAUSAL_LM", **options)).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
        before = adapted(input_ids=IDS).logits.log_softmax(-1)
        logits = adapted(input_ids=IDS).logits
        merged = adapted.merge_and_unload()(input_ids=IDS).logits
    kl = (before.exp() * (before - merged.log_softmax(-1))).sum(-1).mean()
    return float((merged - logits).abs().max()), float(kl)


print("peft", peft.__version__, "logits off after merging, and nats of KL:")
for name, options in {
    "lm_head": {"target_modules": ["lm_head"]},
    "embed_tokens": {"target_modules": ["embed_tokens"]},
    "both": {"target_modules": ["embed_tokens", "lm_head"]},
    "embed_tokens, ensure_weight_tying": {"target_modules": ["embed_tokens"], "ensure_weight_tying": True},
}.items():
    tied, own = off(True, **options), off(False, **options)
    print(f"  {name}: tied {tied[0]:.2f} ({tied[1]:.2f} nats), untied {own[0]:.1e}")
    assert tied[0] > 1 and tied[1] > 0.1, "the behaviour has changed"
    assert own[0] < 1e-3
plain = off(True, target_modules=["q_proj"])
print(f"  q_proj: tied {plain[0]:.1e}")
assert plain[0] < 1e-3
PY
