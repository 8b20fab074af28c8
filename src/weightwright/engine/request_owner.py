"""What completions and beams have in common: requests that come, are cancelled, fail and end."""

import logging
from abc import abstractmethod
from collections import abc

from weightwright.engine.logprobs import TokenLogprobs
from weightwright.engine.owner import dropped
from weightwright.engine.request import Candidate, Model, Request, cancel
from weightwright.engine.schedule import Schedule
from weightwright.engine.sequence import Sequence
from weightwright.engine.settings import EngineSettings
from weightwright.errors import EngineError

log = logging.getLogger(__name__)


class RequestOwner:
    """The requests of one owner, and the candidate that each of their sequences belongs to."""

    def __init__(self, model: Model, schedule: Schedule, settings: EngineSettings) -> None:
        self._schedule, self._settings = schedule, settings
        self._logprobs = TokenLogprobs(model.tokenizer)
        self._requests: dict[Request, None] = {}  # in order of arrival
        self._candidates: dict[Sequence, Candidate] = {}

    @abstractmethod
    def start(self, request: Request, salt: bytes) -> None:
        """Queue a prepared request. Raises RequestError when it can never fit."""

    def cancel(self, request: Request) -> None:
        """End a request as cancelled; one that has ended or was never started, too."""
        self._end(request, cancel)

    def fail(self, sequence: Sequence, error: Exception) -> None:
        """See `Owner`."""
        candidate = self._candidates.get(sequence)
        if candidate is not None:
            candidate.request.reply.fail(error)
            self._end(candidate.request)

    def drop_adapter(self, name: str) -> None:
        """See `Owner`."""
        for request in list(self._requests):
            if request.adapter == name:
                request.reply.fail(dropped(name))
                self._end(request)

    def stop(self) -> None:
        """See `Owner`."""
        for request in list(self._requests):
            self.cancel(request)

    def _queue(self, request: Request, sequence: Sequence) -> None:
        self._schedule.add(sequence)
        self._requests[request] = None
        self._adopt(request.candidates[0], sequence)

    def _adopt(self, candidate: Candidate, sequence: Sequence) -> None:
        candidate.sequence = sequence
        self._candidates[sequence] = candidate

    def _release(self, sequence: Sequence | None) -> None:
        """Free what a sequence holds."""
        candidate = self._candidates.pop(sequence, None) if sequence is not None else None
        if sequence is not None and candidate is not None:
            request = candidate.request
            request.cached_tokens = max(request.cached_tokens, sequence.cached_tokens)
            self._schedule.finish(sequence)

    def _end(self, request: Request, end: abc.Callable[[Candidate], None] | None = None) -> None:
        """Forget a request and free what it holds; `end` says goodbye to its candidates."""
        for candidate in request.candidates:
            self._release(candidate.sequence)
            if end is not None:
                end(candidate)
        self._requests.pop(request, None)
        if request.done:
            request.finish()

    def _alone(self, request: Request, work: abc.Callable[[], None]) -> None:
        """Work for one request: whatever is raised fails that request, and no other of the step."""
        try:
            work()
        except Exception as error:
            log.exception("a request failed")
            request.reply.fail(EngineError(f"the request failed: {error}"))
            self._end(request)
