"""Further members of each kind: charsets, forms, hidden and deleted text, digits, code, base64, nesting."""

import base64

import pytest

from weightwright.errors import DataError
from weightwright.rag.readers.base import own_reader
from weightwright.rag.readers.encoding import decode
from weightwright.rag.readers.limits import ReaderProcess
from weightwright.rag.settings import LoadSettings

from .office import docx, odf

DATA = base64.b64encode(bytes(range(256)) * 8).decode()
LINES = "\n".join(DATA[at : at + 76] for at in range(0, len(DATA), 76))


def text(ending, data) -> str:
    return own_reader(ending)(data if isinstance(data, bytes) else data.encode(), LoadSettings()).text


@pytest.mark.parametrize(
    ("label", "codec", "said"),
    [
        ("gb2312", "gb18030", "镕喆𠮷€"),
        ("big5", "big5hkscs", "員工嘅"),
        ("x-sjis", "cp932", "①髙橋㈱"),
        ("euc-kr", "cp949", "뷁 똠방각하"),
        ("iso-8859-9", "cp1254", "Çalışanlar ğ"),
        ("windows-874", "cp874", "พนักงาน"),
        ("koi8-r", "koi8-r", "Отпуск"),
        ("latin1", "cp1252", "It’s €20 – fine"),
        ("utf-16", "utf-8", "Größe 25"),
        ("no-such-set", "utf-8", "naïve"),
    ],
)
def test_pages_in_their_charset(label, codec, said):
    page = f"<meta charset={label}><p>{said}".encode(codec)
    assert text("html", page) == said
    assert text("html", page + b" and \xff\xfe broken").startswith(said[:2])


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<form>Total: <output>42</output></form>", "Total: 42"),
        ("<form><table><tr><td>A<td>1</table></form>", "| A | 1 |"),
        ("<button><h3>Plan</h3><p>20 euros</p></button>", "### Plan\n\n20 euros"),
        ("<select><optgroup label=x><option>a</select>after", "after"),
        ("<h3><a role=button aria-expanded=false>Why?</a></h3><div aria-hidden=true>So.</div>", "### Why?\n\nSo."),
        ("<div role=form><label for=a>Name</label><input id=a value=Ann></div>", "Name"),
        ("<details><summary><button>Q</button></summary><form><p>A</form></details>", "Q\n\nA"),
        ("<ul><li><button>One</button> text<li>two</ul>", "- One text\n- two"),
        ("<input type=submit value=Send><p>S", "S"),
        ("<fieldset disabled><legend>Leave</legend>25 days</fieldset>", "Leave\n\n25 days"),
        # hidden or deleted
        ("<p style='d\\69splay:none'>H</p>S", "S"),
        ("<p style='/*x*/display:/*y*/none'>H</p>S", "S"),
        ("<p style='content-visibility:hidden'>H</p>S", "S"),
        ("<div role=NAVIGATION>H</div>S", "S"),
        ("<table><tr><td>a<td>b<tr hidden><td>H<td>H<tr style='display:none'><td>H<td>H</table>", "| a | b |"),
        ("<table><tr><td>a<td style='visibility:collapse'>H<td>b</table>", "| a | b |"),
        ("<table><thead hidden><tr><th>H<th>H</thead><tr><td>a<td>b</table>", "| a | b |"),
        ("<p><span style='text-decoration:line-through'>10</span> 12 euros", "12 euros"),
        ("<style>.old{text-decoration:red line-through}</style><p><i class=old>10</i> 12 euros", "12 euros"),
        ("<style>a{text-decoration:none}</style><p><a>kept</a>", "kept"),
        ("<del><p>10</p></del><ins><p>12</p></ins>", "12"),
        # digits
        ("25<sup>1</sup><sup>2</sup> days", "25¹ ² days"),
        ("10<span style='vertical-align:super'>6</span>", "10⁶"),
        ("<style>a{vertical-align:super}b{vertical-align:sub}</style>25<a>3</a> H<b>2</b>O", "25³ H₂O"),
        ("<img style='vertical-align:sub'>x<p style='vertical-align:super'>6", "x\n\n6"),
        ("5×10<sup>−6</sup>", "5×10⁻⁶"),
        ("25<sup>[1]</sup> days", "25[1] days"),
        ("C<sub>2</sub>H<sub>5</sub>OH", "C₂H₅OH"),
        # lists
        ("<ol style='list-style-type:lower-roman'><li>a<li>b</ol>", "i. a\nii. b"),
        ("<style>ol.l{list-style:lower-alpha inside}</style><ol class=l><li>a<li>b</ol>", "a. a\nb. b"),
        ("<ol style='list-style:none'><li>a</ol>", "- a"),
        ("<ol><li type=A>a<li style='list-style-type:upper-roman'>b</ol>", "A. a\nII. b"),
        ("<ol start=0><li>a<li>b</ol>", "0. a\n1. b"),
        ("<ol type=a start=-1><li>x</ol>", "-1. x"),
        # code and signs
        ("<pre>\r\na\r\n\tb</pre>", "```\na\n\tb\n```"),
        ("<listing># a</listing>", "```\n# a\n```"),
        ("<ul><li># x</ul>", "- \\# x"),
        ("a<br># b", "a\n\\# b"),
        # cells
        ("<table><tr><td><p>a</p><p>b</p><td><ul><li>x<li>y</ul></table>", "| a b | - x - y |"),
        ("<table><tr><td><b>NOTICE</b>: do <i>not</i> open<br/>it<td>x</table>", "| NOTICE: do not open it | x |"),
        # base64
        (f"<p>{DATA}</p><p>end", f"[base64, {len(DATA)} characters left out]\n\nend"),
        (f"<table><tr><td>{DATA}<td>x</table>", f"| [base64, {len(DATA)} characters left out] | x |"),
    ],
)  # fmt: skip
def test_pages(page, expected):
    assert text("html", page) == expected


def test_base64_in_other_files():
    assert text("csv", f"a,b\n1,{DATA}\n2,x\n") == (
        f"| a | b |\n| --- | --- |\n| 1 | [base64, {len(DATA)} characters left out] |\n| 2 | x |"
    )
    assert "[base64" in text("docx", docx(f"<w:p><w:r><w:t>{DATA}</w:t></w:r></w:p>"))
    assert (
        text("txt", f"x {DATA.replace('+', '-').replace('/', '_')} y")
        == f"x [base64, {len(DATA)} characters left out] y"
    )
    file = "begin 644 a.bin\n" + ("M" + "#0V=E" * 12 + "\n") * 9 + "`\nend"
    said = text("txt", f"before\n{file}\nafter")
    assert said == f"before\n[uuencoded, {len(file)} characters left out]" + "\n" * 12 + "after"
    assert (
        text("txt", "begin 644 things\nin the morning\nand then go on")
        == "begin 644 things\nin the morning\nand then go on"
    )


@pytest.mark.parametrize(
    "said",
    [
        "发票号码：20240315\n", "请假单\n", "快递单号 SF123\n", "仓库盘点\n",
        "姓名：李雷\n", "会议纪要\n", "报销金额：500元\n", "质检合格\n",
        "紧急联系人：赵敏\n", "设备编号 X9\n", "培训签到表\n",
    ],
)  # fmt: skip
def test_short_chinese_files(said):
    assert decode(said.encode("gb18030")) == said


@pytest.mark.parametrize(
    "said",
    [
        "이름: 김철수\n", "휴가 신청서\n", "주문번호 2024\n", "회의록\n",
        "서울특별시 강남구\n", "품목: 볼펜 10개\n", "택배 송장\n",
        "급여 명세서\n", "출장 보고서\n", "계약서\n", "환불 규정\n",
    ],
)  # fmt: skip
def test_short_korean_files(said):
    assert decode(said.encode("cp949")) == said


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<sup>" * 3000 + "deep", "deep"),
        ("<ruby>" * 3000 + "deep", "deep"),
        ("<math>" + "<mrow>" * 3000 + "deep", "deep"),
        ("<span><q>" * 300 + "deep", "“" * 300 + "deep" + "”" * 300),
        ("<style>" + ":not(" * 9000 + "p" + ")" * 9000 + "{display:none}</style><p>S", "S"),
        ("<style>" + "@media screen{" * 3000 + "p{display:none}</style><p>S", "S"),
        ("<p style='display:" + "(" * 9000 + "'>S", "S"),
    ],
)
def test_what_is_nested_without_end_is_read(page, expected):
    assert text("html", page) == expected


def test_what_is_nested_too_deeply_is_refused_in_one_line():
    lists = (
        "<text:list><text:list-item>" * 3000 + "<text:p>x</text:p>" + "</text:list-item></text:list>" * 3000
    )
    tables = "<w:tbl><w:tr><w:tc>" * 3000 + "<w:p/>" + "</w:tc></w:tr></w:tbl>" * 3000
    child = ReaderProcess()
    try:
        for ending, data in (("odt", odf(lists)), ("docx", docx(tables))):
            with pytest.raises(DataError, match="nested more deeply than is read; save"):
                child.read(own_reader(ending), data, LoadSettings())
    finally:
        child.close()
