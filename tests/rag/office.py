"""Office files, mails and archives made for tests."""

import io
import zipfile

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_MORE = (
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"'
)
_A = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
_P = f'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" {_A} {_MORE}'
_S = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_REL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def zipped(parts: dict[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return out.getvalue()


def relations(targets: dict[str, tuple[str, str]]) -> str:
    rows = "".join(
        f'<Relationship Id="{key}" Type="{_REL}/{kind}" Target="{target}"/>'
        for key, (kind, target) in targets.items()
    )
    return f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{rows}</Relationships>'


def paragraph(text: str, style: str = "", before: str = "") -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f'<w:p>{properties}{before}<w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def docx(body: str, **parts: str) -> bytes:
    """A document of a body's XML; `styles`, `numbering`, `footnotes`, `comments`, `header` are parts' contents."""
    names = {
        "styles": "styles", "numbering": "numbering", "footnotes": "footnotes", "endnotes": "endnotes",
        "comments": "comments", "header": "hdr",
    }  # fmt: skip
    files: dict[str, str | bytes] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations({"r1": ("officeDocument", "word/document.xml")}),
        "word/document.xml": f"<w:document {W} {_MORE}><w:body>{body}</w:body></w:document>",
        "word/_rels/document.xml.rels": relations({kind: (kind, f"{kind}.xml") for kind in parts}),
    }
    for kind, inner in parts.items():
        files[f"word/{kind}.xml"] = f"<w:{names[kind]} {W} {_MORE}>{inner}</w:{names[kind]}>"
    return zipped(files)


def shape(text: str, holder: str = "", more: str = "") -> str:
    place = f'<p:nvPr><p:ph type="{holder}"/></p:nvPr>' if holder else "<p:nvPr/>"
    paragraphs = "".join(f"<a:p><a:r><a:t>{line}</a:t></a:r></a:p>" for line in text.split("\n"))
    return f"<p:sp><p:nvSpPr><p:cNvPr/>{place}</p:nvSpPr><p:txBody>{paragraphs}{more}</p:txBody></p:sp>"


def pptx(*slides: str, notes: str = "", hidden: int = 0) -> bytes:
    """A presentation of slides' shapes; `notes` are the first slide's, slide `hidden` is hidden."""
    numbers = range(1, len(slides) + 1)
    ids = "".join(f'<p:sldId id="{255 + n}" r:id="s{n}"/>' for n in numbers)
    files: dict[str, str | bytes] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations({"r1": ("officeDocument", "ppt/presentation.xml")}),
        "ppt/presentation.xml": f"<p:presentation {_P}><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": relations(
            {f"s{n}": ("slide", f"slides/slide{n}.xml") for n in numbers}
        ),
    }
    for n, shapes in zip(numbers, slides, strict=True):
        show = ' show="0"' if n == hidden else ""
        files[f"ppt/slides/slide{n}.xml"] = (
            f"<p:sld {_P}{show}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>"
        )
    if notes:
        files["ppt/slides/_rels/slide1.xml.rels"] = relations({"n": ("notesSlide", "../notesSlides/n1.xml")})
        tree = shape(notes, "body") + shape("1", "sldNum")
        files["ppt/notesSlides/n1.xml"] = (
            f"<p:notes {_P}><p:cSld><p:spTree>{tree}</p:spTree></p:cSld></p:notes>"
        )
    return zipped(files)


def xlsx(
    sheets: dict[str, str], *, strings: tuple[str, ...] = (), formats: tuple[str, ...] = (), states=()
) -> bytes:
    """A workbook of sheets' XML below `<worksheet>`; `formats[i]` is cell style i+1's."""
    names = list(sheets)
    state = dict(states)
    rows = "".join(
        f'<sheet name="{name}" sheetId="{n}" r:id="s{n}"'
        + (f' state="{state[name]}"' if name in state else "")
        + "/>"
        for n, name in enumerate(names, 1)
    )
    codes = "".join(f'<numFmt numFmtId="{164 + n}" formatCode="{code}"/>' for n, code in enumerate(formats))
    styles = '<xf numFmtId="0"/>' + "".join(f'<xf numFmtId="{164 + n}"/>' for n in range(len(formats)))
    related = {f"s{n}": ("worksheet", f"worksheets/sheet{n}.xml") for n in range(1, len(names) + 1)}
    files: dict[str, str | bytes] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations({"r1": ("officeDocument", "xl/workbook.xml")}),
        "xl/workbook.xml": f"<workbook {_S} {_MORE}><sheets>{rows}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": relations(
            {**related, "st": ("styles", "styles.xml"), "ss": ("sharedStrings", "sharedStrings.xml")}
        ),
        "xl/styles.xml": f"<styleSheet {_S}><numFmts>{codes}</numFmts><cellXfs>{styles}</cellXfs></styleSheet>",
        "xl/sharedStrings.xml": f"<sst {_S}>{''.join(f'<si>{text}</si>' for text in strings)}</sst>",
    }
    for n, name in enumerate(names, 1):
        files[f"xl/worksheets/sheet{n}.xml"] = f"<worksheet {_S}>{sheets[name]}</worksheet>"
    return zipped(files)


def sheet(*rows: str) -> str:
    """Rows of cells' XML, numbered from 1; `""` leaves a row out."""
    inner = "".join(f'<row r="{n}">{cells}</row>' for n, cells in enumerate(rows, 1) if cells)
    return f"<sheetData>{inner}</sheetData>"


def cell(at: str, text: str) -> str:
    """A cell with a text in it."""
    return f'<c r="{at}" t="inlineStr"><is><t>{text}</t></is></c>'


def number(at: str, value: str, style: int = 0) -> str:
    """A cell with a number in it."""
    return f'<c r="{at}" s="{style}"><v>{value}</v></c>'


def epub(*chapters: str, more: dict[str, str] | None = None) -> bytes:
    """A book of chapters' XHTML."""
    numbers = range(1, len(chapters) + 1)
    items = "".join(
        f'<item id="c{n}" href="c{n}.xhtml" media-type="application/xhtml+xml"/>' for n in numbers
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in numbers)
    files: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container><rootfile full-path="OPS/book.opf"/></container>',
        "OPS/book.opf": f"<package><metadata><title>The book</title></metadata><manifest>{items}</manifest>"
        f"<spine>{spine}</spine></package>",
    }
    for n, chapter in zip(numbers, chapters, strict=True):
        files[f"OPS/c{n}.xhtml"] = chapter
    return zipped(files | (more or {}))


def odf(body: str, kind: str = "text") -> bytes:
    """An OpenDocument file of a body's XML."""
    spaces = " ".join(f'xmlns:{name}="urn:{name}"' for name in ("office", "text", "table", "draw", "style"))
    return zipped({
        "mimetype": f"application/vnd.oasis.opendocument.{kind}",
        "content.xml": f"<office:document-content {spaces}><office:body><office:{kind}>{body}</office:{kind}>"
        "</office:body></office:document-content>",
    })  # fmt: skip
