"""What a person sees on a PDF page: words apart, lines in order, hyphens, notes, forms."""

import pytest

from weightwright.errors import DataError
from weightwright.rag.readers.pdf.hyphens import join_hyphenated
from weightwright.rag.readers.pdf.read import read_pdf
from weightwright.rag.settings import LoadSettings

from .pdf_files import drawn, encrypted, show


def text_of(*pages: str, **how) -> str:
    return read_pdf(drawn(*pages, **how), LoadSettings()).text


CELLS = [
    ("400.01", "3"), ("Feb 13, 2012", "Feb 27, 2012"), ("1,204", "88%"), ("Berlin", "Potsdam"), ("7", "8"),
    ("EUR 12", "EUR 13"), ("2019", "2020"), ("-4", "5"), ("A-17", "B-18"), ("3.5", "(4.5)"), ("x", "y"),
    ("12:30", "13:45"),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), CELLS, ids=lambda cell: cell)
def test_neighbouring_cells_stay_apart(left, right):
    width = 6.7 * len(left)
    rows = "".join(show(72, 700 - 16 * i, left) + show(72 + width + 6, 700 - 16 * i, right) for i in range(8))
    text = text_of(rows)
    assert left + right not in text
    words = f"{left} {right}".split()
    assert text.split().count(words[-1]) == 8 * words.count(words[-1])


@pytest.mark.parametrize("leading", [11, 12, 14, 20])
@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_lines_end_where_they_end(leading, rotate):
    lines = [f"Item {n} costs {n}5 euros" for n in range(9)]
    page = "".join(show(72, 700 - leading * i, line) for i, line in enumerate(lines))
    assert [line for line in text_of(page, rotate=rotate).split("\n") if line] == lines


TURNS = {0: "1 0 0 1", 90: "0 1 -1 0", 180: "-1 0 0 -1", 270: "0 -1 1 0"}


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("turn", TURNS)
def test_turned_text_on_turned_pages_reads_in_order(turn, rotate):
    lines = [f"Line {n} of the turned page" for n in range(6)]
    place = {0: (72, 700, 0, -16), 90: (100, 72, 16, 0), 180: (500, 100, 0, 16), 270: (500, 700, -16, 0)}
    x, y, dx, dy = place[turn]
    page = "".join(show(x + i * dx, y + i * dy, line, 12, TURNS[turn]) for i, line in enumerate(lines))
    assert [line for line in text_of(page, rotate=rotate).split("\n") if line] == lines


def test_lines_that_were_drawn_from_the_bottom_up_read_from_the_top():
    lines = [f"Paragraph line number {n}" for n in range(8)]
    page = "".join(show(72, 700 - 14 * i, lines[i]) for i in reversed(range(8)))
    assert text_of(page).split("\n")[:8] == lines


def test_two_columns_read_one_after_the_other():
    left = [f"left column line {n} of running text" for n in range(6)]
    right = [f"right column line {n} of running text" for n in range(6)]
    page = "".join(
        show(x, 700 - 14 * i, line) for x, side in ((72, left), (320, right)) for i, line in enumerate(side)
    )
    assert text_of(page).split("\n")[:12] == left + right


@pytest.mark.parametrize(
    ("before", "note", "right"),
    [("83,190,556", "2", "83,190,556²"), ("twenty", "13", "twenty¹³"), ("10", "6", "10⁶"), ("m", "3", "m³")],
)
def test_raised_digits_are_no_part_of_a_number(before, note, right):
    width = sum(
        {",": 3.3, "m": 10.0, "w": 8.7, "t": 3.3, "e": 6.7, "n": 6.7, "y": 6.0}.get(c, 6.7) for c in before
    )
    page = show(72, 700, before) + show(72.2 + width, 704.5, note, 7) + show(200, 700, "people live here")
    assert text_of(page).split()[0] == right


def test_lowered_digits_stay_in_their_word():
    assert "H2O" in text_of(show(72, 700, "H") + show(80.8, 697, "2", 7) + show(84.9, 700, "O is water"))


def test_what_lies_off_the_page_is_left_out():
    assert text_of(show(72, 700, "seen") + show(900, 700, "unseen") + show(72, -300, "unseen")).split() == [
        "seen"
    ]


def test_text_drawn_twice_is_read_once():
    page = show(72, 700, "Coffee and tariff office") + show(72.4, 700, "Coffee and tariff office")
    assert text_of(page).strip() == "Coffee and tariff office"


def test_letters_that_cast_a_shadow_are_read_once():
    letters = list(zip(range(72, 200, 12), "Annual leave", strict=False))
    page = "".join(show(x, 700, letter) for x, letter in letters if letter != " ")
    shadow = "".join(show(x + 0.5, 699.5, letter) for x, letter in letters if letter != " ")
    text = text_of(page + show(72, 600, "Another line") + shadow)
    assert "".join(text.split()) == "Annualleav" + "Anotherline"


def test_letters_that_are_set_apart_make_words():
    page = "BT /F1 12 Tf 1.6 Tc 72 700 Td (Spaced heading of chapter) Tj ET\n"
    assert text_of(page).strip() == "Spaced heading of chapter"


HYPHENS = [
    ("the years 2019-", "2021 were", "2019-2021"),
    ("Warden-", "Commander Smith", "Warden-Commander"),
    ("rules for COVID-", "19 and", "COVID-19"),
    ("state-of-the-", "art tools", "state-of-the-art"),
    ("long-", "term care", "long-term"),
    ("evidence-", "based care", "evidence-based"),
    ("call 555-", "0142 now", "555-0142"),
    ("the transport-", "ation office", "transportation"),
    ("an under-", "standing of", "understanding"),
    ("in govern-", "ment offices", "government"),
    ("the ISO-", "9001 norm", "ISO-9001"),
    ("a self-", "employed person", "self-employed"),
    ("die Donau-", "Dampfschifffahrt", "Donau-Dampfschifffahrt"),
    ("an X-", "ray of the hand", "X-ray"),
    ("at twenty-", "five degrees", "twenty-five"),
    ("the ninety-", "ninth minute", "ninety-ninth"),
    ("our vice-", "president said", "vice-president"),
    ("cet après-", "midi", "après-midi"),
    ("see example.org/long-", "term/plan here", "example.org/long-term/plan"),
    ("the twenty-", "odd guests", "twentyodd"),
    ("to em-", "ploy people", "employ"),
    ("with vice-", "like force", "vicelike"),
]


@pytest.mark.parametrize(("left", "right", "whole"), HYPHENS, ids=[row[2] for row in HYPHENS])
def test_a_hyphen_at_a_line_end(left, right, whole):
    text = text_of(show(72, 700, left) + show(72, 686, right))
    assert whole in text.split()


@pytest.mark.parametrize(
    ("elsewhere", "whole"),
    [("A co-operation of two.", "co-operation"), ("A cooperation of two.", "cooperation")],
)
def test_a_hyphen_follows_the_rest_of_the_document(elsewhere, whole):
    [text, _] = join_hyphenated(["the co-\noperation ends", elsewhere])
    assert whole in text


def test_a_dash_between_spaces_stays_where_it_is():
    assert join_hyphenated(["first -\nsecond"]) == ["first -\nsecond"]


def test_a_visible_soft_hyphen_stays():
    assert "SS-2541-03-M" in text_of(show(72, 700, "part SS\xad2541\xad03\xadM is here"))


def field(kind: str, rect: str, more: str) -> str:
    return f"<< /Type /Annot /Subtype /Widget /FT /{kind} /T ({rect}) /F 4 /Rect [{rect}] {more} >>"


FIELDS = [
    (field("Tx", "180 696 400 712", "/V (Ada Example)"), "Ada Example"),
    (field("Tx", "180 696 400 712", "/V (1,250.50)"), "1,250.50"),
    (field("Tx", "180 696 400 712", "/V <FEFF5F204F1F>"), "张伟"),
    (field("Ch", "180 696 400 712", "/Ff 131072 /Opt [(Berlin) (Paris)] /V (Paris)"), "Paris"),
    (field("Ch", "180 696 400 712", "/Opt [[(b) (Berlin city)] [(p) (Paris)]] /V (b)"), "Berlin city"),
    (field("Btn", "180 696 192 708", "/V /Yes /AS /Yes /AP << /N << /Yes 3 0 R /Off 3 0 R >> >>"), "☑ Yes"),
    (field("Btn", "180 696 192 708", "/V /Off /AS /Off /AP << /N << /Yes 3 0 R /Off 3 0 R >> >>"), "☐"),
]


@pytest.mark.parametrize(("widget", "value"), FIELDS, ids=[row[1] for row in FIELDS])
def test_a_form_value_stands_beside_its_label(widget, value):
    page = show(72, 730, "Application") + show(72, 700, "Applicant:") + show(72, 670, "Signed in Leeds")
    lines = [line for line in text_of(page, annotations=[widget], fields=True).split("\n") if line]
    assert lines == ["Application", f"Applicant: {value}", "Signed in Leeds"]


def test_lines_of_a_form_value_begin_beside_their_label():
    widget = field("Tx", "180 660 400 712", "/Ff 4096 /V (12 High Street\\rLeeds)")
    page = show(72, 700, "Address:") + show(72, 630, "Signed")
    lines = [line for line in text_of(page, annotations=[widget], fields=True).split("\n") if line]
    assert lines == ["Address: 12 High Street", "Leeds", "Signed"]


@pytest.mark.parametrize("rect", ["700 696 900 712", "180 -40 400 -20", "180 696 180 696"])
def test_a_value_off_the_page_or_without_extent_is_not_read(rect):
    widget = field("Tx", rect, "/V (not there)")
    assert text_of(show(72, 700, "Name:"), annotations=[widget], fields=True).strip() == "Name:"


@pytest.mark.parametrize("more", ["/F 2 /V (hidden)", "/Ff 8192 /V (secret)", "/F 32 /V (not shown)"])
def test_a_value_that_nobody_sees_is_not_read(more):
    widget = f"<< /Type /Annot /Subtype /Widget /FT /Tx /T (a) /Rect [180 696 400 712] {more} >>"
    assert text_of(show(72, 700, "Name:"), annotations=[widget], fields=True).strip() == "Name:"


def test_a_value_in_the_middle_of_a_sentence():
    page = show(72, 700, "I,") + show(180, 700, "of Leeds, agree.")
    widget = field("Tx", "90 696 175 712", "/V (Ada Example)")
    assert text_of(page, annotations=[widget], fields=True).strip() == "I, Ada Example of Leeds, agree."


def test_free_text_stands_where_it_was_written():
    page = show(72, 730, "Contract draft") + show(72, 600, "Second clause")
    note = (
        "<< /Type /Annot /Subtype /FreeText /F 4 /Rect [72 650 400 690] /Contents (Approved at 15 percent) >>"
    )
    lines = [line for line in text_of(page, annotations=[note]).split("\n") if line]
    assert lines == ["Contract draft", "Approved at 15 percent", "Second clause"]


def test_free_text_that_is_rich_text_alone_is_read():
    rich = "<body><p>Approved &amp; signed</p><p>on <b>3 May</b></p></body>"
    note = f"<< /Type /Annot /Subtype /FreeText /F 4 /Rect [72 640 400 690] /RC ({rich}) >>"
    lines = [line for line in text_of(show(72, 730, "Draft"), annotations=[note]).split("\n") if line]
    assert lines == ["Draft", "Approved & signed", "on 3 May"]


def test_a_page_that_cannot_be_read_is_named():
    data = drawn(show(72, 700, "one"), show(72, 700, "two")).replace(
        b"/Kids [4 0 R 6 0 R]", b"/Kids [4 0 R 99 0 R]"
    )
    content = read_pdf(data, LoadSettings())
    assert content.text.strip() == "one"
    assert content.notes == ("page 2 cannot be read; save the file again with a PDF program",)


RULED = "".join(f"{x} 600 m {x} 660 l S " for x in (70, 170, 270, 370)) + "".join(
    f"70 {y} m 370 {y} l S " for y in (600, 620, 640, 660)
)


def test_a_ruled_table_becomes_markdown():
    cells = [["City", "People", "Share"], ["Leeds", "800", "4%"], ["York | Ripon", "200", ""]]
    words = "".join(
        show(75 + 100 * c, 645 - 20 * r, cell) for r, row in enumerate(cells) for c, cell in enumerate(row)
    )
    text = text_of(show(72, 700, "Before.") + RULED + words + show(72, 560, "After."))
    table = (
        "| City | People | Share |\n| --- | --- | --- |\n| Leeds | 800 | 4% |\n| York \\| Ripon | 200 |  |"
    )
    assert text.strip() == f"Before.\n\n{table}\n\nAfter."


def test_a_cell_of_several_lines_and_rows():
    rules = "".join(f"{x} 560 m {x} 660 l S " for x in (70, 170, 370))
    rules += "70 560 m 370 560 l S 170 610 m 370 610 l S 70 640 m 370 640 l S 70 660 m 370 660 l S "
    words = [(75, 645, "City"), (175, 645, "Rule"), (75, 625, "Leeds"), (175, 625, "Dogs are kept on a"),
             (175, 613, "lead at all times."), (175, 590, "Bins go out"), (175, 576, "on Tuesday.")]  # fmt: skip
    text = text_of(rules + "".join(show(*word) for word in words))
    assert text.strip().split("\n")[2:] == [
        "| Leeds | Dogs are kept on a lead at all times. |",
        "|  | Bins go out on Tuesday. |",
    ]


def test_columns_without_rules_become_a_table():
    cells = [
        ["Item", "Hours", "Cost"],
        ["Body work", "2", "300"],
        ["Paint", "1.5", "225"],
        ["Supplies", "", "60"],
    ]
    words = "".join(
        show(72 + 110 * c, 645 - 16 * r, cell)
        for r, row in enumerate(cells)
        for c, cell in enumerate(row)
        if cell
    )
    assert "| Body work | 2 | 300 |\n| Paint | 1.5 | 225 |\n| Supplies |  | 60 |" in text_of(words)


def test_a_frame_around_running_text_is_no_table():
    page = "60 600 400 100 re S 60 650 m 460 650 l S 260 600 m 260 700 l S " + show(
        72, 670, "Only one cell has words."
    )
    assert "|" not in text_of(page)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "an encrypted PDF; give its password with --pdf-password"),
        ("wrong", "that pdf_password does not open"),
    ],
)
def test_why_a_locked_file_is_not_read(given, reason):
    with pytest.raises(DataError, match=reason):
        read_pdf(encrypted("27 days", "secret"), LoadSettings(pdf_password=given))


def test_a_locked_file_opens_with_its_password():
    content = read_pdf(encrypted("Everybody has 27 days.", "secret"), LoadSettings(pdf_password="secret"))
    assert content.text.strip() == "Everybody has 27 days."


SCAN = "q 612 0 0 792 0 0 cm BI /W 2 /H 2 /CS /G /BPC 8 ID \x00\xff\xff\x00 EI Q"


def test_a_scanned_page_is_named_with_its_remedy():
    content = read_pdf(
        drawn(show(72, 700, "one"), SCAN, SCAN, "", show(72, 700, "five"), SCAN), LoadSettings()
    )
    assert content.notes == ("pages 2-3, 6 without text (scanned?); recognise it with --ocr",)


def test_a_scan_without_any_text_names_its_remedy():
    with pytest.raises(DataError, match=r"without text \(2 pages, a scan\?\); recognise it with --ocr"):
        read_pdf(drawn(SCAN, SCAN), LoadSettings())


@pytest.mark.slow
def test_a_scanned_page_is_recognised():
    image = pytest.importorskip("PIL.Image")
    draw, font = pytest.importorskip("PIL.ImageDraw"), pytest.importorskip("PIL.ImageFont")
    pytest.importorskip("rapidocr")
    page = image.new("L", (1200, 400), 255)
    draw.Draw(page).text((60, 150), "Everybody has 27 days of leave", 0, font.load_default(56))
    data = page.tobytes().hex()
    stream = f"q 600 0 0 200 6 500 cm BI /W 1200 /H 400 /CS /G /BPC 8 /F /AHx ID {data}> EI Q"
    text = read_pdf(drawn(show(72, 700, "text"), stream), LoadSettings(ocr=True)).text
    assert "27 days of leave" in " ".join(text.split())
