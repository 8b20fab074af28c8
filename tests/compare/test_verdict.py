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
