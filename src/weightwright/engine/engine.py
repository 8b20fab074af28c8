"""The engine behind `ports.Chat`: one thread that computes a step after the other for all requests together."""

import atexit
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from weightwright.engine.assemble import Parts, assemble
from weightwright.engine.blocks import BlockPool
from weightwright.engine.completions import Rows
from weightwright.engine.request import Model, Running, cancel
from weightwright.engine.runner import Runner
from weightwright.engine.sampling.constrain import Grammars
from weightwright.engine.schedule import Batch, Schedule, Work
from weightwright.engine.score import Scoring
from weightwright.engine.settings import EngineSettings
from weightwright.errors import EngineError, RequestError, WeightwrightError
from weightwright.kernels.pool import release_threads
from weightwright.ports import ChatRequest, Reply, Score

if TYPE_CHECKING:
    from torch import Tensor

    from weightwright.ports import Vectors
    from weightwright.weights.load import Loaded

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Stats:
    """What the engine holds and has done; blocks are of the KV cache."""

    running: int
    waiting: int
    blocks: int
    free_blocks: int
    preemptions: int
    prefix_query_tokens: int
    prefix_hit_tokens: int


class Engine:
    """Answers many requests at once over one model; `default_adapter` serves those that name none."""

    def __init__(
        self,
        loaded: "Loaded",
        *,
        adapters: Mapping[str, Path] | None = None,
        default_adapter: str | None = None,
        settings: EngineSettings | None = None,
    ) -> None:
        self.settings = settings or EngineSettings()
        self.name = loaded.name
        self.tokenizer = loaded.tokenizer
        self._fingerprint = loaded.fingerprint
        self.parts: Parts = assemble(loaded, self.settings)
        self.context_tokens = self.parts.context_tokens
        self._default_adapter = default_adapter
        self._bank = self.parts.bank
        end_ids = _end_ids(self.parts.generation_config, loaded.tokenizer)
        self._model = Model(
            loaded.tokenizer, self.parts.vocab_tokens, self.context_tokens, end_ids,
            Grammars(loaded.tokenizer, end_ids),
        )  # fmt: skip
        for name, folder in (adapters or {}).items():
            self._load(name, folder)
        self._pool = BlockPool(self.parts.cache.blocks, self.parts.block_tokens)
        self._schedule = Schedule(self._pool, self.settings.max_sequences, self.settings.step_tokens)
        self._runner = Runner(self.parts)
        self._rows = Rows(self._model, self._schedule, self.settings)
        self._scoring = Scoring(self._schedule)
        self._inbox: deque[Callable[[], None]] = deque()  # what other threads want done, in order
        self._changed = threading.Condition()
        self._closed = False
        release_threads()  # packing is done; from here on the engine's own thread computes
        self._thread = threading.Thread(target=self._loop, name="weightwright-engine", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # a thread inside torch at the interpreter's end would abort it

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the loaded adapters."""
        return self._bank.names

    @property
    def stats(self) -> Stats:
        """Counts at this moment."""
        schedule, pool = self._schedule, self._pool
        return Stats(
            schedule.running, schedule.waiting, pool.blocks, pool.free_blocks, schedule.preemptions,
            schedule.prefix_query_tokens, schedule.prefix_hit_tokens,
        )  # fmt: skip

    def submit(self, request: ChatRequest) -> Reply:
        """Start a request; what is wrong with it fails its Reply alone."""
        running = Running(request, request.adapter or self._default_adapter, self._cancel)
        try:
            self._bank.slot(running.adapter)
            running.prepare(self._model)
        except WeightwrightError as error:
            running.reply.fail(error)
            return running.reply
        if not self._post(lambda: self._add(running)):
            running.reply.fail(RequestError("the engine is closed"))
        return running.reply

    def score(self, prompt: str, completions: Sequence[str], *, adapter: str | None = None) -> list[Score]:
        """Log-likelihoods of completions after a prompt; blocks until they are there."""
        chosen = adapter or self._default_adapter
        self._bank.slot(chosen)
        items = self._scoring.items(self.tokenizer, prompt, completions, self.context_tokens)
        future: Future[list[Score]] = Future()
        self._done(lambda: self._scoring.start(items, self._salt(chosen), chosen, future))
        return future.result()

    def embed(self, texts: Sequence[str], *, pooling: str = "mean") -> "Vectors":
        """Hidden states of texts, pooled (`mean`, `last`) and of length one, [texts, hidden] f32; blocks."""
        from weightwright.engine.embed import embed

        return self._done(
            lambda: embed(self.parts, self.tokenizer, texts, pooling, self.settings.step_tokens)
        )

    def load_adapter(self, name: str, folder: Path) -> None:
        """Load a LoRA adapter while requests run; blocks. Raises ModelError when it does not fit."""
        self._done(lambda: self._load(name, folder))

    def drop_adapter(self, name: str) -> None:
        """Forget an adapter; blocks until no request uses it. Raises RequestError when there is none such."""
        self._bank.slot(name)
        self._done(lambda: self._drop(name))

    def close(self) -> None:
        """End everything under way as cancelled and stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        atexit.unregister(self.close)

    def _post(self, job: Callable[[], None]) -> bool:
        """Have the engine's thread do something between two steps; False when it is closed."""
        with self._changed:
            if self._closed:
                return False
            self._inbox.append(job)
            self._changed.notify()
            return True

    def _done(self, work: Callable[[], T]) -> T:
        """Have the engine's thread do something and wait for what comes of it."""
        future: Future[T] = Future()

        def job() -> None:
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 - handed to the thread that asked
                future.set_exception(error)

        if not self._post(job):
            raise RequestError("the engine is closed")
        return future.result()

    def _cancel(self, running: Running) -> None:
        running.cancelled = True
        self._post(lambda: self._rows.drop(running, cancel))

    # -- the engine's own thread -----------------------------------------------------------------

    def _loop(self) -> None:
        while self._wait_for_work():
            while self._inbox:
                self._inbox.popleft()()
            self._rows.guess()
            batch = self._schedule.next()
            if batch is None:
                continue
            try:
                slots = {work.sequence: self._slot(work) for work in batch.works}
                self._commit(batch, self._runner.run(batch, slots))
            except Exception as error:  # the thread must outlive one bad batch
                log.exception("a step of the engine failed")
                self._fail(batch, EngineError(f"the model failed: {error}"))
        self._stop()

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._inbox or self._schedule.running or self._schedule.waiting
            )
            return not self._closed

    def _add(self, running: Running) -> None:
        if running.cancelled:
            self._rows.drop(running, cancel)
            return
        try:
            self._rows.start(running, self._salt(running.adapter))
        except RequestError as error:
            running.reply.fail(error)

    def _salt(self, adapter: str | None) -> bytes:
        return b"" if adapter is None else self._bank.digest(adapter)

    def _slot(self, work: Work) -> int:
        owner = self._rows.owner(work.sequence)
        adapter = owner.running.adapter if owner is not None else self._scoring.adapter(work.sequence)
        return self._bank.slot(adapter)

    def _commit(self, batch: Batch, logits: "Tensor") -> None:
        """Give every sequence its logits: [rows, vocab], in the order of the works."""
        own, at = [], 0
        for work in batch.works:
            if self._rows.owner(work.sequence) is not None:
                own.append((work, at))
            elif work.logits:
                self._scoring.take(work, logits[at : at + work.logits])
            if self._rows.owner(work.sequence) is None:
                self._scoring.commit(work)
            at += work.logits
        self._rows.take(own, logits)

    def _fail(self, batch: Batch, error: EngineError) -> None:
        for work in batch.works:
            owner = self._rows.owner(work.sequence)
            if owner is not None:
                owner.running.reply.fail(error)
                self._rows.drop(owner.running)
            else:
                self._scoring.fail(work.sequence, error)

    def _load(self, name: str, folder: Path) -> None:
        from weightwright.executor.lora import read_adapter
        from weightwright.weights.origin import differences

        self._bank.load(read_adapter(name, folder))
        for line in differences(folder, self._fingerprint, self._model.tokenizer.chat_template or ""):
            log.warning("adapter %s: %s", name, line)

    def _drop(self, name: str) -> None:
        for running in self._rows.running():
            if running.adapter == name:
                running.reply.fail(RequestError(f"the adapter {name!r} was dropped while the request ran"))
                self._rows.drop(running)
        self._bank.drop(name)

    def _stop(self) -> None:
        while self._inbox:
            self._inbox.popleft()()
        for running in self._rows.running():
            self._rows.drop(running, cancel)
        self._scoring.stop()


def _end_ids(generation_config: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an answer: the generation config's and the tokenizer's own."""
    configured = getattr(generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    return tuple(sorted({int(i) for i in (*ids, tokenizer.eos_token_id) if i is not None}))
