"""Counts of every family in the guide's table: all parameters, and those of the adapters that `tune` trains."""

import json
from typing import Any

import pytest
import torch

from weightwright.plan import built, spec
from weightwright.plan.building import described
from weightwright.plan.params import count_lora, count_params
from weightwright.tune.adapt import adapted
from weightwright.tune.settings import TuneSettings
from weightwright.weights.families import OWN_CACHES, PAGED, SEEING, model_class

from ..executor.families import families, tiny_config

# its config says that head and embedding are one; transformers makes two of them
UNTIED = {"bigbird_pegasus": 320 * 64}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("family", families(PAGED | OWN_CACHES | set(SEEING)))
def test_counts(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_this_process(config: dict[str, Any]) -> dict[str, Any]:
        return built._read(json.loads(json.dumps(described(config))))

    monkeypatch.setattr(spec, "built", in_this_process)
    config = tiny_config(family)
    torch.manual_seed(0)
    model = model_class(config).from_config(config, dtype=torch.float32)
    found = spec.from_config(json.loads(config.to_json_string(use_diff=False)))
    counted = sum(weight.numel() for weight in {id(w): w for w in model.parameters()}.values())
    assert count_params(found) == counted - UNTIED.get(family, 0)
    settings = TuneSettings(model="tiny", data="rows.json", out="run")
    with adapted(model, settings, "tiny") as ready:
        trained = sum(weight.numel() for weight in ready.trainable.values())
    assert count_lora(found, settings.rank) == trained
