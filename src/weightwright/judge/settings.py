"""What `judge` can be told."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from weightwright.config import Settings
from weightwright.judge.metrics import METRICS, known

Metrics = Annotated[tuple[str, ...], BeforeValidator(known)]


class JudgeSettings(Settings):
    """Answers to score against their references."""

    rows: Path = Field(description="JSONL file: question, answer, reference (or answers), documents a line")
    metrics: Metrics = Field(tuple(METRICS), min_length=1, description="reference metrics to compute")
    no_answer: str = Field("", description="the sentence agreed on for: the documents do not say")
    grader: str = Field("", description="model that grades answers (not available yet)")
    level: float = Field(0.95, gt=0, lt=1, description="probability that an interval holds the true mean")
    resamples: int = Field(10_000, ge=100, description="bootstrap resamples of an interval")
    seed: int = Field(0, ge=0, description="seed of the resampling")
