"""The options of `data show` and `data check`."""

from pydantic import Field, model_validator

from weightwright import options
from weightwright.config import Settings
from weightwright.data.grounded import PromptSettings
from weightwright.options import Files, TrainOn

_ROWS_HELP = (
    "rows: files (.json, .jsonl, .csv, .parquet, .txt, …), folders of them, or FOLDER:NAME of a "
    "dataset_info.json"
)


class DataShowSettings(Settings):
    """Which rows to show, as which model will read them."""

    file: Files = Field(description=_ROWS_HELP)
    model: str = Field(description="model address, for its tokenizer and chat template")
    train_on: TrainOn = options.TRAIN_ON
    template: str | None = options.TEMPLATE
    first: int = Field(1, ge=1, description="number of the first row to show")
    count: int = Field(3, ge=1, description="rows to show")
    prompt: PromptSettings = Field(default_factory=PromptSettings)


class DataCheckSettings(Settings):
    """Which rows to check, and what for."""

    file: Files = Field(description=_ROWS_HELP)
    model: str = Field(
        "", description="model address, to count tokens as it will read them; default: characters"
    )
    eval_data: Files | None = Field(None, description="rows held out, to be sought among the others")
    embedder: str = Field(
        "", description="embedder address (minilm), to count kinds of task; default: not counted"
    )
    asked: Files | None = options.ASKED
    train_on: TrainOn = options.TRAIN_ON
    template: str | None = options.TEMPLATE
    max_length: int = options.MAX_LENGTH
    prompt: PromptSettings = Field(default_factory=PromptSettings)

    @model_validator(mode="after")
    def _tells_kinds(self) -> "DataCheckSettings":
        if self.asked is not None and not self.embedder:
            raise ValueError(options.ASKED_NEEDS_EMBEDDER)
        return self
