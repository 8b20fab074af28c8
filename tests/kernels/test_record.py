"""Recorded kernels, run again over other numbers, beside the same kernels called one by one."""

from collections.abc import Callable

import pytest
import torch

from weightwright.kernels import elementwise, pool
from weightwright.kernels.elementwise import Rows, Stored
from weightwright.kernels.record import Recording, Room

pytestmark = [
    pytest.mark.skipif(not pool.available(), reason="kernels need torch's OpenMP pool"),
    pytest.mark.usefixtures("two_threads"),
]
WIDTH = 96
F32 = Stored(torch.float32)


WEIGHT = torch.linspace(0.5, 1.5, WIDTH)
FIRST = torch.tensor([0])


def layers(one: torch.Tensor, many: torch.Tensor, turn: Callable[[], None] = lambda: None) -> torch.Tensor:
    """Kernels that each need what the one before gave, by one thread (one row) and by all in turn."""
    x, y = one, many
    for _ in range(6):
        turn()
        x = elementwise.put(elementwise.add_norm(one, Rows(x), WEIGHT, WEIGHT, 1e-5, F32).data, F32).data
        y = elementwise.add_norm(many, Rows(y), x, WEIGHT, 1e-5, F32).data
        x = elementwise.put(y[:1], F32).data
    return y


def random() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(1, WIDTH), torch.randn(9, WIDTH)


def test_a_program_gives_what_its_kernels_give() -> None:
    room = Room()
    with torch.inference_mode():
        programs = []
        for _ in range(2):  # both go through one room
            held, first = random(), random()
            for mine, its in zip(held, first, strict=True):
                mine.copy_(its)
            recording = Recording(room)
            with recording:
                out = layers(*held, room.turn)
            assert recording.foreign == ""
            assert torch.equal(out, layers(*first))
            programs.append((held, recording.program(), out))
        for held, program, out in programs * 2:
            inputs = random()
            for mine, its in zip(held, inputs, strict=True):
                mine.copy_(its)
            program()
            assert torch.equal(out, layers(*inputs))


@pytest.mark.parametrize(
    ("work", "name"),
    [
        (lambda x: x + 1, "aten.add"),
        (lambda x: x.add_(1), "aten.add_"),
        (lambda x: x.double(), "aten.to"),
        (lambda x: x[FIRST], "aten.index"),
        (lambda x: torch.zeros(3), "aten.zeros"),
    ],
)
def test_what_is_no_kernel_is_noticed(work: Callable[[torch.Tensor], torch.Tensor], name: str) -> None:
    x = torch.randn(2, WIDTH)
    recording = Recording(Room())
    with torch.inference_mode(), recording:
        work(elementwise.put(x, F32).data)
    assert name in recording.foreign
    with pytest.raises(ValueError, match="is no kernel"):
        recording.program()


def test_views_are_no_work() -> None:
    x = torch.randn(2, WIDTH)
    recording = Recording(Room())
    with torch.inference_mode(), recording:
        y = elementwise.put(x.float().contiguous().view(4, -1)[:2].flatten(1), F32).data
        made = torch.empty_like(y).view(2, -1)[None]
    assert recording.foreign == ""
    assert made.shape == (1, 2, WIDTH // 2)
    recording.program()()


def test_a_thread_of_another_is_not_recorded() -> None:
    import threading

    recording = Recording(Room())
    x = torch.randn(1, WIDTH)
    with recording:
        other = threading.Thread(target=lambda: elementwise.put(x, F32))
        other.start()
        other.join()
        elementwise.put(x, F32)
    assert len(recording._calls) == 1


def test_room_is_used_again_after_two_turns() -> None:
    room = Room()
    first = room.take((1000,), torch.float32)
    large = room.take((1 << 20,), torch.uint8)
    room.turn()
    second = room.take((1000,), torch.float32)
    room.turn()
    again = room.take((1000,), torch.float32)
    assert again.data_ptr() == first.data_ptr() != second.data_ptr()
    assert room.take((1 << 20,), torch.uint8).data_ptr() == large.data_ptr()
