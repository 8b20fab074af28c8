"""What a cell of Excel shows: numbers in any format, texts of several runs, comments, what is hidden."""

import io
import zipfile

import pytest

from weightwright.rag.readers.number_formats import shown_number
from weightwright.rag.readers.xlsx import read_xlsx
from weightwright.rag.settings import LoadSettings

from .office import _S, cell, number, relations, sheet, xlsx, zipped


@pytest.mark.parametrize(
    ("code", "value", "shown"),
    [
        ('0" dollars and" .00 " cents"', "19.99", "19 dollars and .99 cents"),
        ("\\1\\.0#", "1", "1.01"),
        ("\\1\\.0#", "10", "1.10"),
        ("0,000", "1", "0,001"),
        ("#,##0", "1234567", "1,234,567"),
        ("#,##0", "123", "123"),
        ("#,##0.00_);(#,##0.00)", "-1234.5", "(1,234.50)"),
        ('0.0,,"M"', "1234567", "1.2M"),
        ('[>=1000]0.0,"k";0', "1500", "1.5k"),
        ('[>=1000]0.0,"k";0', "15", "15"),
        ("##0.0E+0", "12345", "12.3E+3"),
        ("(000) 000-0000", "5551234567", "(555) 123-4567"),
        ("# ??/16", "0.3125", "5/16"),
        ("# ?/?", "-2.5", "-2 1/2"),
        ("[h]:mm", "1.5", "36:00"),
        ("[mm]:ss", "0.5", "720:00"),
        ('yyyy"年"m"月"d"日"', "45292", "2024年1月1日"),
        ("[$-804]aaaa", "45292", "星期一"),
        ("[DBNum1]General", "123", "一百二十三"),
        ("[DBNum2]General", "12", "壹拾贰"),
        ('[$-411]ggge"年"m"月"d"日"', "45292", "令和6年1月1日"),
        ('上午/下午h"时"mm"分"', "0.75", "下午6时00分"),
        ("#,##0.00 [$€-407]", "1234.5", "1,234.50 €"),
        ("[$¥-804]#,##0", "1234", "¥1,234"),
        ('0;-0;"zero"', "0", "zero"),
        ("General", "123456789012345678", "123456789012345678"),
    ],
)
def test_numbers_in_their_formats(code, value, shown):
    assert shown_number(value, code) == shown


def rich(*runs):
    inner = "".join(f"<r><rPr>{properties}</rPr><t>{said}</t></r>" for said, properties in runs)
    return f'<c r="A1" t="inlineStr"><is>{inner}<rPh sb="0" eb="1"><t>reading</t></rPh></is></c>'


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([("10", ""), ("2", '<vertAlign val="superscript"/>'), (" m", "")], "10² m"),
        ([("H", ""), ("2", '<vertAlign val="subscript"/>'), ("O", "")], "H₂O"),
        ([("25", "<strike/>"), ("30", "")], "~~25~~ 30"),
        ([("25", '<strike val="0"/>'), ("30", "")], "2530"),
        ([("a_x000D_b", "")], "a b"),
    ],
)
def test_texts_of_several_runs(runs, expected):
    assert read_xlsx(xlsx({"S": sheet(rich(*runs))}), LoadSettings()).text == f"# S\n{expected}"


def test_columns_without_a_width_are_hidden():
    data = xlsx({"S": sheet(cell("A1", "no") + cell("B1", "yes"))})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    name = next(name for name in parts if "worksheets/" in name and name.endswith(".xml"))
    parts[name] = parts[name].replace(
        "<sheetData>", '<cols><col min="1" max="1" width="0"/></cols><sheetData>'
    )
    found = read_xlsx(zipped(parts), LoadSettings())
    assert (found.text, found.notes) == ("# S\nyes", ('1 hidden columns of its sheet "S" were left out',))


def test_conversations_stand_once_with_their_names():
    data = xlsx({"S": sheet(number("A1", "5"))})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    name = next(name for name in parts if "worksheets/" in name and name.endswith(".xml"))
    folder, _, base = name.rpartition("/")
    talk = '<threadedComment ref="A1" personId="p1"><text>Why 5?</text></threadedComment>'
    older = (
        '<comment ref="A1"><text><t>[Threaded comment] Why 5?</t></text></comment>'
        '<comment ref="B2"><text><t>a note</t></text></comment>'
    )
    parts |= {
        f"{folder}/_rels/{base}.rels": relations(
            {"c": ("comments", "../comments1.xml"), "t": ("threadedComment", "../talk.xml")}
        ),
        "xl/talk.xml": f"<ThreadedComments>{talk}</ThreadedComments>",
        "xl/comments1.xml": f"<comments {_S}><commentList>{older}</commentList></comments>",
        "xl/people.xml": '<personList><person displayName="Ann" id="p1"/></personList>',
    }
    book = "xl/_rels/workbook.xml.rels"
    parts[book] = parts[book].replace(
        "</Relationships>", '<Relationship Id="p" Type="x/person" Target="people.xml"/></Relationships>'
    )
    found = read_xlsx(zipped(parts), LoadSettings())
    assert found.text == "# S\n5\n\nComment on A1: Ann: Why 5?\n\nComment on B2: a note"
