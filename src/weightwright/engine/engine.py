"""The engine behind `ports.Chat`: one thread that reads new prompts and decodes all rows together."""

import atexit
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightwright.engine.adapters import Adapters
from weightwright.engine.request import Running, cancel, take
from weightwright.engine.request import Sequence as Row
from weightwright.engine.runner import Runner
from weightwright.engine.sample import sample
from weightwright.engine.score import score
from weightwright.engine.settings import EngineSettings
from weightwright.errors import ModelError, RequestError, WeightwrightError
from weightwright.ports import ChatRequest, Reply, Score, TokenLogprob

if TYPE_CHECKING:
    from torch import Tensor

    from weightwright.model.load import Loaded

log = logging.getLogger(__name__)


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
        self.context_tokens = min(loaded.context_tokens, self.settings.max_context or loaded.context_tokens)
        self._adapters = Adapters(loaded.model, adapters or {})
        self._default_adapter = default_adapter
        self._end_ids = _end_ids(loaded.model, loaded.tokenizer)
        self._runner = Runner(loaded.model, self._adapters)
        self._rows: list[Row] = []
        self._waiting: deque[Row] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="weightwright-engine", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # a thread inside torch at the interpreter's end would abort it

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the loaded adapters."""
        return self._adapters.names

    def submit(self, request: ChatRequest) -> Reply:
        """Start a request; what is wrong with it fails its Reply alone."""
        adapter = request.adapter or self._default_adapter
        running = Running(request, adapter, self._end_ids)
        try:
            self._adapters.check(adapter)
            running.prepare(self.tokenizer, self.context_tokens)
        except WeightwrightError as error:
            running.reply.fail(error)
            return running.reply
        with self._changed:
            if self._closed:
                running.reply.fail(RequestError("the engine is closed"))
                return running.reply
            self._waiting.extend(running.sequences)
            self._changed.notify()
        return running.reply

    def score(self, prompt: str, completions: Sequence[str], *, adapter: str | None = None) -> list[Score]:
        """Log-likelihoods of completions after a prompt; blocks until they are there."""
        future: Future[list[Score]] = Future()
        chosen = adapter or self._default_adapter

        def job() -> None:
            try:
                future.set_result(
                    score(self._adapters, self.tokenizer, prompt, completions, chosen, self.context_tokens)
                )
            except Exception as error:  # noqa: BLE001 - handed to the thread that asked
                future.set_exception(error)

        with self._changed:
            if self._closed:
                raise RequestError("the engine is closed")
            self._jobs.append(job)
            self._changed.notify()
        return future.result()

    def close(self) -> None:
        """End everything under way as cancelled and stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        atexit.unregister(self.close)

    # -- the engine's own thread -----------------------------------------------------------------

    def _loop(self) -> None:
        while self._wait_for_work():
            try:
                self._run_jobs()
                self._drop_cancelled()
                new = self._admit()
                if new:
                    prompts = [row.running.prompt_ids for row in new]
                    self._commit(new, self._runner.prefill(prompts, [r.running.adapter for r in new]))
                elif self._rows:
                    logits = self._runner.decode([row.token_ids[-1] for row in self._rows])
                    self._commit(self._rows, logits)
                self._drop_finished()
            except Exception as error:  # the thread must outlive one bad batch
                log.exception("a step of the engine failed")
                self._fail_all(ModelError(f"the model failed: {error}"))
        self._stop()

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._rows or self._waiting or self._jobs)
            return not self._closed

    def _run_jobs(self) -> None:
        while self._jobs:
            self._jobs.popleft()()

    def _admit(self) -> list[Row]:
        """Rows to read now: in order of arrival, while there is room and the prompts fit the budget."""
        new: list[Row] = []
        longest = 0
        while self._waiting and len(self._rows) + len(new) < self.settings.max_sequences:
            longest = max(longest, len(self._waiting[0].running.prompt_ids))
            if new and longest * (len(new) + 1) > self.settings.prefill_tokens:
                break
            new.append(self._waiting.popleft())
        self._rows += new
        return new

    def _commit(self, rows: list[Row], logits: "Tensor") -> None:
        """Choose a token for each row and hand it out."""
        tokens = sample(logits, [row.params for row in rows], [row.chance for row in rows]).tolist()
        for row, token, values in zip(rows, tokens, logits, strict=True):
            take(row, token, self._logprob(row, token, values))

    def _logprob(self, row: Row, token: int, logits: "Tensor") -> TokenLogprob | None:
        count = row.params.logprobs
        if count is None:
            return None
        logprobs = logits.log_softmax(dim=-1)
        values, ids = logprobs.topk(count) if count else (logprobs[:0], logprobs[:0].long())
        decode = self.tokenizer.decode
        top = tuple((int(i), str(decode([int(i)])), float(v)) for i, v in zip(ids, values, strict=True))
        return TokenLogprob(token, str(decode([token])), float(logprobs[token]), top)

    def _drop_cancelled(self) -> None:
        for row in [*self._rows, *self._waiting]:
            if row.running.cancelled:
                cancel(row.running)
        self._waiting = deque(row for row in self._waiting if row.finish_reason is None)
        self._drop_finished()

    def _drop_finished(self) -> None:
        kept = [i for i, row in enumerate(self._rows) if row.finish_reason is None]
        if len(kept) < len(self._rows):
            self._rows = [self._rows[i] for i in kept]
            self._runner.keep(kept)

    def _fail_all(self, error: ModelError) -> None:
        for row in self._rows:
            row.running.reply.fail(error)
            row.running.cancelled = True  # its other completions may still be waiting
        self._rows = []
        self._runner.keep([])

    def _stop(self) -> None:
        for row in [*self._rows, *self._waiting]:
            cancel(row.running)
        self._run_jobs()


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer: the generation config's and the tokenizer's own."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({int(i) for i in (*ids, tokenizer.eos_token_id) if i is not None})
