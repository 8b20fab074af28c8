"""PDF pages as a person sees them: accents that are drawn, buttons and signatures, letters at the page's edge."""

import re
from io import BytesIO

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from weightwright.rag.readers.pdf.read import read_pdf
from weightwright.rag.settings import LoadSettings

from .pdf_files import drawn, show, with_font


def read(data: bytes) -> str:
    return read_pdf(data, LoadSettings()).text.strip()


def accented(
    before: str, accent: str, letter: str, after: str, *, raised: float = 0, late: bool = False
) -> str:
    """A word in Helvetica whose accent is a glyph of its own over its letter, or drawn behind the word."""
    width = 6.67 if letter.islower() else 8.0  # of the letter, about; the accent's is 4
    at = 72 + sum(_WIDTHS.get(c, 6.67) for c in before)
    mark = show(at + (width - 4) / 2, 700 + raised, accent)
    rest = show(at, 700, letter + after)
    return show(72, 700, before) + (rest + mark if late else mark + rest)


_WIDTHS = {
    "F": 7.33,
    "e": 6.67,
    "r": 4.0,
    "n": 6.67,
    "G": 9.33,
    "U": 8.67,
    "i": 2.67,
    "v": 6.0,
    "s": 6.0,
    "t": 3.33,
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("parts", "raised", "word"),
    [
        (("Fern", "´", "a", "ndez"), 0, "Fernández"),
        (("Universit", "¨", "a", "t"), 0, "Universität"),
        (("se", "˜", "n", "or"), 0, "señor"),
        (("", "´", "E", "cole"), 2.5, "École"),
        (("G", "¨", "o", "del"), 0, "Gödel"),
    ],
)
def test_an_accent_that_is_drawn_over_its_letter_makes_one_letter(parts, raised, word, late):
    assert read(drawn(accented(*parts, raised=raised, late=late))) == word


def test_an_accent_that_stands_beside_letters_stays():
    assert read(drawn(show(72, 700, "a ´ b, 5´, x~y"))) == "a ´ b, 5´, x~y"


@pytest.mark.parametrize(
    ("field", "appearance", "seen"),
    [
        ("/Subtype /Widget /FT /Btn /Ff 65536 /T (b)", "Send order", True),
        ("/Subtype /Widget /FT /Sig /T (s)", "Signed by Ann Lee, 2 May 2024", True),
        ("/Subtype /Stamp", "APPROVED", True),
        ("/Subtype /Stamp /F 2", "APPROVED", False),
        ("/Subtype /Widget /FT /Btn /Ff 65536 /T (b) /F 2", "Send order", False),
    ],
    ids=["button", "signature", "stamp", "hidden stamp", "hidden button"],
)
def test_what_buttons_signatures_and_stamps_show_is_read(field, appearance, seen):
    stream = f"BT /F1 12 Tf 2 4 Td ({appearance}) Tj ET"
    form = (
        f"<< /Type /XObject /Subtype /Form /BBox [0 0 200 20] /Resources << /Font 3 0 R >> /Length {len(stream)} >>"
        f"\nstream\n{stream}\nendstream"
    )
    annotation = f"<< /Type /Annot {field} /Rect [72 600 272 620] /AP << /N 7 0 R >> /P 4 0 R >>"
    text = read(drawn(show(72, 700, "Form 12"), annotations=[annotation, form], fields="Widget" in field))
    assert "Form 12" in text
    assert (appearance in text) == seen


def test_the_value_of_a_field_beside_a_button_is_read_once():
    stream = "BT /F1 12 Tf 2 4 Td (Send) Tj ET"
    form = (
        f"<< /Type /XObject /Subtype /Form /BBox [0 0 200 20] /Resources << /Font 3 0 R >> /Length {len(stream)} >>"
        f"\nstream\n{stream}\nendstream"
    )
    button = "<< /Type /Annot /Subtype /Widget /FT /Btn /Ff 65536 /T (b) /Rect [72 600 272 620] /AP << /N 8 0 R >> >>"
    value = "<< /Type /Annot /Subtype /Widget /FT /Tx /T (n) /V (Kim) /Rect [130 696 272 712] >>"
    page = drawn(show(72, 700, "Name:"), annotations=[button, value, form], fields=True)
    assert re.findall(r"\w+", read(page)) == ["Name", "Kim", "Send"]


def test_a_word_that_the_edge_of_the_page_cuts_keeps_its_letters_and_words_beyond_are_not_read():
    page = show(570, 700, "stitched and more") + show(-2, 600, "Edge") + show(700, 500, "beyond")
    text = read(drawn(page))
    assert "Edge" in text
    assert "beyond" not in text
    assert "more" not in text


def test_digits_of_a_ruled_table_that_is_drawn_by_columns_stay_apart():
    rules = "".join(f"{x} 500 m {x} 620 l S\n" for x in (70, 270, 400))
    rules += "".join(f"70 {y} m 400 {y} l S\n" for y in (500, 530, 560, 590, 620))
    rows = (("1 0 1 1 0 0", "-1dB"), ("0 1 1 0 1 0", "-2dB"), ("1 1 1 0 0 1", "-3dB"))
    cells = show(80, 600, "DATA") + show(280, 600, "LEVEL")
    for column in range(6):
        for number, (bits, _) in enumerate(rows):
            cells += show(80 + 30 * column, 570 - 30 * number, bits.split()[column])
    for number, (_, level) in enumerate(rows):
        cells += show(280, 570 - 30 * number, level)
    text = read(drawn(rules + cells))
    for bits, level in rows:
        assert f"| {bits} | {level} |" in text


def test_words_that_are_text_objects_of_their_own_part_at_small_gaps():
    # Jane ends 26.0 points behind its begin: 11% of the size before Doe
    assert read(drawn(show(72, 700, "Jane") + show(72 + 26.02 + 1.32, 700, "Doe"))) == "Jane Doe"


def letters(code: int) -> bytes:
    """A TrueType font of two glyphs, whose Apple table gives the one at `code`."""
    pen = TTGlyphPen(None)
    for point in ((0, 0), (400, 0), (400, 700)):
        (pen.moveTo if point == (0, 0) else pen.lineTo)(point)
    pen.closePath()
    font = FontBuilder(1000, isTTF=True)
    names = [".notdef", *"Durefgn", "letter"]
    font.setupGlyphOrder(names)
    table = {ord(name): name for name in names if len(name) == 1} | {code: "letter"}
    font.setupCharacterMap({0xF000 + key: value for key, value in table.items()})
    font.setupGlyf(dict.fromkeys(names, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(names, (500, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupOS2()
    font.setupPost()
    from fontTools.ttLib.tables._c_m_a_p import CmapSubtable

    apple = CmapSubtable.newSubtable(0)
    apple.platformID, apple.platEncID, apple.language = 1, 0, 0
    apple.cmap = table
    font.font["cmap"].tables = [apple]
    out = BytesIO()
    font.save(out)
    return out.getvalue()


@pytest.mark.parametrize(("code", "word"), [(0xE9, "Durée"), (0xFC, "Durüe"), (0xE4, "Duräe")])
@pytest.mark.parametrize("encoding", ["/Encoding /WinAnsiEncoding", ""])
def test_letters_of_windows_are_read_where_the_font_has_only_apples_table(code, word, encoding):
    file = letters(code)
    font = (
        f"<< /Type /Font /Subtype /TrueType /BaseFont /ABCDEF+Odd {encoding} /FirstChar 0 /LastChar 255 "
        f"/Widths [{'500 ' * 256}] /FontDescriptor 6 0 R >>"
    )
    descriptor = (
        "<< /Type /FontDescriptor /FontName /ABCDEF+Odd /Flags 4 /FontBBox [0 0 500 700] /ItalicAngle 0 /Ascent 800 "
        "/Descent -200 /CapHeight 700 /StemV 80 /FontFile2 7 0 R >>"
    )
    program = f"<< /Length {len(file)} /Length1 {len(file)} >>\nstream\n{file.decode('latin-1')}\nendstream"
    stream = f"BT /F1 12 Tf 72 700 Td (Dur\\{code:03o}e Dur\\{code:03o}e) Tj ET"
    assert read(with_font(font, stream, descriptor, program)) == f"{word} {word}"
