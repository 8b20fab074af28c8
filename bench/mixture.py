"""A mixture of experts in few bits: rates and memory beside llama.cpp and vLLM in turn, and what the bits cost.

    python bench/mixture.py --work DIR --data FOLDER_WITH_xquad.en.json --llama-python PY --vllm-python PY

Two seeded mixtures of about a billion parameters are made in DIR. Rates are measured on one of random weights
(Mixtral's layers: 16 of width 1,024, 8 experts of 2,048, two for each token); perplexity on one that speaks English:
SmolLM2-135M with 12 copies of each MLP, each with noise of 5% of its spread, two for each token. llama.cpp's files
are quantised by llama.cpp from our export. Peers that are not given are left out. Writes bench/results/mixture.md.
"""

import argparse
import json
import math
import resource
import sys
from pathlib import Path

from decode import ask, ratio
from harness.process import fresh, fresh_python, last_json
from harness.report import Table, machine, spread, versions, write_results

ENGINES = Path(__file__).parent / "engines"
PARAGRAPHS = slice(0, 240, 8)
FORMS = ("Q4_0", "Q4_K_M")
NOISE = 0.05


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(globals()[sys.argv[2]](*sys.argv[3:])))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--llama-python")
    parser.add_argument("--vllm-python")
    parser.add_argument("--rounds", default="3")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    random, speaking = args.work / "random", args.work / "speaking"
    for folder, make in ((random, "make_random"), (speaking, "make_speaking")):
        if not (folder / "config.json").is_file():
            fresh_python(__file__, "--child", make, folder)
    files = (
        {folder: quantised(folder, args.llama_python) for folder in (random, speaking)}
        if args.llama_python
        else {}
    )

    rates = {}
    for precision in ("int4", "int8", "bf16"):
        rates[f"ours {precision}"] = ask(sys.executable, "ours.py", random, precision, args.rounds)
        if precision == "int4" and args.llama_python:  # beside each other in time
            for form, file in files[random].items():
                rates[f"llama.cpp {form}"] = ask(args.llama_python, "llama_cpp_rates.py", file, args.rounds)
    if args.vllm_python:
        rates["vLLM bf16"] = ask(args.vllm_python, "vllm_cpu.py", random, args.rounds)
    write_results(
        "mixture", "# Mixtures of experts in few bits", machine(), versions(),
        "## Decode tokens/s, 64-token prompts, random weights", rates_table(rates), "Ratios of medians:",
        ratios(rates),
        "## Memory", memory(random), "## Perplexity", perplexity(speaking, args, files.get(speaking, {})),
    )  # fmt: skip


def rates_table(rates: dict) -> Table:
    table = Table("engine", "1: min/median/max", "8", "32", "prefill tok/s", "start-up s")
    for name, found in rates.items():
        table.row(name, *(spread(found[n]["decode"]) for n in (1, 8, 32)),
                  f"{found[32]['prefill']:.0f}", f"{found['startup_s']:.1f}")  # fmt: skip
    return table


def ratios(rates: dict) -> Table:
    table = Table("ours", "against", "1", "8", "32", "prefill")
    for name in ("ours int4", "ours int8"):
        for other, found in rates.items():
            if not other.startswith("ours"):
                table.row(name, other, *ratio(rates[name], found))
    return table


def memory(folder: Path) -> Table:
    """The peak of a process that answers eight at once, beside what `plan` says of it."""
    table = Table("precision", "peak GB", "planned GB", "planned / peak")
    for precision in ("int4", "int8"):
        peak = last_json(fresh_python(__file__, "--child", "peak", folder, precision)) / 1e9
        planned = json.loads(fresh_python(
            "-m", "weightwright", "plan", folder, "--task", "serve", "--precision", precision, "--context", 256,
            "--sequences", 8, "--json",
        ))["peak_bytes"] / 1e9  # fmt: skip
        table.row(precision, peak, planned, planned / peak)
    return table


def perplexity(folder: Path, args: argparse.Namespace, files: dict[str, Path]) -> Table:
    """Of the same tokens by each engine and form."""
    ids = folder.parent / "paragraphs.json"
    ids.write_text(fresh_python(__file__, "--child", "paragraphs", folder, args.data), encoding="utf-8")
    found = {
        f"ours {precision}": last_json(fresh_python(__file__, "--child", "ours", folder, precision, ids))
        for precision in ("bf16", "int8", "int4")
    }
    for form, file in files.items():
        found[f"llama.cpp {form}"] = last_json(
            fresh([args.llama_python, ENGINES / "llama_cpp_perplexity.py", file, ids])
        )
    table = Table("engine", "perplexity", "above bf16")
    for name, value in found.items():
        table.row(name, value, f"{100 * (value / found['ours bf16'] - 1):+.2f}%")
    return table


def quantised(folder: Path, python: str) -> dict[str, Path]:
    """The folder's GGUF files in llama.cpp's forms, by form."""
    whole = folder.with_suffix(".gguf")
    if not whole.is_file():
        fresh_python(
            "-m", "weightwright", "export", folder, "--out", whole, "--quantize", "bf16", "--no-modelfile"
        )
    files = {form: folder.with_name(f"{folder.name}-{form}.gguf") for form in FORMS}
    for form, file in files.items():
        if not file.is_file():
            fresh([python, ENGINES / "llama_cpp_quantize.py", whole, file, form])
    return files


# -- each in a process of its own ------------------------------------------------------------------


def make_random(folder: str) -> int:
    import torch
    from transformers import MixtralConfig, MixtralForCausalLM

    from weightwright.weights.load import load_tokenizer

    tokenizer = load_tokenizer("smollm2-135m")
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=49152, hidden_size=1024, intermediate_size=2048, num_hidden_layers=16, num_attention_heads=16,
        num_key_value_heads=4, head_dim=64, num_local_experts=8, num_experts_per_tok=2, max_position_embeddings=4096,
        sliding_window=None, dtype=torch.bfloat16, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = MixtralForCausalLM(config).bfloat16()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.num_parameters()


def make_speaking(folder: str) -> int:
    import torch
    from transformers import MixtralConfig, MixtralForCausalLM

    from weightwright.weights.load import load

    loaded = load("smollm2-135m", precision="bf16", device="cpu")
    plain, kept = loaded.model.config, loaded.model.state_dict()
    torch.manual_seed(0)
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
             "num_key_value_heads", "rms_norm_eps", "rope_parameters", "bos_token_id", "eos_token_id")  # fmt: skip
    config = MixtralConfig(
        **{name: getattr(plain, name) for name in names}, head_dim=plain.hidden_size // plain.num_attention_heads,
        max_position_embeddings=2048, tie_word_embeddings=True, num_local_experts=12, num_experts_per_tok=2,
        sliding_window=None, dtype=torch.bfloat16,
    )  # fmt: skip
    model = MixtralForCausalLM(config).bfloat16()
    for name, weight in model.state_dict().items():
        layer = name.partition(".experts.")[0]
        if name in kept:
            weight.copy_(kept[name])
        elif name.endswith("experts.gate_up_proj"):
            _noisy(
                weight,
                torch.cat([kept[f"{layer}.gate_proj.weight"], kept[f"{layer}.up_proj.weight"]]).float(),
            )
        elif name.endswith("experts.down_proj"):
            _noisy(weight, kept[f"{layer}.down_proj.weight"].float())
    model.generation_config = loaded.model.generation_config
    model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return model.num_parameters()


def _noisy(experts, weight) -> None:
    for expert in experts:
        expert.copy_(weight + NOISE * weight.std() * weight.new_empty(weight.shape).normal_())


def peak(folder: str, precision: str) -> int:
    from weightwright import LLM, SamplingParams

    llm = LLM(folder, precision=precision, max_context=256, max_sequences=8)
    prompts = [{"prompt_token_ids": [100 + i] * 190} for i in range(8)]
    llm.generate(prompts, SamplingParams(max_tokens=60, ignore_eos=True, temperature=0))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def paragraphs(folder: str, data: str) -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    articles = json.loads(Path(data, "xquad.en.json").read_text(encoding="utf-8"))["data"]
    texts = [paragraph["context"] for article in articles for paragraph in article["paragraphs"]]
    return [tokenizer(text).input_ids for text in texts[PARAGRAPHS]]


def ours(folder: str, precision: str, ids: str) -> float:
    from weightwright import LLM, SamplingParams

    llm = LLM(folder, precision=precision, max_context=1024)
    prompts = [{"prompt_token_ids": one} for one in json.loads(Path(ids).read_text(encoding="utf-8"))]
    outputs = llm.generate(prompts, SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0))
    logprobs = [
        place[token].logprob for prompt, output in zip(prompts, outputs, strict=True)
        for token, place in zip(prompt["prompt_token_ids"][1:], output.prompt_logprobs[1:], strict=True)
    ]  # fmt: skip
    return math.exp(-sum(logprobs) / len(logprobs))


if __name__ == "__main__":
    main()
