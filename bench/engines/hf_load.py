"""Requests in fixed batches through transformers' `generate`: python hf_load.py JOB.json (see jobs.py).

Batches are taken in the order of arrival and padded on the left; each runs until its longest answer is there, and
only the tokens that were asked for count. One line a batch. Options: dtype.
"""

import os
import time

from jobs import Line, read, say

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from transformers import AutoModelForCausalLM


def main() -> None:
    job = read()
    start_s = time.perf_counter()
    dtype = getattr(torch, job["options"]["dtype"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype, attn_implementation="sdpa")
    model.generation_config.eos_token_id = None
    say(startup_s=time.perf_counter() - start_s, version=f"transformers {transformers.__version__}")
    generate(model, job["warmup"])
    for one in job["rounds"]:
        requests = one["requests"]
        for start in range(0, len(requests), one["batch"]):
            batch = requests[start : start + one["batch"]]
            seconds = generate(model, batch)
            tokens = sum(request["tokens"] for request in batch)
            say(round=one["name"], seconds=seconds, requests=len(batch), new_tokens=tokens)


def generate(model: torch.nn.Module, batch: list[Line]) -> float:
    """Seconds that a batch takes."""
    width = max(len(request["ids"]) for request in batch)
    steps = max(request["tokens"] for request in batch)
    ids = torch.tensor([[0] * (width - len(request["ids"])) + request["ids"] for request in batch])
    mask = torch.tensor([[0] * (width - n) + [1] * n for n in (len(r["ids"]) for r in batch)])
    start_s = time.perf_counter()
    out = model.generate(ids, attention_mask=mask, max_new_tokens=steps, do_sample=False, pad_token_id=0)
    seconds = time.perf_counter() - start_s
    if out.shape[1] != width + steps:
        raise ValueError(f"asked for {steps} new tokens, got {out.shape[1] - width}")
    return seconds


if __name__ == "__main__":
    main()
