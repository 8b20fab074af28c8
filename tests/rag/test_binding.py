"""Numbers that the source says of something else, and numbers that it says in other words."""

import pytest

from weightwright.rag.binding import swapped
from weightwright.rag.claim import facts_of
from weightwright.rag.quantities import quantities
from weightwright.rag.readable import readable
from weightwright.rag.support import Evidence


def supported(claim: str, source: str) -> bool:
    return Evidence(source).best(facts_of(claim), 0.6, 3) is not None


TABLE = "| Pump | Flow | Price |\n| --- | --- | --- |\n| P40 | 12 l/min | $310 |\n| P60 | 20 l/min | $480 |"
ZH_TABLE = "| 型号 | 续航 | 价格 |\n| --- | --- | --- |\n| A1 | 8小时 | 499元 |\n| A2 | 12小时 | 699元 |"


@pytest.mark.parametrize(
    ("source", "right", "wrong"),
    [
        (
            "Sales grew from USD 210 million in 2018 to USD 260 million in 2021.",
            "In 2021 sales were 260 million dollars.",
            "In 2018 sales were 260 million dollars.",
        ),
        ("销售额从2018年的2.1亿元增至2021年的2.6亿元。", "2021年销售额为2.6亿元。", "2018年销售额为2.6亿元。"),
        (
            "In the 2014 survey 31% agreed, up from 24% in 2009.",
            "In 2009, 24% agreed.",
            "In 2009, 31% agreed.",
        ),
        (
            "The shops in Kiel and Jena have 14 and 9 employees, respectively, and opened in 2001.",
            "The shops in Kiel and Jena have 14 and 9 employees.",
            "The shops in Kiel and Jena have 14 and 7 employees.",
        ),
        ("Entry: adults €12, pensioners €8.", "Pensioners pay 8 euros for entry.", "Adults pay 8 euros for entry."),
        ("Haydn was born in Rohrau in 1732 and died in Vienna in 1809.", "Haydn died in Vienna in 1809.",
         "Haydn died in Vienna in 1732."),
        ("工厂1956年建成，1988年推出第一台冰箱。", "第一台冰箱1988年推出。", "第一台冰箱1956年推出。"),
        ("Weekdays we are open from 8:00 to 19:00, on Sundays from 10:00 to 15:00.",
         "On Sundays we are open from 10 am to 3 pm.", "On Sundays we are open from 10 am to 7 pm."),
        ("Members pay 30 euros instead of 45 euros.", "Members pay 30 euros.", "Members pay 45 euros."),
        (TABLE, "The P60 costs $480.", "The P60 costs $310."),
        (TABLE, "The P40 costs $310 and the P60 $480.", "The P40 costs $320 and the P60 $480."),
        (ZH_TABLE, "A2的价格是699元。", "A2的价格是499元。"),
    ],
)  # fmt: skip
def test_a_number_belongs_to_what_the_source_says_it_of(source, right, wrong):
    assert supported(right, source)
    assert not supported(wrong, source)


@pytest.mark.parametrize(
    ("source", "claim"),
    [
        ("Anna opened the shop in Jena in 1994; she sold it in 2008.", "Anna sold the shop in 2008."),
        ("The hall is 40 m long and 18 m wide.", "The hall is 18 m wide."),
        ("水箱长50厘米，宽30厘米。", "水箱宽30厘米。"),
        ("Parking is 3 euros an hour, 20 euros a day at most.", "The daily maximum for parking is 20 euros."),
    ],
)
def test_what_goes_on_speaking_of_the_same_is_supported(source, claim):
    assert supported(claim, source)


def test_numbers_take_turns_only_where_kinds_alternate():
    claim, text = quantities("In 2018 it was 5 km."), readable("It was 5 km in 2017, 2018 and 2019.")
    assert not swapped(claim, quantities(text), text)


@pytest.mark.parametrize(
    ("source", "right", "wrong"),
    [
        ("Half of the 60 seats are reserved.", "30 seats are reserved.", "40 seats are reserved."),
        ("80名学员中有四分之一来自外地。", "20名学员来自外地。", "25名学员来自外地。"),
        ("The town has 31,870 residents.", "It has about 32,000 residents.", "It has about 35,000 residents."),
        ("该镇有31870名居民。", "该镇约有3.2万名居民。", "该镇约有3.5万名居民。"),
        ("The fund holds 1,042 shares.", "The fund holds over 1,000 shares.", "The fund holds over 1,100 shares."),
        ("Basel beat Bern 4–2 at home.", "Basel won 4-2 against Bern.", "Basel won 4-3 against Bern."),
        ("主队以2比0战胜客队。", "主队2:0击败客队。", "主队3:0击败客队。"),
        ("Third-quarter output rose; 第三季度产量增至12吨。", "三季度产量为12吨。", "三季度产量为21吨。"),
        ("例会在每月第一个星期三举行。", "例会每月第一个周三举行。", "例会每月第一个周五举行。"),
        ("Ms Böhme leads the lab in Køge.", "Ms Boehme leads the lab in Koege.", "Ms Boehm leads the lab in Koege."),
        ("The course runs from 4 to 15 March.", "The course runs from March 4 to March 15.",
         "The course runs from March 4 to March 25."),
        ("展览5月3日至18日举行。", "展览从5月3日到5月18日举行。", "展览从5月3日到5月28日举行。"),
        ("The filter lasts 400 kilo-\nmetres.", "The filter lasts 400 kilometres.", "The filter lasts 400 metres."),
        ("A certificate is due from the third day on.", "A certificate is due from day three.",
         "A certificate is due from day five."),
        ("慢炖三刻钟。", "慢炖45分钟。", "慢炖40分钟。"),
        ("Interest is 4.1% p.a.", "The annual interest is 4.1 percent.", "The monthly interest is 4.1 percent."),
        ("该书评刊于《读书》杂志。", "书评刊登在《读书》杂志上。", "书评刊登在《收获》杂志上。"),
        ("Ruth Adler was named CEO in May 2019.", "Ruth Adler became chief executive officer in May 2019.",
         "Ruth Adler became chief executive officer in June 2019."),
    ],
)  # fmt: skip
def test_the_same_in_other_words_and_one_thing_that_differs(source, right, wrong):
    assert supported(right, source)
    assert not supported(wrong, source)
