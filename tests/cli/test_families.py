"""What a user does with a model of each family: plan, tune, ask with the adapter, merge, ask what was merged."""

import json
from pathlib import Path

import pytest
import torch

from weightwright.cli.app import main
from weightwright.engine.engine import Engine
from weightwright.engine.settings import EngineSettings
from weightwright.ports import ChatRequest, SamplingParams
from weightwright.testing.models import tiny_llama
from weightwright.weights.families import OWN_CACHES, PAGED, SEEING, model_class
from weightwright.weights.load import load

from ..executor.families import families, tiny_config

FAMILIES = families(
    PAGED | OWN_CACHES | set(SEEING), common=("bloom", "jamba", "llama4_text", "phimoe", "qwen3_vl")
)
ROWS = [{"instruction": f"What is {n}?", "output": f"It is {n}, twice {2 * n}."} for n in range(12)]
GREEDY = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)


def folder_of(family: str, folder: Path) -> Path:
    tiny_llama(folder)  # for its tokenizer
    for name in ("model.safetensors", "config.json", "generation_config.json"):
        (folder / name).unlink()
    config = tiny_config(family)
    torch.manual_seed(0)
    model_class(config).from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


def answer(folder: Path, adapter: Path | None = None) -> tuple[int, ...]:
    engine = Engine(
        load(str(folder), precision="f32"),
        adapters={"mine": adapter} if adapter else {},
        settings=EngineSettings(kv_memory="64MB"),
    )
    try:
        asked = ChatRequest(prompt="What is 3?", adapter="mine" if adapter else None, params=GREEDY)
        return engine.submit(asked).result().completions[0].token_ids
    finally:
        engine.close()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::RuntimeWarning", "ignore::UserWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_tiny_model_is_planned_tuned_asked_and_merged(family: str, tmp_path: Path, capsys) -> None:
    folder, run, merged = folder_of(family, tmp_path / family), tmp_path / "run", tmp_path / "merged"
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps(ROWS), encoding="utf-8")
    assert main(["plan", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] > 0
    tuned = ["tune", str(folder), "--data", str(rows), "--out", str(run), "--max-steps", "3", "--batch", "4"]
    assert main([*tuned, "--precision", "f32", "--show", "0"]) == 0
    assert main(["merge", f"{folder}+{run / 'adapter'}", "--out", str(merged)]) == 0
    capsys.readouterr()
    assert answer(folder, run / "adapter") == answer(merged)
