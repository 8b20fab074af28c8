"""Perplexity of token lists by llama.cpp: python llama_cpp_perplexity.py FILE.gguf IDS.json; one number."""

import json
import math
import sys
from pathlib import Path

import llama_cpp as lib
import numpy as np


def main() -> None:
    lib.llama_backend_init()
    options = lib.llama_model_default_params()
    options.use_extra_bufts = True
    model = lib.llama_model_load_from_file(sys.argv[1].encode(), options)
    vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    total, count = 0.0, 0
    for ids in json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")):
        total += _log_likelihood(model, ids, vocabulary)
        count += len(ids) - 1
    print(json.dumps(math.exp(-total / count)))


def _log_likelihood(model: object, ids: list[int], vocabulary: int) -> float:
    options = lib.llama_context_default_params()
    options.n_ctx = options.n_batch = len(ids) + 8
    options.n_threads = options.n_threads_batch = 2
    context = lib.llama_init_from_model(model, options)
    batch = lib.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, True
        batch.seq_id[i][0] = 0
    if lib.llama_decode(context, batch) != 0:
        raise SystemExit("llama_decode failed")
    total = 0.0
    for i, token in enumerate(ids[1:]):
        logits = np.ctypeslib.as_array(lib.llama_get_logits_ith(context, i), (vocabulary,)).astype(np.float64)
        top = logits.max()
        total += logits[token] - top - math.log(np.exp(logits - top).sum())
    lib.llama_batch_free(batch)
    lib.llama_free(context)
    return total


if __name__ == "__main__":
    main()
