"""The names that a sentence speaks of: capitals, also in front of it, Latin words among Chinese, jieba's Chinese names."""

import gzip
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

from weightwright.rag.analyze import STOP_WORDS, is_han, stem
from weightwright.rag.normal import HAN

_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['’](?=[^\W\d_])|(?<=[A-Z])\.(?=[A-Z]\b))*(?<!['’])")
_OPENING = re.compile(r"(?:^|[.!?:;。！？：；]|\n)[\s\"'“”‘’«»(\[*_>#-]*$")
_LATIN = rf"(?:(?![{HAN}_])[^\W\d])+"
_VERBS = frozenset(
    "is was are were has had have will would can could may might must should did does founded built wrote led ran won became"
    " made came went took gave held began said says left bought sold met kept taught drew grew sang spoke chose".split()
)
_DEMONYM = re.compile(r"(?:n|an|ian|ean|ish|ese|i|er|ic|s|'s)$")
_PEOPLES = re.compile(r"(?:[a-z]{3}(?:an|ian|eli|aqi|ani)|[a-z]{4}er)s$")
_TITLES = frozenset("mr mrs ms miss dr prof sir dame lord lady".split())
_NAME_TAGS = ("nr", "ns", "nt", "nz")
_SURNAMES = frozenset(
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪"
    "田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段钱汤尹黎易常武乔贺赖龚文庞樊兰殷施陶洪翟安颜倪严牛温"
    "芦季俞章鲁葛伍韦申尤毕聂丛焦向柳邢路岳齐梅莫庄辛管祝左涂谷祁时舒耿牟卜詹关苗凌费纪靳盛童欧甄项曲成游阳裴席卫查屈鲍位覃霍翁隋植甘景薄单包司柏宁柯阮桂闵解强柴华车冉房边净阴闫佘苟裘"
)
_GIVEN = frozenset(
    "伟民明华强国建军志文丽娜芳敏静秀兰英霞平红玉梅勇磊洋艳杰娟涛超刚辉鹏斌波宇浩宁欣婷雪琳佳慧雅莉倩颖洁萍燕玲琴凤云淑珍桂春德福贵祥荣胜忠义仁信良"
    "俊豪博翔轩睿晨曦梓涵怡悦思雨诗琪瑶子晓小东海峰光亮飞龙虎新立永世成家宝庆林森源润泽清远嘉启瑞康健宏毅凯恒振兴利全友才根生"
)
_FUNCTION_CHARACTERS = "由和与在向对请找是被把给跟让为从及或的了"
_COMPOUND_SURNAMES = frozenset(
    "欧阳 诸葛 司马 上官 司徒 东方 尉迟 公孙 慕容 令狐 皇甫 夏侯 宇文 长孙 端木 南宫".split()
)
_PLACE_SUFFIX = re.compile(r"(?<=[^\s]{2})[市省县区州镇]$")
# ordinary words that jieba's dictionary tags as names (the frequent ones of 2 million characters of web text)
_NO_NAMES = frozenset(
    """
友谊 陈述 雨林 道德 阳光 宝贝 宝贵 令人 公正 王朝 洪水 博客 宁静 哈希 续航 和弦 小镇 卫星 谢谢 顾问 蓝藻 宝藏 关怀 智慧 红藻 沙拉 修正 文明
顾客 沙滩 祖先 黑客 切丁 荣誉 古老 黎明 宣言 卓越 明智 温泉 权威 凤凰 王子 西医 德军 史诗 荣幸 寻宝 明白 诸如 列中 香甜 安静 老虎 罗勒 封锁
解密 贝壳 康复 高昂 庄园 张量 雷霆 爱戴 权衡 涂抹 牛仔 通顺 高耸 花香 叶子 张力 敬语 祝您 连贯 华丽 麦田 才华 易危 易懂 许可 温顺 胡椒 朴素
宝宝 徐徐 高阶 伯爵 克拉 高清 赫兹 童工 索引 翠绿 高超 滑冰 言语 雷声 冷凝 祝福 蓬勃 比特 晋升 蔚蓝 周全 白皙 屠宰 克隆 平安 舒适 高兴 高峰
城市 海洋 二氧化碳 太阳 短语 云 网络安全 深度 英里 海滩 加密 满意度 美丽 美味 联网 恒星 深海 关联 和平 中世纪 赞美 海洋生物 东西 即时通讯
神经元 福利 长度 三明治 抗议 论文 通讯 星星 山脉 家族 王国 冰川 统计学 卡片 外国 大都 四合院 三角洲 大城市 恐龙 甲烷 城堡 天文学 公共交通
信息安全 湖泊 新鲜 双关语 阶乘 回文 新建 沿海地区 山峰 山丘 城镇 太多 公共场所 吉他 益处 入口 海滨 交易所 大都市 都市区 中风 英雄 波浪 音乐会
奇特 聊天 普通 飞翔 最大化 嘉宾 普及 海浪 正文 抗氧化剂 耐力 维度 美德 联邦政府 国家 国际 全国 本市 全市 汇报 甲方 乙方 小时 星期 公里 千米
""".split()
)


@dataclass(frozen=True, slots=True)
class Name:
    """A name in small letters, and the acronyms that may stand for it (`who` for World Health Organization)."""

    word: str
    acronyms: frozenset[str] = frozenset()
    ordinary: bool = False  # an ordinary word with a capital, of which other forms are the same


def names(text: str) -> tuple[Name, ...]:
    """The names in a sentence, each once."""
    chinese = bool(re.search(f"[{HAN}]", text))
    found = _latin(text, every=chinese)
    if chinese:
        found |= {name: Name(name) for name in _chinese(text)}
    return tuple(found.values())


def has_name(name: Name, there: "Written") -> bool:
    """Whether a text holds the name, a form of it (Egyptian, Egypt), or an acronym of it, or what it is one of."""
    word = name.word
    if is_han(word):
        return word in there.text or _PLACE_SUFFIX.sub("", word) in there.text
    if word in there.words or (name.ordinary and stem(word) in there.stems):
        return True
    if word in there.acronyms or not name.acronyms.isdisjoint(there.words):
        return True
    return any(
        _same_people(word, other) or _same_people(other, word)
        for other in there.words
        if other[:3] == word[:3]
    )


@dataclass(frozen=True, slots=True)
class Written:
    """What `has_name` looks into: a text in small letters, its words, their stems, what its capitals may abbreviate."""

    text: str
    words: frozenset[str]
    stems: frozenset[str]
    acronyms: frozenset[str]

    @classmethod
    def of(cls, text: str) -> "Written":
        """The text (as `quantities.readable` gives it) taken apart."""
        words = [_bare(match[0]) for match in _WORD.finditer(_apart(text))]
        acronyms = {acronym for run in _capital_runs(text) for acronym in _acronyms(run)}
        return cls(text.lower(), frozenset(words), frozenset(map(stem, words)), frozenset(acronyms))

    def __or__(self, other: "Written") -> "Written":
        return Written(
            f"{self.text}\n{other.text}",
            self.words | other.words,
            self.stems | other.stems,
            self.acronyms | other.acronyms,
        )


NOTHING = Written("", frozenset(), frozenset(), frozenset())


def _apart(text: str) -> str:
    """Latin words among Chinese characters as words of their own."""
    return re.sub(rf"(?<=[{HAN}])(?=[^\W{HAN}])|(?<=[^\W{HAN}])(?=[{HAN}])", " ", text)


def _bare(word: str) -> str:
    word = word.replace("’", "'").lower()
    return word.removesuffix("'s").removesuffix("'").replace("'", "").replace(".", "")


# --- Latin letters ----------------------------------------------------------------------------------


def _latin(text: str, *, every: bool) -> dict[str, Name]:
    text = _apart(text) if every else text
    runs = _capital_runs(text)
    standing = {word: acronym for run in runs for word in run for acronym in [_acronyms(run)]}
    found: dict[str, Name] = {}
    for match in _WORD.finditer(text):
        word = match[0]
        bare = _bare(word)
        capitals = sum(letter.isupper() for letter in word)
        if is_han(word) or not bare or bare in _TITLES:
            continue
        if every or _is_name(text, match, bare, capitals):
            if bare in STOP_WORDS and not (capitals > 1 and word.isupper()) and bare != "may":
                continue
            if len(bare) == 1 and not every:
                continue
            found[bare] = Name(bare, frozenset(standing.get(bare, ())), is_ordinary(bare))
    return found


def _is_name(text: str, match: re.Match[str], bare: str, capitals: int) -> bool:
    word = match[0]
    if not capitals or (not word[0].isupper() and capitals < 1):
        return False
    if not word[0].isupper() or capitals > 1:
        return True  # iPhone, IT
    if not _OPENING.search(text[: match.start()]):
        return True
    if bare in STOP_WORDS:
        return False
    if not is_ordinary(bare):
        return True
    return _is_also_name(bare) and _acts(text[match.end() :])


def _acts(after: str) -> bool:
    """Whether a verb or another name follows: Mark founded, Rose Miller; not `Mark the box`."""
    following = re.match(rf"(?:'s)?,? ({_LATIN})", after)
    if following is None:
        return False
    word = following[1]
    return (
        word in _VERBS
        or word[0].isupper()
        or word.endswith("ed")
        or (word.endswith("s") and not word.endswith("ss"))
    )


def is_ordinary(word: str) -> bool:
    """Whether a word (small letters) is an ordinary English word or a form of one."""
    return stem(word) in _ordinary()[0]


def _is_also_name(word: str) -> bool:
    return word in _ordinary()[1]


@cache
def _ordinary() -> tuple[frozenset[str], frozenset[str]]:
    """Stems of ordinary words, and those words that are names, too."""
    packed = (files("weightwright.rag") / "english_words.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode().splitlines()
    stems = frozenset(line for line in lines if line[0].islower())
    return stems, frozenset(line.lower() for line in lines if line[0].isupper())


def _capital_runs(text: str) -> list[list[str]]:
    """Words with capitals one behind the other; of, and, the, for may stand between them."""
    runs: list[list[str]] = []
    end = -1
    for match in _WORD.finditer(text):
        word = match[0]
        between = text[end : match.start()] if end >= 0 else ""
        joined = end >= 0 and re.fullmatch(r"[ -]", between)
        if word in ("of", "and", "the", "for", "de", "des") and joined:
            end = match.end()
            continue
        if word[0].isupper():
            if joined and runs:
                runs[-1].append(_bare(word))
            else:
                runs.append([_bare(word)])
            end = match.end()
        else:
            end = -1
    return runs


def _acronyms(run: list[str]) -> set[str]:
    """The initials of every part of a run of at least two words."""
    letters = "".join(word[0] for word in run if word)
    return {letters[i:j] for i in range(len(letters)) for j in range(i + 2, min(len(letters), i + 7) + 1)}


def _same_people(root: str, form: str) -> bool:
    """Egypt and Egyptian, American and Americans; not John and Johnson, Evan and Evans."""
    if len(root) < 4 or not form.startswith(root[:-1]):
        return False
    if form == root + "s" or form == root + "es":
        return bool(_PEOPLES.fullmatch(form)) or is_ordinary(root)
    tail = form.removeprefix(root) if form.startswith(root) else ""
    if tail in ("n", "an", "ian", "ean", "ese", "ish", "i", "ians", "ans", "is", "ite"):
        return True
    return root[-1] in "aeyo" and form[len(root) - 1 :] in ("an", "ian", "ese", "ish", "ans", "ians", "ic")


# --- Chinese ----------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _chinese(text: str) -> frozenset[str]:
    """People, places and organisations by jieba's tags; a surname that jieba left to the word before is put back."""
    import rjieba

    tokens: list[tuple[str, str]] = rjieba.tag(text)
    found: set[str] = set()
    used = -1
    for i, (word, tag) in enumerate(tokens):
        if i == used or not is_han(word) or word in _NO_NAMES:
            continue
        clinging = len(word) == 2 and word[0] in _FUNCTION_CHARACTERS and not rjieba.has_word(word)
        core = word[1:] if clinging else word
        after, after_tag = tokens[i + 1] if i + 1 < len(tokens) else ("", "")
        if core in _SURNAMES or core in _COMPOUND_SURNAMES:
            given = after_tag.startswith(_NAME_TAGS) or _GIVEN.issuperset(after) or not rjieba.has_word(after)
            if is_han(after) and len(after) <= 2 and given and after not in _NO_NAMES:
                found.add(core + after)
                used = i + 1
                continue
        if len(core) > 1 and tag.startswith(_NAME_TAGS):
            found.add(core)
    return frozenset(found)
