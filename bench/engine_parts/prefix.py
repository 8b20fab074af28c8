"""Time to first token after a shared prefix.

Prompts of 1,500 shared and 24 own tokens, one at a time, int8 weights. Every round has a prefix of its own: the first
prompt with it is cold, the next two find its blocks. The promise: a warm prompt takes at most 0.15 of a cold one.
"""

import argparse
import statistics
import time

from harness.report import Table, spread

from engine_parts.harness import fresh, open_engine, random_ids, verdict

OWN = 24


def measure(options: argparse.Namespace) -> list[object]:
    shared = 300 if options.quick else 1500
    found = fresh("prefix", model=options.model, shared=shared, rounds=max(options.rounds, 3))
    cold, warm = ([1e3 * s for s in found[name]] for name in ("cold", "warm"))
    table = Table("shared tokens", "cold: ms to first token, min/median/max", "warm", "warm / cold")
    ratio = statistics.median(warm) / statistics.median(cold)
    table.row(shared, spread(cold), spread(warm), ratio)
    return [
        table,
        f"Ratio: {verdict(ratio, 0.15, most=True)}",
        f"Tokens found in the cache: {found['cached']}.",
    ]


def child(model: str, shared: int, rounds: int) -> dict:
    import numpy as np

    rng = np.random.default_rng(0)
    engine = open_engine(model, "int8", max_sequences=4, max_context=shared + 512, speculate=0)
    first_token(engine, random_ids(rng, shared + OWN))
    first_token(engine, random_ids(rng, OWN))  # warm up
    found: dict = {"cold": [], "warm": [], "cached": []}
    for _ in range(rounds):
        prefix = random_ids(rng, shared)
        for name in ("cold", "warm", "warm"):
            seconds, cached = first_token(engine, prefix + random_ids(rng, OWN))
            found[name].append(seconds)
            if name == "warm":
                found["cached"].append(cached)
    engine.close()
    return found


def first_token(engine, prompt: tuple[int, ...]) -> tuple[float, int]:
    """Seconds to the first token of a prompt, and how many of its tokens were found."""
    from weightwright.ports import ChatRequest, SamplingParams

    params = SamplingParams(max_tokens=2, ignore_eos=True, temperature=0)
    came: list[float] = []
    start = time.perf_counter()
    reply = engine.submit(ChatRequest(prompt_token_ids=prompt, params=params))
    reply.on_piece(lambda _: came.append(time.perf_counter()))
    reply.result()
    return came[0] - start, reply.usage.cached_tokens
