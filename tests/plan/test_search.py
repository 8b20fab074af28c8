"""The largest value that fits: it fits, one more does not, and the ends are said."""

import pytest
from pydantic import ValidationError

from weightwright.plan.memory import estimate
from weightwright.plan.search import largest
from weightwright.plan.settings import SEARCHES, PlanSettings
from weightwright.plan.spec import from_config

SPEC = from_config({
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 131_072,
})  # fmt: skip


def peak(settings: PlanSettings, field: str, value: int) -> int:
    return estimate(SPEC, settings.model_copy(update={field: value})).peak.total_bytes


@pytest.mark.parametrize("gigabytes", [16.5, 17, 20, 24, 40])
@pytest.mark.parametrize(
    ("search", "values"),
    [
        ("batch", {"task": "lora", "gradient_checkpointing": False}),
        ("batch", {"task": "lora", "objective": "dpo", "gradient_checkpointing": False}),
        ("max-length", {"task": "lora", "gradient_checkpointing": True}),
        ("max-length", {"task": "qlora", "gradient_checkpointing": False}),
        ("max-length", {"task": "lora", "micro_batch": 1, "gradient_checkpointing": False}),
        ("max-length", {"task": "lora", "micro_batch": 1, "device": "cuda", "gradient_checkpointing": False}),
        ("context", {"task": "serve", "sequences": 1}),
        ("sequences", {"task": "serve", "context": 300}),
    ],
)
def test_the_value_fits_and_one_more_does_not(search: str, values: dict, gigabytes: float):
    settings = PlanSettings.model_validate({"model": "x", "search": search, **values})
    limit = int(gigabytes * 1e9)
    found = largest(SPEC, settings, limit)
    assert found.setting == SEARCHES[settings.search][1]
    if found.value == 0:
        assert peak(settings, found.setting, 2) > limit
        return
    assert found.peak_bytes == peak(settings, found.setting, found.value) <= limit
    if "more would fit" not in found.why:
        assert peak(settings, found.setting, found.value + 1) > limit
        assert f"{found.value + 1:,}" in found.why


def test_auto_finds_what_fits_with_activations_recomputed_and_says_so():
    auto, on, off = (
        largest(
            SPEC,
            PlanSettings(model="x", task="lora", search="batch", gradient_checkpointing=choice),
            20_000_000_000,
        )
        for choice in ("auto", True, False)
    )
    assert (auto.value, auto.peak_bytes) == (on.value, on.peak_bytes)
    assert off.value < on.value
    assert auto.why == f"with gradient_checkpointing; {on.why}"


def test_the_models_context_is_an_end():
    settings = PlanSettings(model="x", task="serve", sequences=1, search="context")
    found = largest(SPEC, settings, 10**12)
    assert found.value == 131_072
    assert found.why.startswith("the model's context")


def test_where_nothing_fits_the_smallest_is_said():
    settings = PlanSettings(model="x", task="lora", search="batch", gradient_checkpointing=True)
    found = largest(SPEC, settings, 10**9)
    assert (found.value, found.why) == (0, "not even 1 fits")
    assert found.peak_bytes == peak(settings, "micro_batch", 1)
    assert largest(SPEC, settings.model_copy(update={"gradient_checkpointing": "auto"}), 10**9) == found


@pytest.mark.parametrize(
    ("task", "search", "known"),
    [("serve", "batch", "context or sequences"), ("lora", "context", "batch or max-length")],
)
def test_a_search_that_means_nothing_for_the_task_is_refused(task: str, search: str, known: str):
    with pytest.raises(
        ValidationError, match=f"search={search} means nothing for task={task}; choose {known}"
    ):
        PlanSettings.model_validate({"model": "x", "task": task, "search": search})
