"""LoRA steps by weightwright: a fresh process, its steady rate and its peak. Arguments: a JSON file of settings."""

import json
import sys
from pathlib import Path


def main() -> None:
    from weightwright.tune.result import peak_bytes
    from weightwright.tune.run import tune
    from weightwright.tune.settings import TuneSettings

    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    settings = TuneSettings.model_validate(job["settings"])
    tune(settings)
    lines = [
        json.loads(line) for line in (settings.out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    steps = [line for line in lines if "loss" in line]
    seconds = [line["tokens"] / line["tokens_per_s"] for line in steps]
    first = job["skip"] - 1
    rate = (steps[-1]["tokens"] - steps[first]["tokens"]) / (seconds[-1] - seconds[first])
    import torch

    print(json.dumps({"tokens_per_s": rate, "peak_bytes": peak_bytes(torch.device("cpu"))}))


if __name__ == "__main__":
    main()
