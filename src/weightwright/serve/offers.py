"""What the server offers by name: the base model, its adapters, and knowledge bases."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from weightwright.config import nearest
from weightwright.errors import NoSuchModelError, SettingsError
from weightwright.ports import Chat, Progress, SamplingParams
from weightwright.serve.settings import ServeSettings

_OPEN = SamplingParams(max_tokens=None)  # OpenAI's defaults: the answer may fill the context


@dataclass(frozen=True, slots=True)
class Offer:
    """One model name of the API: who answers, through which adapter, with which defaults."""

    name: str
    chat: Chat
    adapter: str | None = None
    parent: str | None = None
    grounded: bool = False  # answers from a knowledge base, with citations
    params: SamplingParams = _OPEN  # what a request leaves open


class Offers:
    """The models by name, in the order in which they are listed."""

    def __init__(self, offers: Sequence[Offer], close: Callable[[], None] = lambda: None) -> None:
        self.close = close
        names = [offer.name for offer in offers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SettingsError(f"two models are named {', '.join(twice)}; give each a name of its own")
        self._by_name = dict(zip(names, offers, strict=True))

    def __iter__(self) -> Iterator[Offer]:
        return iter(self._by_name.values())

    def named(self, name: str) -> Offer:
        """The offer of that name. Raises NoSuchModelError with the nearest one."""
        if name not in self._by_name:
            raise NoSuchModelError(f"there is no model {name!r} here{nearest(name, self._by_name)}")
        return self._by_name[name]


def open_offers(settings: ServeSettings, progress: Progress) -> Offers:
    """Open the model, its adapters and the knowledge bases that the settings name.

    Raises a WeightwrightError when one of them cannot be opened; then nothing stays open.
    """
    from weightwright.connect import open_chat

    adapters = {name: Path(folder) for name, folder in _named(settings.adapter, "adapter")}
    bases = dict(_named(settings.kb, "kb"))
    base = settings.name or settings.model
    with ExitStack() as stack:
        chat = open_chat(settings.model, adapters=adapters, settings=settings.engine, progress=progress)
        stack.callback(chat.close)
        params = _params(settings)
        offers = [Offer(base, chat, params=params)]
        offers += [Offer(name, chat, adapter=name, parent=base, params=params) for name in adapters]
        offers += [_knowledge(name, kb, chat, base, settings, stack) for name, kb in bases.items()]
        return Offers(offers, stack.pop_all().close)
    raise AssertionError("an ExitStack of closers swallows nothing")


def _params(settings: ServeSettings) -> SamplingParams:
    """What a request to the model or its adapters leaves open."""
    from weightwright.weights.advised import advised_by

    advised = advised_by(settings.model) if settings.generation_config == "auto" else {}
    return SamplingParams(**({"max_tokens": None} | advised))


def _knowledge(
    name: str, address: str, chat: Chat, parent: str, settings: ServeSettings, stack: ExitStack
) -> Offer:
    from weightwright.connect import open_knowledge
    from weightwright.rag.answer import KnowledgeChat

    knowledge = open_knowledge(address, embedder=settings.embedder, settings=settings.answer)
    stack.callback(knowledge.close)
    grounded = KnowledgeChat(knowledge, chat)
    stack.callback(grounded.close)
    return Offer(name, grounded, parent=parent, grounded=True, params=knowledge.params)


def _named(entries: Sequence[str], option: str) -> Iterator[tuple[str, str]]:
    """`NAME=PLACE` entries in two parts."""
    for entry in entries:
        name, equals, place = entry.partition("=")
        if not (name and equals and place):
            raise SettingsError(f"{option} {entry!r} must read NAME=PLACE, such as mine={entry}")
        yield name, place
