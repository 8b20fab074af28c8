"""Options of the in-process engine."""

from pathlib import Path
from typing import Any

from pydantic import Field, TypeAdapter, model_validator

from weightwright import options
from weightwright.config import Settings
from weightwright.options import Device, KvPrecision, Precision, Size
from weightwright.plan.measured import STEP_TOKENS


class EngineSettings(Settings):
    """How a model is held and how much is done at once."""

    precision: Precision = Field("auto", description="of the weights; auto: what is measured fastest here")
    load_8bit: bool = Field(False, description="FastChat's word for --precision int8")
    deterministic: bool = Field(
        False, description="one kernel for any number of rows: the same text in any batch"
    )
    device: Device = Field("auto", description="where the model runs")
    max_sequences: int = Field(32, ge=1, description="sequences decoded together")
    step_tokens: int = Field(
        STEP_TOKENS, ge=1, description="tokens computed in one step, prompts in chunks of it"
    )
    max_context: int | None = Field(None, ge=1, description="limit on prompt + completion tokens")
    kv_memory: Size | None = Field(
        None,
        description="memory of the KV cache (2GB); default: enough for max_sequences at full context, at most 30% of "
        "free memory (80% of a card's)",
    )
    kv_precision: KvPrecision = options.KV_PRECISION
    speculate: int | None = Field(
        None,
        ge=0,
        description="tokens guessed from the prompt at a time; 0: never; default: where it is faster",
    )
    share_prefixes: bool = Field(True, description="compute the common beginning of prompts once")
    trust_remote_code: bool = Field(False, description="run Python code that comes with the model")
    template: str | None = options.TEMPLATE
    tensor_parallel_size: int = Field(
        1, ge=1, description="devices that share the model; more than 1 needs --engine-python"
    )
    num_gpus: int | None = Field(None, ge=1, description="FastChat's word for --tensor-parallel-size")
    engine_python: Path | None = Field(
        None,
        description="Python of an environment with vLLM, which is started there and answers in this engine's place",
    )

    @property
    def elsewhere(self) -> bool:
        """Whether another engine is asked for."""
        return self.engine_python is not None or self.tensor_parallel_size > 1

    @model_validator(mode="before")
    @classmethod
    def _eight_bits(cls, given: Any) -> Any:
        """`load_8bit` as the precision that it means."""
        if not isinstance(given, dict) or not TypeAdapter(bool).validate_python(
            given.get("load_8bit", False)
        ):
            return given
        precision = given.get("precision", "auto")
        if precision not in ("auto", "int8"):
            raise ValueError(
                f"load_8bit means precision=int8, and precision={precision} was given; give one of them"
            )
        return given | {"precision": "int8"}

    @model_validator(mode="before")
    @classmethod
    def _gpus(cls, given: Any) -> Any:
        """`num_gpus` as the size that it means."""
        count = given.get("num_gpus") if isinstance(given, dict) else None
        if count is None:
            return given
        count = TypeAdapter(int).validate_python(count)
        size = TypeAdapter(int).validate_python(given.get("tensor_parallel_size", count))
        if size not in (1, count):
            raise ValueError(
                f"num_gpus={count} and tensor_parallel_size={size} mean the same; give one of them"
            )
        return given | {"tensor_parallel_size": count}
