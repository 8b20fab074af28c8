"""Words and fields that the settings of several parts share, each defined once: `plan` asks what `tune` will do."""

import re
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, WithJsonSchema

Device = Literal["auto", "cpu", "cuda", "mps", "xpu"]
Precision = Literal["auto", "f32", "bf16", "int8", "int4"]
TrainPrecision = Literal["auto", "f32", "bf16"]
KvPrecision = Literal["auto", "int8"]
Objective = Literal["sft", "dpo", "orpo", "simpo", "kto", "pretrain", "grpo"]
Optimizer = Literal["adamw", "sgd", "adamw8bit"]
TrainOn = Literal["answers", "last", "all"]

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)(B?)\s*", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_LEAST_BARE_BYTES = 1_000_000  # a smaller number without a unit is one whose unit was forgotten


def parse_bytes(text: str) -> int:
    """`24GB`, `16GiB` or `24000000000` in bytes. Raises ValueError for anything else."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("expected a size such as 24GB, 16GiB or a number of bytes")
    number, unit, binary, byte = match.groups()
    size = int(float(number) * (1024 if binary else 1000) ** _POWERS[unit.upper()])
    if not (unit or byte) and size < _LEAST_BARE_BYTES:
        raise ValueError(f"a number without a unit counts bytes; write {number}GB or {number}MB")
    return size


def checked_bytes(given: object) -> object:
    """The size as text, where it is one (YAML reads a bare number as one). Raises ValueError for anything else."""
    text = str(given) if isinstance(given, str | int | float) else ""
    parse_bytes(text)
    return text


def recomputed(value: object) -> object:
    """`auto`, `mlp`, or what says true or false as one of them. Raises ValueError for anything else."""
    if value in ("auto", "mlp"):
        return value
    try:
        return TypeAdapter(bool).validate_python(value)
    except ValidationError as error:
        raise ValueError("expected auto, mlp, true or false") from error


def check_int8_forward(method: str, device: str) -> None:
    """Raise ValueError where `int8_forward` has nothing to multiply, or nothing to do it with."""
    if method not in ("lora", "qlora"):
        raise ValueError(
            f"int8_forward multiplies with frozen weights, and {method} has none; use lora or qlora, or leave it out"
        )
    if device not in ("auto", "cpu"):
        raise ValueError(f"int8_forward runs on a CPU only, not on device={device}; leave it out")


def one_or_several(given: object) -> object:
    """A file, or several."""
    return (given,) if isinstance(given, str | PurePath) else given


_FILES = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
Files = Annotated[
    tuple[Path, ...], BeforeValidator(one_or_several), Field(min_length=1), WithJsonSchema(_FILES)
]
Size = Annotated[str, BeforeValidator(checked_bytes)]
Recomputed = Annotated[bool | Literal["auto", "mlp"], BeforeValidator(recomputed)]

# Fields, with default, limits and help: `rank: int = RANK`.
RANK: Any = Field(8, ge=1, le=1024, description="LoRA rank")
ALPHA: Any = Field(None, gt=0, description="LoRA scale is alpha/rank; default: 2 x rank")
DROPOUT: Any = Field(0.0, ge=0, lt=1, description="dropout before the adapter")
TARGETS: Any = Field("all-linear", description="layers adapted: names (q_proj,v_proj) or all-linear")
DORA: Any = Field(False, description="a magnitude beside each direction (DoRA): finer, slower")
INT8_FORWARD: Any = Field(
    False,
    description="lora, qlora: multiply with the frozen weights in 8 bits on the way forward; faster on a CPU, a "
    "byte a weight more, a little noise",
)
OBJECTIVE: Any = Field(
    "sft",
    description="what is minimised; sft: predict the answers, pretrain: all of a text, dpo, orpo, simpo: prefer one "
    "answer to another, kto: follow judgements, grpo: write what a reward function likes",
)
TEMPLATE: Any = Field(
    None,
    description="chat template: chatml, llama2, vicuna, alpaca or a Jinja file; default: the model's own, else what "
    "its name is known for",
)
TRAIN_ON: Any = Field("answers", description="tokens that carry loss")
EPOCHS: Any = Field(1, ge=1, description="times every row is read")
MAX_STEPS: Any = Field(None, ge=1, description="stop after so many steps")
PACKING: Any = Field(True, description="rows behind each other in a pass, none seeing another; false: padded")
OPTIMIZER: Any = Field("adamw", description="sgd keeps half of adamw's state, adamw8bit a quarter")
MOMENTUM: Any = Field(
    0.9, ge=0, lt=1, description="sgd: share of the last step that is kept; 0 keeps nothing"
)
LEARNING_RATE: Any = Field(
    None,
    gt=0,
    description="default: 3e-4 for lora, 2e-5 for full, a tenth of it for preferences; sgd: 0.1",
)
BATCH: Any = Field(None, ge=1, description="rows a step; default: 128 while at least 100 steps remain")
MICRO_BATCH: Any = Field(
    None, ge=1, description="rows a pass; default: as many as make 1,024 tokens (8,192 on a GPU)"
)
ASKED: Any = Field(
    None,
    description="questions that users ask, to say which kinds of them have no row: a line each, or rows with a "
    "question; needs an embedder",
)
ASKED_NEEDS_EMBEDDER = (
    "asked needs an embedder to tell kinds of question apart: add --embedder minilm, or another"
)
MAX_LENGTH: Any = Field(2048, ge=2, description="longest row in tokens")
GRADIENT_CHECKPOINTING: Any = Field(
    "auto",
    description="recompute activations: less memory, slower; true: whole layers; mlp: what is widest, at half the "
    "price; auto: the first of false, mlp and true that fits",
)
GROUP_SIZE: Any = Field(8, ge=2, description="grpo: answers sampled to each prompt, compared with each other")
KV_PRECISION: Any = Field("auto", description="of cached keys and values; int8 halves their memory")
