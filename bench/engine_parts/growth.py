"""Resident memory over 10,000 requests of every kind.

A seeded tiny Llama in f32 with two adapters. 32 requests are under way at a time: greedy, seeded, with stop strings,
through an adapter, held to a regex or a schema of its own, several completions, beams, log-probabilities, penalties,
and a tenth of them cancelled. Memory is read where nothing is under way, after a garbage collection. torch keeps
oneDNN's compiled products for each number of rows, up to 1,024 of them; the second run holds that cache to a few, so
that what is left is the engine's own. The tokenizer keeps the 10,000 first words that it met; they are filled before.
"""

import argparse
import gc
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from harness.report import Table

from engine_parts.harness import fresh

IN_FLIGHT, MARKS = 32, 10
TOKENIZER_WORDS = 10_500
ARMS = {
    "As it comes": {},
    "oneDNN's and ideep's caches held to 16 entries": {
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16",
        "LRU_CACHE_CAPACITY": "16",
    },
}
KINDS = (
    "greedy",
    "seeded",
    "stop",
    "adapter",
    "regex",
    "schema",
    "several",
    "beams",
    "logprobs",
    "penalties",
)


def measure(options: argparse.Namespace) -> list[object]:
    requests = 500 if options.quick else 10_000
    sections: list[object] = []
    for name, environment in ARMS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = fresh("growth", environment, folder=folder, requests=requests)
        sections += [f"## {name}", *described(found)]
    return sections


def described(found: dict) -> list[object]:
    """A run as Markdown."""
    marks, stats = found["marks"], found["stats"]
    table = Table("requests", *(str(mark["requests"]) for mark in marks))
    table.row("resident MB", *(f"{mark['rss'] / 1e6:.2f}" for mark in marks))
    table.row("free blocks", *(mark["free"] for mark in marks))
    table.row("s", *(f"{mark['s']:.0f}" for mark in marks))
    half = marks[len(marks) // 2 :]  # caches with a limit fill at first
    growth = [f"{slope(some) / 1e3:+.1f} kB" for some in (marks, half)]
    return [
        table,
        f"Growth for every 1,000 requests (least squares): {growth[0]} over all, "
        f"{growth[1]} from {half[0]['requests']} on.",
        f"At the end {stats['free']} of {stats['blocks']} blocks are free, {stats['running']} sequences run, "
        f"{stats['waiting']} wait, {stats['rows']} rows are owned; {stats['preemptions']} preemptions.",
        "How they ended: " + ", ".join(f"{n} {reason}" for reason, n in found["ends"].items()) + ".",
    ]


def slope(marks: list[dict]) -> float:
    """Bytes for every 1,000 requests, by least squares."""
    xs, ys = [mark["requests"] / 1000 for mark in marks], [mark["rss"] for mark in marks]
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    across = sum((x - x_mean) ** 2 for x in xs)
    return sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / max(across, 1e-12)


def child(folder: str, requests: int) -> dict:
    import psutil

    engine = tiny_engine(Path(folder))
    process, rng, start = psutil.Process(), random.Random(0), time.perf_counter()
    for number in range(TOKENIZER_WORDS):
        engine.tokenizer(f"{number}{letters(rng)}")
    ends: Counter[str] = Counter()
    marks: list[dict[str, float]] = []
    done = 0
    while done < requests:
        replies = [engine.submit(request(rng, done + i)) for i in range(IN_FLIGHT)]
        for reply in rng.sample(replies, IN_FLIGHT // 10):
            reply.cancel()
        for reply in replies:
            try:
                ends.update(completion.finish_reason for completion in reply.result(120).completions)
            except Exception as error:  # noqa: BLE001 - counted and shown
                ends[f"{type(error).__name__}: {str(error)[:80]}"] += 1
        done += IN_FLIGHT
        if done * MARKS // requests > len(marks):
            del replies, reply
            idle(engine)
            gc.collect()
            marks.append({"requests": done, "rss": process.memory_info().rss, "free": engine.stats.free_blocks,
                          "s": time.perf_counter() - start})  # fmt: skip
    stats = engine.stats
    found = {"free": stats.free_blocks, "blocks": stats.blocks, "running": stats.running, "waiting": stats.waiting,
             "rows": len(engine._rows._owners), "preemptions": stats.preemptions}  # fmt: skip
    engine.close()
    return {"marks": marks, "ends": dict(ends.most_common()), "stats": found}


def letters(rng: random.Random) -> str:
    """A text of 1 to 120 letters, which the tiny model's tokenizer takes for one word."""
    return "".join(rng.choices("abcdefghij klmnop", k=rng.randint(1, 120)))


def idle(engine: Any) -> None:
    """Wait until a cancelled request is forgotten, too."""
    engine._done(lambda: None)
    while engine.stats.running or engine.stats.waiting:
        engine._done(lambda: None)  # after the engine's next step


def tiny_engine(folder: Path) -> Any:
    """The engine, with its model and adapters written into a folder."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from engine_parts.harness import open_engine
    from weightwright.testing.models import tiny_llama

    model = tiny_llama(folder / "tiny")
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    adapters = {}
    for number in range(2):
        torch.manual_seed(number)
        adapters[f"a{number}"] = folder / f"a{number}"
        get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(
            adapters[f"a{number}"]
        )
    return open_engine(str(model), "f32", adapters, max_sequences=16, kv_memory="4MB")


def request(rng: random.Random, number: int) -> Any:
    """The next request: a prompt of 1 to 120 letters, half of them after a common beginning."""
    from weightwright.ports import ChatRequest, SamplingParams
    from weightwright.ports.sampling import StructuredOutputs

    kind = KINDS[number % len(KINDS)]
    prompt = letters(rng)
    if rng.random() < 0.5:
        prompt = "The same beginning of many prompts, which is shared. " + prompt
    schema = {"type": "object", "properties": {f"k{number}": {"type": "boolean"}}, "required": [f"k{number}"],
              "additionalProperties": False}  # fmt: skip
    chosen: dict[str, dict[str, Any]] = {
        "greedy": {"temperature": 0},
        "seeded": {"seed": number, "top_p": 0.9, "top_k": 40},
        "stop": {"stop": ("a", "qu"), "min_tokens": 2, "max_tokens": 16},
        "adapter": {},
        "regex": {"structured_outputs": StructuredOutputs(regex=f"[a-d]{{2}}-{number}")},
        "schema": {"structured_outputs": StructuredOutputs(json=schema), "max_tokens": 40},
        "several": {"n": 2, "best_of": 3},
        "beams": {"use_beam_search": True, "best_of": 3, "n": 2, "temperature": 0},
        "logprobs": {"logprobs": 3, "prompt_logprobs": 1},
        "penalties": {"repetition_penalty": 1.2, "frequency_penalty": 0.5, "bad_words": ("ab",)},
    }
    params = SamplingParams(**{"max_tokens": rng.randint(1, 16), **chosen[kind]})
    adapter = f"a{number // len(KINDS) % 2}" if kind == "adapter" else None
    return ChatRequest(prompt=prompt, params=params, adapter=adapter)
