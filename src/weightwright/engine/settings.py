"""Options of the in-process engine."""

from typing import Literal

from pydantic import Field

from weightwright.config import Settings

Precision = Literal["auto", "f32", "bf16"]
Device = Literal["auto", "cpu", "cuda", "mps", "xpu"]


class EngineSettings(Settings):
    """How a model is held and how much is done at once."""

    precision: Precision = Field("auto", description="auto takes bf16 where this machine computes it fast")
    device: Device = Field("auto", description="where the model runs")
    max_sequences: int = Field(32, ge=1, description="sequences decoded together")
    prefill_tokens: int = Field(4096, ge=1, description="prompt tokens read in one go")
    max_context: int | None = Field(None, ge=1, description="limit on prompt + completion tokens")
    trust_remote_code: bool = Field(False, description="run Python code that comes with the model")
