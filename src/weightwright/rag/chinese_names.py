"""People, places and organisations in Chinese text, by the tags of jieba's dictionary and by surnames."""

import re
from functools import lru_cache

from weightwright.rag.analyze import is_han
from weightwright.rag.places import is_place, may_be_place

_NAME_TAGS = ("nr", "ns", "nt", "nz")
_SURNAMES = frozenset(
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛"
    "叶阎余潘杜戴夏钟汪"
    "田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段钱汤尹黎易常武乔贺赖龚文庞樊兰殷施陶洪翟安颜倪严牛温"
    "芦季俞章鲁葛伍韦申尤毕聂丛焦向柳邢路岳齐梅莫庄辛管祝左涂谷祁时舒耿牟卜詹关苗凌费纪靳盛童欧甄项曲"
    "成游阳裴席卫查屈鲍位覃霍翁隋植甘景薄单包司柏宁柯阮桂闵解强柴华车冉房边净阴闫佘苟裘"
)
_GIVEN = frozenset(
    "伟民明华强国建军志文丽娜芳敏静秀兰英霞平红玉梅勇磊洋艳杰娟涛超刚辉鹏斌波宇浩宁欣婷雪琳佳慧雅莉倩"
    "颖洁萍燕玲琴凤云淑珍桂春德福贵祥荣胜忠义仁信良"
    "俊豪博翔轩睿晨曦梓涵怡悦思雨诗琪瑶子晓小东海峰光亮飞龙虎新立永世成家宝庆林森源润泽清远嘉启瑞康健"
    "宏毅凯恒振兴利全友才根生"
)
_FUNCTION_CHARACTERS = "由和与在向对请找是被把给跟让为从及或的了于至到自经往将以其"
_COMPOUND_SURNAMES_TEXT = """
欧阳 诸葛 司马 上官 司徒 东方 尉迟 公孙 慕容 令狐 皇甫 夏侯 宇文 长孙 端木 南宫
"""
_COMPOUND_SURNAMES = frozenset(_COMPOUND_SURNAMES_TEXT.split())
# ordinary words that jieba's dictionary tags as names (the frequent ones of 2 million characters of web text)
_NO_NAMES_TEXT = """
友谊 陈述 雨林 道德 阳光 宝贝 宝贵 令人 公正 王朝 洪水 博客 宁静 哈希 续航 和弦 小镇 卫星 谢谢 顾问 蓝藻 宝藏
关怀 智慧 红藻 沙拉 修正 文明 顾客 沙滩 祖先 黑客 切丁 荣誉 古老 黎明 宣言 卓越 明智 温泉 权威 凤凰 王子 西医
德军 史诗 荣幸 寻宝 明白 诸如 列中 香甜 安静 老虎 罗勒 封锁 解密 贝壳 康复 高昂 庄园 张量 雷霆 爱戴 权衡 涂抹
牛仔 通顺 高耸 花香 叶子 张力 敬语 祝您 连贯 华丽 麦田 才华 易危 易懂 许可 温顺 胡椒 朴素 宝宝 徐徐 高阶 伯爵
克拉 高清 赫兹 童工 索引 翠绿 高超 滑冰 言语 雷声 冷凝 祝福 蓬勃 比特 晋升 蔚蓝 周全 白皙 屠宰 克隆 平安 舒适
高兴 高峰 城市 海洋 二氧化碳 太阳 短语 云 网络安全 深度 英里 海滩 加密 满意度 美丽 美味 联网 恒星 深海 关联 和平
中世纪 赞美 海洋生物 东西 即时通讯 神经元 福利 长度 三明治 抗议 论文 通讯 星星 山脉 家族 王国 冰川 统计学 卡片
外国 大都 四合院 三角洲 大城市 恐龙 甲烷 城堡 天文学 公共交通 信息安全 湖泊 新鲜 双关语 阶乘 回文 新建 沿海地区
山峰 山丘 城镇 太多 公共场所 吉他 益处 入口 海滨 交易所 大都市 都市区 中风 英雄 波浪 音乐会 奇特 聊天 普通 飞翔
最大化 嘉宾 普及 海浪 大坝 水坝 滤芯 天文台 大桥 大街 都市 容纳 联合会 申请人 加油站 广播公司 向南 向东 卫生保健
台风 中毒 一氧化碳 新一轮 本赛季 段时间 相冲突 音乐厅 美术馆 宪法法院 中央政府 广义 维修费 藏书 牵绳 付清 长大
千欧 包邮 金红利 红利 加时赛 金黄 上下半场 授权代表 季后赛 全国冠军 老城区 礼拜 管理 上市公司 最高法院 换向器
邻接矩阵 许可证 统计局 朝圣 高度发达 双发 左翼 北郊 山区 海军军官 超临界 信噪比 能源安全 无人驾驶 水冷 密封
太空飞行 协商一致 布满 百万富翁 榆树 以太网 广泛传播 亦然 新纪元 测井 屠夫 荣登 理工学院 新星 博览 明星 钟声
青春 蓝天 升华 硅酸 碳酸钾 碳酸钠 氨基酸 大屠杀 安全局 契约 商学院 国立大学 西北 都市人口 大城镇 石柱 向北
高水平 在世 贡献者 儿童医院 宿舍楼 人文科学 社会科学 宜居 治国 法度 安抚 登基 任职 朝廷 余波 拉力赛 中长跑 长跑
世界纪录 北半球 河谷 葡萄园 海峡 大海 非军事化 喜讯 温和派 法律援助 军事学院 世界观 卫星天线 世界秩序 内陆地区
采取措施 大国 王位继承 六月份 登山 万分之 伍拾 孙子 孙女 外孙 曾孙 长孙 之日起 换乘 下山 上山 正文 抗氧化剂 耐力
维度 美德 联邦政府 国家 国际 全国 本市 全市 汇报 甲方 乙方 小时 星期 公里 千米
"""
_TITLES_TEXT = """
先生 女士 教授 博士 院士 老师 医生 经理 总经理 主任 校长 院长 部长 市长 局长 董事长 律师 法官
"""
_TITLES = frozenset(_TITLES_TEXT.split())
_BEFORE_A_NAME_TEXT = """
儿子 女儿 孙子 孙女 妻子 丈夫 父亲 母亲 弟弟 哥哥 姐姐 妹妹 作家 画家 作者 记者 导演 演员 歌手 主管 副手 书记
主席 司机 代表
"""
_BEFORE_A_NAME = _TITLES | frozenset(_BEFORE_A_NAME_TEXT.split())
_NO_NAMES = frozenset(_NO_NAMES_TEXT.split())


# well-known firms and products that jieba's dictionary has as ordinary words or not at all
_FIRMS_TEXT = """
华为 小米 腾讯 阿里巴巴 百度 京东 美团 字节跳动 抖音 快手 微信 支付宝 淘宝 天猫 拼多多
滴滴 网易 新浪 搜狐 联想 海尔 格力 美的 比亚迪 吉利 蔚来 理想汽车 小鹏 宁德时代 中兴
荣耀 魅族 大疆 顺丰 携程 哔哩哔哩 知乎 豆瓣 微博 茅台 五粮液 蒙牛 伊利 万科 恒大
碧桂园 平安保险 招商银行 苹果公司 谷歌 微软 亚马逊 英特尔 英伟达 高通 三星 索尼 松下
丰田 本田 日产 大众汽车 宝马 奔驰 奥迪 特斯拉 福特 波音 空客 西门子 博世 飞利浦 诺基亚
爱立信 甲骨文公司 思科 戴尔 惠普 可口可乐 百事 麦当劳 肯德基 星巴克 沃尔玛 家乐福 宜家
水星 金星 火星 木星 土星 天王星 海王星 冥王星
耐克 阿迪达斯 雀巢 联合利华 宝洁 辉瑞 默沙东
"""
_TITLE = re.compile(r"《([^《》]{1,40})》")
_FIRMS = re.compile("|".join(sorted(_FIRMS_TEXT.split(), key=len, reverse=True)))


@lru_cache(maxsize=4096)
def chinese_names(text: str) -> frozenset[str]:
    """People, places and organisations by jieba's tags; a surname that jieba left to the word before is put back."""
    import rjieba

    tokens: list[tuple[str, str]] = rjieba.tag(text)
    found: set[str] = {*_FIRMS.findall(text), *_TITLE.findall(text)}
    used = -1
    for i, (word, tag) in enumerate(tokens):
        if i and tokens[i - 1][0] in _BEFORE_A_NAME and 2 <= len(word) <= 3 and word[0] in _SURNAMES:
            found.add(_without_clinging(word))
            continue
        if i == used or not is_han(word) or word in _NO_NAMES:
            continue
        if word[0] == "张" and i and tokens[i - 1][0][-1] in "这那每一几两该本半":
            continue  # 这张券
        clinging = 1 < len(word) < 5 and word[0] in _FUNCTION_CHARACTERS and not rjieba.has_word(word)
        core = _without_clinging(word[1:] if clinging else word)
        if core == "里加" and i and not (tokens[i + 1][0].strip() if i + 1 < len(tokens) else "。"):
            continue  # 面粉里加, before the place of a number
        after, after_tag = tokens[i + 1] if i + 1 < len(tokens) else ("", "")
        if core in _SURNAMES or core in _COMPOUND_SURNAMES:
            titled = i + 2 < len(tokens) and tokens[i + 2][0] in _TITLES
            given = (
                titled
                or clinging
                or after_tag.startswith(_NAME_TAGS)
                or _GIVEN.issuperset(after)
                or not rjieba.has_word(after)
            )
            after = (
                after if tokens[i + 1 : i + 2] and rjieba.has_word(core + after) else _without_clinging(after)
            )
            if is_han(after) and len(after) <= 2 and given and (titled or after not in _NO_NAMES):
                found.add(core + after)
                used = i + 1
                continue
        if (
            (len(core) > 1 and tag.startswith(_NAME_TAGS))
            or is_place(core)
            or may_be_place(core, tokens[i - 1][0] if i else "", after)
        ):
            found.add(core)
    return frozenset(found)


def _without_clinging(name: str) -> str:
    """A person's name without the preposition that jieba took for its last character: 韩梅 of 韩梅于."""
    import rjieba

    if len(name) > 1 and name[-1] in _CLINGS_BEHIND and not rjieba.has_word(name):
        return name[:-1]
    return name


_CLINGS_BEHIND = "于在与和是为将的由从向对已曾被把任兼并也都负因共以到至们还仍又"
