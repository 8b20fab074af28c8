"""What supports a sentence: numbers with their units, dates, versions and names, in English and Chinese."""

import pytest

from weightwright.rag.claim import facts_of
from weightwright.rag.names import names
from weightwright.rag.quantities import quantities
from weightwright.rag.readable import readable
from weightwright.rag.support import Evidence

# source, what it supports, and the same with one number, unit, name or date that is another
PAIRS = [
    ("Omar founded the studio in Turin.", "Omar founded the studio.", "Greta founded the studio."),
    ("林涛在2009年开办了学校。", "林涛在2009年开办了学校。", "韩雪在2009年开办了学校。"),
    ("The UAE has 9 depots.", "The UAE has nine depots.", "The US has 9 depots."),
    (
        "Tenants get forty days of notice.",
        "Tenants get 40 days of notice.",
        "Tenants get fifty days of notice.",
    ),
    ("租户有四十天通知期。", "租户有40天通知期。", "租户有五十天通知期。"),
    ("The ticket is £18.", "The ticket is 18 pounds.", "The ticket is $18."),
    ("The rebate is 8 euros.", "The rebate is EUR 8.", "The rebate is 8%."),
    ("The rope is 7 m long.", "The rope is 7 metres long.", "The rope is 7 km long."),
    ("The fund holds 3 billion euros.", "The fund holds €3bn.", "The fund holds 3 million euros."),
    ("The prize is 45 000 euros.", "The prize is 45,000 euros.", "The prize is 45 euros."),
    ("Install release 2.20.", "Install release 2.20.", "Install release 2.2."),
    ("The fair begins on 7/2/2025.", "The fair begins on 7/2/2025.", "The fair begins on 2/7/2025."),
    ("The guide lists thirty-one huts.", "31 huts.", "13 huts."),
    ("附加费为百分之十二。", "附加费12%。", "附加费12元。"),
    ("The dam cost 3 million francs.", "The dam cost 3,000,000 francs.", "The dam cost 30,000,000 francs."),
    ("押金为3万元。", "押金30000元。", "押金3000元。"),
    ("Read part VI first.", "Read part 6 first.", "Read part 4 first."),
    ("Staff get twenty days of leave.", "Staff get 20 days of leave.", "Staff get twenty-two days of leave."),
    ("The loan is 1.2 million dollars.", "The loan is $1.2m.", "The loan is $1.2bn."),
    ("The cable is 500 m long.", "The cable is 0.5 km long.", "The cable is 500 km long."),
    (
        "The fee rose by 3 percentage points.",
        "The fee rose by 3 percentage points.",
        "The fee rose by 3 percent.",
    ),
    ("The deposit is CHF 300.", "The deposit is 300 francs.", "The deposit is 300 euros."),
    ("The file has 20 MB.", "The file has 20 megabytes.", "The file has 20 GB."),
    ("The balance is -40 euros.", "The balance is minus 40 euros.", "The balance is 40 euros."),
    ("The jar holds 3 litres.", "The jar holds 3 L.", "The jar holds 3 gallons."),
    ("Room 12 is on level 3.", "Room 12 is on level 3.", "Room 13 is on level 3."),
    ("Nadia runs the archive.", "Nadia runs the archive.", "Farid runs the archive."),
    ("Rose runs the archive.", "Rose runs the archive.", "Grace runs the archive."),
    ("Jordan exports phosphate.", "Jordan exports phosphate.", "Peru exports phosphate."),
    ("The EU sets the limit.", "The EU sets the limit.", "The UN sets the limit."),
    ("NASA built the probe.", "NASA built the probe.", "ESA built the probe."),
    ("It starts on Monday, 6 May.", "It starts on 6 May.", "It starts on 6 March."),
    ("It starts on 2024-05-06.", "It starts on May 6, 2024.", "It starts on June 5, 2024."),
    ("The deadline is 05/06/2024.", "The deadline is 05/06/2024.", "The deadline is 06/05/2024."),
    ("The deadline is 25/06/2024.", "The deadline is 25 June 2024.", "The deadline is 26 June 2024."),
    ("Version 2.0 needs Java 17.", "Java 17 is needed by version 2.0.", "Java 11 is needed by version 2.0."),
    ("Act III ends with a storm.", "Act 3 ends with a storm.", "Act 2 ends with a storm."),
    ("World War II ended in 1945.", "World War II ended in 1945.", "World War I ended in 1945."),
    (
        "The town has 3,500 inhabitants.",
        "The town has three thousand five hundred inhabitants.",
        "The town has three thousand inhabitants.",
    ),
    ("A pass costs 30 euros a month.", "A pass costs 30 euros per month.", "A pass costs 30 euros per week."),
    ("Membership is 5 k a year.", "Membership is 5,000 a year.", "Membership is 50,000 a year."),
    ("The trip takes an hour.", "The trip takes one hour.", "The trip takes two hours."),
    (
        "The trip takes 45 minutes.",
        "The trip takes three quarters of an hour.",
        "The trip takes half an hour.",
    ),
    ("One of the owners is Greek.", "One of the owners is Greek.", "Two of the owners are Greek."),
    ("The score was 3:2.", "The score was 3:2.", "The score was 2:3."),
    ("The dose is 0.5 mg.", "The dose is 500 µg.", "The dose is 5 mg."),
    ("The pressure is 2 bar.", "The pressure is 2 bar.", "The pressure is 20 bar."),
    ("It cost 99 cents.", "It cost 99 cents.", "It cost 99 dollars."),
    ("Dr. Weiss leads the ward.", "Dr. Weiss leads the ward.", "Dr. Schwarz leads the ward."),
    ("The order was placed by Siemens AG.", "Siemens placed the order.", "Bosch placed the order."),
    ("The line opened in the 1990s.", "The line opened in the 1990s.", "The line opened in the 1980s."),
    ("Call 0800 123 456.", "Call 0800 123 456.", "Call 0800 123 465."),
    ("The clock shows 5:07 pm.", "The clock shows 17:07.", "The clock shows 15:07."),
    (
        "Between 2010 and 2014 output doubled.",
        "Output doubled between 2010 and 2014.",
        "Output doubled between 2010 and 2015.",
    ),
    ("Children aged 3 to 6 pay 2 euros.", "Children from 3 to 6 pay €2.", "Children from 3 to 8 pay €2."),
    ("Lukas and Mira own 40% each.", "Mira owns 40%.", "Mirko owns 40%."),
    ("US firms paid $2 billion.", "US firms paid 2 billion dollars.", "UK firms paid 2 billion dollars."),
    ("The lease runs for a decade.", "The lease runs for ten years.", "The lease runs for twenty years."),
    ("Speed is limited to 30 mph.", "The speed limit is 30 miles per hour.", "The speed limit is 30 km/h."),
    (
        "The 21st century began in 2001.",
        "The twenty-first century began in 2001.",
        "The twentieth century began in 2001.",
    ),
    ("Add 1½ cups of sugar.", "Add 1.5 cups of sugar.", "Add 2.5 cups of sugar."),
    ("There are 10⁶ cells.", "There are one million cells.", "There are 106 cells."),
    (
        "The valley lies 86 m below sea level.",
        "The valley is 86 m below sea level.",
        "The valley is 68 m below sea level.",
    ),
    ("The van seats nine.", "The van seats 9.", "The van seats 19."),
    (
        "The first floor has 12 rooms.",
        "There are 12 rooms on the first floor.",
        "There are 12 rooms on the second floor.",
    ),
    ("Please pay within a fortnight.", "Please pay within two weeks.", "Please pay within three weeks."),
    (
        "The grant covers 80 % of costs up to EUR 5 000.",
        "80 percent of costs are covered by the grant.",
        "60 percent of costs are covered by the grant.",
    ),
    (
        "Employees in Berlin work 38.5 hours a week.",
        "In Berlin employees work 38.5 hours per week.",
        "In Hamburg employees work 38.5 hours per week.",
    ),
    ("Ivan Petrov won in 2018.", "Ivan Petrov won in 2018.", "Ivan Petrov won in 2019."),
    (
        "The Mexican team trained in Lyon.",
        "The team from Mexico trained in Lyon.",
        "The team from Morocco trained in Lyon.",
    ),
    (
        "Section 4.10 covers refunds.",
        "Refunds are covered in section 4.10.",
        "Refunds are covered in section 4.1.",
    ),
    ("The machine weighs 1,5 t.", "The machine weighs 1.5 tonnes.", "The machine weighs 15 tonnes."),
    ("You need 3 GB of RAM.", "You need 3 GB of RAM.", "You need 3 TB of RAM."),
    ("公司有十二名员工。", "公司有12名员工。", "公司有20名员工。"),
    ("贷款总额为一亿两千万元。", "贷款总额为1.2亿元。", "贷款总额为1.2万元。"),
    ("电缆长500米。", "电缆长0.5公里。", "电缆长500公里。"),
    ("押金为300港元。", "押金为300港币。", "押金为300元。"),
    ("余额为负40元。", "余额为-40元。", "余额为40元。"),
    ("研究所由钱伟明主持。", "钱伟明主持研究所。", "钱伟民主持研究所。"),
    ("展览在成都开幕。", "展览在成都开幕。", "展览在重庆开幕。"),
    ("会议5月6日开始。", "会议五月六日开始。", "会议六月五日开始。"),
    ("药品每盒24片，每次两片。", "每次服两片。", "每次服三片。"),
    ("上午十点一刻发车。", "10:15发车。", "10:45发车。"),
    ("第三条规定了违约责任。", "违约责任由第3条规定。", "违约责任由第4条规定。"),
    ("合同期限为三年半。", "合同期限3.5年。", "合同期限5.3年。"),
    ("两万五千名观众到场。", "25000名观众到场。", "20500名观众到场。"),
    ("培训费为每人800元。", "培训费每人800元。", "培训费每人800美元。"),
    ("他住在二十一层。", "他住在21层。", "他住在12层。"),
    ("該公司於二〇〇三年成立。", "该公司2003年成立。", "该公司2013年成立。"),
    ("利润增长了三成。", "利润增长了30%。", "利润增长了3%。"),
    ("房租每季度付一次。", "房租一季度付一次。", "房租每月付一次。"),
    ("会员可享八折优惠。", "会员可享八折优惠。", "会员可享九折优惠。"),
    ("北京到上海高铁4.5小时。", "北京到上海高铁四个半小时。", "北京到上海高铁五个半小时。"),
    ("世界卫生组织发布了标准。", "世界卫生组织发布了标准。", "世界贸易组织发布了标准。"),
    ("王芳负责采购，李强负责销售。", "李强负责销售。", "李刚负责销售。"),
    ("产品保质期为18个月。", "产品保质期一年半。", "产品保质期两年半。"),
    ("每周三下午开会。", "每星期三下午开会。", "每星期四下午开会。"),
    ("面积为三百亩。", "面积300亩。", "面积300公顷。"),
    ("图书馆周末不开放。", "图书馆周末不开放。", "图书馆周一不开放。"),
    ("学费为八千五百元。", "学费8500元。", "学费5800元。"),
    ("二十世纪八十年代建成。", "20世纪80年代建成。", "20世纪90年代建成。"),
    ("台北101高508公尺。", "台北101高508公尺。", "台北101高580公尺。"),
    ("张三丰任主编。", "张三丰任主编。", "李四光任主编。"),
    ("水深不到一米。", "水深不到1米。", "水深不到两米。"),
]


def supported(claim, source, heading=""):
    return Evidence(source, heading).best(facts_of(claim), 0.6, 3) is not None


@pytest.mark.parametrize(("source", "right", "wrong"), PAIRS, ids=lambda text: text[:30])
def test_one_thing_that_differs_is_missing(source, right, wrong):
    assert supported(right, source)
    assert not supported(wrong, source)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12,000 and 12 000 and 12.000 and 12'000", [12000] * 4),
        ("1.234,50 and 1,234.50 and 3,14 and .5", [1234.5, 1234.5, 3.14, 0.5]),
        ("two million, half a million, one hundred and five", [2e6, 5e5, 105]),
        ("nineteen ninety-eight, two thousand and twelve", [1998, 2012]),
        ("三十五万册，两万五千人，3.5亿元，一百二十个", [350000, 25000, 3.5e8, 120]),
        ("五十三点五公里", [53.5]),
        ("-5 and −6 and minus seven", [-5, -6, -7]),
        ("chapter XIV, part II", [14, 2]),
        ("$5m, €3bn, 20k, 2 lakh, 3 crore", [5e6, 3e9, 2e4, 2e5, 3e7]),
        ("3×10⁵ cells, 10⁻² of it", [3e5, 0.01]),
        ("万一失败，四川一般，千万小心，张三", []),
        ("room 5 and six rooms", [5, 6]),
    ],
)
def test_values(text, expected):
    assert [float(min(q.plain)) for q in quantities(readable(text)) if q.required] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Alice founded the company.", {"alice"}),
        ("Employees founded the company.", set()),
        ("Mark Webber and Rose led it.", {"mark", "webber", "rose"}),
        ("Mark the box in blue.", set()),
        ("The IT department and the WHO met in May.", {"it", "who"}),
        ("Is this for iPhone users?", {"iphone"}),
        ("由何志强负责", {"何志强"}),
        ("欧阳修在滁州任职", {"欧阳修", "滁州"}),
        ("城市的公共交通很安静", set()),
        ("服务器运行Ubuntu系统", {"ubuntu"}),
    ],
)
def test_names(text, expected):
    rest = readable(text).replace("May", "")
    assert {name.word for name in names(rest)} == expected


def test_other_forms_of_a_name():
    assert supported("The WHO set the limit.", "The World Health Organization set the limit.")
    assert supported("The World Health Organization set the limit.", "The WHO set the limit.")
    assert supported("Egyptian cotton is exported.", "Egypt exports cotton, which is exported to Italy.")
    assert not supported("Johnson drew the map.", "John drew the map.")
    assert not supported("Roberts drew the map.", "Robert drew the map.")
    assert supported("北京市举办了展览。", "展览在北京举办。")


def test_headings_support_only_with_the_text_below():
    text = "## Parking in Leeds\n\nA permit is 35 euros a year.\n\n## Bicycles\n\nThere are racks behind the hall."
    assert supported("A parking permit in Leeds is 35 euros a year.", text)
    assert not supported("There is parking in Leeds.", "## Parking in Leeds\n\nAsk the desk.")
    assert not supported("Parking in Leeds.", text)
    assert not supported("Racks for parking in Leeds are behind the hall.", text)
    assert supported("Racks for bicycles are behind the hall.", text)
    assert supported("The 2024 fee is 9 euros.", "The fee is 9 euros.", heading="Prices > 2024")
    assert not supported("The prices of 2024.", "The fee is 9 euros.", heading="Prices > 2024")


def test_a_unit_in_the_head_of_a_table_counts():
    assert supported("The width is 40 cm.", "Width (cm): 40")
    assert not supported("The width is 40 mm.", "Width (cm): 40")
    assert supported("宽度为40厘米。", "宽度（厘米）：40")
