"""Reading ahead: in order, bounded, with its errors, and it stops where nobody takes more."""

import threading

import pytest

from weightwright.rag.ahead import ahead


def test_items_come_in_their_order_and_no_more_than_allowed_are_made():
    made, may_go_on = [], threading.Semaphore(0)

    def items():
        for number in range(6):
            made.append(number)
            may_go_on.release()
            yield number

    read = ahead(items(), 2)
    assert next(read) == 0
    for _ in range(4):  # one was taken, so two wait, and the one after them is being made
        assert may_go_on.acquire(timeout=60)
    assert made == [0, 1, 2, 3]
    assert list(read) == [1, 2, 3, 4, 5]


def test_what_is_raised_there_is_raised_here_after_what_was_read():
    def items():
        yield 1
        raise ValueError("broken")

    read = ahead(items(), 3)
    assert next(read) == 1
    with pytest.raises(ValueError, match="broken"):
        next(read)


def test_closing_stops_the_reading():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    read = ahead(items(), 2)
    next(read)
    read.close()
    assert closed.wait(timeout=60)


def test_nothing_to_read():
    assert list(ahead([], 2)) == []
