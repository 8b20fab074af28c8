"""LoRA on a CPU: real tokens a second and peak memory, ours beside transformers + peft and LLaMA-Factory.

    python bench/tune_speed.py --model DIR --data alpaca_en_demo.json [--llamafactory-python PYTHON]
        [--unsloth FOLDER] [--rounds 3]

Rank 8 on all linear layers, bf16 weights. Two loads: the rows of an Alpaca file cut at 512 tokens, 16 rows a step;
and full rows of 512 tokens, 4 a step. Padding is never counted. The arms take turns, each time in a fresh process;
the first step is not timed (LLaMA-Factory's is, by its own clock). Writes bench/results/tune_speed.md.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.report import Table, machine, versions, write_results

TRAINERS = Path(__file__).parent / "trainers"
STEPS, SKIP = 3, 1
FLOOR = "the matrix products alone (floor)"
ARMS: dict[str, dict[str, Any]] = {
    "weightwright": {"gradient_checkpointing": False},
    "weightwright, recomputing gate and up": {"gradient_checkpointing": "mlp"},
    "weightwright, recomputing whole layers": {"gradient_checkpointing": True},
    "weightwright, int8 forward": {"gradient_checkpointing": False, "int8_forward": True},
    "weightwright, weights in 4 bits (QLoRA)": {"gradient_checkpointing": False, "method": "qlora"},
    "transformers + peft, padded": {"packed": False, "bf16_adapters": False, "checkpointing": False},
    "transformers + peft, padded, bf16 adapters": {"packed": False, "bf16_adapters": True, "checkpointing": False},
    "transformers + peft, packed": {"packed": True, "bf16_adapters": False, "checkpointing": False},
    "TRL, padded": {"checkpointing": False, "unsloth": ""},
}  # fmt: skip
LLAMAFACTORY: dict[str, dict[str, Any]] = {
    "LLaMA-Factory, padded (its defaults: recomputing)": {},
    "LLaMA-Factory, neat_packing": {"packing": True, "neat_packing": True},
    "LLaMA-Factory, padded, not recomputing": {"disable_gradient_checkpointing": True},
}
PEERS = (
    "Rank 8 on all linear layers, bf16 weights, adapters in f32 unless said. transformers + peft: 4 rows a pass "
    "padded, 1,024 tokens a pass packed (its block-diagonal mask), no recomputing. LLaMA-Factory: its defaults "
    "(adapters in f32, activations recomputed unless said), 4 rows a pass. TRL: its SFTTrainer in bf16 autocast, "
    "4 rows a pass, no recomputing. Unsloth: its CPU path, otherwise as TRL."
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--llamafactory-python", type=Path)
    parser.add_argument(
        "--unsloth", type=Path, help="folder that it is installed in (pip install --no-deps -t)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="parts of the arms' names")
    parser.add_argument("--write", action="store_true", help="write the result with these arms alone, too")
    parser.add_argument("--short", action="store_true", help="Alpaca's rows alone")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        args.folder = Path(folder)
        sections = [measure(one, args) for one in loads(args)[: 1 if args.short else None]]
    peers = PEERS + (f" LLaMA-Factory {llamafactory_version(args)}." if args.llamafactory_python else "")
    parts = ("# LoRA on a CPU", machine(), versions(), peers, *sections)
    if args.only and not args.write:
        print(*parts, sep="\n\n")
    else:
        write_results("tune_speed", *parts)


def loads(args: argparse.Namespace) -> list["Load"]:
    """The rows of both loads, as a file for those who read text and as tokens for the others."""
    from weightwright.data.formats import read_samples
    from weightwright.data.pack import fit
    from weightwright.data.template import encode, encode_text
    from weightwright.errors import Place
    from weightwright.weights.load import load_tokenizer

    tokenizer = load_tokenizer(args.model)
    values = json.loads(args.data.read_text(encoding="utf-8"))[: 16 * STEPS]
    short = args.folder / "alpaca.json"
    short.write_text(json.dumps(values), encoding="utf-8")
    encoded = fit([encode(sample, tokenizer) for sample in read_samples(short)], 512, "truncate").rows
    texts = [
        {"text": "\n".join(v["output"] for v in json.loads(args.data.read_text(encoding="utf-8"))[:400])}
    ]
    whole = encode_text(texts[0]["text"], Place(), tokenizer)
    full = fit([whole], 512, "split").rows[: 4 * STEPS]
    long = args.folder / "texts.json"
    long.write_text(json.dumps([{"text": tokenizer.decode(row.token_ids)} for row in full]), encoding="utf-8")
    return [
        Load("alpaca, cut at 512, 16 rows a step", short, "sft", 16, [tokens_of(row) for row in encoded]),
        Load("full rows of 512 tokens, 4 a step", long, "pretrain", 4, [tokens_of(row) for row in full]),
    ]


@dataclass(frozen=True)
class Load:
    """Rows to train on: a file, and its token ids with their labels."""

    name: str
    file: Path
    objective: str
    batch: int
    rows: list[list[list[int]]]

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return sum(len(ids) for ids, _ in self.rows)

    @property
    def labelled_share(self) -> float:
        """Which part of them carries loss."""
        return sum(label != -100 for _, labels in self.rows for label in labels) / self.tokens


def tokens_of(row: Any) -> list[list[int]]:
    ids = list(row.token_ids)
    return [ids, [i if on else -100 for i, on in zip(ids, row.labelled, strict=True)]]


def measure(one: Load, args: argparse.Namespace) -> str:
    arms: dict[str, Callable[[], dict]] = {
        arm: (lambda a=arm, o=options: run(a, o, one, args)) for arm, options in ARMS.items()
    }
    arms[FLOOR] = lambda: products(one, args)
    if args.unsloth:
        options = {"checkpointing": False, "unsloth": str(args.unsloth)}
        arms["Unsloth, padded"] = lambda: run("Unsloth", options, one, args)
    if args.llamafactory_python and one.objective == "sft":
        for arm, options in LLAMAFACTORY.items():
            arms[arm] = lambda o=options: llamafactory(o, one, args)
    if args.only:
        arms = {arm: call for arm, call in arms.items() if any(part in arm for part in args.only)}
    found: dict[str, list[dict]] = {arm: [] for arm in arms}
    for _ in range(args.rounds):
        for arm, call in arms.items():
            found[arm].append(call())
            print(one.name, arm, found[arm][-1], flush=True)
    ours = statistics.median(run["tokens_per_s"] for run in found["weightwright"])
    table = Table("trainer", "tokens/s, min/median/max", "ours / it", "peak GB")
    for arm, runs in found.items():
        rates = sorted(run["tokens_per_s"] for run in runs)
        middle, peak = statistics.median(rates), statistics.median(run["peak_bytes"] for run in runs)
        spread = f"{rates[0]:.0f} / {middle:.0f} / {rates[-1]:.0f}"
        table.row(arm, spread, f"{ours / middle:.2f}", f"{peak / 1e9:.2f}")
    share = ours / statistics.median(run["tokens_per_s"] for run in found[FLOOR]) if FLOOR in found else 0.0
    said = f" Ours runs at {share:.0%} of what the matrix products alone would take." if share else ""
    return f"## {one.name}\n\n{one.tokens:,} tokens in {STEPS} steps.{said}\n\n{table}"


def run(arm: str, options: dict[str, Any], one: Load, args: argparse.Namespace) -> dict:
    job = args.folder / "job.json"
    if arm.startswith("weightwright"):
        settings = {
            "model": args.model, "data": str(one.file), "out": tempfile.mkdtemp(dir=args.folder) + "/run",
            "batch": one.batch, "precision": "bf16", "rank": 8, "max_length": 512, "too_long": "truncate",
            "objective": one.objective, "device": "cpu", **options,
        }  # fmt: skip
        job.write_text(json.dumps({"settings": settings, "skip": SKIP}), encoding="utf-8")
        return fresh([sys.executable, str(TRAINERS / "ours.py"), str(job)])
    steps = [one.rows[i : i + one.batch] for i in range(0, len(one.rows), one.batch)]
    asked = {"model": args.model, "steps": steps, "micro": 4, "pass_tokens": 1024, "skip": SKIP, **options}
    job.write_text(json.dumps(asked), encoding="utf-8")
    script = "trl_sft.py" if "unsloth" in options else "hf_peft.py"
    return fresh([sys.executable, str(TRAINERS / script), str(job)])


def products(one: Load, args: argparse.Namespace) -> dict:
    job = args.folder / "job.json"
    asked = {"model": args.model, "pass_tokens": 1024, "labelled_share": one.labelled_share}
    job.write_text(json.dumps(asked), encoding="utf-8")
    return fresh([sys.executable, str(TRAINERS / "products.py"), str(job)])


def llamafactory_version(args: argparse.Namespace) -> str:
    command = "from importlib.metadata import version; print(version('llamafactory'))"
    return subprocess.run(
        [str(args.llamafactory_python), "-c", command], capture_output=True, text=True, check=True
    ).stdout.strip()


def llamafactory(options: dict[str, Any], one: Load, args: argparse.Namespace) -> dict:
    """As its own command line runs it; its rate is that of all steps, by its own clock, in real tokens."""
    data, out = args.folder / "lf", Path(tempfile.mkdtemp(dir=args.folder))
    data.mkdir(exist_ok=True)
    (data / "rows.json").write_bytes(one.file.read_bytes())
    (data / "dataset_info.json").write_text(
        json.dumps({"rows": {"file_name": "rows.json"}}), encoding="utf-8"
    )
    asked = {
        "model_name_or_path": args.model, "stage": "sft", "do_train": True, "finetuning_type": "lora", "lora_rank": 8,
        "lora_target": "all", "dataset": "rows", "dataset_dir": str(data), "template": "qwen", "cutoff_len": 512,
        "overwrite_cache": True, "preprocessing_num_workers": 1, "output_dir": str(out), "logging_steps": 1,
        "save_strategy": "no", "report_to": "none", "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": one.batch // 4, "learning_rate": 3e-4, "num_train_epochs": 1, "bf16": True,
        "use_cpu": True, **options,
    }  # fmt: skip
    job = args.folder / "lf.yaml"  # JSON is YAML
    job.write_text(json.dumps(asked), encoding="utf-8")
    script = (
        "import json, resource, sys\nfrom llamafactory.train.tuner import run_exp\n"
        "run_exp(json.load(open(sys.argv[1])))\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )
    done = subprocess.run(
        [str(args.llamafactory_python), "-c", script, str(job)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    seconds = json.loads((out / "train_results.json").read_text(encoding="utf-8"))["train_runtime"]
    return {"tokens_per_s": one.tokens / seconds, "peak_bytes": int(done.stdout.split()[-1])}


def fresh(command: Sequence[str]) -> dict:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict = json.loads(done.stdout.strip().splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
