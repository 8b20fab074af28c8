"""Style sheets say what of a page is shown: which rule wins, where sheets are taken from, what stands apart."""

import os

import pytest

from weightwright.ports import Document
from weightwright.rag.load import Source, load
from weightwright.rag.readers.html import read_html
from weightwright.rag.readers.html_media import applies
from weightwright.rag.settings import LoadSettings


def text(page: str, **sheets: str) -> str:
    return read_html(page.encode(), LoadSettings(), sheets).text


def read(page) -> str:
    (document,) = [
        item for item in load(Source(page, page.name), LoadSettings()) if isinstance(item, Document)
    ]
    return document.text


@pytest.mark.parametrize(
    "style",
    [
        ".x{display:none}",
        "p.x{display:none} .x{display:block}",  # more specific
        "#i{display:none} body p.x{display:block}",
        ".x{display:none!important} #i{display:block}",
        ".x{display:block} .x{display:none}",
        ":where(#i){display:block} p{display:none}",
        "p:not(.other){display:none}",
        "p:is(.x,.y){display:none}",
        "body>p:nth-child(2):not(:hover){display:none}",
        "[class~=x]{visibility:hidden}",
        "@media screen{.x{display:none}}",
        "@media (min-width:800px){.x{display:none}}",
        "@media only screen and (min-width: 40em) and (orientation:landscape){.x{display:none}}",
        "@media print, (width >= 600px){.x{display:none}}",
        "@supports (display:grid){.x{display:none}}",
        "@layer base{.x{display:none}}",
        ".x{opacity:0%}",
        "@charset 'utf-8'; .a{color:red;} .x{ DISPLAY : NONE }",
        ".y, .x , .z{display:none}",
        "} .x{display:none}  /* a stray brace */ .x{display:none}",
    ],
)
def test_a_rule_that_wins_hides(style):
    page = f"<style>{style}</style><p>before</p><p class='x' id='i'>H</p><p class=w id=j>after</p>"
    assert "H" not in text(page).replace("before", "").split()


@pytest.mark.parametrize(
    "style",
    [
        ".x{display:none} p.x{display:block}",
        "#i.x{display:inherit} .x{display:none}",
        ".x{display:none} .x{display:block!important}",
        "@media print{.x{display:none}}",
        "@media not screen{.x{display:none}}",
        "@media (max-width:600px){.x{display:none}}",
        "@media (width < 600px){.x{display:none}}",
        "@media (prefers-color-scheme:dark){.x{display:none}}",
        "@supports not (display:grid){.x{display:none}}",
        "@font-face{font-family:a;display:none}",
        ".x:hover{display:none}",
        ".x::before{display:none}",
        "body:not(.x) .z{display:none}",
        ".x{opacity:0;transition:opacity 1s}",  # it comes in when it is scrolled to
        "html{display:none}",  # until a script has come
        "body{opacity:0}",
        ".x{display:var(--shown)}",
        ".x{--display:none}",
        ".x{display:}",
        "p..x{display:none}",
    ],
)
def test_a_rule_that_does_not_win_hides_nothing(style):
    assert text(f"<style>{style}</style><p class='x' id='i'>S</p>") == "S"


def test_the_element_itself_has_the_last_word():
    assert text("<style>p{display:none}</style><p style='display:block'>S</p><p>H") == "S"
    assert text("<style>p{display:block!important}</style><p style='display:none'>S</p>") == "S"
    assert text("<style>.tab{display:flex}</style><div class=tab hidden>S</div><p hidden>H</p>") == "S"
    hidden = "<style>.menu{visibility:hidden}.menu b{visibility:visible}</style>"
    assert text(f"{hidden}<div class=menu><b>S</b></div><div class=menu>H</div>") == "S"
    assert (
        text("<p style='font-size:0'><span style='font-size:12px'>S</span></p><p style='font-size:0'>H")
        == "S"
    )
    assert text("<p style='opacity:0;transform:translateY(20px)'>S</p><p style='opacity:0'>H") == "S"


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("span{display:block}", "one\n\ntwo"),
        ("span{float:left}", "one\n\ntwo"),
        ("span{position:absolute}", "one\n\ntwo"),
        ("div{display:flex}", "one\n\ntwo"),
        ("div{display:inline-grid}", "one\n\ntwo"),
        ("span{display:inline-block}", "one two"),
        ("span{color:red}", "onetwo"),
    ],
)
def test_what_a_style_sets_apart_stands_apart(style, expected):
    assert text(f"<style>{style}</style><div><span>one</span><span>two</span></div>") == expected


def test_the_frame_of_a_main_part_goes_where_element_and_role_both_say_so():
    page = (
        '<nav>Home, products and a long list of what else there is</nav><main role="main"><p>Text.</p></main>'
    )
    assert text(page + "<footer role=contentinfo>Legal</footer>") == "Text."


def test_a_sheet_applies_by_its_link():
    page = '<link rel="{}" href="a"><p>S</p><p class="x">X</p>'
    hiding = ".x{display:none}"
    assert text(page.format("stylesheet"), a=hiding) == "S"
    assert text(page.format("preload stylesheet"), a=hiding) == "S"
    assert text(page.format("alternate stylesheet"), a=hiding) == "S\n\nX"
    assert text(page.format('stylesheet" media="print'), a=hiding) == "S\n\nX"
    assert text(page.format("stylesheet") + "<style>.x{display:block}</style>", a=hiding) == "S\n\nX"


@pytest.mark.parametrize(
    ("href", "place"),
    [
        ("a.css", "a.css"),
        ("css/deep/a.css?v=3", "css/deep/a.css"),
        ("../../theme/a.css", "../../theme/a.css"),
        ("./my%20style.css", "my style.css"),
        ("A.CSS#x", "A.CSS"),
    ],
)
def test_sheets_beside_the_file_say_what_is_shown(tmp_path, href, place):
    page = tmp_path / "site" / "docs" / "page.html"
    page.parent.mkdir(parents=True)
    page.write_text(f"<LINK href='{href}' type=text/css rel=stylesheet><p>S</p><p class=x>H</p>")
    assert read(page) == "S\n\nH"
    sheet = page.parent / place
    sheet.parent.mkdir(parents=True, exist_ok=True)
    sheet.write_text(".x{display:none}")
    assert read(page) == "S"


def test_imported_sheets_are_taken_once_each(tmp_path):
    (tmp_path / "css").mkdir()
    page = tmp_path / "page.html"
    page.write_text("<link rel=stylesheet href=css/a.css><p>S</p><p class=x>H</p><p class=y>P</p>")
    (tmp_path / "css/a.css").write_text(
        "@import url('b.css'); @import \"c.css\" print;\n@import 'http://e.org/d.css';"
    )
    (tmp_path / "css/b.css").write_text("@import url(a.css);\n.x{display:none}")
    (tmp_path / "css/c.css").write_text(".y{display:none}")
    assert read(page) == "S\n\nP"


def test_what_is_no_sheet_at_hand_is_passed_over(tmp_path):
    hiding = "p{display:none}"
    (tmp_path / "large.css").write_text(hiding + "/*" + "x" * 1_000_000 + "*/")
    (tmp_path / "notes.txt").write_text(hiding)
    (tmp_path / "folder.css").mkdir()
    os.mkfifo(tmp_path / "pipe.css")
    (tmp_path / "bytes.css").write_bytes(b"\xff\xfe\x00{{{{")
    addresses = ("http://e.org/a.css", "//e.org/a.css", str(tmp_path / "ok.css"), "")
    files = ("large.css", "notes.txt", "folder.css", "pipe.css", "bytes.css", "\0.css", "x" * 300 + ".css")
    names = (*addresses, *files)
    (tmp_path / "ok.css").write_text(hiding)
    page = tmp_path / "page.html"
    page.write_text("".join(f'<link rel="stylesheet" href="{name}">' for name in names) + "<p>S</p>")
    assert read(page) == "S"


def test_sheets_up_to_ten_folders_above_are_taken(tmp_path):
    folder = tmp_path.joinpath(*map(str, range(11)))
    folder.mkdir(parents=True)
    for place in (tmp_path, tmp_path / "0"):
        (place / "a.css").write_text(".x{display:none}")
    for above, shown in ((10, "S"), (11, "S\n\nH")):
        page = f"<link rel=stylesheet href={'../' * above}a.css><p>S</p><p class=x>H</p>"
        (folder / "page.html").write_text(page)
        assert read(folder / "page.html") == shown


def test_twenty_sheets_are_enough(tmp_path):
    for number in range(21):
        (tmp_path / f"{number}.css").write_text(f".x{number}{{display:none}}")
    links = "".join(f"<link rel=stylesheet href={number}.css>" for number in range(21))
    (tmp_path / "page.html").write_text(
        links + "".join(f"<p class=x{number}>{number}</p>" for number in range(21))
    )
    assert read(tmp_path / "page.html") == "20"


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ("", True), ("all", True), ("screen", True), ("SCREEN", True), ("print", False), ("not print", True),
        ("not all", False), ("speech", False), ("print, screen", True), ("only screen and (color)", True),
        ("(min-width:1280px)", True), ("(min-width:1281px)", False), ("(max-width:79.9em)", False),
        ("(400px <= width <= 1280px)", True), ("(400px < width < 1280px)", False), ("(height > 10in)", False),
        ("(min-device-width: 300px)", True), ("(orientation: portrait)", False), ("(hover: hover)", True),
        ("(hover)", True), ("(prefers-reduced-motion: reduce)", False), ("(not (hover: none))", True),
        ("(unknown: thing)", False), ("screen and (-webkit-min-device-pixel-ratio: 2)", False),
        ("(min-width: wide)", False), ("(min-width: 100px) or (orientation: portrait)", True),
    ],
)  # fmt: skip
def test_media_queries(query, holds):
    assert applies(query) is holds


def test_a_large_sheet_on_a_large_page_is_bounded():
    style = "".join(f".a{number}>.b{number}:not(.c){{display:none}}" for number in range(20_000))
    assert text(f"<style>{style}</style>" + "<p>S</p>" * 2000).count("S") == 2000
