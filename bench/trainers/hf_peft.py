"""LoRA steps by transformers and peft, written as their documentation does. Arguments: a JSON file.

`rows` are token ids with labels. Padded: `micro` rows a pass, padded to the longest. Packed: rows behind each other
up to `pass_tokens`, positions beginning again, from which transformers makes a block-diagonal mask.
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.bfloat16)
    lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear")
    model = get_peft_model(model, lora, autocast_adapter_dtype=not job["bf16_adapters"])
    if job["checkpointing"]:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable()
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-4)
    counted = seconds = 0.0
    for step, rows in enumerate(job["steps"]):
        start = time.perf_counter()
        passes = packed(rows, job["pass_tokens"]) if job["packed"] else padded(rows, job["micro"])
        labelled = sum(int((one["labels"] != -100).sum()) for one in passes)
        for one in passes:
            labels = one.pop("labels")
            loss = model(**one, labels=labels, num_items_in_batch=labelled, use_cache=False).loss
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step >= job["skip"]:
            counted += sum(len(ids) for ids, _ in rows)
            seconds += time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"tokens_per_s": counted / seconds, "peak_bytes": peak}))


def padded(rows: list, micro: int) -> list[dict]:
    found = []
    for start in range(0, len(rows), micro):
        part = rows[start : start + micro]
        width = max(len(ids) for ids, _ in part)
        found.append({
            "input_ids": torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in part]),
            "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in part]),
            "labels": torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in part]),
        })  # fmt: skip
    return found


def packed(rows: list, pass_tokens: int) -> list[dict]:
    bins: list[list] = []
    for row in sorted(rows, key=lambda row: -len(row[0])):
        place = next((b for b in bins if sum(len(r[0]) for r in b) + len(row[0]) <= pass_tokens), None)
        if place is None:
            bins.append([row])
        else:
            place.append(row)
    return [
        {
            "input_ids": torch.tensor([[i for ids, _ in one for i in ids]]),
            "position_ids": torch.tensor([[p for ids, _ in one for p in range(len(ids))]]),
            "labels": torch.tensor([[label for _, labels in one for label in (-100, *labels[1:])]]),
        }
        for one in bins
    ]


if __name__ == "__main__":
    main()
