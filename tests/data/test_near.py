"""Near-duplicates are found exactly: as comparing every pair finds them."""

import random
from itertools import combinations

import pytest

from weightwright.data.near import Match, Triples, near_across, near_duplicates, triples


def similarity(a: str, b: str) -> float:
    one, two = ({*triples(text).tolist()} for text in (a, b))
    return len(one & two) / len(one | two) if one | two else 0.0


def texts(count: int, seed: int) -> list[str]:
    """Texts of few words, many of them a little changed from an earlier one."""
    draw = random.Random(seed)
    words = [f"w{n}" for n in range(30)]
    made: list[list[str]] = []
    for _ in range(count):
        if made and draw.random() < 0.5:
            text = list(draw.choice(made))
            for _ in range(draw.randrange(3)):
                text[draw.randrange(len(text))] = draw.choice(words)
        else:
            text = [draw.choice(words) for _ in range(draw.randrange(1, 60))]
        made.append(text)
    return [" ".join(text) for text in made]


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("seed", range(4))
def test_it_finds_what_comparing_all_pairs_finds(seed: int, threshold: float):
    rows = texts(120, seed)
    expected = {b for a, b in combinations(range(len(rows)), 2) if similarity(rows[a], rows[b]) >= threshold}
    found = near_duplicates(Triples(rows), threshold)
    assert {match.row for match in found} == expected
    for match in found:
        assert match.like < match.row
        assert match.similarity == similarity(rows[match.row], rows[match.like]) >= threshold


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_held_out_rows_among_others(seed: int):
    rows = texts(120, seed)
    known, held_out = rows[::2], rows[1::2]
    expected = {i for i, row in enumerate(held_out) if any(similarity(row, other) >= 0.8 for other in known)}
    found = near_across(Triples(held_out), Triples(known))
    assert {match.row for match in found} == expected
    assert all(similarity(held_out[m.row], known[m.like]) == m.similarity for m in found)


def test_triples_are_runs_of_three_words_told_apart():
    assert len(triples("a b c d")) == 2
    assert len(triples("a b c a b c")) == 3
    runs = [
        "a b c",
        "b a c",
        "c b a",
        "a c b",
        "a b",
        "b a",
        "a",
        "b",
        "a b d",
        "a a a",
        "b b b",
        "ab c",
        "a bc d",
    ]
    hashes = [triples(run).tolist() for run in runs]
    assert all(len(one) == 1 for one in hashes)
    assert len({one[0] for one in hashes}) == len(runs)
    rng = random.Random(0)
    many = " ".join(str(rng.random()) for _ in range(20_000))
    assert len(triples(many)) > 39_990  # "0", "123…": no two of 40,000 runs meet


def test_case_and_punctuation_do_not_matter_and_chinese_characters_are_words():
    assert near_duplicates(Triples(["What is your name?", "what is  your NAME"])) == [Match(1, 0, 1.0)]
    long = "我们明天早上九点在学校门口见面然后一起坐车去北京看长城好吗请准时到"
    (match,) = near_duplicates(Triples([long, long.replace("京", "都")]))
    assert match.similarity == 28 / 34
    assert near_duplicates(Triples(["", "!", "..."])) == []


def test_many_alike_rows_stay_fast_and_are_each_named_once():
    rows = [
        f"Please write a short and friendly letter to customer number {n} about the late parcel"
        for n in range(3000)
    ]
    found = near_duplicates(Triples(rows), 0.6)
    assert [match.row for match in found] == list(range(1, 3000))
