"""What a model says before and after a run on a few held-out rows; a Chat is handed in."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from weightwright.data.formats import Sample
from weightwright.errors import ModelError, Place
from weightwright.files import as_path
from weightwright.ports import Chat, ChatRequest, Embedder, Message, SamplingParams
from weightwright.tune import held_out
from weightwright.tune.held_out import KindLoss
from weightwright.tune.settings import TuneSettings

if TYPE_CHECKING:
    from weightwright.data.asked import AskedKinds
    from weightwright.tune.result import TuneResult


class OpenChat(Protocol):
    """Opens the model at an address, with adapters by name."""

    def __call__(self, address: str, *, adapters: Mapping[str, Path] | None = None) -> Chat:
        """A Chat that the caller closes."""
        ...


@dataclass(frozen=True, slots=True)
class Preview:
    """A row's last question, the answer it has, and what the model said to it."""

    place: Place
    question: str
    wanted: str
    before: str
    after: str

    def data(self) -> dict[str, Any]:
        """The row as JSON."""
        return {
            "place": str(self.place), "question": self.question, "wanted": self.wanted, "before": self.before,
            "after": self.after,
        }  # fmt: skip


def before_and_after(result: "TuneResult", settings: TuneSettings, open_chat: OpenChat) -> list[Preview]:
    """What the model says to a few held-out rows, without and with what was learnt; none where none are held out."""
    from weightwright.tune import dataset

    apart = dataset.held_out(settings)
    if not settings.show or apart is None or settings.objective == "pretrain":
        return []
    read = islice(dataset.read(settings, apart), settings.show)
    samples = [getattr(row, "chosen", getattr(row, "sample", row)) for row in read]
    adapters = {"tuned": result.adapter} if result.adapter else None
    with closing(open_chat(settings.model, adapters=adapters)) as chat:
        before = answers(chat, samples)
        after = answers(chat, samples, adapter="tuned") if adapters else []
    if result.model is not None:
        with closing(open_chat(as_path(result.model))) as chat:
            after = answers(chat, samples)
    return side_by_side(samples, before, after)


def losses_by_kind(settings: TuneSettings, open_embedder: Callable[[str], Embedder]) -> list[KindLoss]:
    """Held-out losses by kind of task; none where no embedder is named or no rows are held out."""
    from weightwright.data.checks import task_of
    from weightwright.tune import dataset

    apart = dataset.held_out(settings)
    if not settings.embedder or apart is None:
        return []
    tasks = {str(row.place): task_of(row) for row in dataset.read(settings, apart)}
    with closing(open_embedder(settings.embedder)) as embedder:
        return held_out.by_kind(held_out.read(settings.out), tasks, embedder)


def asked_kinds(settings: TuneSettings, open_embedder: Callable[[str], Embedder]) -> "AskedKinds | None":
    """The kinds of the questions that users ask, beside the rows; None where no file of them is named."""
    if settings.asked is None:
        return None
    from weightwright.data.asked import kinds_asked, read_asked
    from weightwright.data.checks import task_of
    from weightwright.data.kinds import embedded
    from weightwright.tune import dataset

    questions = read_asked(settings.asked)
    tasks = [task_of(row) for row in dataset.read(settings, dataset.learnt(settings))]
    with closing(open_embedder(settings.embedder)) as embedder:
        return kinds_asked(questions, embedded(questions, embedder), embedded(tasks, embedder))


def answers(
    chat: Chat, samples: Sequence[Sample], *, adapter: str | None = None, max_tokens: int = 128
) -> list[str]:
    """The greedy answers to the last question of each row.

    A model without a chat template goes on with the question's text where the row is a text and its continuation; to
    a conversation it has no answer ("").
    """
    params = SamplingParams(temperature=0, max_tokens=max_tokens)

    def answered(requests: Sequence[ChatRequest]) -> list[str]:
        replies = [chat.submit(replace(request, adapter=adapter, params=params)) for request in requests]
        return [reply.result().completions[0].text for reply in replies]

    try:
        return answered([ChatRequest(messages=_prompt(sample)) for sample in samples])
    except ModelError:  # no chat template
        if not all(sample.plain for sample in samples):
            return [""] * len(samples)
        return answered([ChatRequest(prompt=sample.messages[0].content) for sample in samples])


def side_by_side(samples: Sequence[Sample], before: Sequence[str], after: Sequence[str]) -> list[Preview]:
    """Each row with both answers."""
    return [
        Preview(s.place, _prompt(s)[-1].content, s.messages[-1].content, old, new)
        for s, old, new in zip(samples, before, after, strict=True)
    ]


def _prompt(sample: Sample) -> tuple[Message, ...]:
    return sample.messages[:-1]
