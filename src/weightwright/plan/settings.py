"""The options of `plan`: what is to be done with a model, and on how much memory."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError, model_validator

from weightwright.config import Settings

Task = Literal["serve", "lora", "qlora", "full"]
Objective = Literal["sft", "dpo", "orpo", "simpo", "kto", "pretrain"]
Optimizer = Literal["adamw", "sgd", "adamw8bit"]
Precision = Literal["auto", "f32", "bf16", "int8", "int4"]
Search = Literal["batch", "context", "max-length", "sequences"]

SEARCHES: dict[
    Search, tuple[Literal["serve", "training"], str]
] = {  # for which tasks, and the field searched over
    "batch": ("training", "micro_batch"),
    "max-length": ("training", "max_length"),
    "context": ("serve", "context"),
    "sequences": ("serve", "sequences"),
}
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


def auto_or_flag(value: object) -> object:
    """`auto`, or what says true or false as one of them. Raises ValueError for anything else."""
    if value == "auto":
        return value
    try:
        return TypeAdapter(bool).validate_python(value)
    except ValidationError as error:
        raise ValueError("expected auto, true or false") from error


AutoOrFlag = Annotated[bool | Literal["auto"], BeforeValidator(auto_or_flag)]


class PlanSettings(Settings):
    """A task on a model, to be planned."""

    model: str = Field(description="model address, or the path of a config.json")
    task: Task = Field("serve", description="what the model is to do")
    objective: Objective = Field("sft", description="what training minimises")
    device_memory: Annotated[str, AfterValidator(checked_bytes)] | None = Field(
        None,
        coerce_numbers_to_str=True,
        description="memory to fit into (24GB); default: all of this machine",
    )
    device: Literal["auto", "cpu", "cuda", "mps", "xpu"] = Field("auto", description="auto: cpu")
    precision: Precision = Field(
        "auto", description="of the base model's weights; auto: bf16, int4 for qlora, f32 for full"
    )
    context: int = Field(2048, ge=1, description="serve: tokens kept for each sequence")
    sequences: int = Field(8, ge=1, description="serve: sequences at once")
    kv_precision: Literal["auto", "int8"] = Field(
        "auto", description="serve: of cached keys and values; int8 halves their memory"
    )
    max_length: int = Field(512, ge=2, description="training: longest row in tokens")
    batch: int | None = Field(
        None, ge=1, description="training: rows a step; default: 128 while at least 100 steps remain"
    )
    micro_batch: int | None = Field(None, ge=1, description="training: rows a pass; default: 1,024 tokens")
    gradient_checkpointing: AutoOrFlag = Field(
        "auto",
        description="training: recompute activations; auto: where it does not fit without, and does with",
    )
    rows: int | None = Field(None, ge=1, description="training: how many rows there are")
    task_kinds: int = Field(
        1, ge=1, description="training: how many kinds of task the rows hold; decides the rank"
    )
    epochs: int = Field(1, ge=1, description="times every row is read")
    optimizer: Optimizer = Field("adamw", description="sgd keeps half of adamw's state, adamw8bit a quarter")
    momentum: float = Field(
        0.9, ge=0, lt=1, description="sgd: share of the last step that is kept; 0 keeps nothing"
    )
    learning_rate: float | None = Field(None, gt=0, description="training: compared with the advice")
    rank: int = Field(8, ge=1, le=1024, description="LoRA rank")
    alpha: float | None = Field(None, gt=0, description="LoRA scale is alpha/rank; default: 2 x rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the adapter")
    dora: bool = Field(False, description="a magnitude beside each direction (DoRA)")
    targets: str = Field("all-linear", description="layers adapted: names (q_proj,v_proj) or all-linear")
    double_quantisation: bool = Field(True, description="qlora: the scales of 4-bit blocks in 8 bits")
    search: Search | None = Field(None, description="the largest value of this that fits")
    plot: Path | None = Field(None, description="draw what each phase holds into this .png file")

    @model_validator(mode="after")
    def _sensible(self) -> "PlanSettings":
        if self.search is not None and SEARCHES[self.search][0] != (
            "serve" if self.task == "serve" else "training"
        ):
            known = [
                name for name, (task, _) in SEARCHES.items() if (task == "serve") == (self.task == "serve")
            ]
            raise ValueError(
                f"search={self.search} means nothing for task={self.task}; choose {' or '.join(known)}"
            )
        if self.plot is not None and self.plot.suffix.lower() != ".png":
            raise ValueError(f"plot={self.plot}: expected a file that ends in .png")
        return self

    @property
    def device_bytes(self) -> int | None:
        """The memory to fit into, where it was given."""
        return None if self.device_memory is None else parse_bytes(self.device_memory)

    @property
    def on_cpu(self) -> bool:
        """Whether this machine's own memory is what counts."""
        return self.device in ("auto", "cpu")

    @property
    def resolved_precision(self) -> Precision:
        """What the base model's weights are held in; full tuning keeps f32, whatever it computes in."""
        if self.task == "full":
            return "f32"
        if self.precision != "auto":
            return self.precision
        return "int4" if self.task == "qlora" else "bf16"
