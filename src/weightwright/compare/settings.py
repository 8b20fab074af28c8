"""What `compare` can be told."""

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from weightwright.compare.arms import ARMS, arm
from weightwright.config import Settings, nearest, partial
from weightwright.judge.settings import Metrics
from weightwright.options import Files
from weightwright.plan.price import PRICE, PriceText
from weightwright.rag.settings import AnswerSettings, ChunkSettings
from weightwright.tune.settings import TuneSettings

_TUNE_OPTIONS = (
    "rank", "alpha", "dropout", "targets", "epochs", "max_steps", "learning_rate", "batch", "micro_batch",
    "max_length", "too_long", "precision", "seed",
)  # fmt: skip


class TuneOverrides(partial(TuneSettings, _TUNE_OPTIONS)):  # type: ignore[misc] # made from tune's own fields
    """How the adapter is tuned: options of `weightwright tune`, by its names; left out: its defaults."""

    data: Files | None = Field(None, description="rows to tune the adapter on (unless `adapter` is given)")


class CompareSettings(Settings):
    """One comparison: a model, questions, the arms to try, and how they are scored.

    Paths in a settings file are relative to that file.
    """

    model: str = Field(description="address of the model that all arms share")
    questions: Path = Field(description="JSONL: question, reference, answers, documents, id, kind a line")
    arms: tuple[str, ...] = Field(("base", "rag"), description=f"what is tried: {', '.join(ARMS)}")
    documents: tuple[Path, ...] = Field((), description="files and folders to index for retrieval")
    kb: str = Field("", description="an existing knowledge base instead of `documents`")
    embedder: str = Field(
        "",
        description="address of the embedder; default: the knowledge base's own, or what the documents need",
    )
    chunks: ChunkSettings = Field(default_factory=ChunkSettings)
    answer: AnswerSettings = Field(default_factory=AnswerSettings)
    adapter: str = Field(
        "", description="adapter of the arms that need one: a folder, or a server's name for it"
    )
    tune: TuneOverrides = Field(default_factory=TuneOverrides)
    metrics: Metrics = Field(
        ("f1", "exact_match", "contains", "no_answer"),
        min_length=1,
        description="reference metrics to report",
    )
    primary: str = Field("f1", description="the one metric that decides")
    difference: float = Field(
        0.1, gt=0, le=1, description="difference of the primary metric that matters to you"
    )
    alpha: float = Field(0.05, gt=0, lt=1, description="chance of a false difference that is accepted")
    seed: int = Field(0, ge=0, description="seed of resampling")
    concurrency: int = Field(16, ge=1, description="questions under way at once")
    limit: int | None = Field(None, ge=1, description="only so many questions")
    price: PriceText | None = PRICE
    out: Path = Field(Path("runs/compare"), description="folder for report.html and the answers")

    @field_validator("arms", mode="before")
    @classmethod
    def _known_arms(cls, given: object) -> object:
        names = given.split(",") if isinstance(given, str) else given
        if not isinstance(names, list | tuple):
            return given
        flat = tuple(part.strip() for name in names for part in str(name).split(","))
        for name in flat:
            if name not in ARMS:
                raise ValueError(f"unknown arm {name!r}{nearest(name, ARMS)}")
        if len(set(flat)) < max(2, len(flat)):
            raise ValueError("give at least two arms, each once")
        return flat

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        arms = [arm(name) for name in self.arms]
        if self.primary not in self.metrics:
            raise ValueError(f"primary {self.primary!r} is not among metrics: {', '.join(self.metrics)}")
        if any(a.context != "none" for a in arms) and bool(self.kb) == bool(self.documents):
            raise ValueError("an arm with passages needs either `documents` or `kb`")
        if any(a.adapter for a in arms) and bool(self.adapter) == (self.tune.data is not None):
            raise ValueError("an arm with an adapter needs either `adapter` or `tune.data`")
        return self

    @property
    def remote(self) -> bool:
        """Whether the model answers from another process."""
        return self.model.startswith(("http://", "https://"))

    def placed(self, folder: Path) -> "CompareSettings":
        """The same with relative paths and addresses taken from `folder` on."""

        def path(value: Path | None) -> Path | None:
            return None if value is None else folder / value.expanduser()

        rows = self.tune.data and tuple(folder / one.expanduser() for one in self.tune.data)
        return self.model_copy(
            update={
                "model": _address(self.model, folder),
                "embedder": _address(self.embedder, folder),
                "kb": self.kb if "://" in self.kb or not self.kb else str(path(Path(self.kb))),
                "questions": path(self.questions),
                "out": path(self.out) if "out" in self.model_fields_set else self.out,
                "documents": tuple(path(d) for d in self.documents),
                "adapter": self._adapter_from(folder),
                "tune": self.tune.model_copy(update={"data": rows}),
            }
        )

    def _adapter_from(self, folder: Path) -> str:
        if not self.adapter or self.remote:
            return self.adapter
        return str((folder / Path(self.adapter).expanduser()).absolute())


def _address(text: str, folder: Path) -> str:
    """A model address whose own path, if it begins with a dot, stands from `folder` on."""
    return str((folder / text).absolute()) if text.startswith(("./", "../")) else text
