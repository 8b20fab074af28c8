"""Rows are read in an order that depends on seed and position only, and padded little."""

import pytest

from weightwright.data.pack import PASS_OVERHEAD_TOKENS, fit, micro_batches, rows_of_step, step_count
from weightwright.data.template import Encoded
from weightwright.errors import DataError, Place


def row(length: int, labelled_from: int = 1) -> Encoded:
    return Encoded(
        tuple(range(length)), tuple(i >= labelled_from for i in range(length)), Place(f"row of {length}")
    )


def test_every_epoch_reads_every_row_once():
    read = [
        n for s in range(step_count(10, 3, 4)) for n in rows_of_step(s, rows=10, epochs=3, batch=4, seed=1)
    ]
    assert len(read) == 30
    epochs = [read[i : i + 10] for i in (0, 10, 20)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_the_order_depends_on_the_seed_only():
    order = [rows_of_step(1, rows=50, epochs=2, batch=8, seed=seed) for seed in (1, 1, 2)]
    assert order[0] == order[1] != order[2]


def test_micro_batches_hold_every_row_once_and_keep_the_limits():
    lengths = [5, 900, 30, 31, 500, 29, 2000, 30]
    passes = micro_batches(lengths, max_rows=None, max_tokens=1024)
    assert sorted(i for one in passes for i in one) == list(range(len(lengths)))
    for one in passes:
        assert len(one) == 1 or len(one) * max(lengths[i] for i in one) <= 1024
    assert all(len(one) <= 2 for one in micro_batches(lengths, max_rows=2, max_tokens=1))


def test_micro_batches_are_the_cheapest_cut():
    lengths = [100, 90, 40, 38, 10, 9]

    def cost(passes):
        return sum(len(one) * max(lengths[i] for i in one) + PASS_OVERHEAD_TOKENS for one in passes)

    def cuts(rest):
        yield from ([rest],) if rest else ([],)
        for i in range(1, len(rest)):
            yield from ([rest[:i], *more] for more in cuts(rest[i:]))

    best = min(cost(cut) for cut in cuts(list(range(6))))
    assert cost(micro_batches(lengths, max_rows=None, max_tokens=10_000)) == best


def test_too_long_rows_are_never_cut_or_dropped_in_silence():
    rows = [row(5), row(50), row(60)]
    with pytest.raises(DataError, match=r"2 of 3 rows are longer than 20.*row of 60, has 60.*--max-length"):
        fit(rows, 20, "error")
    dropped = fit(rows, 20, "drop")
    assert (len(dropped.rows), dropped.dropped, dropped.truncated) == (1, 2, 0)
    cut = fit(rows, 20, "truncate")
    assert ([len(r) for r in cut.rows], cut.dropped, cut.truncated) == ([5, 20, 20], 0, 2)


def test_a_cut_that_leaves_nothing_to_learn_drops_the_row():
    cut = fit([row(5), row(50, labelled_from=40)], 20, "truncate")
    assert (len(cut.rows), cut.dropped, cut.truncated) == (1, 1, 0)


def test_rows_that_fit_are_left_alone():
    assert fit([row(5), row(20)], 20, "error").rows == (row(5), row(20))


def test_split_rows_lose_nothing_but_pieces_without_an_answer():
    whole = row(50, labelled_from=25)
    split = fit([row(5), whole], 20, "split")
    assert [(len(r), str(r.place)) for r in split.rows] == [
        (5, "row of 5"),
        (20, "row of 50, piece 2"),
        (10, "row of 50, piece 3"),
    ]
    assert (split.split, split.dropped, split.truncated) == (1, 1, 0)
    assert split.rows[1].token_ids + split.rows[2].token_ids == whole.token_ids[20:]
    assert split.rows[1].labelled + split.rows[2].labelled == whole.labelled[20:]


def test_a_split_text_is_all_there():
    whole = row(50)
    split = fit([whole], 20, "split")
    assert [len(r) for r in split.rows] == [20, 20, 10]
    assert tuple(token for r in split.rows for token in r.token_ids) == whole.token_ids
    assert (split.split, split.dropped) == (1, 0)


def test_a_piece_of_one_token_has_nothing_to_learn():
    split = fit([row(21)], 20, "split")
    assert ([len(r) for r in split.rows], split.split, split.dropped) == ([20], 1, 1)
