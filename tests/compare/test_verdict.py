"""Who wins, on scores made by hand."""

import numpy as np
import pytest

from weightwright.compare.verdict import Contender, Rule, decide, p_words, pair_of

N = 40
LABELS = np.arange(N)
RULE = Rule("f1", difference=0.1)
RNG = np.random.default_rng(0)
NOISE = RNG.normal(0, 0.05, size=(4, N))


def contender(
    name: str, mean: float, row: int = 0, seconds: float = 1.0, deployable: bool = True
) -> Contender:
    return Contender(name, np.clip(mean + NOISE[row], 0, 1), seconds, deployable)


def test_a_clear_winner_and_why() -> None:
    verdict = decide(
        [contender("base", 0.1), contender("rag", 0.5, 1), contender("lora+rag", 0.8, 2)], LABELS, RULE
    )
    assert verdict.winner == verdict.cheapest == "lora+rag"
    assert verdict.why.startswith("lora+rag is best: f1 0.8")
    assert "above rag" in verdict.why
    assert "p < 0.001 after Holm's correction over 3 pairs" in verdict.why
    assert "40 questions in 40 independent clusters" in verdict.why
    best = pair_of(verdict.pairs, "rag", "lora+rag")
    assert (best.a, best.b) == ("lora+rag", "rag")
    assert best.difference.low < 0.3 < best.difference.high


def test_beating_the_worst_is_not_winning() -> None:
    verdict = decide(
        [contender("base", 0.1), contender("rag", 0.6, 1, 2.0), contender("lora+rag", 0.605, 2, 3.0)],
        LABELS,
        RULE,
    )
    assert verdict.winner is None
    assert set(verdict.equals) == {"rag", "lora+rag"}
    assert verdict.cheapest == "rag"
    assert verdict.why.startswith("No difference shown between")
    assert "questions would show a difference of 0.1" in verdict.why
    assert "rag is the cheapest: 2 s a question" in verdict.why


def test_a_ceiling_never_wins() -> None:
    verdict = decide(
        [contender("base", 0.1), contender("rag", 0.5, 1), contender("gold", 0.9, 2, deployable=False)],
        LABELS,
        RULE,
    )
    assert verdict.winner == "rag"
    assert {(p.a, p.b) for p in verdict.pairs} == {("gold", "rag"), ("gold", "base"), ("rag", "base")}


def test_a_ceiling_that_beats_all_makes_no_winner_of_equals() -> None:
    arms = [contender("base", 0.5), contender("rag", 0.5, 1), contender("gold", 0.9, 2, deployable=False)]
    verdict = decide(arms, LABELS, RULE)
    assert pair_of(verdict.pairs, "gold", "base").shown(RULE.alpha)
    assert verdict.winner is None
    assert "gold" not in verdict.equals


def test_only_one_arm_that_could_be_deployed() -> None:
    verdict = decide([contender("rag", 0.5), contender("gold", 0.9, 1, deployable=False)], LABELS, RULE)
    assert verdict.winner is None
    assert verdict.why.startswith("Nothing to choose")


def test_equal_scores_everywhere() -> None:
    same = np.full(N, 0.5)
    verdict = decide([Contender("a", same, 2.0), Contender("b", same, 1.0)], LABELS, RULE)
    assert (verdict.winner, verdict.cheapest) == (None, "b")
    assert verdict.pairs[0].p == 1.0
    assert verdict.pairs[0].questions_needed is None
    assert "would show" not in verdict.why


def test_few_clusters_cannot_show_anything_and_it_says_so() -> None:
    a, b = contender("a", 0.9), contender("b", 0.1, 1)
    assert decide([a, b], LABELS, RULE).winner == "a"
    few = decide([a, b], LABELS % 4, RULE)
    assert few.winner is None
    assert few.pairs[0].p == 2 / 2**4
    assert "So few clusters could not show any difference" in few.why


# -- arms that failed


def failing(name: str, mean: float, failed: int, row: int = 0, seconds: float = 0.001) -> Contender:
    """An arm whose last `failed` questions brought no answer."""
    answered = np.arange(N) < N - failed
    scores = np.where(answered, np.clip(mean + NOISE[row], 0, 1), 0.0)
    return Contender(name, scores, seconds if answered.any() else None, answered=answered)


def test_an_arm_that_failed_everywhere_is_neither_chosen_nor_beaten() -> None:
    for mean in (0.0, 0.5, 1.0):
        verdict = decide([contender("base", mean), failing("rag", 0.5, N)], LABELS, RULE)
        assert (verdict.winner, verdict.cheapest, verdict.equals, verdict.pairs) == (None, None, (), ())
        assert verdict.why.startswith(
            "Nothing to compare: of the arms that could be put to work, only base (f1 "
        )
        assert "rag failed on 40 of 40 questions" in verdict.why


def test_the_others_are_compared_without_it() -> None:
    arms = [contender("base", 0.1), failing("rag", 0.5, N), contender("lora", 0.6, 1)]
    verdict = decide(arms, LABELS, RULE)
    assert verdict.winner == "lora"
    assert [(pair.a, pair.b) for pair in verdict.pairs] == [("lora", "base")]
    assert "rag failed on 40 of 40 questions: each failure scores 0." in verdict.why
    equal = decide(
        [contender("base", 0.5), failing("rag", 0.5, N), contender("lora", 0.5, 1, 2.0)], LABELS, RULE
    )
    assert (equal.winner, equal.cheapest, set(equal.equals)) == (None, "base", {"base", "lora"})


def test_where_all_failed_there_is_nothing_to_compare() -> None:
    verdict = decide([failing("base", 0.5, N), failing("rag", 0.5, N)], LABELS, RULE)
    assert (verdict.winner, verdict.cheapest, verdict.equals) == (None, None, ())
    assert verdict.why == (
        "Nothing to compare: no arm answered a question. base failed on 40 of 40 questions; "
        "rag failed on 40 of 40 questions: each failure scores 0."
    )


def test_some_failures_make_no_equal_and_no_bargain() -> None:
    verdict = decide([contender("base", 0.5), failing("rag", 0.5, 2, 1)], LABELS, RULE)
    assert (verdict.winner, verdict.cheapest, verdict.equals) == (None, None, ("base",))
    assert "rag failed on 2 of 40 questions: each failure scores 0." in verdict.why
    assert "cheapest" not in verdict.why
    three = decide(
        [contender("base", 0.5), failing("rag", 0.5, 2, 1), contender("lora", 0.5, 2, 3.0)], LABELS, RULE
    )
    assert (three.cheapest, set(three.equals)) == ("base", {"base", "lora"})


def test_the_best_may_win_in_spite_of_its_failures() -> None:
    verdict = decide([contender("base", 0.1), failing("rag", 0.9, 4, 1)], LABELS, RULE)
    assert verdict.winner == "rag"
    assert "rag failed on 4 of 40 questions" in verdict.why


def test_nobody_wins_by_anothers_failures() -> None:
    arms = [contender("base", 0.5), failing("rag", 0.5, 30, 1)]
    verdict = decide(arms, LABELS, RULE)
    assert pair_of(verdict.pairs, "base", "rag").shown(RULE.alpha)
    assert (verdict.winner, verdict.cheapest, verdict.equals) == (None, None, ("base",))
    assert verdict.why.startswith("No winner: base is ahead of rag only because rag failed on some questions")
    better = decide([contender("base", 0.9), failing("rag", 0.5, 20, 1)], LABELS, RULE)
    assert better.winner == "base"  # over the 20 questions that both answered, too
    third = decide(
        [contender("base", 0.1), contender("lora", 0.5, 2), failing("rag", 0.9, 30, 1)], LABELS, RULE
    )
    assert third.winner is None


def test_a_ceiling_that_failed_is_no_ceiling() -> None:
    gold = Contender("gold", np.zeros(N), None, False, np.zeros(N, dtype=bool))
    verdict = decide([contender("rag", 0.5), gold], LABELS, RULE)
    assert verdict.winner is verdict.cheapest is None
    assert "gold failed on 40 of 40 questions" in verdict.why


def test_holm_counts_all_pairs() -> None:
    arms = [contender(str(i), 0.5 + i / 100, i) for i in range(4)]
    verdict = decide(arms, LABELS, RULE)
    assert len(verdict.pairs) == 6
    raw = sorted(pair.p_raw for pair in verdict.pairs)
    assert min(pair.p for pair in verdict.pairs) == pytest.approx(min(1.0, 6 * raw[0]))


def test_false_winners_are_rare() -> None:
    """Three equal arms: a winner in at most 5% of comparisons, whatever the pairs."""
    rng = np.random.default_rng(3)
    labels, winners, runs = np.repeat(np.arange(12), 2), 0, 150
    for run in range(runs):
        arms = [Contender(name, rng.integers(0, 2, size=24).astype(float), 1.0) for name in "abc"]
        winners += decide(arms, labels, Rule("f1", seed=run)).winner is not None
    assert winners <= 0.1 * runs


@pytest.mark.parametrize(
    ("p", "words"), [(0.0004, "p < 0.001"), (0.0123, "p = 0.012"), (0.0497, "p = 0.05"), (0.61, "p = 0.61")]
)
def test_p_in_words(p: float, words: str) -> None:
    assert p_words(p) == words
