"""What a PDF's fonts say of its text, and what they do not."""

import pytest

from weightwright.rag.readers.pdf.names import GlyphNames
from weightwright.rag.readers.pdf.read import read_pdf
from weightwright.rag.settings import LoadSettings

from .pdf_files import drawn, show, unembedded, with_font


def read(data: bytes) -> str:
    return read_pdf(data, LoadSettings()).text.strip()


TURNS = {0: "1 0 0 1 100 700", 90: "0 1 -1 0 300 100", 180: "-1 0 0 -1 500 300", 270: "0 -1 1 0 300 600"}
ASIAN = [
    ("SimSun", "GB1", "GBK-EUC-H", "gbk", "年假二十八天"),
    ("KaiTi", "GB1", "UniGB-UCS2-H", "utf-16-be", "合同须经备案"),
    ("MingLiU", "CNS1", "ETen-B5-H", "big5", "營業收入總額"),
    ("MS-Mincho", "Japan1", "90ms-RKSJ-H", "cp932", "有給休暇は二十日"),
    ("HeiseiMin", "Japan1", "UniJIS-UCS2-H", "utf-16-be", "会社の規則です"),
    ("Batang", "Korea1", "KSCms-UHC-H", "cp949", "연차휴가는십오일"),
]


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize(
    ("name", "ordering", "cmap", "encoding", "text"), ASIAN, ids=[row[2] for row in ASIAN]
)
def test_a_font_that_nobody_has_is_read_in_every_direction(name, ordering, cmap, encoding, text, turn):
    font, *more = unembedded(name, ordering, cmap)
    stream = f"BT /F1 12 Tf {TURNS[turn]} Tm <{text.encode(encoding).hex()}> Tj ET"
    assert read(with_font(font, stream, *more)) == text


@pytest.mark.parametrize(
    ("ordering", "cmap", "text"),
    [("Japan1", "UniJIS-UCS2-V", "わたくしといふ現象は"), ("GB1", "UniGB-UCS2-V", "床前明月光疑是地上霜")],
)
def test_a_font_that_nobody_has_is_read_downwards(ordering, cmap, text):
    font, *more = unembedded("Ryumin-Light", ordering, cmap)
    stream = f"BT /F1 12 Tf 300 700 Td <{text.encode('utf-16-be').hex()}> Tj ET"
    assert read(with_font(font, stream, *more)) == text


def named(*names: str) -> str:
    """Helvetica whose codes from 20 have these names."""
    return (
        "<< /Type /Font /Subtype /Type1 /BaseFont /ABCDEF+Helvetica /Encoding << /Type /Encoding "
        f"/BaseEncoding /WinAnsiEncoding /Differences [20 {' '.join(f'/{name}' for name in names)}] >> >>"
    )


NAMES = [
    ("f_i", "con\\024rmed", "confirmed"),
    ("f_f_i", "o\\024ce", "office"),
    ("f_l", "in\\024ation", "inflation"),
    ("T_h", "\\024e rules", "The rules"),
    ("t_t", "a\\024orney", "attorney"),
    ("f_j", "\\024ord", "fjord"),
    ("one.oldstyle", "\\0240 days", "10 days"),
    ("A.sc", "\\024NNUAL", "ANNUAL"),
    ("s_t.liga", "la\\024 day", "last day"),
    ("u0041_u0042", "\\024C", "ABC"),
]


@pytest.mark.parametrize(("name", "shown", "text"), NAMES, ids=[row[0] for row in NAMES])
def test_glyphs_are_read_by_names_that_are_made_of_others(name, shown, text):
    assert read(with_font(named(name), f"BT /F1 12 Tf 72 700 Td ({shown}) Tj ET")) == text


def test_a_glyph_without_a_meaning_is_left_out():
    assert read(with_font(named("g17"), "BT /F1 12 Tf 72 700 Td (sum\\024 of) Tj ET")) == "sum of"


def test_two_fonts_of_one_name_that_differ_explain_nothing():
    fonts = [named("f_i"), named("f_l")]
    data = with_font(fonts[0], "", fonts[1]).replace(b"/F1 3 0 R", b"/F1 3 0 R /F2 6 0 R")
    assert GlyphNames(data, "").of_page(0) == {"Helvetica": {20: ""}}


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7 nothing", b"\x00" * 2000])
def test_names_of_a_broken_file_are_none(data):
    assert GlyphNames(data, "").of_page(0) == {}


def test_the_characters_of_an_actual_text_are_all_read():
    stream = "/Span << /ActualText (Business Administration) >> BDC BT /F1 12 Tf 72 700 Td (xyz) Tj ET EMC "
    assert read(drawn(stream)) == "Business Administration"


def test_a_text_that_was_drawn_twice_in_other_widths_loses_no_letter():
    text = "quarterlyreportofthecompany"
    page = "".join(show(72 + 7 * i, 700, letter) for i, letter in enumerate(text)) + show(80, 700, text)
    assert sorted("".join(read(drawn(page)).split())) == sorted(2 * text)


@pytest.mark.parametrize("times", [2, 3, 4])
def test_letters_that_are_each_drawn_several_times_at_once_are_read_once(times):
    page = "".join(
        show(72 + 7.2 * i + 0.2 * n, 700, letter) for i, letter in enumerate("ANNEX") for n in range(times)
    )
    assert read(drawn(page)) == "ANNEX"


@pytest.mark.parametrize("gap", [2.0, 2.4, 3.0, 4.0])
def test_words_part_where_the_file_has_narrower_letters_than_the_font_at_hand(gap):
    widths = " ".join(["420"] * 95)
    font = (
        f"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /FirstChar 32 /LastChar 126 /Widths [{widths}] >>"
    )
    begin, step = 72.0, 12 * 0.42
    stream = ""
    for word in ("total", "tables", "slate", "lose"):
        stream += f"BT /F1 12 Tf {begin} 700 Td ({word}) Tj ET "
        begin += step * len(word) + gap
    assert read(with_font(font, stream)) == "total tables slate lose"
