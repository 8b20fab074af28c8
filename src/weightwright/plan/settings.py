"""The options of `plan`: what is to be done with a model, and on how much memory."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from weightwright.config import Settings

Task = Literal["serve", "lora", "qlora", "full"]
Precision = Literal["auto", "f32", "bf16", "int8", "int4"]

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?\s*", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_bytes(text: str) -> int:
    """`24GB`, `16GiB` or `24000000000` in bytes. Raises ValueError for anything else."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("expected a size such as 24GB, 16GiB or a number of bytes")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[unit.upper()])


def checked_bytes(text: str) -> str:
    """The text itself where it is a size; for settings."""
    parse_bytes(text)
    return text


class PlanSettings(Settings):
    """A task on a model, to be planned."""

    model: str = Field(description="model address, or the path of a config.json")
    task: Task = Field("serve", description="what the model is to do")
    objective: Literal["sft"] = Field("sft", description="what training minimises")
    device_memory: Annotated[str, AfterValidator(checked_bytes)] | None = Field(
        None,
        coerce_numbers_to_str=True,
        description="memory to fit into (24GB); default: all of this machine",
    )
    precision: Precision = Field(
        "auto", description="of the base model's weights; auto: bf16, int4 for qlora"
    )
    context: int = Field(2048, ge=1, description="serve: tokens kept for each sequence")
    sequences: int = Field(8, ge=1, description="serve: sequences at once")
    kv_precision: Literal["auto", "int8"] = Field(
        "auto", description="serve: of cached keys and values; int8 halves their memory"
    )
    max_length: int = Field(512, ge=2, description="training: longest row in tokens")
    micro_batch: int | None = Field(None, ge=1, description="training: rows a pass; default: 1,024 tokens")
    gradient_checkpointing: bool = Field(False, description="recompute activations")
    rows: int | None = Field(None, ge=1, description="training: how many rows there are")
    epochs: int = Field(1, ge=1, description="training: times every row is read")
    rank: int = Field(8, ge=1, le=1024, description="LoRA rank")
    targets: str = Field("all-linear", description="layers adapted: names (q_proj,v_proj) or all-linear")

    @property
    def device_bytes(self) -> int | None:
        """The memory to fit into, where it was given."""
        return None if self.device_memory is None else parse_bytes(self.device_memory)
