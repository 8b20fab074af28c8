#!/usr/bin/env bash
# transformers 5.24.0: `get_decoder()` of a causal language model gives the stack of layers, for ModernBertDecoder's it
# gives the output head, a linear layer that happens to be called `decoder`. Code that looks for a model's layers there
# (to adapt or to count them) finds none.
# Seen: LlamaForCausalLM and Gemma3ForCausalLM give the model with its layers, ModernBertDecoderForCausalLM the same
# object as get_output_embeddings().
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0
cd "$folder"
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import transformers
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, ModernBertDecoderConfig

small = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
print("transformers", transformers.__version__)
for config in (LlamaConfig(**small), Gemma3TextConfig(**small, num_key_value_heads=2, head_dim=8),
               ModernBertDecoderConfig(**small, cls_token_id=1, sep_token_id=2)):
    model = AutoModelForCausalLM.from_config(config)
    found, head = model.get_decoder(), model.get_output_embeddings()
    print(f"{type(model).__name__}: {type(found).__name__}, the head: {found is head}")
    modernbert = config.model_type == "modernbert-decoder"
    assert (found is head) == modernbert, "the behaviour has changed"
    assert modernbert or hasattr(found, "layers"), "the control is off"
PY
