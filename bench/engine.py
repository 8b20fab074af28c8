"""What the engine promises, measured part by part: each in a process of its own, each with a result file.

    python bench/engine.py --model DIR --data FOLDER_WITH_xquad.en.json [--only long prefix …] [--rounds 3]

DIR is a model of 0.5B parameters (random weights will do); without it `smollm2-135m` is used, to try the scripts.
`--quick` takes a few seconds a part, for the same purpose, and writes nothing. The parts:

    long      a step at 16 x 64 and at 16 x 2,000 tokens of context, beside what reading the difference takes
    adapters  decode tokens/s of eight rank-16 adapters mixed, beside the base model's
    prefix    time to first token after a shared prefix of 1,500 tokens, beside a cold one's
    lookup    decode time with guesses looked up in the prompt, beside without, and whether the text is the same
    startup   from the start of the process to the first token, with and without kept kernels and tunings
    growth    resident memory over 10,000 requests of every kind
    budget    where each millisecond of a decode step goes
    layout    attention over scattered blocks, blocks that lie together, gathered blocks, contiguous sequences
    kv        perplexity with keys and values in int8

Writes bench/results/engine_PART.md.
"""

import argparse
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

from harness.report import machine, versions, write_results

PARTS = ("long", "adapters", "prefix", "lookup", "startup", "growth", "budget", "layout", "kv")


def main() -> None:
    if sys.argv[1:2] == ["--child"]:  # one measurement, asked for by engine_parts.harness.fresh
        print(json.dumps(part(sys.argv[2]).child(**json.loads(sys.argv[3]))), flush=True)
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--data", type=Path, help="folder of xquad.en.json, for lookup and kv")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="tiny settings, nothing is written")
    options = parser.parse_args()
    if options.data is None and {"lookup", "kv"} & set(options.only):
        parser.error("lookup and kv need --data")
    for name in options.only:
        start = time.perf_counter()
        module = part(name)
        sections = [str(section) for section in module.measure(options)]
        asked = f"--only {name} --model {Path(options.model).name} --rounds {options.rounds}"
        taken = f"`python bench/engine.py {asked}` took {time.perf_counter() - start:.0f} s."
        title = "# " + module.__doc__.split("\n", maxsplit=1)[0].rstrip(".")
        report = (title, machine(), versions(), *sections, taken)
        if options.quick:
            print(*report, sep="\n\n", flush=True)
        else:
            write_results(f"engine_{name}", *report)


def part(name: str):
    """The module of a part."""
    return importlib.import_module(f"engine_parts.{name}")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{' '.join(map(str, error.cmd))}\n{(error.stderr or '')[-3000:]}") from error
