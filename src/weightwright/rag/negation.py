"""What a text denies: clauses with `not 20 euros`, `isn't`, `never`, 不是, 没有, and other words that may deny."""

import re
from dataclasses import dataclass
from itertools import pairwise

_CLAUSE_END = re.compile(
    r"[;；，。：？！\n（）()]|,(?!\d)|(?<!\d):(?!\d)|\b(?:but|while|whereas|although|though|however|rather)\b|但是?|而是?|不过|然而"
    r"|(?<=\S)(?= and (?:not|never|cannot)\b)"
)
_AUXILIARY = (
    r"(?:do|does|did|is|are|was|were|has|have|had|can|could|will|would|may|might|must|should|need|shall"
    r"|wo|ca|ai)"
)
_NOT = re.compile(
    rf"\b{_AUXILIARY}n['’]t\b|\b(?:[Nn]ot(?! (?:only|just|merely|least|later|earlier|more|less|fewer"
    r"|exceed|above|below|over|under|beyond|until|till|before)\b)|[Nn]ever|cannot|no longer|nor|[Nn]either)\b"
    r"|\b[Nn]o (?!more|less|fewer|later|earlier|longer|doubt|matter|one\b|other|sooner|\d)(?=[a-z])"
    r"|不是|并非|并不|不再|不(?:会|能|可|可以|得|准|许|应|宜)(?!不|以?超过|少于|多于|低于|高于|晚于|早于|迟于|大于|小于|超出|以)"
    r"|不(?:享受|享有|承保|保修|赔|退|报销|负责|营业|受理|办理|承担|覆盖|涵盖|发放|补贴|计入|纳入|列入|出售|销售|参加|参与|安排|设|配备|生产|使用|推荐|建议|支付|允许|包括|包含|提供|含|收|需|用|必|对|接受|支持|开放|适用|属于|在)|从未|未曾|从不|从来没|没有|没(?=[\u4e00-\u9fff])|而非|[，、]非"
)
# what is left out by name: except on Mondays, 除周一外
_EXCEPTED = re.compile(
    r"\b(?:except|excluding|apart from|other than)(?: (?:on|in|for|at|the|from))* [\w'’-]+"
    r"|\b(?:instead of|rather than) (?:[A-Z]{3} |[€$£])?\w[\w.,]*"
    r"|除了?[^，。；]{1,8}?(?:之|以)?外"
)
# what only says which: 不能工作的第43天
_ATTRIBUTE = re.compile(r"不(?:能|会|可以|得)[\u4e00-\u9fff]{1,5}的(?=[\u4e00-\u9fff\d])")
# words that may say no, of which nothing is concluded
_MAY_DENY = re.compile(
    r"\b(?:not?|none|nothing|nobody|without|except|unless|until|only|lacks?|lacking|refus\w+|fail\w*|forbid\w*"
    r"|forbade|prohibit\w*|ban|bans|banned|excluded?|excluding|instead|free|closed|unable|unavailable|impossible"
    r"|invalid|hardly|rarely|seldom|stop(?:s|ped)?|former|ceased?|deni(?:es|ed)|deny|false|wrong|exempt|waived|zero"
    r"|prevent\w*|avoid\w*|reject\w*|cancel\w*|un[a-z]{4,}|in(?:active|eligible|correct|sufficient))\b"
    r"|[不无非未勿否禁免缺拒除停]|没|仅|只|谢绝|取消"
)
# `not until 1998`, `not before 10`, `not valid unless`: what is said there is no denial of the number or name
_TURNED = re.compile(r"\b(?:until|till|before|unless|without|than|only|if)\b|之前|以前|除非|除了|才")


@dataclass(frozen=True, slots=True)
class Denial:
    """Whether a text denies something, whether it may, and the text without the clauses that deny."""

    denies: bool
    may: bool
    rest: str


def denial(text: str) -> Denial:
    """What a sentence denies, clause by clause."""
    if not _MAY_DENY.search(text) and not _NOT.search(text):
        return Denial(denies=False, may=False, rest=text)
    kept, denies = [], False
    text = _ATTRIBUTE.sub("", text)
    text, excepted = _EXCEPTED.subn(" ", text)
    for clause in _clauses(text):
        if _NOT.search(clause) and not _TURNED.search(clause):
            denies = True
        else:
            kept.append(clause)
    return Denial(denies or bool(excepted), may=True, rest="".join(kept))


def _clauses(text: str) -> list[str]:
    cuts = [0, *(match.start() for match in _CLAUSE_END.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(cuts) if end > start]
