"""Decoding of models over caches of their own: one sequence, and eight together or one after another.

    python bench/hybrids.py [--rounds 3] [--write]

Seeded models of 50 to 90M parameters in f32, one thread; 32 tokens after prompts of 40 to 89, without the time of the
prompts. With --write to bench/results/hybrids.md.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.process import fresh_python, last_json
from harness.report import Table, machine, spread, versions, write_results

NEW = 32
_SIZES: dict[str, Any] = {"hidden_size": 640, "num_hidden_layers": 12, "num_attention_heads": 8,
                          "num_key_value_heads": 2, "vocab_size": 8192, "max_position_embeddings": 4096}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "falcon_h1": {**_SIZES, "intermediate_size": 1536, "head_dim": 64, "mamba_d_ssm": 1024, "mamba_n_heads": 16,
                  "mamba_d_head": 64, "mamba_d_state": 64, "mamba_n_groups": 1},
    "lfm2": {**_SIZES, "intermediate_size": 1792, "layer_types": ["conv", "conv", "conv", "full_attention"] * 3},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child)))
        return
    table = Table(
        "model", "M parameters", "1 sequence tok/s", "8 alone tok/s", "8 together tok/s", "together : alone"
    )
    for name in MODELS:
        found = [last_json(fresh_python(__file__, "--child", name, environment={"OMP_NUM_THREADS": "1"}))
                 for _ in range(options.rounds)]  # fmt: skip
        middle = [statistics.median(one[key] for one in found) for key in ("one", "alone", "together")]
        table.row(name, f"{found[0]['parameters'] / 1e6:.0f}", *(f"{rate:.1f}" for rate in middle),
                  spread([one["together"] / one["alone"] for one in found]))  # fmt: skip
    note = (
        f"`python bench/hybrids.py --rounds {options.rounds}`: f32, {NEW} tokens a sequence after its prompt."
    )
    parts = ("# Hybrids: sequences that share a pass", note, table, f"{machine()}; {versions()}")
    if options.write:
        write_results("hybrids", *parts)
    else:
        print(*parts, sep="\n\n")


def measure(name: str) -> dict[str, float]:
    """Tokens a second of one engine, its sequences together and then not."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    from weightwright.engine.engine import Engine
    from weightwright.engine.settings import EngineSettings
    from weightwright.testing.models import tiny_llama
    from weightwright.weights.load import load

    with tempfile.TemporaryDirectory() as made:
        folder = tiny_llama(Path(made))  # for its tokenizer
        (folder / "model.safetensors").unlink()
        torch.manual_seed(0)
        config = CONFIG_MAPPING[name](**MODELS[name])
        config.eos_token_id = config.bos_token_id = config.pad_token_id = None
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        parameters = sum(weight.numel() for weight in model.parameters())
        model.save_pretrained(folder)
        settings = EngineSettings(max_sequences=8, kv_memory="512MB")
        engine = Engine(load(str(folder), precision="f32"), settings=settings)
        try:
            decode(engine, 8, "warm")
            out = {
                "parameters": parameters,
                "one": decode(engine, 1, "1"),
                "together": decode(engine, 8, "2"),
            }
            engine.parts.executor.together = False
            return out | {"alone": decode(engine, 8, "3")}
        finally:
            engine.close()


def decode(engine: Any, count: int, mark: str) -> float:
    """Tokens a second beyond the first of each sequence."""
    from weightwright.ports import ChatRequest, SamplingParams

    taken = []
    for new in (1, NEW):
        params = SamplingParams(temperature=0, max_tokens=new, ignore_eos=True)
        asked = [ChatRequest(prompt="x" * (40 + 7 * i) + mark, params=params) for i in range(count)]
        start = time.perf_counter()
        for reply in [engine.submit(one) for one in asked]:
            reply.result()
        taken.append(time.perf_counter() - start)
    return count * (NEW - 1) / (taken[1] - taken[0])


if __name__ == "__main__":
    main()
