"""Numbers of lists, cells with lists and tables in them, embedded files: what others show and we lost."""

import io
import zipfile

import pytest

from weightwright.ports import Document
from weightwright.rag.load import Skipped, Source, load
from weightwright.rag.readers.base import own_reader
from weightwright.rag.readers.number_formats import shown_number
from weightwright.rag.settings import LoadSettings

from .office import cell, docx, odf, paragraph, pptx, sheet, xlsx, zipped

LEVELS = (
    '<text:list-level-style-number text:level="1" style:num-format="{0}" style:num-suffix="{1}"/>'
    '<text:list-level-style-number text:level="2" style:num-format="a" style:num-prefix="(" style:num-suffix=")"/>'
    '<text:list-level-style-number text:level="3" style:num-format="1" text:display-levels="3"/>'
)


def text(ending, data):
    return own_reader(ending)(data, LoadSettings()).text


def odt(body, form="1", suffix=".", styles=""):
    """A text with the list style L, whose lists stand in `body` as `[a,b]`."""
    list_style = f'<text:list-style style:name="L">{LEVELS.format(form, suffix)}</text:list-style>'
    return text("odt", odf(f"{list_style}{styles}{body}"))


def items(*parts, more="", style='text:style-name="L"'):
    inner = "".join(
        f"<text:list-item>{part if part.startswith('<') else f'<text:p>{part}</text:p>'}</text:list-item>"
        for part in parts
    )
    return f"<text:list {style} {more}>{inner}</text:list>"


@pytest.mark.parametrize(
    ("body", "form", "expected"),
    [
        (items("x", "y"), "1", "1. x\n2. y"),
        (items("x", "y"), "a", "a. x\nb. y"),
        (items("x", "y"), "I", "I. x\nII. y"),
        (items("x", "y"), "", "- x\n- y"),
        (items("x", style='text:style-name="unknown"'), "1", "- x"),
        (items("x") + "<text:p>between</text:p>" + items("y"), "1", "1. x\n\nbetween\n\n1. y"),
        (
            items("x") + "<text:p>b</text:p>" + items("y", more='text:continue-numbering="true"'),
            "1",
            "1. x\n\nb\n\n2. y",
        ),
        (
            items("x", more='xml:id="one"') + items("other") + items("y", more='text:continue-list="one"'),
            "1",
            "1. x\n1. other\n2. y",
        ),
        (
            items("x", f"<text:p>y</text:p>{items('in', 'on', style='')}", "z"),
            "1",
            "1. x\n2. y\n(a) in\n(b) on\n3. z",
        ),
        (
            items(f"<text:p>x</text:p>{items('<text:p>y</text:p>' + items('z', style=''), style='')}"),
            "1",
            "1. x\n(a) y\n1.a.1 z",
        ),
        (items("x").replace("<text:list-item", '<text:list-item text:start-value="7"', 1), "1", "7. x"),
        (items("x").replace("list-item", "list-header"), "1", "x"),
        (items("<text:p>one</text:p><text:p>more of it</text:p>", "two"), "1", "1. one\nmore of it\n2. two"),
        (items(items("deep", style="")), "1", "1.\n(a) deep"),
    ],
)
def test_lists_of_opendocument_are_numbered(body, form, expected):
    assert odt(body, form) == expected


def test_a_cell_of_opendocument_has_its_lists_and_tables():
    def table(*cells):
        return f"<table:table><table:table-row>{''.join(cells)}</table:table-row></table:table>"

    def a(inner):
        return f"<table:table-cell>{inner}</table:table-cell>"

    inner = table(a("<text:p>in</text:p>"), a("<text:p>side</text:p>"))
    cells = (
        a(items("x", "y")),
        a(f"<text:p>before</text:p>{inner}<text:p>after</text:p>"),
        a("<text:h>Head</text:h>"),
    )
    assert odt(table(*cells)) == "| 1. x 2. y | before in, side after | Head |"


def test_raised_lowered_and_hidden_characters_of_opendocument():
    styles = "".join(
        f'<style:style style:name="{name}" style:family="text"><style:text-properties {said}/></style:style>'
        for name, said in {
            "up": 'style:text-position="super 58%"',
            "high": 'style:text-position="33% 58%"',
            "down": 'style:text-position="sub 58%"',
            "low": 'style:text-position="-33% 58%"',
            "none": 'text:display="none"',
            "plain": 'style:text-position="0% 100%"',
        }.items()
    )

    def span(style, said):
        return f'<text:span text:style-name="{style}">{said}</text:span>'

    body = (
        f"<text:p>25{span('up', '1')} days, 10{span('high', '6')} m, H{span('down', '2')}O, x{span('low', 'i')}, "
        f"{span('none', 'secret')}{span('plain', '7')}</text:p>"
    )
    assert odt(body, styles=styles) == "25¹ days, 10⁶ m, H₂O, xi, 7"


ORDERED = (
    '<w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="decimal"/>'
    '<w:lvlText w:val="%1."/></w:lvl></w:abstractNum>'
)


def item(list_id, said):
    return (
        f'<w:p><w:pPr><w:numPr><w:ilvl w:val="0"/><w:numId w:val="{list_id}"/></w:numPr></w:pPr>'
        f"<w:r><w:t>{said}</w:t></w:r></w:p>"
    )


def numbered(body, *starts):
    """A document whose list i begins at starts[i-1]; None: it goes on with the one before."""
    lists = "".join(
        f'<w:num w:numId="{number}"><w:abstractNumId w:val="0"/>'
        + (f'<w:lvlOverride w:ilvl="0"><w:startOverride w:val="{start}"/></w:lvlOverride>' if start else "")
        + "</w:num>"
        for number, start in enumerate(starts, 1)
    )
    return text("docx", docx(body, numbering=ORDERED + lists))


def test_a_list_of_word_begins_anew_where_it_says_so():
    body = item(1, "a") + item(1, "b") + item(2, "c") + item(2, "d")
    assert numbered(body, None, None).replace("\n", " ") == "1. a 2. b 3. c 4. d"
    assert numbered(body, None, 1).replace("\n", " ") == "1. a 2. b 1. c 2. d"
    assert numbered(body, None, 7).replace("\n", " ") == "1. a 2. b 7. c 8. d"
    assert (
        numbered(item(1, "a") + item(2, "b") + item(1, "c"), 5, None).replace("\n", " ") == "5. a 6. b 7. c"
    )


def test_a_cell_of_word_has_the_numbers_of_its_list():
    cells = f"<w:tc>{item(1, 'x')}{item(1, 'y')}</w:tc><w:tc>{paragraph('z')}</w:tc>"
    table = f"<w:tbl><w:tr>{cells}</w:tr><w:tr>{cells}</w:tr></w:tbl>"
    assert numbered(table, None) == "| 1. x 2. y | z |\n| 3. x 4. y | z |"


def test_a_first_letter_in_a_frame_belongs_to_its_word():
    frame = '<w:p><w:pPr><w:framePr w:dropCap="{}"/></w:pPr><w:r><w:t>D</w:t></w:r></w:p>'
    for kind in ("drop", "margin"):
        assert text("docx", docx(frame.format(kind) + paragraph("rop caps."))) == "Drop caps."
    assert text("docx", docx(frame.format("none") + paragraph("rop caps."))) == "D\n\nrop caps."


def test_spaces_of_raised_text_stay():
    low = '<w:r><w:rPr><w:vertAlign w:val="subscript"/></w:rPr><w:t xml:space="preserve">{}</w:t></w:r>'
    assert text("docx", docx(f"<w:p>{low.format('lower')}{low.format(' struck')}</w:p>")) == "lower struck"
    assert text("docx", docx(f"<w:p>{low.format('lower ')}{low.format('struck')}</w:p>")) == "lower struck"


def slide(*lines):
    """Lines of (properties, text) in one shape."""
    body = "".join(
        f"<a:p><a:pPr {at}>{inner}</a:pPr><a:r><a:t>{said}</a:t></a:r></a:p>" for at, inner, said in lines
    )
    return text(
        "pptx", pptx(f"<p:sp><p:nvSpPr><p:cNvPr/><p:nvPr/></p:nvSpPr><p:txBody>{body}</p:txBody></p:sp>")
    )


AUTO = '<a:buAutoNum type="{}"/>'


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([("", AUTO.format("arabicPeriod"), "x"), ("", AUTO.format("arabicPeriod"), "y")], "1. x\n2. y"),
        ([("", AUTO.format("alphaLcParenBoth"), "x"), ("", AUTO.format("alphaLcParenBoth"), "y")], "(a) x\n(b) y"),
        ([("", AUTO.format("romanUcParenR"), "x")], "I) x"),
        ([("", AUTO.format("ea1ChsPeriod"), "x")], "一. x"),
        ([("", AUTO.format("circleNumDbPlain"), "x")], "1. x"),
        ([("", '<a:buAutoNum type="arabicPlain" startAt="4"/>', "x")], "4 x"),
        (
            [("", AUTO.format("arabicPeriod"), "x"), ('lvl="1"', AUTO.format("alphaLcPeriod"), "in"),
             ("", AUTO.format("arabicPeriod"), "y"), ('lvl="1"', AUTO.format("alphaLcPeriod"), "in")],
            "1. x\na. in\n2. y\na. in",
        ),
        (
            [("", AUTO.format("arabicPeriod"), "x"), ("", "", "between"), ("", AUTO.format("arabicPeriod"), "y")],
            "1. x\nbetween\n1. y",
        ),
        ([("", AUTO.format("arabicPeriod"), "x"), ("", AUTO.format("arabicParenR"), "y")], "1. x\n1) y"),
        ([("", '<a:buAutoNum type="arabicPeriod" startAt="x"/>', "x")], "1. x"),
    ],
)  # fmt: skip
def test_lists_of_slides_are_numbered(lines, expected):
    assert slide(*lines) == expected


@pytest.mark.parametrize(
    ("code", "value", "shown"),
    [
        ("yyyymmdd", "45000", "20230315"),
        ("ddmmmyy hh:mm:ss", "45000.5", "15Mar23 12:00:00"),
        ("yymmddhhmm", "45000.25", "2303150600"),
        ("mmddyyyy", "45000", "03152023"),
        ("hhmmss", "0.75", "180000"),
        ("dddmmm", "45000", "WedMar"),
        ("General", "6222021234567890", "6222021234567890"),
        ("General", "622202123456789", "622202123456789"),
        ("General", "13800138000", "13800138000"),
        ("General", "-123456789012", "-123456789012"),
        ("General", "123456789012.5", "1.23457E+11"),
    ],
)
def test_numbers_and_dates_without_a_gap(code, value, shown):
    assert shown_number(value, code) == shown


def test_embedded_files_are_documents_and_others_are_named(tmp_path):
    inner = xlsx({"Costs": sheet(cell("A1", "Rent"))})
    rels = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/package" '
        'Target="../embeddings/data.xlsx"/></Relationships>'
    )
    parts = {
        "word/embeddings/sheet.xlsx": inner,
        "word/embeddings/data.xlsx": inner,  # behind a chart
        "word/charts/_rels/chart1.xml.rels": rels,
        "word/embeddings/oleObject1.bin": b"\xd0\xcf\x11\xe0",
    }
    data = docx(paragraph("See the sheet."))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        whole = zipped({name: archive.read(name) for name in archive.namelist()} | parts)
    path = tmp_path / "report.docx"
    path.write_bytes(whole)
    found = list(load(Source(path, path.name), LoadSettings()))
    documents = {item.id: item.text for item in found if isinstance(item, Document)}
    assert documents == {"report.docx": "See the sheet.", "report.docx/sheet.xlsx": "# Costs\nRent"}
    (note,) = [item.reason for item in found if isinstance(item, Skipped)]
    assert note == "read in part: embedded objects of other programs or older forms were left out: 1"


def test_an_image_of_rtf_without_a_length_is_passed_over():
    rtf = rb"{\rtf1 before {\pict\jpegblip\picw250 \bin ffd8ffe000104a46} after\par}"
    assert text("rtf", rtf) == "before after"


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ('<w:sym w:font="Wingdings" w:char="F0FE"/><w:t xml:space="preserve"> paid</w:t>', "☑ paid"),
        ('<w:sym w:font="Wingdings" w:char="F0A8"/><w:t xml:space="preserve"> open</w:t>', "☐ open"),
        ('<w:sym w:font="Wingdings 2" w:char="F050"/>', "✓"),
        ('<w:sym w:font="Symbol" w:char="F0A3"/><w:t xml:space="preserve"> 25 </w:t>', "≤ 25"),
        ('<w:t>25 </w:t><w:sym w:font="Symbol" w:char="F0B0"/><w:t>C</w:t>', "25 °C"),
        ('<w:sym w:font="Symbol" w:char="F061"/><w:sym w:font="Symbol" w:char="0062"/>', "αβ"),
        ('<w:sym w:font="Symbol" w:char="F032"/>', "2"),
        ('<w:sym w:font="Arial" w:char="00B5"/><w:t>m</w:t>', "µm"),
        ('<w:sym w:font="Unknown" w:char="F0FC"/><w:t>x</w:t>', "x"),
        ('<w:rPr><w:rFonts w:ascii="Symbol"/></w:rPr><w:t>\uf0b3 5</w:t>', "≥ 5"),
        ('<w:rPr><w:rFonts w:ascii="Wingdings"/></w:rPr><w:t>\uf0fc</w:t>', "✓"),
    ],
)
def test_symbols_of_word_are_what_they_look_like(run, expected):
    assert text("docx", docx(f"<w:p><w:r>{run}</w:r></w:p>")) == expected
