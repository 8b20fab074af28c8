"""A test is given up for standing still or for its CPU seconds, never for a busy machine."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import pytest_timeout

from . import watch


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A watch that looks often; afterwards the test's own goes on."""
    if not pytest_timeout.HAVE_SIGALRM:
        pytest.skip("the system has no SIGALRM")
    monkeypatch.setattr(watch, "LOOK_S", 0.05)
    handler, timer = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    yield
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, *timer)


def begin(limit_s: float) -> None:
    watch.pytest_timeout_set_timer(
        SimpleNamespace(), pytest_timeout.Settings(limit_s, "signal", False, False)
    )


def test_what_stands_still_is_ended(quickly: None) -> None:
    begun = time.time()
    begin(limit_s=1000)
    wait = [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '1000'])"]
    with pytest.raises(pytest.fail.Exception, match="less than 1 s of CPU"):
        subprocess.run(wait, check=False)
    assert not [child for child in watch.children() if child.create_time() > begun]


def test_what_a_child_uses_counts(quickly: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "STILL_LOOKS", 10_000)
    begin(limit_s=0.5)
    with pytest.raises(pytest.fail.Exception, match=r"more than 0\.5 s of CPU"):
        subprocess.run([sys.executable, "-c", "while True: pass"], check=False)


def test_the_time_that_a_slow_machine_takes_does_not_count() -> None:
    used_s = iter(range(1000))
    slow = watch.Watch(limit_s=999, used_s=lambda: next(used_s))
    assert [slow.look() for _ in range(10 * watch.STILL_LOOKS)] == [None] * 10 * watch.STILL_LOOKS
    still = watch.Watch(limit_s=999, used_s=lambda: 0.0)
    assert [still.look() for _ in range(watch.STILL_LOOKS - 1)] == [None] * (watch.STILL_LOOKS - 1)
    assert still.look() == "used less than 1 s of CPU in 300 s"
