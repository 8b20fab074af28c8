"""One fact in other writings: what says the same is kept, what differs in one thing is not."""

import pytest

from weightwright.rag.cite import check
from weightwright.rag.context import Passage

# a source, what it supports, and the same with one number, unit, name or date that is another
# fmt: off
KINDS = [
    ('Free for over-65s.', 'Entry is free for people over 65.',
     'Entry is free for people over 60.'),
    ('Aged 18+ only.', 'Only people aged 18 and over are admitted.',
     'Only people aged 16 and over are admitted.'),
    ('The fee is €1,200 p.a.', 'The annual fee is €1,200.',
     'The annual fee is €2,100.'),
    ('Temperatures reached the mid-30s °C? No: exactly 34.5 °C.', 'The temperature reached 34.5 degrees.',
     'The temperature reached 43.5 degrees.'),
    ('The deadline is 03/15/2024.', 'The deadline is March 15, 2024.',
     'The deadline is May 15, 2024.'),
    ('Season 2023/24 had 38 matches.', 'There were 38 matches in the 2023/24 season.',
     'There were 38 matches in the 2022/23 season.'),
    ('Wed 5 Mar, 7pm', 'It is on Wednesday, 5 March at 7 pm.',
     'It is on Wednesday, 6 March at 7 pm.'),
    ('Rate: 0.75 %', 'The rate is three quarters of a percent.',
     'The rate is 7.5 percent.'),
    ('The chief executive officer is Ann Lee.', 'Ann Lee is the CEO.',
     'Ann Lee is the CFO.'),
    ('Human resources handles leave.', 'HR handles leave.',
     'IT handles leave.'),
    ("St. Mary's Hospital has 300 beds.", "Saint Mary's Hospital has 300 beds.",
     "Saint Mark's Hospital has 300 beds."),
    ('The rope bears 2.5 kN.', 'The rope bears 2,500 N.',
     'The rope bears 25,000 N.'),
    ('A 3-year-old child pays nothing.', 'A child of three pays nothing.',
     'A child of four pays nothing.'),
    ("Twenty-odd people came in '98.", 'About twenty people came in 1998.',
     'About twenty people came in 1988.'),
    ('Open daily except Sunday.', 'It is closed on Sundays.',
     'It is closed on Mondays.'),
    ('Every 2nd Tuesday at 6.30pm', 'The meeting is at half past six in the evening.',
     'The meeting is at half past seven in the evening.'),
    ('Between 1 and 1.5 litres per day.', 'One to one and a half litres a day.',
     'One to two and a half litres a day.'),
    ('200 g (7 oz) butter', '200 grams of butter are needed.',
     '250 grams of butter are needed.'),
    ('The scale is 1:25 000.', 'The map has a scale of 1:25,000.',
     'The map has a scale of 1:50,000.'),
    ('The bridge (length 1.2 km) opened in 1932', 'The bridge is 1,200 metres long.',
     'The bridge is 1,200 feet long.'),
    ('Max. 4 persons per table', 'At most four people may sit at a table.',
     'At most five people may sit at a table.'),
    ('A0 poster: EUR 25, A1 poster: EUR 18', 'An A1 poster costs 18 euros.',
     'An A1 poster costs 16 euros.'),
    ('The plane carried 2 pilots and 144 passengers.', 'There were 144 passengers on board.',
     'There were 141 passengers on board.'),
    ('The 40-hour week was introduced in 1967.', 'In 1967 the week of forty hours was introduced.',
     'In 1967 the week of fifty hours was introduced.'),
    ("Ms Jane O'Neill-Smith chairs it.", "It is chaired by Jane O'Neill-Smith.",
     "It is chaired by Jane O'Neill-Jones."),
    ('IP rating: IP67. Battery: 5000 mAh.', 'It has a 5,000 mAh battery.',
     'It has a 5,500 mAh battery.'),
    ('Interest: 3¾ %', 'The interest is 3.75%.',
     'The interest is 3.25%.'),
    ('Chapter 3, p. 45', 'See page 45 in chapter 3.',
     'See page 54 in chapter 3.'),
    ('It took them a day and a half.', 'It took 36 hours.',
     'It took 48 hours.'),
    ('The show starts at 20h30.', 'The show begins at 8:30 pm.',
     'The show begins at 9:30 pm.'),
    ('Opening: 9-17 h', 'It opens at 9 and closes at 17:00.',
     'It opens at 8 and closes at 17:00.'),
    ('Between the ages of 12 and 17', 'Teenagers from 12 to 17 years.',
     'Teenagers from 12 to 18 years.'),
    ('A tenth of the income goes to rent.', '10% of the income is spent on rent.',
     '20% of the income is spent on rent.'),
    ('The town lies 430 m a.s.l.', 'The town is 430 metres above sea level.',
     'The town is 340 metres above sea level.'),
    ('Two-thirds majority needed', 'A majority of 2/3 is needed.',
     'A majority of 3/4 is needed.'),
    ('The firm is worth a quarter of a billion dollars.', 'The firm is worth $250 million.',
     'The firm is worth $25 million.'),
    ('Published fortnightly', 'It is published every two weeks.',
     'It is published every three weeks.'),
    ('Published bimonthly, i.e. six times a year', 'It is published every two months.',
     'It is published every four months.'),
    ('The course runs Mon/Wed/Fri.', 'The course is on Mondays, Wednesdays and Fridays.',
     'The course is on Mondays, Thursdays and Fridays.'),
    ('Take the second exit.', 'Take exit two.',
     'Take exit three.'),
    ('价格：￥128.00', '价格为128元。',
     '价格为182元。'),
    ('满2小时按半天计费', '满两个小时算半天。',
     '满三个小时算半天。'),
    ('年薪20万起', '年薪至少20万元。',
     '年薪至少30万元。'),
    ('晚上7:30开演', '演出19点30分开始。',
     '演出20点30分开始。'),
    ('每周一、三、五上课', '星期三有课。',
     '星期四有课。'),
    ('本科及以上学历，35岁以下', '年龄不超过35岁。',
     '年龄不超过45岁。'),
    ('3月底前提交', '3月底之前提交。',
     '5月底之前提交。'),
    ('2023-2024学年度', '2023至2024学年。',
     '2022至2023学年。'),
    ('打七五折', '按75折出售。',
     '按85折出售。'),
    ('海拔8848.86米', '海拔约8848.86m。',
     '海拔约8488.86m。'),
    ('一等奖3名，各奖5000元', '一等奖有三名。',
     '一等奖有五名。'),
    ('约合人民币3.6万元', '大约36000元人民币。',
     '大约63000元人民币。'),
    ('速度达350km/h', '时速可达350公里。',
     '时速可达250公里。'),
    ('全书共十二卷', '这套书一共12卷。',
     '这套书一共20卷。'),
    ('利率下调25个基点', '利率下调0.25个百分点。',
     '利率下调2.5个百分点。'),
    ('每百克含糖12克', '每100克含12克糖。',
     '每100克含21克糖。'),
    ('东经116度，北纬40度', '位于北纬40°。',
     '位于北纬45°。'),
    ('五一假期放假5天', '劳动节放假五天。',
     '劳动节放假三天。'),
    ('凌晨零点三十分起飞', '0:30起飞。',
     '1:30起飞。'),
    ('票价比平时贵三成', '票价比平时高30%。',
     '票价比平时高20%。'),
    ('每三人中有一人近视', '近视的比例约为三分之一。',
     '近视的比例约为四分之一。'),
    ('上世纪九十年代', '20世纪90年代。',
     '20世纪80年代。'),
    ('逾期一天罚一元', '每逾期一天罚1元。',
     '每逾期一天罚2元。'),
    ('工作日8:30-17:30', '工作日早上八点半上班。',
     '工作日早上九点半上班。'),
    ('需提前1个工作日预约', '要提前一个工作日预约。',
     '要提前两个工作日预约。'),
    ('注册资本伍佰万元整', '注册资本为500万元。',
     '注册资本为50万元。'),
    ('第3季度', '三季度。',
     '四季度。'),
    ('2小时一班', '每两小时一班。',
     '每三小时一班。'),
    ('The clinic is run by Dr. Jürgen Krämer.', 'Jürgen Kraemer runs the clinic.',
     'Jürgen Kramme runs the clinic.'),
    ('Björn Söderström drew the map.', 'Bjoern Soederstroem drew the map.',
     'Bjoern Lindstroem drew the map.'),
    ('Every fifth ticket wins.', 'One in five tickets wins.',
     'One in four tickets wins.'),
    ('Every other house stands empty.', 'Half of the houses stand empty.',
     'A third of the houses stand empty.'),
    ('The bus runs every 15 minutes.', 'Buses run four times an hour.',
     'Buses run five times an hour.'),
    ('The valve is checked twice a year.', 'The valve is checked every six months.',
     'The valve is checked every five months.'),
    ('每半年检查一次阀门。', '阀门每六个月检查一次。',
     '阀门每八个月检查一次。'),
    ('她生于1931年。', '她在1931年出生。',
     '她在1913年出生。'),
    ('Registration begins at 8:15 and ends at 12:00.', 'Registration is from quarter past eight.',
     'Registration is from quarter to eight.'),
    ('Apply at counter 9.', 'Applications are made at counter 9.',
     'Applications are made at counter 8.'),
    ('| Size | Price |\n|---|---|\n| S | €4 |\n| L | €7 |', 'Size L costs €7.',
     'Size L costs €4.'),
    ('| Hut | Beds | Altitude |\n|---|---|---|\n| Alm | 40 | 1,800 m |\n| Kar | 22 | 2,300 m |',
     'The Kar hut has 22 beds.',
     'The Kar hut has 40 beds.'),
    ('| Tarif | Day | Week |\n|---|---|---|\n| Adult | £9 | £40 |\n| Child | £5 | £22 |',
     'A child pays £22 for a week.',
     'A child pays £5 for a week.'),
    ('| 车型 | 日租 | 周租 |\n|---|---|---|\n| 轿车 | 180元 | 1000元 |\n| 客车 | 350元 | 2100元 |',
     '轿车周租1000元。',
     '轿车周租2100元。'),
    ('name,start,room\nLea Bock,2021-03-01,12\nUwe Rad,2019-07-15,31', 'Lea Bock started on 1 March 2021.',
     'Lea Bock started on 15 July 2019.'),
    ('The anni-\nversary is on 12 Octo-\nber 2030.', 'The anniversary is on October 12, 2030.',
     'The anniversary is on October 2, 2030.'),
    ('会员满三十\n五年可获奖章。', '35年的会员可获奖章。',
     '30年的会员可获奖章。'),
    ('The fair takes place in Lyon on 4 May 2026.', '展会于2026年5月4日在里昂举行。',
     '展会于2026年5月4日在马赛举行。'),
    ('工厂位于青岛，年产2万台。', 'The factory in Qingdao makes 20,000 units a year.',
     'The factory in Dalian makes 20,000 units a year.'),
    ('电费每度0.6元，水费每吨4元。', '水费每吨四块钱。',
     '水费每吨六块钱。'),
    ('The Norwegian team won 12 medals.', "Norway's team won 12 medals.",
     "Sweden's team won 12 medals."),
    ('Damage by frost is not covered.', "Frost damage isn't covered.",
     'Frost damage is covered.'),
    ('本店周日不营业。', '周日不营业。',
     '周日营业。'),
    ('Sales doubled.', 'Sales were twice as high.',
     'Sales were three times as high.'),
    ('产量翻了一番。', '产量增加了一倍。',
     '产量增加了两倍。'),
    ('比赛以4比2结束。', '比赛结果是4:2。',
     '比赛结果是2:4。'),
    ('列车运行2小时05分。', '列车运行125分钟。',
     '列车运行205分钟。'),
    ('功率为1.2兆瓦。', '功率为1200千瓦。',
     '功率为120千瓦。'),
]
# fmt: on


def passage(text):
    return Passage("s", "1", 0, len(text), text)


def is_kept(source, claim):
    chinese = any("\u4e00" <= character <= "\u9fff" for character in claim)
    body = claim.rstrip(".。")
    answer = f"{body}[1]。" if chinese else f"{body} [1]."
    return bool(check(answer, [passage(source)]).citations)


@pytest.mark.parametrize(("source", "right", "wrong"), KINDS, ids=lambda text: ascii(text[:24]))
def test_one_thing_in_another_writing(source, right, wrong):
    assert is_kept(source, right)
    assert not is_kept(source, wrong)


RULES = [
    passage(
        "Everybody has 25 days of annual leave. Visitors may enter after 9:00. Four people sit at a table."
    )
]


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("Visitors may not enter [1].", "Visitors may not enter."),
        ("Guests may enter at 7:00 [1].", "Guests may enter at 7:00."),
        ("Nine people sit at a table [1].", "Nine people sit at a table."),
        ("Four people sit at a table [1].", "Four people sit at a table [1]."),
        ("Save it with the button [1].", "Save it with the button."),
        ("enter [1] to go on.", "enter [1] to go on."),
        ("Then enter [1].", "Then enter [1]."),
        ("By typing [2] you leave.", "By typing [2] you leave."),
        ("Select option [1].", "Select option [1]."),
    ],
)
def test_orders_to_press_a_key_are_told_from_sentences(answer, shown):
    assert check(answer, RULES).text.replace(" [1].", "." if "[1]" not in shown else " [1].") == shown


@pytest.mark.parametrize(
    "answer",
    [
        "annual_leave: 25 days\nrefs: [1]\nopen: 9:00",
        "name: desk\nleave: 25 days of annual leave\nsources: [1, 2]",
        "- id: [2]\n- id: [1]",
    ],
)
def test_yaml_stays_as_it_was_written(answer):
    assert check(answer, RULES).text == answer


def test_a_mark_of_a_table_stays_in_its_cell():
    """RAGFlow#6113: marks behind a table's rows break it."""
    table = "| Days | Of what |\n|---|---|\n| 25 days | annual leave |\n"
    assert check(table, RULES).text == "| Days | Of what |\n|---|---|\n| 25 days | annual leave [1] |"
    wrong = table.replace("annual leave", "annual leave [1]").replace("25", "26")
    assert check(wrong, RULES).text == "| Days | Of what |\n|---|---|\n| 26 days | annual leave |"
