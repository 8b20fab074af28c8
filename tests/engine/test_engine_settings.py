"""Options of the engine that other tools call otherwise."""

import pytest
from pydantic import ValidationError

from weightwright.engine.settings import EngineSettings


def test_fastchats_word_for_the_number_of_devices() -> None:
    assert EngineSettings.model_validate({"num_gpus": "2"}).tensor_parallel_size == 2
    assert EngineSettings.model_validate({"num_gpus": 1}).elsewhere is False
    assert EngineSettings.model_validate({"num_gpus": 2, "tensor_parallel_size": 2}).elsewhere
    with pytest.raises(ValidationError, match="num_gpus=2 and tensor_parallel_size=4 mean the same"):
        EngineSettings.model_validate({"num_gpus": 2, "tensor_parallel_size": 4})
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        EngineSettings.model_validate({"num_gpus": 0})


def test_fastchats_word_for_int8() -> None:
    assert EngineSettings.model_validate({"load_8bit": True}).precision == "int8"
    assert EngineSettings.model_validate({"load_8bit": "yes", "precision": "int8"}).precision == "int8"
    assert EngineSettings.model_validate({"load_8bit": False}).precision == "auto"
    with pytest.raises(ValidationError, match="load_8bit means precision=int8, and precision=bf16 was given"):
        EngineSettings.model_validate({"load_8bit": True, "precision": "bf16"})
    with pytest.raises(ValidationError, match="valid boolean"):
        EngineSettings.model_validate({"load_8bit": "eight"})
