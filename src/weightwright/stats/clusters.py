"""Which observations hang together: questions that share a document are one cluster."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Labels = NDArray[np.intp]
Floats = NDArray[np.float64]


def by_shared(groups: Sequence[Sequence[str]]) -> Labels:
    """Cluster labels [n], 0..k-1 in order of first appearance, for n observations.

    Observation i has the tags `groups[i]`; those that share a tag, directly or through others, are one
    cluster (connected components by union-find). One without tags is a cluster of its own.
    """
    parent = list(range(len(groups)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    for i, tags in enumerate(groups):
        for tag in tags:
            j = first.setdefault(tag, i)
            a, b = sorted((root(i), root(j)))
            parent[b] = a
    order: dict[int, int] = {}
    return np.array([order.setdefault(root(i), len(order)) for i in range(len(groups))], dtype=np.intp)


def effective(sizes: Floats) -> float:
    """How many clusters of equal size those of sizes [k] are worth: n^2 / sum of squares, at most k.

    One large cluster among many small ones outweighs them (Kish 1965, section 5.4; Carter, Schnepel &
    Steigerwald 2017, REStat 99:698, with all clusters alike but for their size).
    """
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def sums(values: ArrayLike, clusters: ArrayLike | None) -> tuple[Floats, Floats]:
    """Sum and size of each cluster: values [n], labels [n] of any kind (None: all alone) -> [k], [k], f64.

    Raises ValueError when there is nothing, when lengths differ, or when a value is not finite.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"needs at least one value in one dimension, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{int((~np.isfinite(x)).sum())} of {x.size} values are not finite numbers")
    if clusters is None:
        return x.copy(), np.ones_like(x)
    labels = np.asarray(clusters)
    if labels.shape != x.shape:
        raise ValueError(f"{x.size} values but cluster labels of shape {labels.shape}")
    _, index = np.unique(labels, return_inverse=True)
    totals = np.bincount(index, weights=x).astype(np.float64)
    return totals, np.bincount(index).astype(np.float64)
