"""How many kinds of task rows hold: groups of the embedded instructions.

Rows are of one kind where their mean similarity is clearly above that of unrelated sentences, which are embedded
along, because embedders differ in what they give those. Choosing the number of groups by silhouette was tried:
on real rows it counts phrasings (19 kinds in 91 rows about one identity) and finds none in Alpaca's broad mixture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwright.data.language import Language, language_of
from weightwright.ports import Embedder

SAMPLED_ROWS = 2000
# on a scale where unrelated sentences are 0 and equal ones 1
SAME_KIND = 0.15

UNRELATED: dict[Language, tuple[str, ...]] = {
    "en": (
        "Translate this letter into French.", "Solve the equation for x.", "Which river flows through Cairo?",
        "Write a poem about the first snow.", "Sort this list in Python.", "How long should I boil an egg?",
        "Is this film review positive?", "Who won the chess match in 1972?", "Book me a table for four tonight.",
        "Explain how vaccines work.", "Name three kinds of bridges.", "My printer is out of paper.",
        "Summarize the court's decision.", "Suggest a gift for my grandmother.", "What does a cello sound like?",
        "Plan a bicycle trip along the coast.",
    ),
    "zh": (
        "把这封信翻译成法语。", "解这个关于 x 的方程。", "哪条河流经开罗？", "写一首关于初雪的诗。",
        "用 Python 给这个列表排序。", "鸡蛋要煮多久？", "这条影评是正面的吗？", "一九七二年的国际象棋比赛谁赢了？",
        "帮我订今晚四个人的座位。", "解释疫苗是怎样起作用的。", "说出三种桥梁。", "我的打印机没有纸了。",
        "概括法院的判决。", "推荐一件送给奶奶的礼物。", "大提琴的声音是什么样的？", "计划一次沿海岸的骑行。",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kinds:
    """Groups of rows that are alike.

    `count` is the effective number of groups (the exponential of the entropy of their sizes), so that stray rows
    hardly count. Of so many groups, largest first: `sizes` among the `sampled` rows, `middles`, the number of the
    row that is most like all others of its group, and `members`, the numbers of all its rows.
    """

    count: int
    sizes: tuple[int, ...]
    middles: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]
    sampled: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of texts [texts, width], each of length 1, and how similar unrelated sentences are to that embedder."""

    vectors: NDArray[np.float64]
    unrelated: float

    @property
    def least(self) -> float:
        """The mean similarity that makes texts one kind."""
        return least_similarity(self.unrelated)


def embedded(instructions: Sequence[str], embedder: Embedder) -> Embedded:
    """What an Embedder makes of instructions, and of unrelated sentences in their language."""
    references = UNRELATED[language_of("\n".join(instructions)[:100_000])]
    vectors = np.asarray(embedder.embed([*instructions, *references], kind="query"), dtype=np.float64)
    known = vectors[len(instructions) :]
    similarity = known @ known.T
    unrelated = float(similarity[~np.eye(len(references), dtype=bool)].mean())
    return Embedded(vectors[: len(instructions)], unrelated)


def kinds_of(instructions: Sequence[str], embedder: Embedder) -> Kinds:
    """Group instructions by what an Embedder makes of them, and of unrelated sentences in their language."""
    found = embedded(instructions, embedder)
    return count_kinds(found.vectors, found.unrelated)


def least_similarity(unrelated: float) -> float:
    """The mean similarity that makes texts one kind, where unrelated ones have `unrelated`."""
    return unrelated + SAME_KIND * (1 - unrelated)


def count_kinds(vectors: NDArray[np.floating[Any]], unrelated: float = 0.0, seed: int = 0) -> Kinds:
    """Group rows by their vectors [rows, width], each of length 1; `unrelated` is the similarity of unrelated rows.

    Average linkage (Sokal, Michener 1958): groups grow together while the mean similarity of their rows stays above
    the limit. Of more than 2,000 rows, 2,000 drawn by `seed` are looked at.
    """
    chosen = np.arange(len(vectors))
    if len(vectors) > SAMPLED_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(vectors), SAMPLED_ROWS, replace=False))
    points = np.asarray(vectors, dtype=np.float64)[chosen]
    groups = groups_of(points, unrelated)
    sizes = np.bincount(groups)
    shares = sizes / sizes.sum()
    count = max(1, round(float(np.exp(-(shares * np.log(shares)).sum()))))
    largest = np.argsort(-sizes, kind="stable")[:count]
    members = [np.flatnonzero(groups == group) for group in largest]
    return Kinds(
        count=count,
        sizes=tuple(len(one) for one in members),
        middles=tuple(int(chosen[_middle(points, one)]) for one in members),
        members=tuple(tuple(chosen[one].tolist()) for one in members),
        sampled=len(chosen),
    )


def groups_of(points: NDArray[np.float64], unrelated: float) -> NDArray[np.int64]:
    """The number of each row's group, where rows of a group have a mean similarity clearly above `unrelated`."""
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(points) < 2:
        return np.zeros(len(points), dtype=np.int64)
    upper = np.triu_indices(len(points), 1)
    distances = np.clip(1 - (points @ points.T)[upper], 0, 2)
    tree = linkage(distances, "average")
    return np.asarray(fcluster(tree, 1 - least_similarity(unrelated), "distance") - 1, dtype=np.int64)


def _middle(points: NDArray[np.float64], members: NDArray[np.int64]) -> int:
    """The member that is most like all of them."""
    inside = points[members]
    return int(members[(inside @ inside.sum(axis=0)).argmax()])
