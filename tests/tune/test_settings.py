"""The classic settings load, and what is not built yet is refused by name."""

from pathlib import Path

import pytest

from weightwright import config
from weightwright.errors import SettingsError, TuneError
from weightwright.tune.settings import TuneSettings

EXAMPLES = Path(__file__).parents[2] / "examples" / "settings"


def load(name: str) -> TuneSettings:
    return config.load(TuneSettings, section="tune", file=EXAMPLES / name, environment={})


def test_classic_lora_on_a_7b():
    settings = load("lora-7b.yaml")
    assert (settings.batch, settings.micro_batch, settings.learning_rate) == (128, 1, 3e-4)
    assert (settings.weight_decay, settings.rank, settings.lora_alpha) == (0.01, 8, 16)
    assert (settings.dropout, settings.warmup_steps, settings.method) == (0.05, 100, "lora")


def test_classic_full_tuning_on_several_gpus():
    settings = load("full-multi-gpu.yaml")
    assert (settings.precision, settings.epochs, settings.learning_rate) == ("bf16", 3, 2e-5)
    assert (settings.schedule, settings.warmup_ratio, settings.save_every) == ("cosine", 0.03, 1200)
    assert (settings.keep, settings.tf32, settings.max_length) == (10, True, 2048)
    assert settings.gradient_checkpointing is True
    assert settings.fsdp


def test_every_example_is_known():
    assert {path.name for path in EXAMPLES.glob("*.yaml")} == {"lora-7b.yaml", "full-multi-gpu.yaml"}


@pytest.mark.parametrize(
    ("said", "meant"),
    [("auto", "auto"), ("true", True), (True, True), ("false", False), (False, False), ("off", False)],
)
def test_checkpointing_is_auto_true_or_false(said: object, meant: object):
    flags = {("model",): "m", ("data",): "d", ("out",): "o"}
    assert (
        config.load(TuneSettings, section="tune", environment={}, flags=flags).gradient_checkpointing
        == "auto"
    )
    flags[("gradient_checkpointing",)] = said
    found = config.load(TuneSettings, section="tune", environment={}, flags=flags).gradient_checkpointing
    assert found is meant or found == meant == "auto"


def test_other_values_of_checkpointing_are_refused_in_one_line():
    flags = {("model",): "m", ("data",): "d", ("out",): "o", ("gradient_checkpointing",): "maybe"}
    with pytest.raises(
        SettingsError, match=r"^gradient_checkpointing='maybe': expected auto, mlp, true or false$"
    ):
        config.load(TuneSettings, section="tune", environment={}, flags=flags)


def test_two_kinds_of_warmup_are_refused():
    flags = {("model",): "m", ("data",): "d", ("out",): "o", ("warmup_steps",): 3, ("warmup_ratio",): 0.1}
    with pytest.raises(SettingsError, match="not both"):
        config.load(TuneSettings, section="tune", environment={}, flags=flags)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "full", "fsdp": True}, "fsdp.*torchrun"),
    ],
)
def test_what_comes_later_is_refused_before_anything_is_read(change: dict, message: str):
    from weightwright.tune.run import tune

    with pytest.raises(TuneError, match=message):
        tune(TuneSettings(model="m", data=Path("absent"), out=Path("o"), **change))


@pytest.mark.parametrize(
    ("change", "rate"),
    [
        ({}, 3e-4),
        ({"method": "full"}, 2e-5),
        ({"objective": "dpo"}, 3e-5),
        ({"optimizer": "sgd"}, 0.1),
        ({"optimizer": "sgd", "learning_rate": 0.5}, 0.5),
    ],
)
def test_default_learning_rates(change: dict, rate: float):
    settings = TuneSettings(model="m", data=Path("d"), out=Path("o"), **change)
    assert settings.peak_learning_rate == pytest.approx(rate)


def test_each_objective_has_its_papers_beta():
    found = {
        name: TuneSettings(model="m", data=Path("d"), out=Path("o"), objective=name).pair_beta
        for name in ("dpo", "kto", "orpo", "simpo")
    }
    assert found == {"dpo": 0.1, "kto": 0.1, "orpo": 0.1, "simpo": 2.0}
