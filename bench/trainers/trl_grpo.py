"""GRPO steps by TRL, written as its documentation does. Arguments: a JSON file."""

import json
import resource
import runpy
import sys
import time
from itertools import pairwise
from pathlib import Path

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import GRPOConfig, GRPOTrainer


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends = [time.perf_counter()]

    def on_step_end(self, *_args: object, **_kwargs: object) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    score = runpy.run_path(job["reward"])["form"]
    clock, answers = Clock(), job["batch"] * job["group_size"]
    rows = load_dataset("json", data_files=job["data"], split="train")
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.bfloat16),
        args=GRPOConfig(
            output_dir=job["out"], use_cpu=True, bf16=True, report_to="none", max_steps=job["steps"],
            per_device_train_batch_size=answers, num_generations=job["group_size"], learning_rate=5e-4,
            max_completion_length=job["max_completion"], gradient_checkpointing=False, save_strategy="no",
            logging_steps=1,
        ),
        train_dataset=rows.map(lambda row: {"prompt": [{"role": "user", "content": row["prompt"]}]}),
        reward_funcs=lambda completions, **_: [score(one[0]["content"]) for one in completions],
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"),
        callbacks=[clock],
    )  # fmt: skip
    trainer.train()
    times = [b - a for a, b in pairwise(clock.ends[1:])]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    tokens = [entry["completions/mean_length"] for entry in trainer.state.log_history if "reward" in entry]
    print(json.dumps({"step_s": times, "answers": answers, "peak_bytes": peak, "answer_tokens": tokens[1:]}))


if __name__ == "__main__":
    main()
