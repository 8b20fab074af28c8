"""What scores and embeddings have in common: calls of several sequences that fail and end together."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from weightwright.engine.owner import closed, dropped
from weightwright.engine.schedule import Schedule
from weightwright.engine.sequence import Sequence
from weightwright.errors import RequestError

Part = TypeVar("Part")


@dataclass(eq=False)
class Call(Generic[Part]):
    """One call of several parts, a sequence each; `future` gets its result or the error."""

    parts: list[Part]
    future: "Future[Any]"
    adapter: str | None = None
    sequences: list[Sequence] = field(default_factory=list)
    done: int = 0  # parts


class CallOwner(Generic[Part]):
    """The calls of one owner, and the part that each of their sequences works on."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._parts: dict[Sequence, tuple[Call[Part], Part]] = {}

    def fail(self, sequence: Sequence, error: Exception) -> None:
        """See `Owner`."""
        if sequence in self._parts:
            self._end(self._parts[sequence][0], error)

    def drop_adapter(self, name: str) -> None:
        """See `Owner`."""
        for call, _ in list(self._parts.values()):
            if call.adapter == name:
                self._end(call, dropped(name))

    def stop(self) -> None:
        """See `Owner`."""
        for call, _ in list(self._parts.values()):
            self._end(call, closed())

    def _queue(self, call: Call[Part], part: Part, sequence: Sequence) -> bool:
        """Schedule a part; where it can never fit, the call fails and the rest need not be queued: False."""
        try:
            self._schedule.add(sequence)
        except RequestError as error:
            self._end(call, error)
            return False
        call.sequences.append(sequence)
        self._parts[sequence] = (call, part)
        return True

    def _finish(self, call: Call[Part], sequence: Sequence) -> bool:
        """Free a sequence whose part is done; True when all parts of its call are."""
        self._schedule.finish(sequence)
        del self._parts[sequence]
        call.done += 1
        return call.done == len(call.parts)

    def _end(self, call: Call[Part], error: Exception) -> None:
        for sequence in call.sequences:
            self._parts.pop(sequence, None)
            self._schedule.finish(sequence)
        if not call.future.done():
            call.future.set_exception(error)
