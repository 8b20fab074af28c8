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
    """When each step ended, and what this process had computed by then, in seconds."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def on_step_end(self, *_args: object, **_kwargs: object) -> None:
        """Note the time."""
        self.ends.append((time.perf_counter(), time.process_time()))


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    score = runpy.run_path(job["reward"])["form"]
    clock, answers = Clock(), job["batch"] * job["group_size"]
    rows = load_dataset("json", data_files=job["data"], split="train")  # `prompt`: a list of messages
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.bfloat16),
        args=GRPOConfig(
            output_dir=job["out"], use_cpu=True, bf16=True, report_to="none", max_steps=job["steps"],
            per_device_train_batch_size=answers, num_generations=job["group_size"], learning_rate=5e-4,
            max_completion_length=job["max_completion"], gradient_checkpointing=False, save_strategy="no",
            logging_steps=1,
        ),
        train_dataset=rows,
        reward_funcs=lambda completions, **_: [score(one[0]["content"]) for one in completions],
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"),
        callbacks=[clock],
    )  # fmt: skip
    trainer.train()
    steps = [(b - a, d - c) for (a, c), (b, d) in pairwise(clock.ends)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    tokens = [entry["completions/mean_length"] for entry in trainer.state.log_history if "reward" in entry]
    print(json.dumps({
        "step_s": [one for one, _ in steps], "step_cpu_s": [one for _, one in steps], "answers": answers,
        "peak_bytes": peak, "answer_tokens": tokens[1:],
    }))  # fmt: skip


if __name__ == "__main__":
    main()
