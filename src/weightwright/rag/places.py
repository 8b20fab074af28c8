"""Countries, cities and regions in Chinese with their English names."""

import gzip
import re
from functools import cache
from importlib.resources import files

from weightwright.rag.normal import folded

# ordinary words, too; as names they count only where a text in English is looked into
_ORDINARY = frozenset(
    "白银 日照 开封 汉堡 朝阳 大同 安康 三明 四平 大理 黑山 马里 保定 中卫 周口 白山 道森 图勒 里加 德州 中山".split()  # noqa: SIM905
)


@cache
def places() -> dict[str, tuple[str, ...]]:
    """English names (small letters, the usual first) by Chinese ones."""
    packed = (files("weightwright.rag") / "places.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode().splitlines()
    rows = (line.split("\t") for line in lines if not line.startswith("#"))
    return {chinese: tuple(folded(name.lower()) for name in english.split("/")) for chinese, english in rows}


def in_english(place: str, text: str) -> bool:
    """Whether an English text (folded, in small letters) names a place that is written in Chinese."""
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in places().get(place, ()))


def is_place(word: str) -> bool:
    """Whether a Chinese word is the name of a place and nothing else."""
    return word in places() and word not in _ORDINARY


def may_be_place(word: str, before: str, after: str) -> bool:
    """Whether an ordinary word is the name of a place by the words around it: 在开封附近, not 开封后."""
    if word not in places():
        return False
    return after in ("市", "县", "附近", "人", "站") or (
        before in _BEFORE_A_PLACE and after[:1] not in ("前", "后", "时", "之", "以")
    )


_BEFORE_A_PLACE = frozenset("在 于 到 至 赴 从 往 抵 位于 前往 来自 生于 抵达 迁至 迁往 开往".split())  # noqa: SIM905
