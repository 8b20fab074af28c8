"""`weightwright data`: look at rows before they are learnt."""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from weightwright.cli.flags import Outcome, verb
from weightwright.config import Settings
from weightwright.data.grounded import PromptSettings

if TYPE_CHECKING:
    from weightwright.data.template import Encoded

Runs = list[tuple[bool, str]]


class DataShowSettings(Settings):
    """Which rows to show, as which model will read them."""

    file: Path = Field(description="rows to learn from: .json or .jsonl")
    model: str = Field(description="model address, for its tokenizer and chat template")
    train_on: Literal["answers", "last", "all"] = Field("answers", description="tokens that carry loss")
    first: int = Field(1, ge=1, description="number of the first row to show")
    count: int = Field(3, ge=1, description="rows to show")
    prompt: PromptSettings = Field(default_factory=PromptSettings)


@verb(DataShowSettings, section="data_show", positional=("file",))
def show(settings: DataShowSettings) -> Outcome:
    """Print rows as the model will read them, with the tokens that carry loss in colour."""
    from weightwright.data.formats import read_samples
    from weightwright.data.template import encode
    from weightwright.model.load import load_tokenizer

    samples = read_samples(settings.file, settings.prompt)
    tokenizer = load_tokenizer(settings.model)
    encoded = [encode(sample, tokenizer, settings.train_on) for sample in samples]
    shown = encoded[settings.first - 1 :][: settings.count]
    runs = [_runs(row, tokenizer) for row in shown]
    data = {
        "rows": len(encoded),
        "tokens": sum(map(len, encoded)),
        "labelled_tokens": sum(row.labelled_tokens for row in encoded),
        "longest": max(map(len, encoded)),
        "shown": [
            {
                "place": row.place,
                "tokens": len(row),
                "labelled_tokens": row.labelled_tokens,
                "parts": [{"labelled": labelled, "text": text} for labelled, text in parts],
            }
            for row, parts in zip(shown, runs, strict=True)
        ],
    }
    return Outcome(data, _view(data, shown, runs))


def _runs(row: "Encoded", tokenizer: Any) -> Runs:
    """The row's text, cut where labelled and other tokens meet."""
    pairs = zip(row.labelled, row.token_ids, strict=True)
    return [
        (labelled, tokenizer.decode([token for _, token in part]))
        for labelled, part in groupby(pairs, key=lambda pair: pair[0])
    ]


def _view(data: dict[str, Any], shown: list["Encoded"], runs: list[Runs]) -> Any:
    from rich.console import Group
    from rich.text import Text

    blocks: list[Any] = [
        f"{data['rows']} rows, {data['tokens']:,} tokens, {data['labelled_tokens']:,} of them carry loss; "
        f"the longest row has {data['longest']:,}"
    ]
    for row, parts in zip(shown, runs, strict=True):
        blocks.append(
            Text(f"\n{row.place}: {len(row)} tokens, {row.labelled_tokens} carry loss", style="bold")
        )
        styled = [(text, "bold green" if labelled else "dim") for labelled, text in parts]
        blocks.append(Text.assemble(*styled))
    return Group(*blocks)
