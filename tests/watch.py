"""A test is given up for what it does, not for the time that a busy machine takes over it.

The seconds of `--timeout` and of `@pytest.mark.timeout` are of CPU, of the test and of all that it started.
Where these do next to nothing for STILL_LOOKS looks, each some LOOK_S after the last, they wait for what does not
come. A test needs no limit of its own: what it waits for comes, or all that it started is ended and the test fails.
"""

import contextlib
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable

import psutil
import pytest
import pytest_timeout

LOOK_S = 20.0
STILL_LOOKS = 15
STILL_CPU_S = (
    1.0  # more than waiting threads use that look around every 0.1 s; a third of a hundredth of a core
)


def children() -> list[psutil.Process]:
    """What this process has started, and what that has."""
    return psutil.Process().children(recursive=True)


def cpu_s() -> float:
    """CPU seconds of this process and of what it has started, ended or not."""
    used = sum(os.times()[:4])
    for child in children():
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    return used


class Watch:
    """Looks every LOOK_S; the first look is where it begins, so that short tests pay nothing."""

    def __init__(self, limit_s: float, used_s: Callable[[], float] = cpu_s) -> None:
        self.limit_s, self.used_s = limit_s, used_s
        self.begun_s = self.moved_s = -1.0
        self.still = 0

    def look(self) -> str | None:
        """The reason for which the test is given up, or nothing."""
        now_s = self.used_s()
        if self.begun_s < 0:
            self.begun_s = self.moved_s = now_s
        if now_s - self.begun_s > self.limit_s:
            return f"used more than {self.limit_s:g} s of CPU"
        if now_s - self.moved_s >= STILL_CPU_S:
            self.moved_s, self.still = now_s, 0
            return None
        self.still += 1
        if self.still < STILL_LOOKS:
            return None
        return f"used less than {STILL_CPU_S:g} s of CPU in {STILL_LOOKS * LOOK_S:g} s"


def give_up(why: str, begun: float) -> None:
    """End what was started since the test began, show where each thread stands, and fail."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for child in children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.create_time() >= begun:
                child.kill()
    faulthandler.dump_traceback(sys.stderr)
    pytest.fail(why)


def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> bool | None:
    """Watch the test instead of the clock, where the system has the signal."""
    if settings.method != "signal":
        return None
    watch, begun = Watch(settings.timeout), time.time()

    def look(signum: int, frame: object) -> None:
        __tracebackhide__ = True
        if not pytest_timeout.is_debugging() and (why := watch.look()):
            give_up(why, begun)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, LOOK_S, LOOK_S)
    item.cancel_timeout = lambda: signal.setitimer(signal.ITIMER_REAL, 0)
    return True
