"""What keys and values in int8 cost in perplexity.

SmolLM2-135M on paragraphs of XQuAD (en) through the engine, one after the other, by the log-probabilities of the
prompt's tokens. A step takes 64 tokens, whose keys and values are read back from the cache (torch's attention over
gathered blocks), or 8 (the kernel that decoding uses). The promise: within 0.5% of the unquantised cache.
"""

import argparse
import math
from pathlib import Path

from harness.report import Table

from engine_parts.harness import fresh, open_engine, verdict, xquad

MODEL = "smollm2-135m"
CASES = (("f32", 64), ("f32", 8), ("bf16", 64), ("bf16", 8))  # weights, tokens a step


def measure(options: argparse.Namespace) -> list[object]:
    paragraphs = 2 if options.quick else 40
    table = Table("weights", "tokens a step", "unquantised", "int8", "more (%)")
    most, tokens = 0.0, 0
    for precision, step_tokens in CASES:
        plain, quantised = (
            fresh("kv", data=str(options.data), precision=precision, step_tokens=step_tokens, kv=kv,
                  paragraphs=paragraphs)
            for kv in ("auto", "int8")
        )  # fmt: skip
        more = 100 * (quantised["perplexity"] / plain["perplexity"] - 1)
        most, tokens = max(most, more), plain["tokens"]
        table.row(precision, step_tokens, plain["perplexity"], quantised["perplexity"], more)
    text = f"Perplexity on {paragraphs} paragraphs, {tokens} tokens; the unquantised cache has the weights' type."
    return [text, table, f"Largest, in percent: {verdict(most, 0.5, most=True)}"]


def child(data: str, precision: str, step_tokens: int, kv: str, paragraphs: int) -> dict:
    from weightwright.ports import ChatRequest, SamplingParams

    engine = open_engine(
        MODEL, precision, max_sequences=2, max_context=2048, step_tokens=step_tokens, kv_precision=kv,
        share_prefixes=False, speculate=0,
    )  # fmt: skip
    params = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0)
    logprobs: list[float] = []
    for paragraph in xquad(Path(data))[:paragraphs]:
        result = engine.submit(ChatRequest(prompt=paragraph["context"], params=params)).result()
        logprobs += [one.logprob for one in result.prompt_logprobs or () if one is not None]
    engine.close()
    return {"perplexity": math.exp(-sum(logprobs) / len(logprobs)), "tokens": len(logprobs)}
