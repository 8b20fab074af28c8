"""Bytes to characters: marks, labels of the web, valid UTF-8, and a guess; nothing is lost for one bad byte."""

import pytest

from weightwright.errors import DataError
from weightwright.rag.readers.encoding import codec_of, decode
from weightwright.rag.readers.html import read_html
from weightwright.rag.readers.text import without_data
from weightwright.rag.settings import LoadSettings


def page(label, body: bytes) -> str:
    return read_html(f'<meta charset="{label}"><p>'.encode() + body, LoadSettings()).text


@pytest.mark.parametrize(
    ("label", "body", "expected"),
    [
        ("gb2312", "总经理朱镕基批准。".encode("gbk"), "总经理朱镕基批准。"),
        ("gbk", "𠮷野家".encode("gb18030"), "𠮷野家"),
        ("gb2312", b"5\x80 \xd4\xc2", "5€ 月"),
        ("gb2312", "员工".encode("gbk") + b"\xff" + "年假".encode("gbk"), "员工\ufffd年假"),
        ("shift_jis", "①髙橋㈱".encode("cp932"), "①髙橋㈱"),
        ("x-sjis", "～".encode("cp932"), "～"),
        ("euc-jp", b"\xad\xa1\xc6\xfc", "①日"),
        ("euc-kr", "똠방각하".encode("cp949"), "똠방각하"),
        ("big5", "香港嘅".encode("big5hkscs"), "香港嘅"),
        ("iso-8859-1", b"\x93quoted\x94 \x80", "“quoted” €"),
        ("us-ascii", b"caf\xe9", "café"),
        ("iso-8859-9", "ığ €".encode("cp1254"), "ığ €"),
        ("utf-16", "naïve".encode(), "naïve"),
        ("iso-8859-1", "naïve 中文".encode(), "naïve 中文"),
        ("gbk", "你好，世界".encode(), "你好，世界"),
        ("no-such-label", "Größe".encode("cp1252"), "Größe"),
        ("utf-8", b"Gr\xf6\xdfe", "Gr\ufffd\ufffde"),
        ("windows-1251", "Привет".encode("cp1251"), "Привет"),
    ],
)
def test_labels_mean_what_browsers_take_them_for(label, body, expected):
    assert page(label, body) == expected


def test_a_page_is_what_it_declares_in_any_form():
    words = "员工年假"
    for head in (
        '<meta http-equiv=Content-Type content="text/html; charset=GB2312">',
        "<META CHARSET=gb2312>",
        '<?xml version="1.0" encoding="gb2312"?>',
        "<!-- <meta charset=utf-8> --><meta charset='gb2312'>",
    ):
        assert read_html(f"{head}<p>{words}".encode("gb18030"), LoadSettings()).text == words
    assert read_html(b"\xef\xbb\xbf<meta charset=gbk><p>" + words.encode(), LoadSettings()).text == words
    assert read_html(f"<p>{words}".encode("utf-16"), LoadSettings()).text == words
    assert codec_of("iso-2022-kr") is None


SHORT = [
    ("gb18030", "姓名：张伟\n电话：12345\n"),
    ("gb18030", "会议三点开始\n"),
    ("gb18030", "欢迎光临"),
    ("gb18030", "你好"),
    ("gb18030", "产品：螺丝刀 15元"),
    ("gb18030", "部门,人数\n销售部,12\n"),
    ("gb18030", "总经理朱镕基批准。"),
    ("gb18030", "上海市徐汇区"),
    ("gb18030", "请勿吸烟"),
    ("gb18030", "第一章 总则"),
    ("gb18030", "身份证号 330102"),
    ("shift_jis", "会議は三時から"),
    ("cp932", "名前,年齢\n髙橋,30\n"),
    ("euc_jp", "会議は三時から"),
    ("big5", "姓名：陳大文\n"),
    ("euc_kr", "이름: 김철수\n"),
    ("cp1251", "Имя: Иван\n"),
    ("cp1252", "Müller\n"),
    ("cp1252", "Der Preis beträgt 15 €"),
    ("cp1253", "Καλημέρα κόσμε"),
    ("iso2022_jp", "会議は三時"),
    ("koi8_r", "Это предложение на русском"),
    ("utf-16-le", "姓名：张伟\n"),
    ("utf-16-be", "plain text\n"),
    ("utf-16", "带标记"),
    ("utf-32", "带标记"),
    ("utf-32-le", "without a mark"),
    ("utf-16-le", "Привет, мир\n"),
    ("utf-8-sig", "with a mark"),
]


@pytest.mark.parametrize(("encoding", "text"), SHORT, ids=lambda value: value[:9])
def test_short_files_in_any_encoding(encoding, text):
    assert decode(text.encode(encoding)) == text


def test_one_bad_byte_does_not_lose_a_file():
    text = "每年有二十五天年假。" * 20
    assert decode(text.encode() + b"\xff tail").startswith(text)
    assert decode("é".encode() * 100 + b"\xe9").count("é") == 100


@pytest.mark.parametrize(
    "data", [b"\x00\x01\x02\x03" * 40, bytes(range(256)) * 4, b"ab\x00\x01\x02cd" * 50, b"\xff\xfea\x00\x00"]
)
def test_what_is_no_text_is_refused(data):
    with pytest.raises(DataError):
        decode(data)


BASE64 = "TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24sIGJ1dCBieSB0aGlz"


def test_base64_is_cut_and_says_so():
    inline = f"![x](data:image/png;base64,{BASE64}) text"
    assert without_data(inline) == "![x](data:image/png;base64,…) text"
    block = f"before\n{BASE64[:76]}\n{BASE64[:76]}\nAbc1\nafter"
    cut = without_data(block)
    assert cut.startswith("before\n[base64, 158 characters left out]")
    assert (cut.split("\n")[4], cut.count("\n")) == ("after", block.count("\n"))
    assert "left out" in without_data(f'{{"picture": "{BASE64 * 4}"}}')


@pytest.mark.parametrize(
    "text",
    [
        "ACGTACGTAC" * 30,
        "a" * 300,
        "0123456789abcdef" * 20,
        "long/path/of/folders/" * 12,
        "word " * 100,
        "=" * 80,
        ("ACGTTGCA" * 8 + "\n") * 5,
        "supercalifragilisticexpialidocious" * 8,
    ],
)
def test_what_only_looks_like_base64_stays(text):
    assert without_data(text) == text


def test_a_page_whose_first_megabyte_is_ascii_is_guessed_from_the_rest():
    page = b"<script>" + b"x = 1;\n" * 200_000 + b"</script><p>" + "总经理批准了年假申请。".encode("gbk")
    assert read_html(page, LoadSettings()).text == "总经理批准了年假申请。"


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("cp874", "รายงานการประชุมประจำปี พนักงานมีวันลา ๒๕ วัน"),
        ("cp874", "ชื่อ: สมชาย ใจดี\nที่อยู่: กรุงเทพมหานคร\nโทร: 12345"),
        ("hz", "员工每年有二十五天年假。 HZ text 请假"),
        ("iso2022_kr", "직원은 휴가가 있다"),
        ("ascii", "a TeX tie~{x} and b~{y}"),
        ("ascii", "rm -rf ~{a,b}~} $ ~{"),
        ("cp1252", "Müller fährt für fünf Tage übers Wochenende"),
        ("gb18030", "员工每年有十天年假"),
        ("cp949", "직원은 매년 휴가를 받는다"),
        ("cp1251", "Сотрудники получают отпуск"),
    ],
)
def test_encodings_that_browsers_do_not_guess(encoding, said):
    assert decode(said.encode(encoding)) == said
