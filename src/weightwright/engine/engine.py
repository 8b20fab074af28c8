"""The engine behind `ports.Chat`: one thread that computes a step after the other for all requests together."""

import atexit
import logging
import threading
import time
from collections import abc, deque
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from weightwright.engine.assemble import Parts, assemble
from weightwright.engine.beam import Beams
from weightwright.engine.blocks import BlockPool
from weightwright.engine.call_owner import Call
from weightwright.engine.completions import Completions
from weightwright.engine.embed import Embeddings, texts_of
from weightwright.engine.owner import closed, shares_of
from weightwright.engine.pace import Pace
from weightwright.engine.request import Model, Request, chat_format
from weightwright.engine.runner import Runner
from weightwright.engine.schedule import Schedule
from weightwright.engine.score import Scores, items_of
from weightwright.engine.sequence import Owner, Share
from weightwright.engine.settings import EngineSettings
from weightwright.errors import EngineError, RequestError, WeightwrightError
from weightwright.kernels.pool import aside, release_threads
from weightwright.ports import ChatRequest, Reply, Score

if TYPE_CHECKING:
    from weightwright.executor.lora import Adapter, Prepared
    from weightwright.ports import Vectors
    from weightwright.weights.load import Loaded

log = logging.getLogger(__name__)
T = TypeVar("T")
_OVER = object()


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
    """Answers many requests at once over one model; `default_adapter` serves those that name none.

    With `shared` the model's weights stay those of `loaded`, see `assemble`.
    """

    def __init__(
        self,
        loaded: "Loaded",
        *,
        adapters: abc.Mapping[str, Path] | None = None,
        default_adapter: str | None = None,
        settings: EngineSettings | None = None,
        shared: bool = False,
    ) -> None:
        self.settings = settings or EngineSettings()
        self.name = loaded.name
        self.tokenizer = loaded.tokenizer
        self._fingerprint = loaded.fingerprint
        self.parts: Parts = assemble(loaded, self.settings, shared=shared)
        self.context_tokens = self.parts.context_tokens
        self._default_adapter = default_adapter
        self._bank = self.parts.bank
        self._end_ids = (*_configured(self.parts.generation_config), *loaded.end_ids)
        self._model = Model(
            self.parts.vocab_tokens, self.context_tokens, chat_format(loaded.tokenizer, self._end_ids)
        )
        for name, folder in (adapters or {}).items():
            for _ in self._bank.placing(self._prepared(name, folder)):
                pass
        self._pool = BlockPool(self.parts.cache.blocks, self.parts.block_tokens)
        self._schedule = Schedule(
            self._pool, self.settings.max_sequences, self.settings.step_tokens, stateful=self.parts.stateful
        )
        self._runner = Runner(self.parts)
        self._completions = Completions(self._model, self._schedule, self.settings)
        self._beams = Beams(self._model, self._schedule, self.settings)
        self._scores, self._embeddings = Scores(self._schedule), Embeddings(self._schedule)
        self._owners: tuple[Owner, ...] = (self._completions, self._beams, self._scores, self._embeddings)
        self._pace = Pace()
        self._inbox: deque[abc.Callable[[], None]] = deque()  # what other threads want done, in order
        self._changed = threading.Condition()
        self._closed = False
        self._changing = threading.Lock()  # one adapter is loaded or dropped at a time
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
        return self.submit_together([request])[0]

    def submit_together(self, requests: abc.Sequence[ChatRequest]) -> list[Reply]:
        """Start requests in the same step, so that the steps which they take depend on nothing else."""
        prepared = [Request(one, one.adapter or self._default_adapter, self._cancel) for one in requests]
        ready = [one for one in prepared if self._prepare(one)]
        if not self._post(lambda: self._start_all(ready)):
            for one in ready:
                one.reply.fail(closed())
        return [one.reply for one in prepared]

    def score(
        self, prompt: str, completions: abc.Sequence[str], *, adapter: str | None = None
    ) -> list[Score]:
        """Log-likelihoods of completions after a prompt; blocks until they are there."""
        chosen = adapter or self._default_adapter
        self._bank.slot(chosen)
        items = items_of(self.tokenizer, prompt, completions, self.context_tokens)
        future: Future[list[Score]] = Future()
        self._done(lambda: self._scores.start(Call(items, future, chosen), self._bank.digest(chosen)))
        return future.result()

    def embed(self, texts: abc.Sequence[str], *, pooling: str = "mean") -> "Vectors":
        """Hidden states of texts, pooled into vectors [texts, hidden] f32 of length one; blocks.

        `mean` is the mean of all tokens' last hidden states, `last` the last token's. Raises RequestError for another
        pooling, an empty text, or one longer than the context or the KV cache.
        """
        import numpy as np

        inputs = texts_of(self.tokenizer, texts, pooling, self.context_tokens)
        if not inputs:
            return np.zeros((0, 0), np.float32)
        future: Future[Vectors] = Future()
        self._between_steps(self._embeddings.starting(Call(inputs, future)))
        return future.result()

    def load_adapter(self, name: str, folder: Path) -> None:
        """Load a LoRA adapter while requests run; blocks. Raises ModelError when it does not fit."""
        with self._changing:
            self._between_steps(self._bank.placing(aside(lambda: self._prepared(name, folder))))

    def set_adapter(self, adapter: "Adapter") -> None:
        """Take in an adapter that is in memory, in the place of the one of its name; blocks."""
        with self._changing:
            if adapter.name in self._bank.names:
                self._between_steps(self._dropping(adapter.name))
            self._between_steps(self._bank.placing(self._bank.prepare(adapter)))

    def drop_adapter(self, name: str) -> None:
        """Forget an adapter; blocks until no request uses it. Raises RequestError when there is none such."""
        with self._changing:
            self._bank.slot(name)
            self._between_steps(self._dropping(name))
            self._model.formats.pop(name, None)

    def release_threads(self) -> None:
        """Let the workers of the engine's thread go until its next step: another thread computes meanwhile."""
        self._done(release_threads)

    def close(self) -> None:
        """End everything under way as cancelled and stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        atexit.unregister(self.close)

    def _prepare(self, request: Request) -> bool:
        """Whether a request can be started; fails its reply where it cannot."""
        try:
            self._bank.slot(request.adapter)
            request.prepare(self._model)
        except WeightwrightError as error:
            request.reply.fail(error)
            return False
        return True

    def _post(self, job: abc.Callable[[], None]) -> bool:
        """Run `job` on the engine's thread between two steps; False when the engine is closed."""
        with self._changed:
            if self._closed:
                return False
            self._inbox.append(job)
            self._changed.notify()
            return True

    def _done(self, work: abc.Callable[[], T]) -> T:
        """Run `work` on the engine's thread between two steps and wait for its result."""
        future: Future[T] = Future()

        def job() -> None:
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 - handed to the thread that asked
                future.set_exception(error)

        if not self._post(job):
            raise closed()
        return future.result()

    def _between_steps(self, parts: abc.Iterator[None]) -> None:
        """Run `parts` on the engine's thread, one between each two steps; blocks until all are done."""
        while self._done(lambda: next(parts, _OVER)) is not _OVER:
            pass

    def _cancel(self, request: Request) -> None:
        if request.done:  # a server cancels every reply in the end
            return
        request.cancelled = True
        self._post(lambda: self._owner_of(request).cancel(request))

    def _owner_of(self, request: Request) -> Completions | Beams:
        return self._beams if request.params.use_beam_search else self._completions

    def _prepared(self, name: str, folder: Path) -> "Prepared":
        """Read an adapter and lay it out. Raises ModelError when it does not fit."""
        from weightwright.data.render import with_template
        from weightwright.executor.lora import read_adapter
        from weightwright.weights.origin import differences
        from weightwright.weights.templates import read_template

        base = f"{self._fingerprint} {self.parts.held}"
        prepared = self._bank.prepare(read_adapter(name, folder), base)
        template = read_template(folder)
        tokenizer = with_template(self.tokenizer, template) if template else self.tokenizer
        for line in differences(folder, self._fingerprint, tokenizer.chat_template):
            log.warning("adapter %s: %s", name, line)
        self._model.formats.pop(name, None)
        if tokenizer is not self.tokenizer:
            log.info("adapter %s: conversations are written in its own chat template", name)
            self._model.formats[name] = chat_format(tokenizer, self._end_ids)
        return prepared

    # -- the engine's own thread -----------------------------------------------------------------

    def _loop(self) -> None:
        """Compute step after step: the schedule chooses, the runner computes, each owner takes its rows."""
        while self._wait_for_work():
            while self._inbox:
                self._inbox.popleft()()
            begun = time.perf_counter()
            self._completions.guess()
            batch = self._schedule.next(self._pace.background_tokens(self._schedule.decoding))
            if batch is None:
                continue
            shares = shares_of(batch.works)
            with self._failing(shares):
                output = self._runner.run(batch)
                for owner, own in shares.items():
                    with self._failing({owner: own}):
                        owner.take(own, output)
            self._pace.learn(batch, time.perf_counter() - begun)
        self._stop()

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._inbox or self._schedule.running or self._schedule.waiting
            )
            return not self._closed

    def _start_all(self, requests: abc.Sequence[Request]) -> None:
        for request in requests:
            self._start(request)

    def _start(self, request: Request) -> None:
        owner = self._owner_of(request)
        if request.cancelled:
            owner.cancel(request)
            return
        try:
            owner.start(request, self._bank.digest(request.adapter))
        except RequestError as error:
            request.reply.fail(error)

    @contextmanager
    def _failing(self, shares: abc.Mapping[Owner, abc.Sequence[Share]]) -> abc.Iterator[None]:
        """Fail the sequences of these owners with whatever is raised: the thread must outlive one bad step."""
        try:
            yield
        except Exception as error:
            log.exception("a step of the engine failed")
            for owner, own in shares.items():
                for work, _ in own:
                    owner.fail(work.sequence, EngineError(f"the model failed: {error}"))

    def _dropping(self, name: str) -> abc.Iterator[None]:
        for owner in self._owners:
            owner.drop_adapter(name)
        yield from self._bank.dropping(name)

    def _stop(self) -> None:
        while self._inbox:
            self._inbox.popleft()()
        for owner in self._owners:
            owner.stop()


def _configured(generation_config: Any) -> tuple[int, ...]:
    """The tokens that end a text by the generation config in memory."""
    configured = getattr(generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    return tuple(int(i) for i in ids if i is not None)
