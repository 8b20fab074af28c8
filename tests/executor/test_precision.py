"""The choice of forms: what follows from which times, what is kept, and what is refused."""

import json
import logging
from pathlib import Path

import pytest
import torch

from weightwright.errors import SettingsError
from weightwright.executor import precision
from weightwright.executor.linear import Int8Linear, MixedLinear
from weightwright.executor.precision import Choice, choose, decide, main_shapes, measure, measured

SHAPES = [(192, 64), (64, 64)] * 4 + [(512, 64)]
INT8 = {1: 1.0, 8: 1.1, 64: 4.0, 512: 30.0}
BF16 = {1: 2.0, 8: 2.2, 64: 3.0, 512: 15.0}
F32 = {1: 4.0, 8: 5.0, 64: 12.0}  # was left out for 512 rows


def test_one_form_where_there_is_no_room() -> None:
    assert decide({"int8": INT8, "bf16": BF16, "f32": F32}).forms == ("int8",)
    assert decide({"bf16": BF16, "f32": F32}).forms == ("bf16",)
    assert decide({"int8": INT8, "bf16": BF16}, room=2.9).forms == ("int8",)


def test_two_forms_where_there_is_room_and_gain() -> None:
    choice = decide({"int8": INT8, "bf16": BF16, "f32": F32}, room=3.0)
    assert (choice.few, choice.many) == ("int8", "bf16")
    assert 8 < choice.crossover < 64
    assert choice.bytes_per_weight == 3.0
    assert str(choice) == f"int8 below {choice.crossover} rows, then bf16"
    nearly = {1: 1.0, 8: 1.1, 64: 3.1, 512: 15.6}
    assert decide({"int8": nearly, "bf16": BF16}, room=3.0).forms == ("int8",)  # 4% is not worth the memory


def test_a_form_that_is_better_everywhere_stands_alone() -> None:
    slower = {rows: 2 * seconds for rows, seconds in INT8.items()}
    assert decide({"bf16": slower, "int8": INT8}, room=9.0).forms == ("int8",)


def test_the_head_of_int4_is_int8() -> None:
    assert Choice("int4", "int4").head.forms == ("int8",)
    assert Choice("bf16", "bf16").head == Choice("bf16", "bf16")


def test_the_crossover_lies_where_the_times_meet() -> None:
    few, many = {1: 1.0, 8: 8.0, 64: 64.0, 512: 512.0}, {1: 23.0, 8: 23.0, 64: 23.0, 512: 23.0}
    assert decide({"int8": few, "bf16": many}, room=9.0).crossover in {23, 24}


def test_the_shapes_that_are_most_of_the_work() -> None:
    shapes = [(1152, 896), (896, 896), (9728, 896), (896, 4864)] * 24 + [(151936, 896)]
    cut = main_shapes(shapes)
    assert [inputs for _, inputs, _ in cut] == [896, 896, 4864]
    assert all(outputs * inputs <= 1 << 22 for outputs, inputs, _ in cut)
    assert cut[0][0] * cut[0][2] == pytest.approx(9728 * 24)
    assert cut[1][0] * cut[1][2] == pytest.approx(151936)
    assert main_shapes([(10, 20)]) == [(10, 20, 1.0)]


def test_times_are_measured_on_one_thread_and_kept(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen = []

    def watched(*args: object) -> object:
        seen.append(torch.get_num_threads())
        return timed(*args)

    timed = precision._measure
    monkeypatch.setattr(precision, "_measure", watched)
    threads = torch.get_num_threads()
    times = measured(SHAPES, ("int8", "f32"))
    assert seen == [1]
    assert torch.get_num_threads() == threads
    assert set(times) == {"int8", "f32"}
    assert all(seconds > 0 for of_form in times.values() for seconds in of_form.values())
    assert 512 in times["int8"] or 512 in times["f32"]
    assert measured(SHAPES, ("int8", "f32")) == times
    assert measured([(64, 64)], ("int8", "f32")) != times
    assert len(seen) == 2

    (note,) = [file for file in (own_home / "precision").iterdir() if json.loads(file.read_text())["times"] ==
               {form: {str(r): s for r, s in of_form.items()} for form, of_form in times.items()}]  # fmt: skip
    for broken in ("", "{", "[]", '{"version": 1, "times": {"int8": {"1": -1}, "f32": {"1": 1}}}'):
        note.write_text(broken)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            again = measured(SHAPES, ("int8", "f32"))
        assert "cannot be read" in caplog.text
        assert json.loads(note.read_text())["times"]["f32"]["1"] == again["f32"][1]


def test_a_home_that_cannot_be_written(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (own_home / "precision").write_text("a file where a folder should be")
    with caplog.at_level(logging.WARNING):
        assert measured([(64, 64)], ("f32",))["f32"]
    assert "cannot be" in caplog.text


def test_a_form_that_falls_behind_is_not_timed_further(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"int8": 1.0, "f32": 100.0}
    monkeypatch.setattr(precision, "_fastest", lambda layers, *rest: {form: seconds[form] for form in layers})
    times = measure([(64, 64, 2.0)], ("int8", "f32"))
    assert times == {"int8": {1: 2.0, 8: 2.0, 64: 2.0, 512: 2.0}, "f32": {1: 200.0}}


def test_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: object) -> dict[str, dict[int, float]]:
        raise AssertionError("nothing to decide, so nothing to measure")

    monkeypatch.setattr(precision, "measured", measured)
    weights = sum(outputs * inputs for outputs, inputs in SHAPES)
    for name in ("f32", "bf16", "int8", "int4"):
        assert choose(SHAPES, name, room_bytes=9 * weights).forms == (name,)
    assert choose([], "auto").forms == ("f32",)
    monkeypatch.setattr(precision, "measured", lambda *_: {"int8": INT8, "bf16": BF16})
    assert choose(SHAPES, room_bytes=3 * weights).forms == ("int8", "bf16")
    assert choose(SHAPES, room_bytes=2.9 * weights).forms == ("int8",)
    assert choose(SHAPES, room_bytes=9 * weights, deterministic=True).forms == ("int8",)


def test_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.devices, "default_precision", lambda device: "bf16")
    assert choose(SHAPES, device="cuda:0").forms == ("bf16",)
    assert choose(SHAPES, "f32", device="mps").forms == ("f32",)
    for name in ("int8", "int4"):
        choice = choose(SHAPES, name, device="cuda:0")
        assert (choice.forms, choice.device, choice.head.forms) == ((name,), "cuda:0", ("int8",))
    with pytest.raises(SettingsError, match="one of auto, f32, bf16, int8, int4, got 'fp8'"):
        choose(SHAPES, "fp8")


def test_a_choice_packs() -> None:
    weight, x = torch.randn(32, 64, generator=torch.Generator().manual_seed(0)), torch.ones(2, 64)
    alone = Choice("int8", "int8").pack(weight, None, rotated=True)
    assert isinstance(alone, Int8Linear)
    assert alone.block == 64
    mixed = Choice("int8", "f32", 2).pack(weight, None)
    assert isinstance(mixed, MixedLinear)
    torch.testing.assert_close(mixed(x), x @ weight.T)
