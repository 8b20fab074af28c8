"""Rows looked at before they are learnt, from settings to results: `data show` and `data check`."""

from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from weightwright.data.settings import DataCheckSettings, DataShowSettings

if TYPE_CHECKING:
    from weightwright.data.show import FilePreview
    from weightwright.data.summary import FileSummary
    from weightwright.data.survey import Encode
    from weightwright.ports import Tokenizer


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found out about rows, the rank that their kinds of task ask for, and what makes that doubtful."""

    summary: "FileSummary"
    rank: int | None = None  # None: kinds were not counted
    notes: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """What the rank is advised for."""
        count = self.summary.kinds.count if self.summary.kinds is not None else 0
        return f"about {count} kinds of task" if count > 1 else "one kind of task"

    def data(self) -> dict[str, Any]:
        """The result as JSON."""
        advice = [] if self.rank is None else [{"setting": "rank", "value": self.rank, "why": self.why}]
        return {**self.summary.to_json(), "advice": advice, "notes": list(self.notes)}


def show(settings: DataShowSettings) -> "FilePreview":
    """Rows as the model will read them, with the tokens that carry loss. Raises DataError with the row's place."""
    from weightwright.data.show import show as shown

    return shown(settings, _tokenizer(settings))


def check(settings: DataCheckSettings) -> Inspection:
    """All that can be found out about rows. Raises DataError where not one row can be read."""
    from weightwright.connect import open_embedder
    from weightwright.data.catalogue import Source
    from weightwright.data.summary import check as checked
    from weightwright.plan.advice import lora_rank

    with closing(open_embedder(settings.embedder)) if settings.embedder else nullcontext() as embedder:
        summary = checked(
            Source(settings.file),
            eval_path=Source(settings.eval_data, held_out=True) if settings.eval_data else None,
            prompt=settings.prompt,
            encode=_encode(settings),
            embedder=embedder,
            asked=settings.asked or (),
            max_length=settings.max_length,
        )
    if summary.kinds is None:
        return Inspection(summary)
    main = next(iter(summary.languages))
    notes: tuple[str, ...] = ()
    if settings.embedder == "minilm" and main != "en":
        notes = (
            f"minilm reads English, most rows are {main}: take an --embedder that reads it to count "
            "kinds, for example multilingual-e5-small",
        )
    return Inspection(summary, lora_rank(summary.kinds.count), notes)


def _encode(settings: DataCheckSettings) -> "Encode | None":
    """Rows to the tokens that the model reads; None without a model."""
    if not settings.model:
        return None
    from weightwright.data.template import encode_row

    return partial(encode_row, tokenizer=_tokenizer(settings), train_on=settings.train_on)


def _tokenizer(settings: DataShowSettings | DataCheckSettings) -> "Tokenizer":
    """The model's tokenizer, with another chat template where one is given."""
    from weightwright.data.chat_templates import chosen_template
    from weightwright.weights.load import load_tokenizer

    tokenizer: Tokenizer = load_tokenizer(settings.model)
    return tokenizer if settings.template is None else chosen_template(settings.template, tokenizer)
