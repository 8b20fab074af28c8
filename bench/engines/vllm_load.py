"""Rounds of requests, all at once, through vLLM's CPU build: python vllm_load.py JOB.json (see jobs.py).

Options: context, share_prefixes, and sequences and step_tokens, where null leaves vLLM's own.
"""

import os
import time

from jobs import counted, read, say, vllm_options

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "0-1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

if __name__ == "__main__":
    import vllm
    from vllm import LLM, SamplingParams

    job = read()
    start_s = time.perf_counter()
    llm = LLM(
        **vllm_options(job),
    )
    say(startup_s=time.perf_counter() - start_s, version=f"vLLM {vllm.__version__}")
    for one in ({"name": "warm-up", "requests": job["warmup"]}, *job["rounds"]):
        prompts = [{"prompt_token_ids": request["ids"]} for request in one["requests"]]
        params = [
            SamplingParams(max_tokens=request["tokens"], ignore_eos=True, temperature=0)
            for request in one["requests"]
        ]
        start_s = time.perf_counter()
        outputs = llm.generate(prompts, params, use_tqdm=False)
        seconds = time.perf_counter() - start_s
        new = [len(output.outputs[0].token_ids) for output in outputs]
        line = counted(one, seconds, new, sum(output.num_cached_tokens or 0 for output in outputs))
        if one["name"] != "warm-up":
            say(**line)
