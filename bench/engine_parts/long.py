"""What a long context adds to a decode step.

16 sequences at 64 and at 2,000 tokens of context (the mean over the steps measured), int8 weights, in turn within
one process; keys and values in the model's own type and in int8. The promise: the step grows by at most twice
what reading the further keys and values takes at the memory bandwidth that is measured beside it.
"""

import argparse
import statistics

from harness.report import Table, spread

from engine_parts.harness import (
    Steps,
    decode_steps,
    fresh,
    generate,
    in_engine,
    open_engine,
    random_ids,
    read_rate,
    verdict,
)

SEQUENCES, SHORT, STEPS = 16, 64, 33


def measure(options: argparse.Namespace) -> list[object]:
    context = 400 if options.quick else 2000
    table = Table("keys and values", "step at 64: ms, min/median/max", f"step at {context:,}", "growth ms",
                  "further MB", "read GB/s", "reading alone: ms", "growth / reading")  # fmt: skip
    lines = []
    for kind in ("auto", "int8"):
        found = fresh("long", model=options.model, kv=kind, context=context, rounds=options.rounds)
        rate = statistics.median(found["rates"])
        growth = statistics.median(found["long"]) - statistics.median(found["short"])
        reading = found["further_bytes"] / rate
        table.row(found["kind"], spread([1e3 * s for s in found["short"]]), spread([1e3 * s for s in found["long"]]),
                  f"{1e3 * growth:.1f}", f"{found['further_bytes'] / 1e6:.0f}",
                  spread([r / 1e9 for r in found["rates"]]), f"{1e3 * reading:.1f}",
                  f"{growth / reading:.2f}")  # fmt: skip
        lines.append(f"- {found['kind']}: {verdict(growth / reading, 2, most=True)}")
    each = (
        f"{SEQUENCES} sequences; a round's figure is the median of {STEPS - 1} steps; the rounds take turns."
    )
    return [each, table, "\n".join(lines)]


def child(model: str, kv: str, context: int, rounds: int) -> dict:
    import numpy as np

    steps, rng = Steps(), np.random.default_rng(0)
    engine = open_engine(
        model, "int8", max_sequences=SEQUENCES, max_context=context + 512, kv_precision=kv, speculate=0
    )
    texts = {
        name: [random_ids(rng, mean - STEPS // 2) for _ in range(SEQUENCES)]
        for name, mean in (("short", SHORT), ("long", context))
    }
    for prompts in texts.values():  # read once; later rounds find their blocks
        generate(engine, prompts, 1)
    found: dict[str, list[float]] = {"short": [], "long": [], "rates": []}
    for _ in range(rounds):
        found["rates"] += in_engine(engine, lambda: read_rate(2))
        for name, prompts in texts.items():
            found[name].append(statistics.median(decode_steps(engine, steps, prompts, STEPS)))
    cache = engine.parts.cache
    size = sum(shape.token_bytes(cache.dtype.itemsize, scaled=cache.scaled) for shape in cache.shapes)
    engine.close()
    return {**found, "kind": cache.kind, "further_bytes": size * SEQUENCES * (context - SHORT)}
