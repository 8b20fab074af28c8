"""The matrix products alone that LoRA steps cannot do without: the floor of their time. Arguments: a JSON file.

Forward, and backward to the inputs, of every linear layer in bf16 at `pass_tokens` rows; the head's for labelled
tokens. Adapters and attention are left out. Weights are distinct for each layer, as in a model.
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.bfloat16)
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if type(m) is torch.nn.Linear and m is not head]
    tokens = job["pass_tokens"]
    labelled = round(tokens * job["labelled_share"]) // 16 * 16
    pass_s = sum(seconds(one.weight, tokens) for one in linear) + head_seconds(head.weight, labelled)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"tokens_per_s": tokens / pass_s, "peak_bytes": peak}))


def head_seconds(weight: torch.Tensor, labelled: int) -> float:
    rows = 208  # logits of all tokens at once would not be cached, and take a gigabyte
    return seconds(weight, rows) * labelled / rows


@torch.no_grad()
def seconds(weight: torch.Tensor, rows: int) -> float:
    x = torch.randn(rows, weight.shape[1], dtype=weight.dtype)
    grad, back = torch.randn(rows, weight.shape[0], dtype=weight.dtype), torch.empty_like(x)
    out = torch.empty_like(grad)
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        torch.mm(x, weight.t(), out=out)
        torch.mm(grad, weight, out=back)
        taken.append(time.perf_counter() - start)
    return sorted(taken)[1]


if __name__ == "__main__":
    main()
