"""The options of `plan`: what is to be done with a model, and on how much memory."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from weightwright import options
from weightwright.config import Settings
from weightwright.machine.accelerators import accelerator
from weightwright.options import (
    Device,
    Files,
    KvPrecision,
    Objective,
    Optimizer,
    Precision,
    Recomputed,
    Size,
    TrainOn,
    parse_bytes,
)
from weightwright.plan.price import PRICE, PriceText

Task = Literal["serve", "lora", "qlora", "full"]
Search = Literal["batch", "context", "max-length", "sequences"]

SEARCHES: dict[
    Search, tuple[Literal["serve", "training"], str]
] = {  # for which tasks, and the field searched over
    "batch": ("training", "micro_batch"),
    "max-length": ("training", "max_length"),
    "context": ("serve", "context"),
    "sequences": ("serve", "sequences"),
}


class PlanSettings(Settings):
    """A task on a model, to be planned."""

    model: str = Field(description="model address, or the path of a config.json")
    task: Task = Field("serve", description="what the model is to do")
    objective: Objective = options.OBJECTIVE
    device_memory: Size | None = Field(
        None,
        description="memory to fit into (24GB); default: what is free here",
    )
    device: Device = Field("auto", description="auto: cpu, or a card where an accelerator is named")
    accelerator: str | None = Field(
        None,
        description="plan for this one (l4, h100, rtx-4090): its memory, and its published peaks for the time",
    )
    probe: bool = Field(
        True, description="measure this machine for two seconds, to say how long it takes and what it costs"
    )
    price: PriceText | None = PRICE
    precision: Precision = Field(
        "auto",
        description="of the base model's weights; auto: bf16, int4 for qlora, f32 for full; serve: int8 on a CPU",
    )
    context: int = Field(2048, ge=1, description="serve: tokens kept for each sequence")
    sequences: int = Field(8, ge=1, description="serve: sequences at once")
    kv_precision: KvPrecision = options.KV_PRECISION
    max_length: int = options.MAX_LENGTH
    batch: int | None = options.BATCH
    micro_batch: int | None = options.MICRO_BATCH
    group_size: int = options.GROUP_SIZE
    gradient_checkpointing: Recomputed = options.GRADIENT_CHECKPOINTING
    train_on: TrainOn = options.TRAIN_ON
    rows: int | None = Field(None, ge=1, description="training: how many rows there are")
    data: Files | None = Field(
        None, description="training: the rows themselves; their real lengths are counted"
    )
    eval_data: Files | None = Field(None, description="training: rows held out")
    task_kinds: int = Field(
        1, ge=1, description="training: how many kinds of task the rows hold; decides the rank"
    )
    epochs: int = options.EPOCHS
    max_steps: int | None = options.MAX_STEPS
    packing: bool = options.PACKING
    optimizer: Optimizer = options.OPTIMIZER
    momentum: float = options.MOMENTUM
    learning_rate: float | None = options.LEARNING_RATE
    rank: int = options.RANK
    alpha: float | None = options.ALPHA
    dropout: float = options.DROPOUT
    dora: bool = options.DORA
    int8_forward: bool = options.INT8_FORWARD
    targets: str = options.TARGETS
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
        if self.objective == "grpo" and self.task in ("qlora", "full"):
            raise ValueError(
                f"objective=grpo trains an adapter of unpacked weights, not task={self.task}; use lora"
            )
        if self.int8_forward:
            options.check_int8_forward(self.task, self.accelerator or self.device)
        if self.accelerator is not None:
            accelerator(self.accelerator)
            if self.device == "cpu":
                raise ValueError(
                    f"device=cpu is no place for accelerator={self.accelerator}; give one of them"
                )
        if self.price is not None and not self.measurable and self.accelerator is None:
            raise ValueError(
                "price needs to know how fast the machine is; name it: --accelerator l4 (h100, …)"
            )
        if self.data is not None and self.rows is not None:
            raise ValueError("give data or rows, not both: a file says how many rows it has")
        if self.objective == "grpo" and (self.data or self.price):
            raise ValueError(
                "the time of objective=grpo is not known before its answers; leave data and price out"
            )
        if self.eval_data is not None and self.data is None:
            raise ValueError("eval_data needs data, the rows that are learnt from")
        if self.task == "serve" and (self.data or self.eval_data):
            raise ValueError("data means nothing for task=serve; choose --task lora, qlora or full")
        if self.plot is not None and self.plot.suffix.lower() != ".png":
            raise ValueError(f"plot={self.plot}: expected a file that ends in .png")
        return self

    @property
    def device_bytes(self) -> int | None:
        """The memory to fit into, where it was given, else that of the accelerator named."""
        if self.device_memory is not None:
            return parse_bytes(self.device_memory)
        return int(1e9 * accelerator(self.accelerator).memory_gb) if self.accelerator else None

    @property
    def on_cpu(self) -> bool:
        """Whether this machine's own memory is what counts."""
        return self.device in ("auto", "cpu")

    @property
    def recomputes(self) -> bool:
        """Whether activations are recomputed; `auto` is decided by then (see `fits.decide`)."""
        return self.gradient_checkpointing in (True, "mlp")

    @property
    def measurable(self) -> bool:
        """Whether a probe of this machine says something of the plan's: not of one that is only described."""
        return self.probe and self.on_cpu and self.device_memory is None and self.accelerator is None

    @property
    def resolved_precision(self) -> Precision:
        """What the base model's weights are held in; full tuning keeps f32, whatever it computes in.

        The engine takes int8 on a CPU and bf16 on a GPU (`served_precision` knows mixtures of experts).
        """
        if self.task == "full":
            return "f32"
        if self.precision != "auto":
            return self.precision
        if self.task == "serve":
            return "int8" if self.on_cpu else "bf16"
        return "int4" if self.task == "qlora" else "bf16"
