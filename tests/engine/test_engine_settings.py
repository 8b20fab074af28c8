"""Options of the engine that other tools call otherwise."""

import pytest
from pydantic import ValidationError

from weightwright.engine.settings import EngineSettings


def test_fastchats_word_for_int8() -> None:
    assert EngineSettings.model_validate({"load_8bit": True}).precision == "int8"
    assert EngineSettings.model_validate({"load_8bit": "yes", "precision": "int8"}).precision == "int8"
    assert EngineSettings.model_validate({"load_8bit": False}).precision == "auto"
    with pytest.raises(ValidationError, match="load_8bit means precision=int8, and precision=bf16 was given"):
        EngineSettings.model_validate({"load_8bit": True, "precision": "bf16"})
    with pytest.raises(ValidationError, match="valid boolean"):
        EngineSettings.model_validate({"load_8bit": "eight"})
