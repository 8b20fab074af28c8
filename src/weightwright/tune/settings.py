"""The options of a training run: the one definition behind flags, YAML, environment and forms."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from weightwright.config import Settings
from weightwright.data.grounded import PromptSettings
from weightwright.plan.settings import AutoOrFlag

Method = Literal["lora", "qlora", "full"]
Objective = Literal["sft", "dpo", "orpo", "simpo", "kto", "pretrain"]
Schedule = Literal["cosine", "linear", "constant"]
Optimizer = Literal["adamw", "sgd", "adamw8bit"]

DEFAULT_LEARNING_RATE: dict[Method, float] = {"lora": 3e-4, "qlora": 3e-4, "full": 2e-5}
PREFERENCE_SHARE = 0.1  # of it where answers are compared: larger steps leave the model that is compared with
SGD_LEARNING_RATE = 0.1
# beta where nothing is said: as in each paper's own experiments
DEFAULT_BETA: dict[Objective, float] = {"dpo": 0.1, "kto": 0.1, "orpo": 0.1, "simpo": 2.0}

# What may differ between a run and its resumption: none of it changes the weights that come out.
FREE_FIELDS = frozenset(
    {"save_every", "keep", "device", "fsdp", "show", "tensorboard", "gradient_checkpointing"}
)


class TuneSettings(Settings):
    """What to train, on what, and how."""

    model: str = Field(description="model address of the base model")
    data: Path = Field(description="rows to learn from: a file, a folder, or FOLDER:NAME")
    out: Path = Field(description="folder of the run: adapter, checkpoints, log, loss curve")
    eval_data: Path | None = Field(None, description="rows held out, to measure the loss on")
    method: Method = Field("lora", description="lora trains an adapter, full every weight")
    objective: Objective = Field(
        "sft",
        description="what is minimised; sft: predict the answers, pretrain: all of a text, dpo, orpo, simpo: prefer "
        "one answer to another, kto: follow judgements",
    )
    beta: float | None = Field(
        None, gt=0, description="dpo, kto, orpo: 0.1, simpo: 2; how strongly answers are told apart"
    )
    gamma: float = Field(1.0, ge=0, description="simpo: by how much the chosen answer is to lead")
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="dpo, simpo: share of pairs that may be wrong"
    )
    desirable_weight: float = Field(1.0, gt=0, description="kto: weight of answers judged good")
    undesirable_weight: float = Field(1.0, gt=0, description="kto: weight of answers judged bad")
    train_on: Literal["answers", "last", "all"] = Field("answers", description="tokens that carry loss")

    rank: int = Field(8, ge=1, le=1024, description="LoRA rank")
    alpha: float | None = Field(None, gt=0, description="LoRA scale is alpha/rank; default: 2 x rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the adapter")
    targets: str = Field("all-linear", description="layers adapted: names (q_proj,v_proj) or all-linear")
    rslora: bool = Field(False, description="LoRA scale is alpha/sqrt(rank) (rsLoRA)")
    dora: bool = Field(False, description="a magnitude beside each direction (DoRA): finer, slower")

    epochs: int = Field(1, ge=1, description="times every row is read")
    max_steps: int | None = Field(None, ge=1, description="stop after so many steps")
    optimizer: Optimizer = Field("adamw", description="sgd keeps half of adamw's state, adamw8bit a quarter")
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd: share of the last step that is kept")
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="default: 3e-4 for lora, 2e-5 for full, a tenth of it for preferences; sgd: 0.1",
    )
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
    packing: bool = Field(
        True, description="rows behind each other in a pass, none seeing another; false: padded"
    )
    max_length: int = Field(2048, ge=2, description="longest row in tokens")
    too_long: Literal["error", "drop", "truncate", "split"] = Field(
        "error", description="what to do with longer rows; those dropped, cut and split are counted"
    )

    precision: Literal["auto", "f32", "bf16"] = Field("auto", description="of the base model's weights")
    tf32: bool = Field(False, description="let NVIDIA GPUs round f32 products to tf32")
    gradient_checkpointing: AutoOrFlag = Field(
        "auto",
        description="recompute activations: less memory, slower; auto: where it does not fit without, and does with",
    )
    fsdp: bool = Field(False, description="share weights between GPUs, started under torchrun")
    device: Literal["auto", "cpu", "cuda", "mps", "xpu"] = Field("auto", description="where to compute")

    eval_every: int | None = Field(None, ge=1, description="steps between evaluations; default: a quarter")
    save_every: int = Field(100, ge=1, description="steps between checkpoints")
    keep: int = Field(2, ge=1, description="checkpoints kept")
    show: int = Field(3, ge=0, description="held-out rows answered before and after, where there are some")
    tensorboard: bool = Field(False, description="curves for TensorBoard, in the folder tensorboard of `out`")
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
        if self.learning_rate is not None:
            return self.learning_rate
        if self.optimizer == "sgd":
            return SGD_LEARNING_RATE
        usual = DEFAULT_LEARNING_RATE[self.method]
        return usual * PREFERENCE_SHARE if self.objective in DEFAULT_BETA else usual

    @property
    def pair_beta(self) -> float:
        """The strength of a preference."""
        return self.beta or DEFAULT_BETA[self.objective]
