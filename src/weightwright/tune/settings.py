"""The options of a training run: the one definition behind flags, YAML, environment and forms."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from weightwright.config import Settings
from weightwright.data.grounded import PromptSettings

Method = Literal["lora", "qlora", "full"]
Objective = Literal["sft", "dpo", "orpo", "simpo", "kto", "pretrain"]
Schedule = Literal["cosine", "linear", "constant"]

DEFAULT_LEARNING_RATE: dict[Method, float] = {"lora": 3e-4, "qlora": 3e-4, "full": 2e-5}

# What may differ between a run and its resumption: none of it changes the weights that come out.
FREE_FIELDS = frozenset({"save_every", "keep", "device"})


class TuneSettings(Settings):
    """What to train, on what, and how."""

    model: str = Field(description="model address of the base model")
    data: Path = Field(description="rows to learn from: .json or .jsonl")
    out: Path = Field(description="folder of the run: adapter, checkpoints, log, loss curve")
    eval_data: Path | None = Field(None, description="rows held out, to measure the loss on")
    method: Method = Field("lora", description="lora trains an adapter, full every weight")
    objective: Objective = Field("sft", description="what is minimised; sft: predict the answers")
    train_on: Literal["answers", "last", "all"] = Field("answers", description="tokens that carry loss")

    rank: int = Field(8, ge=1, le=1024, description="LoRA rank")
    alpha: float | None = Field(None, gt=0, description="LoRA scale is alpha/rank; default: 2 x rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the adapter")
    targets: str = Field("all-linear", description="layers adapted: names (q_proj,v_proj) or all-linear")

    epochs: int = Field(1, ge=1, description="times every row is read")
    max_steps: int | None = Field(None, ge=1, description="stop after so many steps")
    learning_rate: float | None = Field(None, gt=0, description="default: 3e-4 for lora, 2e-5 for full")
    schedule: Schedule = Field("cosine", description="how the learning rate falls after warm-up")
    warmup_steps: int | None = Field(None, ge=0, description="steps of warm-up, at most 10% of all")
    warmup_ratio: float | None = Field(None, ge=0, le=1, description="the same as a share of the steps")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's weight decay")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    batch: int | None = Field(
        None, ge=1, description="rows a step; default: 128 while at least 100 steps remain"
    )
    micro_batch: int | None = Field(
        None, ge=1, description="rows a pass; default: as many as make 1,024 tokens (8,192 on a GPU)"
    )
    max_length: int = Field(2048, ge=2, description="longest row in tokens")
    too_long: Literal["error", "drop", "truncate"] = Field(
        "error", description="what to do with longer rows; dropped and cut ones are counted"
    )

    precision: Literal["auto", "f32", "bf16"] = Field("auto", description="of the base model's weights")
    tf32: bool = Field(False, description="let NVIDIA GPUs round f32 products to tf32")
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, slower")
    fsdp: bool = Field(False, description="share weights between GPUs, started under torchrun")
    device: Literal["auto", "cpu", "cuda", "mps", "xpu"] = Field("auto", description="where to compute")

    eval_every: int | None = Field(None, ge=1, description="steps between evaluations; default: a quarter")
    save_every: int = Field(100, ge=1, description="steps between checkpoints")
    keep: int = Field(2, ge=1, description="checkpoints kept")
    seed: int = Field(0, ge=0, description="order of rows, first adapter weights, dropout")
    prompt: PromptSettings = Field(default_factory=PromptSettings)

    @model_validator(mode="after")
    def _one_warmup(self) -> "TuneSettings":
        if self.warmup_steps is not None and self.warmup_ratio is not None:
            raise ValueError("give warmup_steps or warmup_ratio, not both")
        return self

    @property
    def lora_alpha(self) -> float:
        """The numerator of LoRA's scale."""
        return 2.0 * self.rank if self.alpha is None else self.alpha

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after warm-up."""
        return self.learning_rate or DEFAULT_LEARNING_RATE[self.method]
