"""What a sentence claims: its numbers, its names and its content words."""

from collections.abc import Sequence
from dataclasses import dataclass

from weightwright.rag.analyze import STOP_STEMS, is_han, own_terms
from weightwright.rag.dates import Time
from weightwright.rag.names import Name, names
from weightwright.rag.negation import denial
from weightwright.rag.quantities import quantities
from weightwright.rag.quantity import Quantity
from weightwright.rag.readable import readable
from weightwright.rag.sentences import MARK
from weightwright.rag.units import CURRENCIES

# words with which answers speak about themselves, and that say how exact a number is
_WITHOUT_FACTS = """
answer accord sourc source passag passage document text context state stat mention say said provid inform
describ follow
about approxim around rough near total onli also per each everi both altogeth there most least maximum minimum
not no never yes up more less than onc
go must make made use call need take given possibl peopl person somebodi someon everyon everybodi own well long way
over under abov below within between befor after until dur through usual normal general typic current now then
答案 回答 根据 资料 文档 文中 文本 说明 提到 提供 信息
约 大约 大概 左右 共 总共 一共 每 可以 需要 需 要 须 会 能 能够 可 应 则 并 即 该 名 位 个 至 到 由 里 则为
均 只 也 已 已经 所 最 全 这条 这个 这家 一个 要求 有关
之前 之后 以前 以后 前 后 内 里 时 期间 时候 开始 必须 应当 应该 自己 这座 这部 这种 这款 那个 请 用 从 自 起 往
才 只能 不能 不可以 无法
就 再 还 达 达到 拥有 只有 目前 一般 通常 一趟 人 大家 所有 任何 如果 的话 或者 而是 其中 是否
不 不是 没有 没 并非 不得 超过 不超过 多 少 至多 最多 至少 位于 地处 坐落
"""
_IGNORED = STOP_STEMS | frozenset(_WITHOUT_FACTS.split())


@dataclass(frozen=True, slots=True)
class Facts:
    """What a sentence claims. A number's fact is its place among `numbers`."""

    numbers: tuple[Quantity, ...]
    names: tuple[Name, ...]
    words: frozenset[str]
    denies: bool = False  # whether it says of something that it is not so
    may_deny: bool = False
    text: str = ""  # in small letters

    def __bool__(self) -> bool:
        return bool(self.numbers or self.names or self.words)

    @property
    def content(self) -> frozenset[str]:
        """Words and names."""
        return self.words | {name.word for name in self.names}

    def __len__(self) -> int:
        return len(self.numbers) + len(self.names) + len(self.words)


Fact = int | Name | str


def facts_of(sentence: str) -> Facts:
    """Numbers that it needs, names, content words; marks are left out."""
    text = readable(MARK.sub("", sentence))
    found = quantities(text)
    rest = without(text, found)
    named = names(rest)
    of_names = {term for name in named for term in own_terms(name.word)}
    held = {_rooted(term) for term in own_terms(rest) if term not in _IGNORED and not term[0].isdigit()}
    numbers = tuple(q for q in found if q.required)
    said = denial(text)
    return Facts(
        numbers, named, frozenset(held - of_names - _of_units(numbers)), said.denies, said.may, text.lower()
    )


def _rooted(term: str) -> str:
    """A Chinese verb without the preposition that clings to it: 生 of 生于."""
    return term[0] if len(term) == 2 and term[1] == "于" and is_han(term) else term


# words that say no more than the unit of a number does: `costs 5 euros`, `lasts 2 hours`, `is 12 miles long`
_SAID_BY_UNITS = {
    "money": "cost price pay paid charg fee 价格 费用 收费 售价 花费 票价 价",
    "s": "last take durat long run 时长 持续 为期", "month": "last take durat long old 时长 持续 为期 年龄",
    "m": "long length 全长 长度 长", "mile": "long length 全长 长度 长", "foot": "long length 全长 长度 长",
    "°C": "temperatur warm cold hot 温度 气温", "degree": "temperatur warm cold hot 温度 气温",
    "°F": "temperatur warm cold hot",
    "date": "day date 日期 日子", "time": "time clock hour 时间 时刻",
    "kg": "weigh weight 重 重量", "lb": "weigh weight 重 重量", "m2": "area cover 面积 占地",
    "acre": "area cover 面积",
}  # fmt: skip


def _of_units(numbers: Sequence[Quantity]) -> frozenset[str]:
    bases = {"money" if base in CURRENCIES else base for number in numbers for base in number.bases}
    bases |= {
        "time" if isinstance(number.moment, Time) else "date"
        for number in numbers
        if number.moment is not None
    }
    return frozenset(word for base in bases for word in _SAID_BY_UNITS.get(base, "").split())


def without(text: str, found: Sequence[Quantity]) -> str:
    """The text without its numbers and their units."""
    parts, done = [], 0
    for quantity in found:
        parts.append(text[done : max(done, quantity.start)])
        done = max(done, quantity.end)
    return " ".join([*parts, text[done:]])
