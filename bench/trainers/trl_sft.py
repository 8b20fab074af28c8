"""Supervised LoRA steps by TRL, written as its documentation does. Arguments: a JSON file.

`steps` are rows of token ids with labels, which its collator takes as they are; 4 rows a pass, padded, no recomputing
unless `checkpointing`. With `unsloth`, the folder that it is installed in, the model comes from there, as in its
notebooks.
"""

import json
import resource
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

RANK, ALPHA = 8, 16


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    # first of all: it changes the other libraries as it is imported
    model, tokenizer = unsloths(job) if job["unsloth"] else (None, None)
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    times: list[float] = []

    class Clock(TrainerCallback):
        """When the run began and each step ended."""

        def on_train_begin(self, *_args: object, **_kwargs: object) -> None:
            """Note the time."""
            times.append(time.perf_counter())

        on_step_end = on_train_begin

    rows = [{"input_ids": ids, "labels": labels} for step in job["steps"] for ids, labels in step]
    batch = len(job["steps"][0])
    trainer = SFTTrainer(
        model=model or AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.bfloat16),
        processing_class=tokenizer or AutoTokenizer.from_pretrained(job["model"]),
        args=SFTConfig(
            output_dir=tempfile.mkdtemp(), use_cpu=True, bf16=True, report_to="none", num_train_epochs=1,
            per_device_train_batch_size=job["micro"], gradient_accumulation_steps=batch // job["micro"],
            learning_rate=3e-4, max_length=512, gradient_checkpointing=job["checkpointing"], save_strategy="no",
            logging_steps=1, dataset_kwargs={"skip_prepare_dataset": True}, train_sampling_strategy="sequential",
        ),
        train_dataset=Dataset.from_list(rows),
        peft_config=None if model else LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear"),
        callbacks=[Clock()],
    )  # fmt: skip
    trainer.train()
    taken = [end - start for start, end in pairwise(times)]
    counted = sum(len(ids) for step in job["steps"][job["skip"] :] for ids, _ in step)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"tokens_per_s": counted / sum(taken[job["skip"] :]), "peak_bytes": peak}))


def unsloths(job: dict[str, Any]) -> tuple[Any, Any]:
    """Unsloth's model with adapters on all linear layers, and its tokenizer."""
    sys.path.insert(0, job["unsloth"])
    from unsloth import FastLanguageModel

    model, tokenizer = FastLanguageModel.from_pretrained(job["model"], max_seq_length=512, load_in_4bit=False)
    linears = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = FastLanguageModel.get_peft_model(
        model,
        r=RANK,
        lora_alpha=ALPHA,
        target_modules=linears,
        use_gradient_checkpointing=job["checkpointing"],
    )
    return adapted, tokenizer


if __name__ == "__main__":
    main()
