"""A search over settings: what it tries, how it halves, and that it goes on and ends as one run would."""

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from weightwright.errors import SettingsError, TuneError
from weightwright.tune import held_out, trials
from weightwright.tune.run import tune
from weightwright.tune.settings import TuneSettings

Make = Callable[..., TuneSettings]


@pytest.fixture
def searched(make: Make, rows: Path) -> TuneSettings:
    """Four combinations, of which the rate 0 learns nothing."""
    return make(eval_data=rows, epochs=2, general=False, search=("learning_rate=1e-9,1e-2", "rank=2,4"))


def test_every_combination_is_tried(searched: TuneSettings) -> None:
    found = trials.read_candidates(searched)
    assert [one.name for one in found] == [
        "learning_rate=1e-09 rank=2",
        "learning_rate=1e-09 rank=4",
        "learning_rate=0.01 rank=2",
        "learning_rate=0.01 rank=4",
    ]
    assert [(one.settings.learning_rate, one.settings.rank) for one in found] == [
        (1e-9, 2), (1e-9, 4), (1e-2, 2), (1e-2, 4),
    ]  # fmt: skip
    assert len({one.settings.out for one in found}) == 4
    assert all(one.settings.search == () and one.settings.epochs == 2 for one in found)


def test_a_value_with_commas_stands_in_brackets(make: Make) -> None:
    given = make(search=('targets=[all-linear, "q_proj,v_proj"]',))
    assert [one.settings.targets for one in trials.read_candidates(given)] == ["all-linear", "q_proj,v_proj"]


@pytest.mark.parametrize(
    ("search", "said"),
    [
        (("rank",), "expected OPTION=VALUE,VALUE"),
        (("rank=",), "expected OPTION=VALUE,VALUE"),
        (("rank=8",), "1 combinations, 2 to 64"),
        (("rank=8,8",), "twice"),
        (("rank=4,8", "rank=16"), "twice"),
        (("beta=0.1,0.5",), "only these can be searched: rank, "),
        (("max_length=8,16",), "only these can be searched: rank, "),
        (("rank=0,8",), "rank=0"),
        (("rank=a,8",), "rank=a"),
        (("rank=[8,16",), "cannot be read as a list"),
        (("seed=" + ",".join(map(str, range(65))),), "65 combinations, 2 to 64"),
    ],
)
def test_what_cannot_be_tried_is_said(make: Make, search: tuple[str, ...], said: str) -> None:
    with pytest.raises(SettingsError) as error:
        trials.read_candidates(make(search=search))
    assert said in str(error.value)
    assert "--search" in str(error.value)


def test_losses_are_needed_to_compare(make: Make) -> None:
    with pytest.raises(SettingsError, match="--eval-data"):
        trials.search(make(search=("rank=2,4",)))


@pytest.mark.parametrize("count", [2, 3, 4, 7, 8, 20, 64])
def test_the_halves_end_with_whole_runs_and_one_best(count: int) -> None:
    found = list(trials.rounds(count))
    shares, left = zip(*found, strict=True)
    assert shares[-1] == 1
    assert left[-1] == 1
    assert all(b == 2 * a for a, b in pairwise(shares))
    assert shares[0] >= 1 / 8
    going = count
    for keep in left[:-1]:
        assert 2 <= keep <= math.ceil(going / 2) or keep == 2
        going = keep
    more = [share - before for share, before in zip(shares, (0, *shares[:-1]), strict=True)]
    runs = sum(share * n for share, n in zip(more, (count, *left[:-1]), strict=True))
    assert runs <= count / 2 + 1  # whole runs' steps, where `count` would be taken without halving


def test_the_best_is_the_run_that_its_settings_alone_make(searched: TuneSettings, tmp_path: Path) -> None:
    found = trials.search(searched)
    best = found.trials[0]
    assert best.name.startswith("learning_rate=0.01")
    assert best.share == 1
    assert {one.name for one in found.trials} == {one.name for one in trials.read_candidates(searched)}
    worst = found.trials[-1]
    assert worst.share == 0.5
    assert worst.behind is not None
    assert worst.behind[1] > 0  # the rate that learns nothing is worse beyond doubt
    assert all(one.peak_bytes > 0 and one.train_s > 0 for one in found.trials)

    alone = next(one.settings for one in trials.read_candidates(searched) if one.name == best.name)
    single = tune(alone.model_copy(update={"out": tmp_path / "alone"}))
    assert found.best.adapter == searched.out / "adapter"
    kept, expected = (
        load_file(folder / "adapter_model.safetensors") for folder in (found.best.adapter, single.adapter)
    )
    assert kept.keys() == expected.keys()
    assert all(kept[name].equal(expected[name]) for name in kept)
    assert found.best.eval_loss == pytest.approx(single.eval_loss, rel=1e-6)
    assert not list(searched.out.glob("search/*/checkpoints"))

    again = trials.search(searched)  # nothing is done a second time
    assert again.trials == found.trials
    assert again.best.adapter == found.best.adapter


def test_a_search_that_is_cut_off_goes_on_to_the_same_end(searched: TuneSettings, tmp_path: Path) -> None:
    after = 14  # of some 40 times that it is told how far it is: in the second candidate of the first round
    expected = trials.search(searched.model_copy(update={"out": tmp_path / "whole"}))
    calls = 0

    def cut(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trials.search(searched, cut)
    found = trials.search(searched)
    assert [(one.name, one.steps, one.eval_loss) for one in found.trials] == [
        (one.name, one.steps, one.eval_loss) for one in expected.trials
    ]
    one, two = (load_file(r.best.adapter / "adapter_model.safetensors") for r in (found, expected))  # type: ignore[operator]
    assert all(one[name].equal(two[name]) for name in one)


def test_a_folder_is_of_one_search(searched: TuneSettings, make: Make, rows: Path) -> None:
    state = searched.out / trials.FILE
    searched.out.mkdir()
    (searched.out / "mine.txt").write_text("kept")
    with pytest.raises(TuneError, match="is no search"):
        trials.search(searched)
    (searched.out / "mine.txt").unlink()
    trials.search(searched)
    before = state.read_bytes()
    with pytest.raises(TuneError, match="another --out"):
        trials.search(make(eval_data=rows, epochs=2, general=False, search=("rank=2,4",)))
    assert state.read_bytes() == before


def test_the_rows_losses_make_the_held_out_loss(make: Make, rows: Path) -> None:
    result = tune(make(eval_data=rows))
    found = held_out.read(make().out)
    lines = [json.loads(line) for line in (make().out / "log.jsonl").read_text().splitlines()]
    first = next(line["eval_loss"] for line in lines if "eval_loss" in line)
    whole = sum(row.size for row in found)
    assert [row.place for row in found] == [f"{rows}, line {n + 1}" for n in range(12)]
    assert {row.step for row in found} == {result.steps}
    after = sum(row.size * row.after for row in found) / whole
    assert after == pytest.approx(result.eval_loss, rel=1e-5)
    before = sum(row.size * (row.before or 0.0) for row in found) / whole
    assert before == pytest.approx(first, rel=1e-5)
