"""Planted groups are counted; stray rows hardly count; unrelated rows are many kinds, equal ones one."""

import numpy as np
import pytest

from weightwright.data.kinds import SAMPLED_ROWS, UNRELATED, count_kinds, kinds_of


def planted(groups: int, rows: int, spread: float, seed: int = 0) -> np.ndarray:
    """Vectors [groups x rows, 64] of length 1 around directions that stand at right angles."""
    draw = np.random.default_rng(seed)
    middles = np.linalg.qr(draw.normal(size=(64, 64)))[0][:groups]
    points = np.repeat(middles, rows, axis=0) + draw.normal(size=(groups * rows, 64)) * spread / 8
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("groups", [1, 2, 3, 8, 20])
@pytest.mark.parametrize("spread", [0.3, 0.8])
def test_planted_groups_are_counted(groups: int, spread: float):
    found = count_kinds(planted(groups, 40, spread), unrelated=0.1)
    assert found.count == groups
    assert found.sizes == (40,) * groups
    assert sorted(row // 40 for row in found.middles) == list(range(groups))


def test_what_unrelated_rows_have_in_common_does_not_make_them_one_kind():
    """Embedders that put all texts into a narrow cone: unrelated rows have a similarity of about 0.7 here."""
    directions = planted(4, 1, 0.0)
    points = np.repeat(directions[:3], 40, axis=0) + 1.5 * directions[3]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    assert count_kinds(points, unrelated=0.7).count == 3
    assert count_kinds(points, unrelated=0.0).count == 1


def test_a_few_stray_rows_hardly_count():
    whole = planted(7, 200, 0.3)
    points = np.concatenate([whole[:400], whole[400::200]])
    found = count_kinds(points)
    assert (found.count, found.sizes) == (2, (200, 200))


def test_rows_without_anything_in_common_are_many_kinds():
    assert count_kinds(planted(60, 1, 0.0)).count == 60


@pytest.mark.parametrize("rows", [1, 2, 50])
def test_equal_rows_are_one_kind(rows: int):
    assert count_kinds(np.repeat(planted(1, 1, 0.0), rows, axis=0)).sizes == (rows,)


def test_many_rows_are_sampled_the_same_way_each_time():
    points = planted(3, 1000, 0.3)
    found = count_kinds(points)
    assert found.sampled == sum(found.sizes) == SAMPLED_ROWS
    assert found == count_kinds(points)
    assert sorted(row // 1000 for row in found.middles) == [0, 1, 2]


@pytest.mark.model
@pytest.mark.shared
def test_real_rows(shared):
    """Rows about one identity are few kinds; Alpaca's broad mixture, in both languages, is many."""
    from weightwright.connect import open_embedder
    from weightwright.data.checks import task_of
    from weightwright.data.formats import read_samples

    embedder = open_embedder("minilm")

    def count(name: str) -> int:
        tasks = [task_of(row) for row in read_samples(shared / "data" / "tune" / f"{name}.json")]
        return kinds_of(
            [one for one in tasks if one.isascii()] if name == "identity" else tasks, embedder
        ).count

    assert count("identity") <= 2
    assert count("alpaca_en_demo") >= 40
    assert count("alpaca_zh_demo") >= 40
    assert kinds_of(UNRELATED["en"], embedder).count >= 10
    embedder.close()
