#!/usr/bin/env bash
# transformers 5.24.0: the tokenizer of a GGUF file whose special tokens are written with letters that no byte is
# written as (DeepSeek's `<｜begin▁of▁sentence｜>` has U+FF5C and U+2581) does not know them: they are spelled anew in
# the vocabulary and added a second time. BOS is an id beyond the file's vocabulary and its embeddings.
# Seen: of 260 tokens BOS is 259 in the file, 261 in the tokenizer; the control, `<|begin|>`, is 259 in both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 gguf==0.19.0
cd "$folder"
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import gguf
import numpy as np
import transformers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer

print("transformers", transformers.__version__)
for begin in ("<|begin|>", "<\uff5cbegin\u2581of\u2581sentence\uff5c>"):
    writer = gguf.GGUFWriter("model.gguf", "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    tokens = [*sorted(ByteLevel.alphabet()), "ab", "<|end|>", "<|pad|>", begin]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("deepseek-llm")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * 257 + [3] * 3)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_add_bos_token(True)
    writer.add_tensor("token_embd.weight", np.zeros((len(tokens), 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = AutoTokenizer.from_pretrained(".", gguf_file="model.gguf")
    first = found("a")["input_ids"][0]
    print(f"{begin}: in the file {len(tokens) - 1} of {len(tokens)}, in the tokenizer {first}")
    if begin == "<|begin|>":
        assert first == len(tokens) - 1, "the control is off"
    else:
        assert first >= len(tokens), "the behaviour has changed"
PY
