"""Every family that transformers generates text with: its own logits through our engine, or a refusal by name."""

import pytest
import torch

from weightwright.engine import assemble
from weightwright.engine.settings import EngineSettings
from weightwright.errors import ModelError
from weightwright.executor.execute import Executor, Transformers
from weightwright.executor.linear import pack
from weightwright.executor.lora import AdapterBank
from weightwright.executor.own import OwnCaches
from weightwright.weights.families import ALONE, OWN_CACHES, PAGED, SEEING, is_paged, model_class

from .families import families, tiny_config
from .paging import compare, expected_of, ours

# no generators, or with a cache that is not transformers' usual one
REFUSED = ["bert", "big_bird", "camembert", "cpmant", "doge", "electra", "minimax", "roberta", "rwkv", "xlm"]
PROMPTS = (5, 40, 17)


def model_of(family: str):
    torch.manual_seed(0)
    config = tiny_config(family)
    return model_class(config).from_config(config, dtype=torch.float32).eval()


def as_f32(_path: str, weight, bias):
    return pack(weight, bias, "f32")


def prompts() -> list[list[int]]:
    draw = torch.Generator().manual_seed(1)
    return [torch.randint(3, 256, (count,), generator=draw).tolist() for count in PROMPTS]


@pytest.mark.parametrize("family", families(PAGED))
def test_families_over_the_paged_cache(family: str) -> None:
    model = model_of(family)
    assert is_paged(model.config)
    expected = expected_of(model, prompts())
    bank = AdapterBank(torch.float32)
    compare(expected, ours(Transformers(model, as_f32, bank), bank, prompts(), native=False), 1e-3)


@pytest.mark.parametrize("family", families(OWN_CACHES))
def test_families_over_caches_of_their_own(family: str) -> None:
    model = model_of(family)
    expected = expected_of(model, prompts())
    assert not assemble.runs_paged(model)
    bank = AdapterBank(torch.float32)
    executor: Executor = assemble.own_caches(model, as_f32, bank, EngineSettings(), shared=False)
    assert isinstance(executor, OwnCaches)
    assert executor.together == (family not in ALONE)
    compare(expected, ours(executor, bank, prompts(), native=False), 1e-3)


@pytest.mark.parametrize("family", families(SEEING))
def test_families_that_see_as_well_are_run_as_text(family: str) -> None:
    model = model_of(family)
    expected = expected_of(model, prompts())
    paged, bank = assemble.runs_paged(model), AdapterBank(torch.float32)
    executor: Executor = (
        Transformers(model, as_f32, bank)
        if paged
        else assemble.own_caches(model, as_f32, bank, EngineSettings(), shared=False)
    )
    compare(expected, ours(executor, bank, prompts(), native=False), 1e-3)
    assert paged == SEEING[family]


@pytest.mark.parametrize("family", REFUSED)
def test_what_gives_other_logits_with_a_cache_is_refused(family: str) -> None:
    model = model_of(family)
    assert not assemble.runs_paged(model)
    with pytest.raises(ModelError, match=f"{type(model).__name__} cannot be run by this engine") as raised:
        assemble.own_caches(model, as_f32, AdapterBank(torch.float32), EngineSettings(), shared=False)
    assert "\n" not in str(raised.value)
