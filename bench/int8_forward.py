"""What `tune --int8-forward` gains and loses: python bench/int8_forward.py --data alpaca_en_demo.json [--seeds 3]

The same rows are learnt with and without it, for several seeds, each run in a fresh process. Then the loss of the
rows held out is measured by transformers and peft with the weights as they are (bf16), whatever the run multiplied
in.
Writes bench/results/int8_forward.md.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from harness.process import fresh_python, last_json
from harness.report import Table, machine, versions, write_results

LEARNT, HELD_OUT = 240, 80


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--data", type=Path, required=True, help="alpaca_en_demo.json")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args.model, args.data, **json.loads(args.case))))
        return
    arms: dict[str, dict[str, Any]] = {"bf16": {}, "int8 forward": {"int8_forward": True}}
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
    for seed in range(args.seeds):
        for arm, options in arms.items():
            case = json.dumps({"seed": seed, "options": options})
            command = (__file__, "--model", args.model, "--data", args.data, "--case", case)
            found[arm].append(last_json(fresh_python(*command)))
            print(arm, found[arm][-1], flush=True)
    table = Table("forward products", "held-out loss by bf16", "said by the run", "tokens/s", "peak GB")
    for arm, runs in found.items():
        rates = sorted(run["tokens_per_s"] for run in runs)
        table.row(
            arm,
            ", ".join(f"{run['loss']:.4f}" for run in runs),
            ", ".join(f"{run['said']:.4f}" for run in runs),
            f"{rates[0]:.0f} / {statistics.median(rates):.0f} / {rates[-1]:.0f}",
            f"{statistics.median(run['peak_bytes'] for run in runs) / 1e9:.2f}",
        )
    pairs = list(zip(*found.values(), strict=True))
    lost = [other["loss"] - exact["loss"] for exact, other in pairs]
    gain = [other["tokens_per_s"] / exact["tokens_per_s"] for exact, other in pairs]
    write_results(
        "int8_forward",
        "# Frozen products in 8 bits on the way forward",
        machine(),
        versions(),
        f"{args.model}, {LEARNT} rows of {args.data.name} learnt once, {HELD_OUT} held out (loss before: "
        f"{found['bf16'][0]['before']:.4f}). Difference of the loss by seed: mean {statistics.mean(lost):+.4f}, "
        f"from {min(lost):+.4f} to {max(lost):+.4f}. Rate: {statistics.median(gain):.2f} times as high "
        f"({min(gain):.2f} to {max(gain):.2f}).",
        table,
    )


def measure(model: str, data: Path, seed: int, options: dict[str, Any]) -> dict[str, float]:
    """One run, and its adapter's loss on the rows held out."""
    from weightwright.tune.run import tune
    from weightwright.tune.settings import TuneSettings

    values = json.loads(data.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, rows in (("rows", values[:LEARNT]), ("held_out", values[LEARNT : LEARNT + HELD_OUT])):
            (folder / f"{file}.json").write_text(json.dumps(rows), encoding="utf-8")
        settings = TuneSettings.model_validate({
            "model": model, "data": folder / "rows.json", "eval_data": folder / "held_out.json",
            "out": folder / "run", "max_length": 512, "too_long": "truncate", "precision": "bf16", "batch": 8,
            "gradient_checkpointing": False, "general": False, "show": 0, "seed": seed, **options,
        })  # fmt: skip
        result = tune(settings).to_json()
        lines = (settings.out / "log.jsonl").read_text(encoding="utf-8").splitlines()
        last = [line for line in map(json.loads, lines) if "loss" in line][-1]
        before, after = losses(model, folder / "held_out.json", settings.out / "adapter")
    return {
        "before": before,
        "loss": after,
        "said": result["eval_loss"],
        "tokens_per_s": last["tokens_per_s"],
        "peak_bytes": result["peak_bytes"],
    }


def losses(model: str, rows: Path, adapter: Path) -> tuple[float, float]:
    """The loss of a labelled token without and with the adapter, by transformers and peft in bf16."""
    import torch
    from peft import PeftModel

    from weightwright.data.formats import read_samples
    from weightwright.data.pack import fit
    from weightwright.data.template import encode
    from weightwright.weights.load import load

    loaded = load(model, precision="bf16", device="cpu")
    fitted = fit([encode(sample, loaded.tokenizer) for sample in read_samples(rows)], 512, "truncate").rows
    tuned = PeftModel.from_pretrained(loaded.model, adapter).eval()

    @torch.inference_mode()
    def loss() -> float:
        total = count = 0.0
        for row in fitted:
            ids = torch.tensor([row.token_ids])
            labels = torch.where(torch.tensor([row.labelled]), ids, -100)
            logits = tuned(input_ids=ids).logits[0, :-1].float()
            labels = labels[0, 1:]
            total += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
            count += int((labels != -100).sum())
        return total / count

    with tuned.disable_adapter():
        before = loss()
    return before, loss()


if __name__ == "__main__":
    main()
