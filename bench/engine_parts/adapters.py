"""Decode tokens/s of eight adapters mixed in one batch.

Random rank-16 LoRA adapters on every linear layer, made with peft, over int8 weights; 64-token prompts. Base,
mixed (the adapters take turns over the sequences) and one adapter for all, in turn within one process. The promise:
mixed is at least 0.7 of the base rate at 8 sequences and 0.8 at 32.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from harness.report import Table, spread

from engine_parts.harness import Steps, decode_steps, fresh, open_engine, random_ids, verdict

ADAPTERS, RANK = 8, 16
PROMISED = {8: 0.7, 32: 0.8}


def measure(options: argparse.Namespace) -> list[object]:
    table = Table("sequences", "base: tokens/s, min/median/max", "8 adapters mixed", "one adapter", "mixed / base",
                  "one / base")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        fresh("adapters", model=options.model, folder=folder, tokens=0, rounds=0)
        found = fresh("adapters", model=options.model, folder=folder, tokens=9 if options.quick else 65,
                      rounds=options.rounds)  # fmt: skip
    lines = []
    for count, limit in PROMISED.items():
        rates = found[str(count)]
        base, mixed, one = (statistics.median(rates[name]) for name in ("base", "mixed", "one"))
        table.row(
            count, *(spread(rates[name]) for name in ("base", "mixed", "one")), mixed / base, one / base
        )
        lines.append(f"- {count} sequences: {verdict(mixed / base, limit, most=False)}")
    size = f"The {ADAPTERS} adapters take {found['bytes'] / 1e6:.0f} MB."
    return [table, "\n".join(lines), size]


def child(model: str, folder: str, tokens: int, rounds: int) -> dict:
    if not rounds:
        return make(model, Path(folder))
    import numpy as np

    steps, rng = Steps(), np.random.default_rng(0)
    names = [f"a{i}" for i in range(ADAPTERS)]
    engine = open_engine(
        model, "int8", {name: Path(folder) / name for name in names}, max_sequences=32, max_context=1024,
        share_prefixes=False, speculate=0,
    )  # fmt: skip
    arms: dict[str, list[str | None]] = {"base": [None], "mixed": [*names], "one": [names[0]]}
    found: dict = {"bytes": engine._bank.nbytes}
    for count in PROMISED:
        rates: dict[str, list[float]] = {name: [] for name in arms}
        for turn in range(rounds + 1):
            for name, adapters in arms.items():
                prompts = [random_ids(rng, 64) for _ in range(count)]
                seconds = decode_steps(engine, steps, prompts, tokens if turn else 5, adapters)
                if turn:  # the first turn warms up
                    rates[name].append(count / statistics.mean(seconds))
        found[str(count)] = rates
    engine.close()
    return found


def make(model: str, folder: Path) -> dict:
    """Write the adapters."""
    import torch
    from peft import LoraConfig, get_peft_model

    from weightwright.weights.load import load

    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules="all-linear", init_lora_weights=False,
                        task_type="CAUSAL_LM")  # fmt: skip
    made = get_peft_model(load(model, precision="bf16").model, config)
    for number in range(ADAPTERS):
        torch.manual_seed(number)
        for name, weight in made.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.02)
        made.save_pretrained(folder / f"a{number}")
    return {}
