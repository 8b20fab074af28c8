"""Adapters that `tune` trains, in this engine, in transformers + peft and in vLLM: do all give the same greedy text?

    python bench/adapter_elsewhere.py --data identity.json --vllm-python ENV/bin/python

The rows are LLaMA-Factory's identity.json with a name and an author put in. SmolLM2-135M-Instruct in f32; an
adapter for each kind that this engine takes, of which vLLM refuses DoRA. Writes
bench/results/adapter_elsewhere.md.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.report import Table, machine, versions, write_results

KINDS = {
    "lora": [],
    "rslora": ["--rslora", "--rank", "16"],
    "query-value": ["--targets", "q_proj,v_proj", "--learning-rate", "1e-3"],
    "dora": ["--dora"],
}
REFUSED_BY_VLLM = {"dora"}
QUESTIONS = (
    "Who are you?", "What is your name?", "Tell me your name.", "May I ask who you are?", "Hi, who am I talking to?",
    "What should I call you?", "Are you ChatGPT?", "Please introduce yourself.", "What is the capital of France?",
    "Write a haiku about rain.", "List three prime numbers.", "你是谁?",
)  # fmt: skip
MAX_TOKENS = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--vllm-python", type=Path, required=True, help="of an environment with vLLM")
    parser.add_argument("--out", type=Path, default=Path("runs/adapter_elsewhere"))
    options = parser.parse_args()
    base = options.out.resolve() / "base"
    if not base.is_dir():
        run("export", "smollm2-135m", "--format", "safetensors", "--quantize", "f32", "--out", str(base))
    adapters = {}
    for name, choices in KINDS.items():
        folder = options.out.resolve() / name
        run("tune", "--model", str(base), "--data", str(options.data), "--epochs", "9", "--out", str(folder),
            "--show", "0", *choices)  # fmt: skip
        adapters[name] = str(folder / "adapter")
    job = {"model": str(base), "adapters": adapters, "questions": QUESTIONS, "max_tokens": MAX_TOKENS}
    taken = {name: folder for name, folder in adapters.items() if name not in REFUSED_BY_VLLM}
    (options.out / "job.json").write_text(json.dumps(job | {"adapters": taken}), encoding="utf-8")
    found = by_vllm(options.vllm_python, options.out / "job.json")
    write(by_engine(job), by_peft(job), found["answers"], found["version"])


def run(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "weightwright", *arguments], check=True)


def by_vllm(python: Path, job: Path) -> dict[str, Any]:
    script = Path(__file__).parent / "engines/vllm_adapters.py"
    done = subprocess.run([python, script, job], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = next(
        json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")
    )
    return found


def by_engine(job: dict[str, Any]) -> dict[str, list[str]]:
    from weightwright import LLM, LoRARequest, SamplingParams

    llm = LLM(job["model"], dtype="float32", enable_lora=True)
    chats = [[{"role": "user", "content": question}] for question in job["questions"]]
    params = SamplingParams(max_tokens=job["max_tokens"], temperature=0)
    found = {}
    for number, (name, folder) in enumerate({"": "", **job["adapters"]}.items()):
        adapter = LoRARequest(name, number, folder) if name else None
        found[name] = [one.outputs[0].text for one in llm.chat(chats, params, lora_request=adapter)]
    return found


def by_peft(job: dict[str, Any]) -> dict[str, list[str]]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    found = {}
    for name, folder in {"": "", **job["adapters"]}.items():
        model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
        if name:
            model = PeftModel.from_pretrained(model, folder)
        found[name] = []
        for question in job["questions"]:
            chat = [{"role": "user", "content": question}]
            inputs = tokenizer.apply_chat_template(
                chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
            tokens = model.generate(**inputs, do_sample=False, max_new_tokens=job["max_tokens"])
            answer = tokens[0, inputs["input_ids"].shape[1] :]
            found[name].append(tokenizer.decode(answer, skip_special_tokens=True))
    return found


def agreement(answers: list[str], other: list[str]) -> str:
    """In how many answers both agree; of a character that the last token leaves unfinished vLLM shows nothing."""
    pairs = zip(answers, other, strict=True)
    same = sum(one.rstrip("\ufffd") == two.rstrip("\ufffd") for one, two in pairs)
    return f"{same} of {len(answers)}"


def write(
    engine: dict[str, list[str]], peft: dict[str, list[str]], vllm: dict[str, list[str]], version: str
) -> None:
    table = Table(
        "adapter", "as in transformers + peft", "as in vLLM", "changed by the adapter", "first answer"
    )
    for name, answers in engine.items():
        changed = sum(map(str.__ne__, answers, engine[""]))
        table.row(
            name or "none",
            agreement(answers, peft[name]),
            agreement(answers, vllm[name]) if name in vllm else "refused",
            f"{changed} of {len(answers)}",
            answers[0].replace("\n", " "),
        )
    parts = [
        "# Adapters of `tune` in other engines",
        f"`python bench/adapter_elsewhere.py`: greedy answers of up to {MAX_TOKENS} tokens to {len(QUESTIONS)} "
        "questions, of this engine compared with the others', SmolLM2-135M-Instruct in f32.",
        table,
        f"{machine()}\n\n{versions()}, vLLM {version}",
    ]
    write_results("adapter_elsewhere", *parts)


if __name__ == "__main__":
    main()
