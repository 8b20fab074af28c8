"""What a person sees of Word documents, slides and OpenDocument files, and what is told of the rest."""

import pytest

from weightwright.rag.readers.base import own_reader
from weightwright.rag.readers.numerals import numeral
from weightwright.rag.settings import LoadSettings

from .office import _P, docx, odf, paragraph, pptx, relations, shape, zipped


def content(ending, data):
    return own_reader(ending)(data, LoadSettings())


def text(ending, data):
    return content(ending, data).text


def run(said, properties=""):
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{said}</w:t></w:r>'


def p(*runs, properties=""):
    return f"<w:p><w:pPr>{properties}</w:pPr>{''.join(runs)}</w:p>"


def field(code, result="", between=""):
    def mark(kind):
        return f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>'

    shown = f"{mark('separate')}{run(result)}" if result else ""
    return f"{mark('begin')}<w:r><w:instrText>{code}</w:instrText></w:r>{between}{shown}{mark('end')}"


def box(inner):
    return f"<w:drawing><wps:txbx><w:txbxContent>{inner}</w:txbxContent></wps:txbx></w:drawing>"


def row(*cells, more=""):
    inner = "".join(f"<w:tc>{cell}</w:tc>" for cell in cells)
    return f"<w:tr>{more}{inner}</w:tr>"


DELETED = '<w:rPr><w:del w:id="1"/></w:rPr>'
NEVER = "<w:lvlRestart w:val='0'/>"
NUMBERED = ("text:outline-level-style text:level='{}' style:num-format='1' text:display-levels='{}'").format


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (p(field("HYPERLINK x", "Handbook")), "Handbook"),
        (p(field("IF ", "yes", field("MERGEFIELD a", "INNER"))), "yes"),
        (p(field("XE \"Leave\""), run("Leave is paid.")), "Leave is paid."),
        (p(field("SYMBOL 97 \\f \"Symbol\"")), "α"),
        (p(field("EQ \\f(1,2)")), "1/2"),
        (p(field("EQ \\o\\ad(\\s\\up 9(とうきょう),東京)")), "東京(とうきょう)"),
        (p('<w:r><w:fldChar w:fldCharType="begin"/></w:r>', run("never ends")) + paragraph("next"), "next"),
        (p(run("Staff get"), properties=DELETED) + p(run(" 25 days.")), "Staff get 25 days."),
        (p(run("last"), properties=DELETED), "last"),
        (p(run("10"), run("2", '<w:position w:val="6"/>')), "10²"),
        (p(run("all ", '<w:position w:val="6"/>'), run("25", '<w:position w:val="6"/>')), "all 25"),
        (p('<w:r><w:sym w:font="Wingdings" w:char="none"/></w:r>', run("x")), "x"),
        (
            p('<w:r><w:pict><v:shape xmlns:v="v"><v:textpath string="DRAFT"/></v:shape></w:pict></w:r>'),
            "DRAFT",
        ),
        (
            p(
                "<w:r><mc:AlternateContent><mc:Choice><w:t>one</w:t></mc:Choice><mc:Choice><w:t>two</w:t></mc:Choice>"
                "<mc:Fallback><w:t>three</w:t></mc:Fallback></mc:AlternateContent></w:r>"
            ),
            "one",
        ),
        (
            p(
                "<w:r><mc:AlternateContent><mc:Choice><w:drawing/></mc:Choice><mc:Fallback><w:t>old</w:t></mc:Fallback>"
                "</mc:AlternateContent></w:r>"
            ),
            "old",
        ),
        (p(f"<w:r>{box('<w:tbl>' + row(p(run('a')), p(run('b'))) * 2 + '</w:tbl>')}</w:r>"), "| a | b |\n| a | b |"),
        ("<w:tbl>" + row(p(run("a")), p(run("b")), more="<w:trPr><w:del/></w:trPr>") + "</w:tbl>" + p(run("x")), "x"),
        (
            "<w:tbl>"
            + row(f"<w:tcPr><w:cellDel/></w:tcPr>{p(run('gone'))}", p(run("b")), p(run("c")))
            + row(p(run("1")), p(run("2")))
            + "</w:tbl>",
            "| b | c |\n| 1 | 2 |",
        ),
        ("<w:tbl><w:tblPr><w:tblLook w:val=\"zz\"/></w:tblPr>" + row(p(run("a")), p(run("b"))) * 2 + "</w:tbl>",
         "| a | b |\n| a | b |"),
    ],
)  # fmt: skip
def test_word_shows_results_not_codes(body, expected):
    assert text("docx", docx(body)) == expected


def test_hidden_text_of_word_is_told():
    styles = (
        '<w:style w:type="paragraph" w:styleId="H"><w:name w:val="H"/><w:rPr><w:vanish/></w:rPr></w:style>'
        '<w:style w:type="character" w:styleId="C"><w:name w:val="C"/><w:rPr><w:vanish/></w:rPr></w:style>'
    )
    body = (
        p(
            run("shown "),
            run("secret", "<w:vanish/>"),
            run("seen", '<w:rStyle w:val="C"/><w:vanish w:val="0"/>'),
        )
        + p(run("also secret"), properties='<w:pStyle w:val="H"/>')
        + p(run("of its own", '<w:vanish w:val="0"/>'), properties='<w:pStyle w:val="H"/>')
    )
    found = content("docx", docx(body, styles=styles))
    assert found.text == "shown seen\n\nof its own"
    assert found.notes == ("pieces of hidden text that were left out: 2",)


def test_notes_of_word_with_tables_and_marks_of_their_own():
    footnotes = (
        f'<w:footnote w:id="2">{p(run("* as agreed"))}</w:footnote>'
        f'<w:footnote w:id="3"><w:tbl>{row(p(run("from")), p(run("2024")))}</w:tbl></w:footnote>'
    )
    body = p(
        run("25 days"),
        '<w:r><w:footnoteReference w:customMarkFollows="1" w:id="2"/><w:t>*</w:t></w:r>',
        '<w:r><w:footnoteReference w:id="3"/></w:r>',
    )
    assert text("docx", docx(body, footnotes=footnotes)) == "25 days*¹\n\n* as agreed\n\n¹ from, 2024"


def test_a_frame_of_one_cell_counts_its_lists_and_notes_once():
    numbering = (
        '<w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:lvlText w:val="%1."/></w:lvl></w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
    )
    number = '<w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr>'
    note = '<w:r><w:footnoteReference w:id="2"/></w:r>'
    body = f"<w:tbl>{row(p(run('a'), note, properties=number))}</w:tbl>{p(run('b'), properties=number)}"
    footnotes = f'<w:footnote w:id="2">{p(run("once"))}</w:footnote>'
    assert text("docx", docx(body, numbering=numbering, footnotes=footnotes)) == "1. a¹\n\n¹ once\n\n2. b"


LEVELS = (
    '<w:lvl w:ilvl="0"><w:lvlText w:val="%1."/></w:lvl>'
    '<w:lvl w:ilvl="1">{restart}<w:numFmt w:val="lowerLetter"/><w:lvlText w:val="%2)"/></w:lvl>'
    '<w:lvl w:ilvl="2"><w:pStyle w:val="Third"/>{legal}<w:lvlText w:val="%1.%2.%3"/></w:lvl>'
)
NUMBERS = (
    '<w:abstractNum w:abstractNumId="0">{levels}</w:abstractNum>'
    '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
    '<w:abstractNum w:abstractNumId="5"><w:numStyleLink w:val="List"/></w:abstractNum>'
    '<w:num w:numId="9"><w:abstractNumId w:val="5"/></w:num>'
)
STYLES = (
    '<w:style w:type="numbering" w:styleId="List"><w:name w:val="List"/><w:pPr>'
    '<w:numPr><w:numId w:val="1"/></w:numPr></w:pPr></w:style>'
    '<w:style w:type="paragraph" w:styleId="Third"><w:name w:val="Third"/>'
    "<w:pPr><w:numPr>"
    '<w:numId w:val="1"/></w:numPr></w:pPr></w:style>'
)


def item(said, level=0, list_id=1, mark=""):
    properties = f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{list_id}"/></w:numPr>{mark}'
    return p(run(said) if said else "", properties=properties)


@pytest.mark.parametrize(
    ("body", "restart", "legal", "expected"),
    [
        (item("a") + item("") + item("c"), "", "", "1. a\n2.\n3. c"),
        (item("a") + item("", mark="<w:rPr><w:vanish/></w:rPr>") + item("c"), "", "", "1. a\n\n2. c"),
        (item("a") + item("x", 1) + item("b") + item("y", 1), "", "", "1. a\na) x\n2. b\na) y"),
        (item("a") + item("x", 1) + item("b") + item("y", 1), NEVER, "", "1. a\na) x\n2. b\nb) y"),
        (item("a") + item("x", 1) + item("t", 2), "", "", "1. a\na) x\n1.a.1 t"),
        (item("a") + item("x", 1) + item("t", 2), "", "<w:isLgl/>", "1. a\na) x\n1.1.1 t"),
        (item("a") + p(run("t"), properties='<w:pStyle w:val="Third"/>'), "", "<w:isLgl/>", "1. a\n1.1.1 t"),
        (item("linked", list_id=9), "", "", "1. linked"),
        (item("a") + item("x", 1), "<w:numFmt w:val='none'/>", "", "1. a\n\nx"),
    ],
)  # fmt: skip
def test_numbers_of_word(body, restart, legal, expected):
    numbering = NUMBERS.format(levels=LEVELS.format(restart=restart, legal=legal))
    assert text("docx", docx(body, numbering=numbering, styles=STYLES)) == expected


@pytest.mark.parametrize(
    ("number", "form", "shown"),
    [
        (27, "lowerLetter", "aa"), (28, "upperLetter", "BB"), (28, "a", "ab"), (22, "ordinal", "22nd"),
        (11, "ordinal", "11th"), (3, "ideographTraditional", "丙"), (2, "decimalEnclosedCircle", "②"),
        (110, "chineseCounting", "一百一十"), (105, "chineseCountingThousand", "一百零五"),
        (12, "japaneseCounting", "十二"),
        (12, "chineseLegalSimplified", "壹拾贰"), (12, "ideographDigital", "一二"), (4, "russianLower", "г"),
        (40, "russianLower", "40"), (10_000, "chineseCounting", "10000"), (0, "ordinal", "0"), (3, "ganada", "다"),
    ],
)  # fmt: skip
def test_forms_of_numbers(number, form, shown):
    assert numeral(number, form) == shown


def test_headers_of_word_with_tables():
    header = f"<w:tbl>{row(p(run('Doc 4711')), p(run('Rev B')))}</w:tbl>{p(run('Internal'))}"
    assert text("docx", docx(paragraph("x"), header=header)) == "x\n\nDoc 4711, Rev B\n\nInternal"


# -- slides ----------------------------------------------------------------------------------------


def at(said, left, top, width=100, height=20, holder=""):
    place = (
        f'<p:spPr><a:xfrm><a:off x="{left}" y="{top}"/><a:ext cx="{width}" cy="{height}"/></a:xfrm></p:spPr>'
    )
    return shape(said, holder).replace("<p:txBody>", f"{place}<p:txBody>", 1)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        (at("3", 0, 200) + at("1", 0, 0) + at("2", 0, 100), "1 2 3"),
        (at("d", 200, 100) + at("a", 0, 0) + at("b", 200, 0) + at("c", 0, 100), "a b c d"),
        (
            at("Pro", 0, 0) + at("x", 0, 30, 100, 200) + at("Con", 200, 0) + at("y", 200, 30, 100, 200),
            "Pro x Con y",
        ),
        (at("right", 300, 0, 100, 400) + at("left", 0, 0, 100, 400), "left right"),
        (shape("no place") + at("below", 0, 100) + at("above", 0, 0), "no place above below"),
        (
            f"<p:grpSp><p:grpSpPr/>{at('2', 0, 50)}{at('1', 0, 0)}</p:grpSp>" + shape("after"),
            "1 2 after",
        ),
        (at("on", 0, 0, 100, 100) + at("top", 10, 10, 50, 50), "on top"),
    ],
)
def test_shapes_are_read_where_they_stand(shapes, expected):
    assert text("pptx", pptx(shapes)).split() == expected.split()


def test_what_stands_on_every_slide_is_written_once():
    slide = (
        shape("T", "title") + shape("Confidential", "ftr") + shape("1 May 2020", "dt") + shape("7", "sldNum")
    )
    today = shape("x", "dt").replace(
        "<a:r><a:t>x</a:t></a:r>", '<a:fld type="datetime1"><a:t>2 June</a:t></a:fld>'
    )
    found = text("pptx", pptx(slide, slide, today))
    assert found == "# T\n\nConfidential\n\n1 May 2020\n\n# T"


def test_texts_of_layout_and_master_and_places_of_placeholders():
    def tree(shapes, more=""):
        return f"<p:sld {_P}{more}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>"

    placed = at("Click to edit", 0, 500, holder="body") + at("Master Ltd", 0, 900)
    files = {
        "_rels/.rels": relations({"r1": ("officeDocument", "ppt/presentation.xml")}),
        "ppt/presentation.xml": f'<p:presentation {_P}><p:sldIdLst><p:sldId r:id="s1"/>'
        '<p:sldId r:id="s2"/></p:sldIdLst></p:presentation>',
        "ppt/_rels/presentation.xml.rels": relations({"s1": ("slide", "s1.xml"), "s2": ("slide", "s2.xml")}),
        "ppt/s1.xml": tree(shape("body", "body") + at("top", 0, 0)),
        "ppt/s2.xml": tree(shape("alone"), ' showMasterSp="0"'),
        "ppt/_rels/s1.xml.rels": relations({"l": ("slideLayout", "l.xml")}),
        "ppt/_rels/s2.xml.rels": relations({"l": ("slideLayout", "l.xml")}),
        "ppt/l.xml": tree(shape("Layout text")),
        "ppt/_rels/l.xml.rels": relations({"m": ("slideMaster", "m.xml")}),
        "ppt/m.xml": tree(placed),
    }
    found = content("pptx", zipped(files))
    assert found.text == "top\n\nbody\n\nLayout text\n\nMaster Ltd\n\nalone"
    assert [place.label for place in found.places] == ["slide 1", "slide 2"]


def test_charts_say_values_as_shown():
    def cache(kind, *points, code="General"):
        inner = "".join(f'<c:pt idx="{n}"><c:v>{point}</c:v></c:pt>' for n, point in enumerate(points))
        return f"<c:{kind}><c:formatCode>{code}</c:formatCode>{inner}</c:{kind}>"

    series = (
        f"<c:ser><c:tx><c:strRef>{cache('strCache', 'Share')}</c:strRef></c:tx>"
        f"<c:cat><c:numRef>{cache('numCache', '45292', '45323', code='yyyy-mm-dd')}</c:numRef></c:cat>"
        f"<c:val><c:numRef>{cache('numCache', '0.25', '0.5', code='0%')}</c:numRef></c:val></c:ser>"
    )
    title = '<c:title><a:p xmlns:a="a"><a:r><a:t>Sales</a:t></a:r></a:p></c:title>'
    chart = f'<c:chartSpace xmlns:c="c"><c:chart>{title}{series}</c:chart></c:chartSpace>'
    frame = '<p:graphicFrame><a:graphic><c:chart xmlns:c="c" r:id="c1"/></a:graphic></p:graphicFrame>'
    files = {
        "_rels/.rels": relations({"r1": ("officeDocument", "ppt/presentation.xml")}),
        "ppt/presentation.xml": f'<p:presentation {_P}><p:sldIdLst><p:sldId r:id="s1"/></p:sldIdLst>'
        "</p:presentation>",
        "ppt/_rels/presentation.xml.rels": relations({"s1": ("slide", "s1.xml")}),
        "ppt/s1.xml": f"<p:sld {_P}><p:cSld><p:spTree>{frame}</p:spTree></p:cSld></p:sld>",
        "ppt/_rels/s1.xml.rels": relations({"c1": ("chart", "c.xml")}),
        "ppt/c.xml": chart,
    }
    assert text("pptx", zipped(files)) == "Sales; Share: 2024-01-01 25%; 2024-02-01 50%"


# -- OpenDocument ----------------------------------------------------------------------------------


def par(said):
    return f"<text:p>{said}</text:p>"


def cells(*said):
    return "".join(f"<table:table-cell>{par(one)}</table:table-cell>" for one in said)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            par(f"x<draw:frame><draw:text-box><table:table><table:table-row>{cells('a', 'b')}</table:table-row>"
                "</table:table></draw:text-box></draw:frame>"),
            "x\n\n| a | b |",
        ),
        (
            par('a<draw:frame><draw:object><math xmlns="m"><mfrac><mn>1</mn><mn>2</mn></mfrac></math></draw:object>'
                "</draw:frame>b"),
            "a 1/2 b",
        ),
        (f"<text:numbered-paragraph><text:number>3.</text:number>{par('np')}</text:numbered-paragraph>", "3. np"),
        ("<text:list><text:list-item><text:h text:outline-level='2'>H</text:h></text:list-item></text:list>", "## H"),
        (par("a<text:hidden-text text:is-hidden='true'>no</text:hidden-text>b"), "ab"),
        (par("a<text:hidden-text text:is-hidden='false'>yes</text:hidden-text>b"), "ayesb"),
        (
            "<table:table><table:table-row><table:table-cell table:number-rows-spanned='2'>" + par("down")
            + f"</table:table-cell>{cells('x')}</table:table-row><table:table-row><table:covered-table-cell/>"
            f"{cells('y')}</table:table-row></table:table>",
            "| down | x |\n| down | y |",
        ),
        (
            "<table:table>"
            f"<table:table-row>{cells('h')}<table:table-cell table:number-rows-spanned='2'>{par('down')}"
            f"</table:table-cell></table:table-row><table:table-row>{cells('i')}<table:covered-table-cell/>"
            "</table:table-row><table:table-row><table:table-cell table:number-columns-spanned='2'>"
            f"{par('wide')}</table:table-cell><table:covered-table-cell/></table:table-row></table:table>",
            "| h | down |\n| i | down |\n| wide |  |",
        ),
        (
            f"<text:outline-style><{NUMBERED(1, 1)}/><{NUMBERED(2, 2)}/></text:outline-style>"
            + "<text:h text:outline-level='1'>A</text:h><text:h text:outline-level='2'>B</text:h>"
            + "<text:h text:outline-level='1' text:is-list-header='true'>C</text:h>",
            "# 1 A\n\n## 1.1 B\n\n# C",
        ),
    ],
)  # fmt: skip
def test_opendocument_shows(body, expected):
    assert text("odt", odf(body)) == expected


def test_hidden_parts_of_opendocument_are_told():
    body = (
        f"<text:section text:display='none'>{par('no')}</text:section>"
        + par("<text:hidden-paragraph text:is-hidden='true'/>no")
        + par("yes")
    )
    found = content("odt", odf(body))
    assert (found.text, found.notes) == ("yes", ("hidden sections or paragraphs that were left out: 2",))


def test_a_sheet_of_opendocument_with_all_that_belongs_to_it():
    table = (
        "<table:table table:name='S'><table:shapes><draw:frame><draw:text-box>" + par("floating")
        + "</draw:text-box></draw:frame></table:shapes><table:table-column table:visibility='collapse'/>"
        f"<table:table-column/><table:table-row>{cells('hid', 'A')}<table:table-cell><office:annotation>{par('why?')}"
        f"</office:annotation>{par('B')}</table:table-cell></table:table-row>"
        f"<table:table-row table:visibility='collapse'>{cells('x', 'y')}</table:table-row>"
        "<table:table-row><table:table-cell/><table:table-cell office:value-type='float' office:value='12.5'/>"
        f"{cells('C')}</table:table-row></table:table>"
    )  # fmt: skip
    found = content("ods", odf(table, "spreadsheet"))
    assert found.text == "# S\n\n| A | B |\n\n| 12.5 | C |\n\nComment on C1: why?\n\nfloating"
    assert found.notes == (
        '1 hidden rows of its sheet "S" were left out', '1 hidden columns of its sheet "S" were left out',
    )  # fmt: skip
    assert [place.label for place in found.places][-2:] == ['sheet "S", cell C1', 'sheet "S"']


def test_slides_of_opendocument():
    frame = "<draw:frame{}><draw:text-box>{}</draw:text-box></draw:frame>".format
    pages = "".join(
        f"<draw:page draw:style-name='{style}'>{frame('', par('said'))}"
        f"{frame(' draw:class=' + chr(39) + 'title' + chr(39), par('Title'))}<draw:notes>{frame('', par('note'))}"
        "</draw:notes></draw:page>"
        for style in ("a", "h")
    )
    style = (
        "<style:style style:name='h'><style:drawing-page-properties style:visibility='hidden'/></style:style>"
    )
    found = content("odp", odf(style + pages, "presentation"))
    assert found.text == "# Title\n\nsaid\n\nNotes: note\n\n# Title\n\nsaid\n\nNotes: note"
    assert [place.label for place in found.places] == ["slide 1", "slide 2, hidden"]
