"""The parts of BM25 that every store takes alike (Robertson and Zaragoza 2009, eq. 3.15)."""

import math

# near the best of a grid on XQuAD in English and Chinese (bench/terms.py); Anserini's defaults
K1 = 0.9
B = 0.4


def idf(chunks: int, holding: int) -> float:
    """The weight of a term that `holding` of `chunks` hold, as Lucene computes it (never negative)."""
    return math.log(1 + (chunks - holding + 0.5) / (holding + 0.5))
