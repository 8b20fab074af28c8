"""The memory that `plan` says beside what a process takes at its peak: python bench/memory.py --model DIR [DIR …]

A fresh process for each case loads the model, fills its whole KV cache with prompts and decodes 16 tokens; the
peak is its VmHWM, with everything that Python, torch and transformers take. Writes bench/results/memory.md.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from report import Table, machine, versions

CASES = (("int8", 8, 1024, "auto"), ("int8", 32, 512, "auto"), ("int8", 16, 2048, "int8"), ("bf16", 8, 1024, "auto"),
         ("int4", 1, 512, "auto"), ("f32", 8, 1024, "auto"))  # fmt: skip
RUN = """
import sys
import numpy as np
from weightwright import LLM, SamplingParams

model, precision, sequences, context, kv = sys.argv[1:]
sequences, context = int(sequences), int(context)
llm = LLM(model, precision=precision, max_model_len=context, max_num_seqs=sequences, speculate=0,
          enable_prefix_caching=False, kv_cache_dtype=kv)
rng = np.random.default_rng(0)
prompts = [{"prompt_token_ids": rng.integers(0, 40000, context - 16).tolist()} for _ in range(sequences)]
llm.generate(prompts, SamplingParams(max_tokens=16, ignore_eos=True, temperature=0))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", required=True)
    args = parser.parse_args()
    table = Table("model", "precision", "sequences x context", "KV", "plan (GB)", "peak (GB)", "peak / plan")
    for model in args.model:
        for precision, sequences, context, kv in CASES:
            planned = plan(model, precision, sequences, context, kv)
            command = [sys.executable, "-c", RUN, model, precision, str(sequences), str(context), kv]
            shown = subprocess.run(command, capture_output=True, text=True, check=False)
            if shown.returncode:
                raise SystemExit(shown.stderr[-2000:])
            peak = int(shown.stdout.split()[-1]) * 1024 / 1e9
            table.row(
                Path(model).name, precision, f"{sequences} x {context}", kv, planned, peak, peak / planned
            )
            print(model, precision, sequences, context, kv, planned, peak, flush=True)
    parts = ("# The memory that `plan` says, and what is taken", machine(), versions(), table)
    text = "\n\n".join(map(str, parts)) + "\n"
    (Path(__file__).parent / "results/memory.md").write_text(text, encoding="utf-8")
    print(text)


def plan(model: str, precision: str, sequences: int, context: int, kv: str) -> float:
    """What `plan` says, in GB."""
    from weightwright.cli.plan import _shape
    from weightwright.plan import memory
    from weightwright.plan.settings import PlanSettings

    settings = PlanSettings.model_validate({
        "model": model, "precision": precision, "sequences": sequences, "context": context, "kv_precision": kv,
    })  # fmt: skip
    return memory.estimate(_shape(model), settings).peak.total_bytes / 1e9


if __name__ == "__main__":
    main()
