"""The memory that `plan` says beside what a process takes at its peak: python bench/memory.py --model DIR [DIR …]

A fresh process for each case loads the model, fills its whole KV cache with prompts and decodes 16 tokens; the
peak is its VmHWM, with everything that Python, torch and transformers take. Writes bench/results/memory.md.
"""

import argparse
from pathlib import Path

from harness.process import fresh_python, last_json
from harness.report import Table, machine, versions, write_results

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
from weightwright.machine.peak import peak_bytes
print(peak_bytes())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", required=True)
    args = parser.parse_args()
    table = Table("model", "precision", "sequences x context", "KV", "plan (GB)", "peak (GB)", "peak / plan")
    for model in args.model:
        for precision, sequences, context, kv in CASES:
            planned = plan(model, precision, sequences, context, kv)
            peak = last_json(fresh_python("-c", RUN, model, precision, sequences, context, kv)) / 1e9
            table.row(
                Path(model).name, precision, f"{sequences} x {context}", kv, planned, peak, peak / planned
            )
            print(model, precision, sequences, context, kv, planned, peak, flush=True)
    write_results("memory", "# The memory that `plan` says, and what is taken", machine(), versions(), table)


def plan(model: str, precision: str, sequences: int, context: int, kv: str) -> float:
    """What `plan` says, in GB."""
    from weightwright.plan import memory
    from weightwright.plan.run import shape_of
    from weightwright.plan.settings import PlanSettings

    settings = PlanSettings.model_validate({
        "model": model, "precision": precision, "sequences": sequences, "context": context, "kv_precision": kv,
    })  # fmt: skip
    return memory.estimate(shape_of(model), settings).peak.total_bytes / 1e9


if __name__ == "__main__":
    main()
