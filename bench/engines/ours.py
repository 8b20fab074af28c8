"""Decode and prefill rates of this engine: python ours.py MODEL PRECISION [ROUNDS]; one JSON line per batch size."""

import json
import sys
import time

import numpy as np

from weightwright import LLM, SamplingParams


def main() -> None:
    model, precision, rounds = sys.argv[1], sys.argv[2], int((sys.argv[3:] or ["3"])[0])
    start = time.perf_counter()
    llm = LLM(model, precision=precision, max_model_len=1024, enable_prefix_caching=False, speculate=0)
    print(json.dumps({"startup_s": time.perf_counter() - start}), flush=True)
    rng = np.random.default_rng(0)

    def timed(count: int, tokens: int) -> float:
        prompts = [{"prompt_token_ids": rng.integers(0, 40000, 64).tolist()} for _ in range(count)]
        params = SamplingParams(max_tokens=tokens, ignore_eos=True, temperature=0)
        start = time.perf_counter()
        llm.generate(prompts, params)
        return time.perf_counter() - start

    for count in (1, 8, 32):
        timed(count, 4)
        prefill = [timed(count, 1) for _ in range(rounds)]
        both = [timed(count, 65) for _ in range(rounds)]
        best = min(prefill)
        print(json.dumps({
            "sequences": count,
            "prefill": 64 * count / best,
            "decode": [64 * count / (seconds - best) for seconds in both],
        }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
