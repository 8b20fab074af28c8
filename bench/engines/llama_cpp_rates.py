"""The same of llama.cpp through llama-cpp-python's C API: python llama_cpp_rates.py FILE.gguf [ROUNDS]."""

import json
import sys
import time

import llama_cpp as lib
import numpy as np

PROMPT, STEPS = 64, 32


def main() -> None:
    path, rounds = sys.argv[1], int((sys.argv[2:] or ["3"])[0])
    lib.llama_backend_init()
    start = time.perf_counter()
    options = lib.llama_model_default_params()
    options.use_extra_bufts = True  # repacked weights: llama.cpp's fastest form
    model = lib.llama_model_load_from_file(path.encode(), options)
    print(json.dumps({"startup_s": time.perf_counter() - start}), flush=True)
    for count in (1, 8, 32):
        taken = [_rates(model, count) for _ in range(rounds)]
        prefill = max(PROMPT * count / prompt for prompt, _ in taken)
        decode = [count * STEPS / steps for _, steps in taken]
        print(json.dumps({"sequences": count, "prefill": prefill, "decode": decode}), flush=True)


def _rates(model: object, count: int) -> tuple[float, float]:
    """Seconds for the prompts and for the steps."""
    options = lib.llama_context_default_params()
    options.n_ctx = (PROMPT + STEPS + 8) * count
    options.n_batch, options.n_ubatch, options.n_seq_max = 2048, 512, count
    options.n_threads = options.n_threads_batch = 2
    options.kv_unified = True
    context = lib.llama_init_from_model(model, options)
    batch = lib.llama_batch_init(2048, 0, count)
    rng = np.random.default_rng(0)
    vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))

    def decode(rows: list[tuple[int, int, bool]]) -> None:
        batch.n_tokens = len(rows)
        for i, (position, sequence, logits) in enumerate(rows):
            batch.token[i], batch.pos[i] = int(rng.integers(0, vocabulary)), position
            batch.n_seq_id[i], batch.logits[i] = 1, logits
            batch.seq_id[i][0] = sequence
        if lib.llama_decode(context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        lib.llama_synchronize(context)

    start = time.perf_counter()
    for s in range(count):
        decode([(p, s, p == PROMPT - 1) for p in range(PROMPT)])
    middle = time.perf_counter()
    for k in range(STEPS):
        decode([(PROMPT + k, s, True) for s in range(count)])
    end = time.perf_counter()
    lib.llama_batch_free(batch)
    lib.llama_free(context)
    return middle - start, end - middle


if __name__ == "__main__":
    main()
