"""Decode and prefill of a 0.5B model beside vLLM's CPU build and llama.cpp, in turn, in one process tree.

    python bench/decode.py --model DIR --vllm-python PY --vllm-int8 DIR --llama-python PY --gguf A.gguf B.gguf

Peers that are not given are left out. 64-token prompts, 64 new tokens, 1, 8 and 32 sequences; see
`bench/engines/` for how each is asked. Writes bench/results/decode.md.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from harness.process import fresh
from harness.report import Table, machine, spread, versions, write_results

ENGINES = Path(__file__).parent / "engines"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--precisions", nargs="*", default=["int8", "bf16", "int4", "auto"])
    parser.add_argument("--vllm-python")
    parser.add_argument("--vllm-int8", help="the same model as an int8 checkpoint")
    parser.add_argument("--llama-python")
    parser.add_argument("--gguf", nargs="*", default=[])
    parser.add_argument("--rounds", default="3")
    args = parser.parse_args()
    rates: dict[str, dict] = {}
    for precision in args.precisions:
        rates[f"ours {precision}"] = ask(sys.executable, "ours.py", args.model, precision, args.rounds)
    if args.vllm_python:
        rates["vLLM bf16"] = ask(args.vllm_python, "vllm_cpu.py", args.model, args.rounds)
        if args.vllm_int8:
            rates["vLLM int8"] = ask(args.vllm_python, "vllm_cpu.py", args.vllm_int8, args.rounds)
    for file in args.gguf if args.llama_python else []:
        name = f"llama.cpp {Path(file).stem.rpartition('-')[2]}"
        rates[name] = ask(args.llama_python, "llama_cpp_rates.py", file, args.rounds)
    table = Table("engine", "1: min/median/max", "8", "32", "prefill tok/s", "start-up s")
    for name, found in rates.items():
        table.row(name, *(spread(found[n]["decode"]) for n in (1, 8, 32)),
                  f"{found[32]['prefill']:.0f}", f"{found['startup_s']:.1f}")  # fmt: skip
    ratios = Table("ours", "against", "1", "8", "32", "prefill")
    ours = [name for name in rates if name.startswith("ours")]
    for name in ours:
        for other, found in rates.items():
            if not other.startswith("ours"):
                ratios.row(name, other, *ratio(rates[name], found))
    parts = (
        "# Decode tokens/s, 64-token prompts",
        machine(),
        versions(),
        table,
        "Ratios of medians:",
        ratios,
    )
    write_results("decode", *parts)


def ask(python: str, script: str, *arguments: str) -> dict:
    """Run one engine in a process of its own and collect its lines."""
    command = [python, str(ENGINES / script), *arguments]
    found: dict = {}
    for line in fresh(command).splitlines():
        if line.startswith("{"):
            data = json.loads(line)
            found[data.get("sequences", "startup_s")] = data.get("startup_s", data)
    if 32 not in found:
        raise SystemExit(f"{' '.join(command)} measured nothing at 32 sequences")
    print(script, arguments, {n: spread(found[n]["decode"]) for n in (1, 8, 32)}, file=sys.stderr)
    return found


def ratio(ours: dict, other: dict) -> list[str]:
    """Of the medians at 1, 8 and 32 sequences, and of prefill at 32."""
    decode = [
        statistics.median(ours[n]["decode"]) / statistics.median(other[n]["decode"]) for n in (1, 8, 32)
    ]
    return [f"{x:.2f}" for x in (*decode, ours[32]["prefill"] / other[32]["prefill"])]


if __name__ == "__main__":
    main()
