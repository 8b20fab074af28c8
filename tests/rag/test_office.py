"""Word, PowerPoint, Excel, OpenDocument, books: what a person sees in files made with traps."""

import pytest

from weightwright.errors import DataError
from weightwright.rag.readers.base import own_reader
from weightwright.rag.readers.number_formats import shown_number
from weightwright.rag.settings import LoadSettings

from .office import cell, docx, epub, number, odf, paragraph, pptx, shape, sheet, xlsx, zipped


def content(ending, data, **limits):
    return own_reader(ending)(data, LoadSettings(**limits))


def word(body, **parts):
    return content("docx", docx(body, **parts))


RUN = "<w:r>{}<w:t xml:space='preserve'>{}</w:t></w:r>"


def runs(*pairs: tuple[str, str]) -> str:
    inner = "".join(
        RUN.format(f"<w:rPr>{properties}</w:rPr>" if properties else "", text) for properties, text in pairs
    )
    return f"<w:p>{inner}</w:p>"


BOX = (
    "<w:p><w:r><w:t>anchor</w:t></w:r><w:r><mc:AlternateContent><mc:Choice><w:drawing><wps:txbx><w:txbxContent>{0}"
    "</w:txbxContent></wps:txbx></w:drawing></mc:Choice><mc:Fallback><w:pict><w:txbxContent>{0}</w:txbxContent>"
    "</w:pict></mc:Fallback></mc:AlternateContent></w:r></w:p>"
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (BOX.format(paragraph("in the box")), "anchor\n\nin the box"),
        (f"<w:sdt><w:sdtPr/><w:sdtContent>{paragraph('a block')}</w:sdtContent></w:sdt>", "a block"),
        ("<w:p><w:sdt><w:sdtContent><w:r><w:t>12 June</w:t></w:r></w:sdtContent></w:sdt></w:p>", "12 June"),
        (
            "<w:p><w:r><w:t>A</w:t></w:r><w:sdt><w:sdtPr><w:showingPlcHdr/></w:sdtPr>"
            "<w:sdtContent><w:r><w:t>Click here"
            "</w:t></w:r></w:sdtContent></w:sdt></w:p>",
            "A",
        ),
        (
            "<w:p><w:del><w:r><w:delText>10</w:delText></w:r></w:del><w:ins><w:r><w:t>12</w:t></w:r></w:ins>"
            "<w:r><w:t> euros</w:t></w:r></w:p>",
            "12 euros",
        ),
        ("<w:moveFrom><w:p><w:r><w:t>old</w:t></w:r></w:p></w:moveFrom>" + paragraph("new"), "new"),
        (runs(("", "seen"), ("<w:vanish/>", "hidden"), ('<w:vanish w:val="0"/>', " too")), "seen too"),
        (runs(("", "25"), ('<w:vertAlign w:val="superscript"/>', "1"), ("", " days")), "25¹ days"),
        (runs(("", "CO"), ('<w:vertAlign w:val="subscript"/>', "2")), "CO₂"),
        (
            "<w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:noBreakHyphen/><w:t>c</w:t><w:softHyphen/></w:r></w:p>",
            "a b-c",
        ),
        ("<w:p><w:r><w:t>one</w:t><w:br/><w:t>two</w:t></w:r></w:p>", "one\ntwo"),
        ("<w:p><w:hyperlink><w:r><w:t>a link</w:t></w:r></w:hyperlink></w:p>", "a link"),
        ('<w:p><w:fldSimple w:instr="DATE"><w:r><w:t>1 May</w:t></w:r></w:fldSimple></w:p>', "1 May"),
        (
            '<w:p><w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:ddList>'
            '<w:result w:val="1"/><w:listEntry w:val="no"/>'
            '<w:listEntry w:val="yes"/></w:ddList></w:ffData></w:fldChar>'
            "<w:instrText>FORMDROPDOWN</w:instrText></w:r></w:p>",
            "yes",
        ),
        ("<w:p><w:smartTag><w:r><w:t>tagged</w:t></w:r></w:smartTag></w:p>", "tagged"),
        (
            "<w:p><w:r><w:ruby><w:rt><w:r><w:t>とう</w:t></w:r></w:rt>"
            "<w:rubyBase><w:r><w:t>東</w:t></w:r></w:rubyBase></w:ruby>"
            "</w:r></w:p>",
            "東(とう)",
        ),
        (
            "<w:p><m:oMath><m:sSup><m:e><m:r><m:t>10</m:t></m:r></m:e><m:sup><m:r><m:t>6</m:t></m:r></m:sup></m:sSup>"
            "</m:oMath></w:p>",
            "10⁶",
        ),
    ],
)
def test_word_keeps_what_is_shown(body, expected):
    assert word(body).text == expected


STYLES = (
    '<w:style w:styleId="H1"><w:name w:val="heading 1"/></w:style>'
    '<w:style w:styleId="Mine"><w:name w:val="Mine"/><w:basedOn w:val="H2"/></w:style>'
    '<w:style w:styleId="H2"><w:name w:val="Kop 2"/><w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style>'
    '<w:style w:styleId="T"><w:name w:val="Title"/></w:style>'
    '<w:style w:styleId="Loop"><w:name w:val="Loop"/><w:basedOn w:val="Loop"/></w:style>'
)


def test_headings_of_word_have_their_levels():
    body = (
        paragraph("Handbook", "T")
        + paragraph("Leave", "H1")
        + paragraph("Illness", "Mine")
        + paragraph("x", "Loop")
    )
    found = word(body, styles=STYLES)
    assert [(block.level, block.words) for block in found.blocks] == [
        (1, "Handbook"),
        (2, "Leave"),
        (3, "Illness"),
    ]
    assert found.title == "Handbook"
    assert [b.level for b in word(paragraph("Leave", "H1"), styles=STYLES).blocks] == [1]


def _row(*cells: str) -> str:
    return "<w:tr>" + "".join(f"<w:tc>{text}</w:tc>" for text in cells) + "</w:tr>"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (_row(paragraph("a"), paragraph("b")) * 2, "| a | b |\n| a | b |"),
        (
            '<w:tblPr><w:tblLook w:firstRow="1"/></w:tblPr>'
            + _row(paragraph("A"), paragraph("B"))
            + _row(paragraph("1"), paragraph("2")),
            "| A | B |\n| --- | --- |\n| 1 | 2 |",
        ),
        (
            _row('<w:tcPr><w:vMerge w:val="restart"/></w:tcPr>' + paragraph("x"), paragraph("1"))
            + _row("<w:tcPr><w:vMerge/></w:tcPr><w:p/>", paragraph("2")),
            "| x | 1 |\n| x | 2 |",
        ),
        (
            _row('<w:tcPr><w:gridSpan w:val="2"/></w:tcPr>' + paragraph("wide"))
            + _row(paragraph("1"), paragraph("2")),
            "| wide |  |\n| 1 | 2 |",
        ),
        (
            f"<w:sdt><w:sdtContent>{_row(paragraph('c'), paragraph('d'))}</w:sdtContent></w:sdt>"
            + _row(paragraph("e"), paragraph("f")),
            "| c | d |\n| e | f |",
        ),
        (
            "<w:tr><w:trPr><w:del/></w:trPr><w:tc><w:p/></w:tc></w:tr>"
            + _row(paragraph("a"), paragraph("b")) * 2,
            "| a | b |\n| a | b |",
        ),
        (
            _row(paragraph("a"), f"<w:tbl>{_row(paragraph('1'), paragraph('2'))}</w:tbl>") * 2,
            "| a | 1, 2 |\n| a | 1, 2 |",
        ),
    ],
)
def test_tables_of_word(rows, expected):
    assert word(f"<w:tbl>{rows}</w:tbl>").text == expected


def test_notes_and_comments_follow_their_paragraph():
    body = (
        '<w:p><w:r><w:t>25</w:t></w:r><w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr>'
        '<w:footnoteReference w:id="2"/></w:r><w:r><w:t> days</w:t></w:r>'
        '<w:r><w:commentReference w:id="0"/></w:r></w:p>' + paragraph("Next.")
    )
    notes = f'<w:footnote w:id="2">{paragraph("Less in the first year.")}</w:footnote>'
    comment = f'<w:comment w:id="0" w:author="Ann">{paragraph("Really?")}</w:comment>'
    assert word(body, footnotes=notes, comments=comment, header=paragraph("Confidential")).text == (
        "25¹ days\n\n¹ Less in the first year.\n\nComment (Ann): Really?\n\nNext.\n\nConfidential"
    )


NUMBERING = (
    '<w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:start w:val="3"/><w:numFmt w:val="decimal"/>'
    '<w:lvlText w:val="%1."/></w:lvl><w:lvl w:ilvl="1">'
    '<w:numFmt w:val="lowerLetter"/><w:lvlText w:val="%1.%2)"/></w:lvl>'
    '</w:abstractNum><w:abstractNum w:abstractNumId="1">'
    '<w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/></w:lvl></w:abstractNum>'
    '<w:abstractNum w:abstractNumId="2"><w:lvl w:ilvl="0"><w:numFmt w:val="chineseCountingThousand"/>'
    '<w:lvlText w:val="第%1条"/></w:lvl></w:abstractNum>'
    + "".join(f'<w:num w:numId="{n + 1}"><w:abstractNumId w:val="{n}"/></w:num>' for n in range(3))
)  # fmt: skip


def test_items_of_lists_have_their_numbers():
    def item(text, number, level=0):
        return (
            f'<w:p><w:pPr><w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr></w:pPr>'
            f"<w:r><w:t>{text}</w:t></w:r></w:p>"
        )

    body = (
        item("a", 1)
        + item("b", 1, 1)
        + item("c", 1, 1)
        + item("d", 1)
        + item("e", 2)
        + item("f", 3)
        + item("g", 3)
    )
    assert word(body, numbering=NUMBERING).text == "3. a\n3.a) b\n3.b) c\n4. d\n- e\n第一条 f\n第二条 g"


def test_pages_are_those_that_word_noted():
    broken = "<w:r><w:lastRenderedPageBreak/></w:r>"
    found = word(paragraph("one") + paragraph("two", before=broken) + paragraph("three"))
    assert [(place.label, found.text[place.start :].strip()[:3]) for place in found.places] == [
        ("page 1", "one"), ("page 2", "two"),
    ]  # fmt: skip
    assert word(paragraph("one")).places == ()


def test_slides_have_titles_tables_and_notes():
    table = (
        "<p:graphicFrame><a:graphic><a:graphicData><a:tbl><a:tblPr firstRow='1'/>"
        + "".join(
            "<a:tr>" + "".join(f"<a:tc><a:txBody><a:p><a:r><a:t>{t}</a:t></a:r></a:p></a:txBody></a:tc>" for t in row)
            + "</a:tr>" for row in ("AB", "12")
        )
        + "</a:tbl></a:graphicData></a:graphic></p:graphicFrame>"
    )  # fmt: skip
    group = f"<p:grpSp>{shape('in a group')}</p:grpSp>"
    raised = shape(
        "", more='<a:p><a:r><a:t>25</a:t></a:r><a:r><a:rPr baseline="30000"/><a:t>1</a:t></a:r></a:p>'
    )
    data = pptx(
        shape("line one\nline two") + shape("Costs", "title") + shape("7", "sldNum") + group,
        table + raised, shape("x"),
        notes="Say it slowly.", hidden=3,
    )  # fmt: skip
    found = content("pptx", data)
    assert found.text == (
        "# Costs\n\nline one\nline two\n\nin a group\n\nNotes: Say it slowly.\n\n"
        "| A | B |\n| --- | --- |\n| 1 | 2 |\n\n"
        "25¹\n\nx"
    )
    assert [place.label for place in found.places] == ["slide 1", "slide 2", "slide 3, hidden"]


def test_cells_are_read_as_shown():
    data = xlsx(
        {
            "Costs": sheet(
                cell("A1", "Item") + cell("B1", "Price") + cell("C1", "When"),
                '<c r="A2" t="s"><v>0</v></c>' + number("B2", "1234.5", 1) + number("C2", "45000", 2),
                cell("A3", "tax") + number("B3", "0.19", 3) + '<c r="C3" t="b"><v>1</v></c>',
                "",
                '<c r="A5"><f>SUM(B2:B3)</f></c><c r="B5"><f>1/0</f><v>7</v></c>',
            ),
            "Old": sheet(cell("A1", "secret")),
        },
        strings=("<r><t>Two </t></r><r><t>runs</t></r><rPh><t>reading</t></rPh>",),
        formats=("#,##0.00\\ &quot;€&quot;", "d.m.yyyy", "0%"),
        states=(("Old", "hidden"),),
    )
    found = content("xlsx", data)
    assert found.text == (
        "# Costs\n\n| Item | Price | When |\n| --- | --- | --- |\n| Two runs | 1,234.50 € | 15.3.2023 |\n"
        "| tax | 19% | TRUE |\n\n| =SUM(B2:B3) | 7 |"
    )
    assert [place.label for place in found.places] == [
        'sheet "Costs"', *(f'sheet "Costs", row {row}' for row in (1, 2, 3, 5)),
    ]  # fmt: skip
    assert ["hidden" in note for note in found.notes] == [False, True]
    assert "1 formulas" in found.notes[0]


def test_hidden_rows_and_columns_are_left_out_and_merged_cells_repeated():
    rows = (
        '<cols><col min="2" max="2" hidden="1"/></cols><sheetData>'
        f'<row r="1">{cell("A1", "Group")}{cell("B1", "no")}{cell("C1", "Name")}</row>'
        f'<row r="2">{cell("A2", "North")}{cell("C2", "Ann")}</row><row r="3">{cell("C3", "Bob")}</row>'
        f'<row r="4" hidden="1">{cell("A4", "gone")}</row></sheetData>'
        '<mergeCells><mergeCell ref="A2:A3"/></mergeCells>'
    )
    found = content("xlsx", xlsx({"S": rows}))
    assert found.text == "# S\n\n| Group | Name |\n| --- | --- |\n| North | Ann |\n| North | Bob |"
    assert [note.split(" of its")[0] for note in found.notes] == ["1 hidden rows", "1 hidden columns"]


@pytest.mark.parametrize(
    ("code", "value", "shown"),
    [
        ("General", "0.30000000000000004", "0.3"),
        ("General", "1e20", "1E+20"),
        ("General", "-42", "-42"),
        ("General", "12345678901", "12345678901"),
        ("#,##0.00", "-1234.5", "-1,234.50"),
        ("0.00%", ".1234", "12.34%"),
        ("yyyy-mm-dd", "45000", "2023-03-15"),
        ("m/d/yy h:mm", "45000.5", "3/15/23 12:00"),
        ("[h]:mm", "1.5", "36:00"),
        ("h:mm AM/PM", "0.75", "6:00 PM"),
        ("mm:ss", "0.01", "14:24"),
        ('yyyy"年"m"月"d"日"', "45000", "2023年3月15日"),
        ("# ?/?", "1.25", "1 1/4"),
        ("0.00E+00", "12345", "1.23E+04"),
        ('"CHF" #,##0;[Red]-"CHF" #,##0', "-5", "-CHF 5"),
        ("0000", "7", "0007"),
        ("[$€-407]#,##0.00", "-3.5", "-€3.50"),
        ('0.0,,"M"', "12345678", "12.3M"),
        ('#,##0;(#,##0);"-"', "0", "-"),
        ('#,##0;(#,##0);"-"', "-1234", "(1,234)"),
        ("000-00-0000", "123456789", "123-45-6789"),
        ("0", "2.5", "3"),
        (";;;", "5", ""),
        ("dddd, mmmm d, yyyy", "45000", "Wednesday, March 15, 2023"),
        ("@", "7", "7"),
        ("0.0", "x", "x"),
        ("yyyy-mm-dd", "1", "1900-01-01"),
    ],
)
def test_number_formats(code, value, shown):
    assert shown_number(value, code) == shown


def test_opendocument():
    text = odf(
        '<text:tracked-changes><text:deletion><text:p>gone</text:p></text:deletion></text:tracked-changes>'
        '<text:h text:outline-level="2">Leave</text:h><text:p>25<text:note><text:note-citation>1</text:note-citation>'
        "<text:note-body><text:p>Less at first.</text:p></text:note-body></text:note>"
        "<text:s text:c='2'/>days</text:p>"
        "<text:list><text:list-item><text:p>a</text:p></text:list-item></text:list>"
        "<text:p>box<draw:frame><draw:text-box><text:p>inside</text:p></draw:text-box></draw:frame></text:p>"
    )  # fmt: skip
    assert content("odt", text).text == "## Leave\n\n25¹ days\n\n¹ Less at first.\n\n- a\n\nbox\n\ninside"
    rows = (
        "<table:table table:name='S'><table:table-row><table:table-cell><text:p>A</text:p></table:table-cell>"
        "<table:table-cell><text:p>B</text:p></table:table-cell></table:table-row>"
        "<table:table-row table:number-rows-repeated='2'><table:table-cell table:number-columns-repeated='2'>"
        "<text:p>1</text:p></table:table-cell></table:table-row>"
        "<table:table-row table:number-rows-repeated='1000000'><table:table-cell/></table:table-row></table:table>"
    )
    found = content("ods", odf(rows, "spreadsheet"))
    assert found.text == "# S\n\n| A | B |\n| --- | --- |\n| 1 | 1 |\n| 1 | 1 |"
    assert found.places[-1].label == 'sheet "S", row 3'


def test_cells_under_a_cell_that_spans_them_keep_their_columns():
    row = (
        "<table:table-cell table:number-columns-spanned='2'><text:p>wide</text:p></table:table-cell>"
        "<table:covered-table-cell><text:p>under</text:p></table:covered-table-cell>"
        "<table:table-cell><text:p>C</text:p></table:table-cell>"
    )
    table = f"<table:table table:name='S'><table:table-row>{row}</table:table-row></table:table>"
    assert content("ods", odf(table, "spreadsheet")).text == "# S\n\n| wide |  | C |"


def test_numbers_that_are_none_are_shown_as_stored():
    data = xlsx({"S": sheet(number("A1", "28.01.2007", 1) + number("B1", "5"))}, formats=("d.m.yyyy",))
    assert content("xlsx", data).text == "# S\n\n| 28.01.2007 | 5 |"


def test_books_are_read_in_the_order_of_the_spine():
    found = content(
        "epub", epub("<html><head><title/></head><h1>One</h1><p>a</p></html>", "<h1>Two</h1><p>b</p>")
    )
    assert (found.text, found.title) == ("# One\n\na\n\n# Two\n\nb", "The book")
    assert [place.label for place in found.places] == ["chapter 1", "chapter 2"]
    locked = {"META-INF/encryption.xml": '<encryption><CipherReference URI="OPS/c1.xhtml"/></encryption>'}
    with pytest.raises(DataError, match="DRM"):
        content("epub", epub("<p>a</p>", more=locked))


def test_books_are_read_by_their_own_style_sheets():
    link = '<link rel="stylesheet" href="{}"/>'
    chapter = f'<html><head>{link}</head><body><p>a,<span class="n">10</span></p></body></html>'
    css = ".n { float: right } .no { display: none }"
    items = '<item id="c1" href="c1.xhtml" media-type="application/xhtml+xml"/>'
    spine = "<spine><itemref idref='c1'/></spine>"
    for href in ("a.css", "css/a%20b.css"):
        sheet = f"<item href='{href}' media-type='text/css'/>"
        book = f"<package><manifest>{items}{sheet}</manifest>{spine}</package>"
        more = {"OPS/book.opf": book, f"OPS/{href.replace('%20', ' ')}": css}
        assert content("epub", epub(chapter.format(href), more=more)).text == "a,\n\n10"


def test_what_unpacks_to_too_much_or_names_entities_is_bounded():
    big = zipped({"word/document.xml": b"<x>" + b" " * 3_000_000 + b"</x>", "[Content_Types].xml": ""})
    with pytest.raises(DataError, match="max_unpacked_mb=1"):
        content("docx", big, max_unpacked_mb=1)
    with pytest.raises(DataError, match="max_members=2"):
        content("docx", docx(paragraph("x")), max_members=2)
    entities = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd"><!ENTITY b "&#98;omb">]>'
    bomb = zipped({
        "word/document.xml": f'{entities}<w:document xmlns:w="w"><w:body>'
        f'{paragraph("safe &a;&b;")}</w:body></w:document>'
    })  # fmt: skip
    assert content("docx", bomb).text == "safe"


def test_rtf():
    data = rb"{\rtf1\ansi\ansicpg1252 Gr\'fc\'dfe\par{\v hidden}\trowd A\cell B\cell\row}"
    found = content("rtf", data).text
    assert "Grüße" in found
    assert "hidden" not in found
    assert "A" in found and "B" in found and "AB" not in found  # noqa: PT018
