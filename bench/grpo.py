"""GRPO on a CPU: answers a second beside TRL, and how far a reward of form rises.

    python bench/grpo.py [--model smollm2-135m] [--rounds 3] [--only speed|learning]

Speed: 8 prompts x 8 answers of at most 32 tokens a step, sampling and learning together; rank 16 on all linear
layers, bf16 weights. The arms take turns, each in a fresh process; the first step is not timed. Learning: the command
of the guide on examples/rewards, its time, and the share of held-out answers in the whole form before and after.
Writes bench/results/grpo.md.
"""

import argparse
import json
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from harness.process import fresh_python, last_json
from harness.report import Table, machine, spread, versions, write_results

TRAINERS = Path(__file__).parent / "trainers"
REWARDS = Path(__file__).resolve().parent.parent / "examples" / "rewards"
STEPS, BATCH, GROUP, MOST = 3, 8, 8, 32


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--only", choices=("speed", "learning"))
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        print(json.dumps(JOBS[json.loads(args.job.read_text())["kind"]](json.loads(args.job.read_text()))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = [speed(args, folder)] if args.only != "learning" else []
        parts += [learning(args, folder)] if args.only != "speed" else []
    shown = ("# GRPO on a CPU", machine(), versions(), *parts)
    if args.only:
        print(*shown, sep="\n\n")
    else:
        write_results("grpo", *shown)


def speed(args: argparse.Namespace, folder: Path) -> str:
    """Answers a second of whole steps, in turns."""
    model = save_dense(args.model, folder / "model")
    found: dict[str, list[dict[str, Any]]] = {"weightwright": [], "TRL": []}
    for number in range(args.rounds):
        for arm, runs in found.items():
            job = {
                "kind": "steps", "model": str(model), "data": str(REWARDS / "prompts.jsonl"),
                "reward": str(REWARDS / "form.py"), "out": str(folder / f"{arm}-{number}"), "steps": 1 + STEPS,
                "batch": BATCH, "group_size": GROUP, "max_completion": MOST,
            }  # fmt: skip
            runs.append(ran(job, folder, TRAINERS / "trl_grpo.py" if arm == "TRL" else None))
    table = Table("arm", "answers/s (least / median / most)", "answers/CPU s", "tokens an answer", "peak GB")
    rates = {}
    for arm, runs in found.items():
        rates[arm] = [one["answers"] * len(one["step_s"]) / sum(one["step_s"]) for one in runs]
        by_cpu = [one["answers"] * len(one["step_s"]) / sum(one["step_cpu_s"]) for one in runs]
        tokens = [value for one in runs for value in one["answer_tokens"]]
        peak = max(one["peak_bytes"] for one in runs) / 1e9
        table.row(
            arm,
            spread(rates[arm], 2),
            f"{median(by_cpu):.2f}",
            f"{sum(tokens) / len(tokens):.1f}",
            f"{peak:.2f}",
        )
    ratios = [ours / theirs for ours, theirs in zip(rates["weightwright"], rates["TRL"], strict=True)]
    return f"## Speed\n\n{table}\n\nRatio in each round (least / median / most): {spread(ratios, 2)}"


def learning(args: argparse.Namespace, folder: Path) -> str:
    """How far the reward of examples/rewards rises, and how long that takes."""
    began_s = time.perf_counter()
    job = {"kind": "learn", "model": args.model, "out": str(folder / "learnt"), "epochs": args.epochs}
    found = ran(job, folder, None)
    minutes = (time.perf_counter() - began_s) / 60
    before, after = found["held_out_first"], found["held_out_last"]
    return (
        f"## Learning\n\n{found['steps']} steps in {minutes:.1f} minutes ({found['cpu_s']:.0f} CPU seconds), loading "
        f"and measuring counted: {before:.0%} of the answers to held-out prompts have the whole form before, "
        f"{after:.0%} after; mean reward in training {found['first']:.2f}, then {found['last']:.2f}."
    )


def ran(job: dict[str, Any], folder: Path, script: Path | None) -> Any:
    """What a job gives in a process of its own."""
    file = folder / "job.json"
    file.write_text(json.dumps(job), encoding="utf-8")
    arguments = [script, file] if script else [__file__, "--job", file]
    found = last_json(fresh_python(*arguments))
    print({key: value for key, value in found.items() if key != "step_s"}, file=sys.stderr)
    return found


def now_s() -> tuple[float, float]:
    """The time, and what this process has computed, in seconds."""
    return time.perf_counter(), time.process_time()


def save_dense(address: str, folder: Path) -> Path:
    """The model in bf16 as transformers reads it: the same weights for both."""
    import torch

    from weightwright.weights.load import load

    loaded = load(address, precision="bf16", device="cpu")
    loaded.model.to(torch.bfloat16).save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


def steps(job: dict[str, Any]) -> dict[str, Any]:
    """Steps of ours, timed from the end of one to the end of the next."""
    import resource

    ends = [now_s()]

    def progress(done: int, _steps: int, _note: str) -> None:
        if done == len(ends):
            ends.append(now_s())

    result = tuned(
        progress, model=job["model"], data=job["data"], out=job["out"], reward=f"{job['reward']}:form",
        max_steps=job["steps"], batch=job["batch"], epochs=job["steps"], precision="bf16",
        gradient_checkpointing=False, grpo={"group_size": job["group_size"], "max_completion": job["max_completion"]},
    )  # fmt: skip
    assert result.steps == job["steps"]
    log = [json.loads(line) for line in (Path(job["out"]) / "log.jsonl").read_text().splitlines()]
    return {
        "step_s": [b - a for (a, _), (b, _) in pairwise(ends[1:])],
        "step_cpu_s": [b - a for (_, a), (_, b) in pairwise(ends[1:])],
        "answers": job["batch"] * job["group_size"],
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "answer_tokens": [line["answer_tokens"] for line in log][1:],
        "sampled_per_s": [line["samples_per_s"] for line in log][1:],
    }


def learn(job: dict[str, Any]) -> dict[str, Any]:
    """The guide's command, measured by the share of whole forms on prompts held out."""
    import resource
    import runpy

    from weightwright.connect import open_chat
    from weightwright.ports import ChatRequest, Message, SamplingParams

    result = tuned(
        lambda *_: None, model=job["model"], data=REWARDS / "prompts.jsonl", eval_data=REWARDS / "held-out.jsonl",
        out=job["out"], epochs=job["epochs"], reward=f"{REWARDS / 'form.py'}:form", grpo={"max_completion": MOST},
    )  # fmt: skip

    whole = runpy.run_path(str(REWARDS / "form.py"))["whole"]
    prompts = [json.loads(line)["prompt"] for line in (REWARDS / "held-out.jsonl").read_text().splitlines()]
    chat = open_chat(job["model"], adapters={"tuned": result.adapter})
    shares = {}
    for name, adapter in (("held_out_first", None), ("held_out_last", "tuned")):
        replies = [
            chat.submit(ChatRequest(messages=tuple(Message(**turn) for turn in prompt), adapter=adapter,
                                    params=SamplingParams(temperature=1, max_tokens=MOST, n=8, seed=number)))
            for number, prompt in enumerate(prompts)
        ]  # fmt: skip
        scores = [whole(one.text) for reply in replies for one in reply.result().completions]
        shares[name] = sum(scores) / len(scores)
    chat.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"steps": result.steps, "cpu_s": used.ru_utime + used.ru_stime, **result.reward, **shares}


def tuned(progress: Any, **values: Any) -> Any:
    from weightwright.connect import open_sampler
    from weightwright.judge.rewards import open_rewards
    from weightwright.tune.rollout import Sampling
    from weightwright.tune.run import tune
    from weightwright.tune.settings import TuneSettings

    settings = TuneSettings(objective="grpo", rank=16, learning_rate=5e-4, show=0, device="cpu", **values)
    return tune(settings, sampling=Sampling(open_sampler, open_rewards), progress=progress)


JOBS = {"steps": steps, "learn": learn}

if __name__ == "__main__":
    main()
