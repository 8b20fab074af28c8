"""Greedy answers of vLLM's CPU build with adapters of ours: python vllm_adapters.py JOB.json.

The job names a model folder, adapters by name, questions and `max_tokens`; answers come as JSON, by adapter.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

if __name__ == "__main__":
    import vllm
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    llm = LLM(model=job["model"], dtype="float32", max_model_len=1024, enable_lora=True, max_lora_rank=64)
    params = SamplingParams(max_tokens=job["max_tokens"], temperature=0)
    chats = [[{"role": "user", "content": question}] for question in job["questions"]]
    found = {}
    for number, (name, folder) in enumerate({"": "", **job["adapters"]}.items()):
        adapter = LoRARequest(name, number, folder) if name else None
        found[name] = [one.outputs[0].text for one in llm.chat(chats, params, lora_request=adapter)]
    print(json.dumps({"version": vllm.__version__, "answers": found}), flush=True)
