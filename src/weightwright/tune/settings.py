"""The options of a training run: the one definition behind flags, YAML, environment and forms."""

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from weightwright import options
from weightwright.config import Settings
from weightwright.data.grounded import PromptSettings
from weightwright.options import Device, Files, Objective, Optimizer, Recomputed, TrainOn, TrainPrecision
from weightwright.tune.rewards import parse_reward

Method = Literal["lora", "qlora", "full"]
LossType = Literal["dapo", "grpo", "dr_grpo"]
Schedule = Literal["cosine", "linear", "constant"]


def _steps_or_share(every: float) -> int | float:
    if every <= 0 or (every > 1 and every != int(every)):
        raise ValueError("must be a whole number of at least 1, or a share of the run between 0 and 1")
    return int(every) if every >= 1 else every


Every = Annotated[float, AfterValidator(_steps_or_share)]


def _listed(value: Any) -> Any:
    """A list of rewards from `a,b`. Raises ValueError for one that cannot be read."""
    given = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    for one in given if isinstance(given, list | tuple) else ():
        parse_reward(str(one))
    return given


def _duration(value: Any) -> Any:
    """A time as it was written. Raises ValueError where it is none."""
    if value is not None and not (re.fullmatch(_DURATION, str(value)) and _seconds(str(value)) > 0):
        raise ValueError(f"{value!r} is no time; give hours, minutes or seconds, such as 1h30m, 20m or 90s")
    return value


def _seconds(text: str) -> float:
    found = re.fullmatch(_DURATION, text)
    counts = found.groups("0") if found else ()
    return (
        sum(float(count) * size for count, size in zip(counts, (3600, 60, 1), strict=True)) if counts else 0.0
    )


_DURATION = r"(?=.)(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?"
Duration = Annotated[str, BeforeValidator(_duration)]
Rewards = Annotated[tuple[str, ...], BeforeValidator(_listed)]

DEFAULT_LEARNING_RATE: dict[Method, float] = {"lora": 3e-4, "qlora": 3e-4, "full": 2e-5}
PREFERENCE_SHARE = 0.1  # of it where answers are compared: larger steps leave the model that is compared with
SGD_LEARNING_RATE = 0.1
# beta where nothing is said: as in each paper's own experiments
DEFAULT_BETA: dict[Objective, float] = {"dpo": 0.1, "kto": 0.1, "orpo": 0.1, "simpo": 2.0, "grpo": 0.0}

# What may differ between a run and its resumption: none of it changes the weights that come out.
FREE_FIELDS = frozenset(
    {
        "save_every",
        "keep",
        "device",
        "fsdp",
        "show",
        "tensorboard",
        "gradient_checkpointing",
        "search",
        "general",
        "embedder",
        "asked",
    }
)


class GroupSettings(Settings):
    """grpo: what is sampled, and how it is learnt from. Defaults are TRL's, but for shorter answers."""

    group_size: int = options.GROUP_SIZE
    max_completion: int = Field(256, ge=1, description="grpo: longest answer sampled, in tokens")
    temperature: float = Field(1.0, ge=0.01, description="grpo: of sampling, and of the probabilities learnt")
    loss_type: LossType = Field(
        "dapo",
        description="grpo: what counts the same: each token (dapo; dr_grpo, by max_completion) or each answer (grpo)",
    )
    ratio: Literal["token", "sequence"] = Field(
        "token",
        description="grpo: what is clipped: each token's probability ratio, or an answer's mean (GSPO)",
    )
    epsilon: float = Field(0.2, gt=0, lt=1, description="grpo: how far a ratio may fall or rise")
    epsilon_high: float | None = Field(None, gt=0, description="grpo: how far it may rise, if not as far")
    scale_rewards: Literal["group", "batch", "none"] = Field(
        "group", description="grpo: whose standard deviation advantages are divided by"
    )
    iterations: int = Field(1, ge=1, description="grpo: steps that learn from the same samples")
    mask_truncated: bool = Field(
        False, description="grpo: learn nothing from answers that were cut at max_completion"
    )


class TuneSettings(Settings):
    """What to train, on what, and how."""

    model: str = Field(description="model address of the base model")
    data: Files = Field(
        description="rows to learn from: a file, a folder, or FOLDER:NAME; several: --data A --data B"
    )
    out: Path = Field(description="folder of the run: adapter, checkpoints, log, loss curve")
    eval_data: Files | None = Field(None, description="rows held out, to measure the loss on")
    mix_data: Files | None = Field(
        None, description="general rows to mix in, so that less is forgotten; drawn by seed"
    )
    mix_share: float = Field(0.1, gt=0, lt=1, description="their share of all rows learnt from")
    method: Method = Field("lora", description="lora trains an adapter, full every weight")
    objective: Objective = options.OBJECTIVE
    beta: float | None = Field(
        None,
        ge=0,
        description="dpo, kto, orpo: 0.1, simpo: 2; how strongly answers are told apart; grpo: 0; what it costs to "
        "leave the base model",
    )
    gamma: float = Field(1.0, ge=0, description="simpo: by how much the chosen answer is to lead")
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="dpo, simpo: share of pairs that may be wrong"
    )
    desirable_weight: float = Field(1.0, gt=0, description="kto: weight of answers judged good")
    undesirable_weight: float = Field(1.0, gt=0, description="kto: weight of answers judged bad")
    train_on: TrainOn = options.TRAIN_ON
    template: str | None = options.TEMPLATE

    rank: int = options.RANK
    alpha: float | None = options.ALPHA
    dropout: float = options.DROPOUT
    targets: str = options.TARGETS
    rslora: bool = Field(False, description="LoRA scale is alpha/sqrt(rank) (rsLoRA)")
    dora: bool = options.DORA
    int8_forward: bool = options.INT8_FORWARD

    epochs: int = options.EPOCHS
    max_steps: int | None = options.MAX_STEPS
    time: Duration | None = Field(
        None, description="take as many steps as fit into 90s, 20m or 1h30m, by the rate of the first ones"
    )
    optimizer: Optimizer = options.OPTIMIZER
    momentum: float = options.MOMENTUM
    learning_rate: float | None = options.LEARNING_RATE
    schedule: Schedule = Field("cosine", description="how the learning rate falls after warm-up")
    warmup_steps: int | None = Field(None, ge=0, description="steps of warm-up; default: 10% of all")
    warmup_ratio: float | None = Field(None, ge=0, le=1, description="the same as a share of the steps")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's weight decay")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    batch: int | None = options.BATCH
    micro_batch: int | None = options.MICRO_BATCH
    packing: bool = options.PACKING
    max_length: int = options.MAX_LENGTH
    too_long: Literal["error", "drop", "truncate", "split"] = Field(
        "error", description="what to do with longer rows; those dropped, cut and split are counted"
    )

    precision: TrainPrecision = Field("auto", description="of the base model's weights")
    tf32: bool = Field(False, description="let NVIDIA GPUs round f32 products to tf32")
    gradient_checkpointing: Recomputed = options.GRADIENT_CHECKPOINTING
    fsdp: bool = Field(False, description="share weights between GPUs, started under torchrun")
    device: Device = Field("auto", description="where to compute")

    eval_every: Every | None = Field(
        None, description="steps between evaluations, or a share of all below 1; default: a quarter"
    )
    save_every: Every = Field(100, description="steps between checkpoints, or a share of all below 1")
    keep: int = Field(2, ge=1, description="checkpoints kept")
    show: int = Field(3, ge=0, description="held-out rows answered before and after, where there are some")
    general: bool = Field(
        True, description="measure the loss on general questions before and after: what was forgotten"
    )
    embedder: str = Field(
        "", description="embedder address (minilm), to tell held-out losses by kind of task"
    )
    asked: Files | None = options.ASKED
    search: tuple[str, ...] = Field(
        (),
        description="settings to try, OPTION=VALUE,VALUE each; the best by held-out loss is kept",
        json_schema_extra={"several": True},
    )
    tensorboard: bool = Field(False, description="curves for TensorBoard, in the folder tensorboard of `out`")
    seed: int = Field(0, ge=0, description="order of rows, first adapter weights, dropout")
    prompt: PromptSettings = Field(default_factory=PromptSettings)
    reward: Rewards = Field(
        (),
        description="grpo: FILE.py:FUNCTION, exact_match, citations, json or length:WORDS; several: A,0.5*B",
    )
    grpo: GroupSettings = Field(default_factory=GroupSettings)

    @model_validator(mode="after")
    def _one_warmup(self) -> "TuneSettings":
        if self.warmup_steps is not None and self.warmup_ratio is not None:
            raise ValueError("give warmup_steps or warmup_ratio, not both")
        return self

    @model_validator(mode="after")
    def _one_length(self) -> "TuneSettings":
        if self.time and self.max_steps:
            raise ValueError("give max_steps or time, not both: each says how many steps are taken")
        if self.time and self.search:
            raise ValueError(
                "search compares runs after the same share of steps, which time would pick; give one"
            )
        return self

    @staticmethod
    def steps_between(every: float, steps: int) -> int:
        """`save_every` or `eval_every` in steps of a run of `steps`; shares are rounded up, as transformers does."""
        return int(every) if every >= 1 else math.ceil(every * steps)

    @model_validator(mode="after")
    def _multiplies_in_int8(self) -> "TuneSettings":
        if self.int8_forward:
            options.check_int8_forward(self.method, self.device)
            if self.fsdp:
                raise ValueError("int8_forward runs in one process, not with fsdp; leave one of them out")
        return self

    @model_validator(mode="after")
    def _tells_kinds(self) -> "TuneSettings":
        if self.asked is not None and not self.embedder:
            raise ValueError(options.ASKED_NEEDS_EMBEDDER)
        return self

    @model_validator(mode="after")
    def _fits_objective(self) -> "TuneSettings":
        if self.objective != "grpo":
            if self.beta == 0:
                raise ValueError(f"beta=0 tells no answers apart; give objective={self.objective} more")
            if self.reward:
                raise ValueError(f"reward is for objective=grpo, not {self.objective}")
            return self
        if not self.reward:
            raise ValueError("objective=grpo needs a reward, such as reward=rewards.py:score")
        if self.search or self.embedder:
            given = "search" if self.search else "embedder"
            raise ValueError(
                f"{given} needs losses on held-out rows, and objective=grpo has none; leave it out"
            )
        if self.method != "lora" or self.fsdp:
            given = "fsdp" if self.fsdp else f"method={self.method}"
            raise ValueError(
                f"objective=grpo trains an adapter in one process, not with {given}; use method=lora"
            )
        return self

    @property
    def time_s(self) -> float | None:
        """Seconds that a run may take; None: as long as its steps take."""
        return _seconds(self.time) if self.time else None

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
        """The strength of a preference, or of the KL term."""
        return DEFAULT_BETA[self.objective] if self.beta is None else self.beta
