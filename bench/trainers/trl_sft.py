"""Supervised LoRA steps by TRL, written as its documentation does. Arguments: a JSON file.

`steps` are rows of token ids with labels, which its collator takes as they are; 4 rows a pass, padded, no recomputing
unless `checkpointing`.
"""

import json
import resource
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):
    """When the run began and each step ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_begin(self, *_args: object, **_kwargs: object) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())

    def on_step_end(self, *_args: object, **_kwargs: object) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rows = [{"input_ids": ids, "labels": labels} for step in job["steps"] for ids, labels in step]
    batch, clock = len(job["steps"][0]), Clock()
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.bfloat16),
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        args=SFTConfig(
            output_dir=tempfile.mkdtemp(), use_cpu=True, bf16=True, report_to="none", num_train_epochs=1,
            per_device_train_batch_size=job["micro"], gradient_accumulation_steps=batch // job["micro"],
            learning_rate=3e-4, max_length=512, gradient_checkpointing=job["checkpointing"], save_strategy="no",
            logging_steps=1, dataset_kwargs={"skip_prepare_dataset": True}, train_sampling_strategy="sequential",
        ),
        train_dataset=Dataset.from_list(rows),
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"),
        callbacks=[clock],
    )  # fmt: skip
    trainer.train()
    taken = [end - start for start, end in pairwise(clock.times)]
    counted = sum(len(ids) for step in job["steps"][job["skip"] :] for ids, _ in step)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"tokens_per_s": counted / sum(taken[job["skip"] :]), "peak_bytes": peak}))


if __name__ == "__main__":
    main()
