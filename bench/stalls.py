"""How long a running stream waits for its next token while other work is done in the same engine.

    python bench/stalls.py [--model ADDRESS ...] [--rounds 3]

One greedy stream runs alone, then while 400 texts are embedded, while a DoRA adapter of rank 8 on all layers is
loaded for the first time and again (its row lengths are kept then), and while four completions of a prompt of 1,500
tokens are scored. Reported are the longest time between two tokens and the median step of the stream alone; the
longest wait is to stay within 5 of these. A process of its own for each model and round. Writes
bench/results/stalls.md.
"""

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness.process import fresh_python, last_json
from harness.report import Table, machine, spread, versions, write_results

TEXTS, WORDS, SCORED_WORDS = 400, 45, 1400
ALONE_S = 5.0  # the stream alone, at least
LIMIT = 5  # median steps that a stream may wait
WORK = (
    "nothing else",
    "400 texts embedded",
    "a DoRA adapter loaded first",
    "the same loaded again",
    "a long prompt scored",
)
VOCABULARY = [
    "river",
    "harbour",
    "ferry",
    "sails",
    "before",
    "noon",
    "after",
    "rain",
    "light",
    "on",
    "stone",
    "bridge",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["smollm2-135m"], help="addresses")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child)))
        return
    table = Table(
        "model",
        "beside the stream",
        "took s",
        "median step alone ms",
        "longest wait ms",
        "in steps",
        f"at most {LIMIT}",
    )
    for model in options.model:
        rounds = [fresh(model) for _ in range(options.rounds)]
        step_s = statistics.median(found["step_s"] for found in rounds)
        for work in WORK:
            waits = sorted(found["waits_s"][work] / found["step_s"] for found in rounds)
            longest = max(found["waits_s"][work] for found in rounds)
            took = statistics.median(found["took_s"][work] for found in rounds)
            table.row(
                Path(model).name, work, f"{took:.1f}", f"{step_s * 1e3:.1f}", f"{longest * 1e3:.0f}",
                spread(waits),
                f"at most {LIMIT}: {'met' if waits[-1] <= LIMIT else 'MISSED'}",
            )  # fmt: skip
    note = (
        f"`python bench/stalls.py --rounds {options.rounds}`: one greedy stream without guesses, default precision. "
        "Steps: least, median and most of the rounds, by the median step of the stream alone in that process."
    )
    about = f"{machine()}; {versions()}"
    write_results("stalls", "# Waits of a stream beside other work", note, table, about)


def fresh(model: str) -> dict[str, Any]:
    """What `measure` finds in a process of its own."""
    found: dict[str, Any] = last_json(fresh_python(__file__, "--child", model))
    print(model, found, file=sys.stderr, flush=True)
    return found


def measure(model: str) -> dict[str, Any]:
    """The stream's median step alone, and its longest wait and the time taken beside each kind of work."""
    from weightwright.engine.open import open_engine
    from weightwright.engine.settings import EngineSettings

    rng = random.Random(0)
    texts = [" ".join(rng.choices(VOCABULARY, k=WORDS)) for _ in range(TEXTS)]
    prompt = " ".join(rng.choices(VOCABULARY, k=SCORED_WORDS))
    folder = Path(tempfile.mkdtemp())
    engine = open_engine(model, settings=EngineSettings(speculate=0))
    try:
        engine.embed(texts[:4])  # kernels are compiled
        write_dora(engine, folder)
        done: dict[str, Callable[[], object]] = {
            WORK[0]: lambda: time.sleep(ALONE_S),
            WORK[1]: lambda: engine.embed(texts),
            WORK[2]: lambda: engine.load_adapter("first", folder),
            WORK[3]: lambda: engine.load_adapter("again", folder),
            WORK[4]: lambda: engine.score(prompt, [" noon", " rain", " stone bridge", " old town"]),
        }
        waits, took, step_s = {}, {}, 0.0
        for work in WORK:
            gaps, took[work] = beside(engine, done[work])
            waits[work] = max(gaps)
            step_s = step_s or statistics.median(gaps)
    finally:
        engine.close()
        shutil.rmtree(folder)
    return {"step_s": step_s, "waits_s": waits, "took_s": took}


def beside(engine: Any, work: Callable[[], object]) -> tuple[list[float], float]:
    """The times between two tokens of streams, one after the other, while work is done; and how long it took."""
    from weightwright.ports import ChatRequest, SamplingParams

    request = ChatRequest(
        prompt="Once upon a time", params=SamplingParams(max_tokens=400, temperature=0, ignore_eos=True)
    )
    gaps: list[float] = []

    def stream() -> Any:
        times: list[float] = []
        reply = engine.submit(request)
        reply.on_piece(lambda _: times.append(time.perf_counter()))
        reply.on_end(lambda _: gaps.extend(b - a for a, b in pairwise(times)))
        return reply

    reply = stream()
    for _ in zip(range(20), reply, strict=False):  # it runs
        pass
    gaps.clear()
    with ThreadPoolExecutor(1) as pool:
        begun = time.perf_counter()
        doing = pool.submit(work)
        while True:
            reply.result()
            if doing.done():
                break
            reply = stream()
        doing.result()
    return gaps, time.perf_counter() - begun


def write_dora(engine: Any, folder: Path, rank: int = 8) -> None:
    """A random DoRA adapter of all linear layers but the head, in PEFT's format."""
    import torch
    from safetensors.torch import save_file

    rng = torch.Generator().manual_seed(0)
    tensors = {}
    for path, (site, part) in engine.parts.bank._places.items():
        if path == "lm_head":
            continue
        name = f"base_model.model.{path}"
        tensors[f"{name}.lora_A.weight"] = torch.randn(rank, site.inputs, generator=rng) * 0.01
        tensors[f"{name}.lora_B.weight"] = torch.randn(part.out, rank, generator=rng) * 0.01
        tensors[f"{name}.lora_magnitude_vector"] = torch.rand(part.out, generator=rng) + 0.5
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "use_dora": True}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")


if __name__ == "__main__":
    main()
