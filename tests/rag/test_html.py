"""HTML as a person sees it: what is left out, what stands apart, what is a table, a list, code or a heading."""

import pytest

from weightwright.ports import Document
from weightwright.rag.chunk import chunk_document
from weightwright.rag.readers.html import read_html
from weightwright.rag.settings import ChunkSettings, LoadSettings
from weightwright.testing.embedder import HashEmbedder


def content(page):
    return read_html(page if isinstance(page, bytes) else page.encode(), LoadSettings())


def text(page) -> str:
    return content(page).text


def chunks(page, tokens=60):
    found = content(page)
    document = Document("d", found.text, title=found.title, metadata={"format": "html"}, blocks=found.blocks)
    settings = ChunkSettings(chunk_tokens=tokens, overlap_tokens=0)
    return chunk_document(document, settings, HashEmbedder().count_tokens, 1000)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ('<form id="f"><h1>Leave</h1><p>Staff get 25 days.</p></form>', "# Leave\n\nStaff get 25 days."),
        ("<h2><button>How do I pay?</button></h2>", "## How do I pay?"),
        ("<p>Name: <input value=Ann> <textarea>draft</textarea>end", "Name: end"),
        ("<label>Size<select><option>S<option>M</select></label> chosen", "Size chosen"),
        ("<fieldset><legend>Plan</legend><p>Basic</fieldset>", "Plan\n\nBasic"),
        ("<button>Yes</button><button>No</button>", "Yes No"),
        ("<details><summary>Why?</summary>Because.</details>", "Why?\n\nBecause."),
        ("<p>one<p>two", "one\n\ntwo"),
        ("a<br>b<br><br>c", "a\nb\n\nc"),
        ("un<b>believ</b>able", "unbelievable"),
        ("Donau&shy;dampf&#8203;schiff and&nbsp;more", "Donaudampfschiff and more"),
        ('<span style="display:block">one</span><span style="display:block">two</span>', "one\n\ntwo"),
        ('<a href="1">previous</a><a href="2">next</a>', "previous next"),
        ("She said <q>yes</q>.", "She said “yes”."),
        ("<ruby>東<rp>(</rp><rt>とう</rt>京<rt>きょう</rt></ruby>駅", "東京(とうきょう)駅"),
        ("<p>x\0y</p>", "xy"),
        ('<h1>Install<a class="headerlink" href="#i">¶</a></h1>', "# Install"),
    ],
)
def test_what_is_seen_is_kept(page, expected):
    assert text(page) == expected


@pytest.mark.parametrize(
    "hidden",
    [
        "<p hidden>H</p>",
        '<p style="display:none">H</p>',
        '<p style="color:red; DISPLAY : none !important">H</p>',
        '<div style="visibility:hidden">H</div>',
        '<p style="visibility: collapse">H</p>',
        '<p style="opacity:0">H</p>',
        '<p style="font-size:0px">H</p>',
        '<div style="mso-hide:all">H</div>',
        "<ix:header><ix:hidden><ix:nonNumeric>H</ix:nonNumeric></ix:hidden></ix:header>",
        '<div role="navigation">H</div>',
        "<nav><ul><li>H</ul></nav>",
        '<ul role="menu"><li>H</ul>',
        "<dialog>H</dialog>",
        "<div popover>H</div>",
        "<noscript>H</noscript>",
        "<template><p>H</template>",
        "<svg><title>H</title><text>H</text></svg>",
        "<iframe>H</iframe>",
        "<video>H</video>",
        "<canvas>H</canvas>",
        "<style>.x{display:none}</style><p class=x>H</p>",
        "<style>/* c */ #y , .z { display : none }</style><b id=y>H</b>",
        "<!-- H -->",
        "<script>H</script>",
        "<del>H</del>",
        "<s>H</s>",
        "<datalist><option>H</datalist>",
        "<map><area alt=H></map>",
    ],
)
def test_what_is_hidden_is_left_out(hidden):
    assert text(f"<body><p>before</p>{hidden}<p>after</p>") == "before\n\nafter"


@pytest.mark.parametrize(
    "shown",
    [
        "<style>.x{display:none} .x{display:block}</style><p class=x>S</p>",
        "<style>@media print{.x{display:none}}</style><p class=x>S</p>",
        "<style>.x:hover{display:none}</style><p class=x>S</p>",
        "<style>p{</style><p>S</p>",
        '<p style="opacity:0.5">S</p>',
        '<p style="font-size:0.9em">S</p>',
        '<p style="background-opacity:0">S</p>',
        "<dialog open>S</dialog>",
        '<p hidden="until-found">S</p>',
        "<ins>S</ins>",
        '<p aria-hidden="true">S</p>',
    ],
)
def test_what_only_looks_hidden_is_kept(shown):
    assert text(f"<body>{shown}") == "S"


def test_beside_a_main_part_its_frame_is_left_out():
    page = (
        "<header>Shop logo</header><main><header><h1>Ferry</h1></header><p>It leaves at nine, from the old pier, "
        "every day but Sunday.</p><aside>Bring cash.</aside></main><aside>Ads</aside><footer>Imprint</footer>"
    )
    assert text(page) == (
        "# Ferry\n\nIt leaves at nine, from the old pier, every day but Sunday.\n\nBring cash."
    )
    assert "Imprint" in text(page.replace("main>", "div>"))


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("25<sup>1</sup> days", "25¹ days"),
        ("10<sup>6</sup>", "10⁶"),
        ("10<sup>-3</sup>", "10⁻³"),
        ("<del>10</del><ins>12</ins> euros", "12 euros"),
        ("CO<sub>2</sub>", "CO₂"),
        ("2<sub>10</sub>", "2₁₀"),
        ("1<sup>st</sup>", "1st"),
        ("25<sup>a</sup> days", "25 a days"),
        ("40<sup>1,2</sup>", "40 1,2"),
        ("83,190,556<sup><a href=#n>2</a></sup>", "83,190,556²"),
        ("x<sup>n</sup>", "xⁿ"),
        ("<math><mn>10</mn><msup><mn>10</mn><mn>6</mn></msup></math>", "1010⁶"),
        (
            "<math><msub><mi>x</mi><mi>i</mi></msub><mo>=</mo><mfrac><mi>a</mi><mrow><mi>b</mi><mo>+</mo><mi>c</mi>"
            "</mrow></mfrac></math>",
            "x_i = a/(b + c)",
        ),
        ('<img class="math-inline" alt="E=mc^2"> and <img alt="a cat">', "E=mc^2 and"),
    ],
)
def test_raised_and_lowered_digits_stand_apart(page, expected):
    assert text(page) == expected


def test_code_keeps_its_white_space_and_is_no_heading():
    page = "<h1>Run</h1><pre><code class='language-sh'># install it\n  pip install x\n</code></pre><p># not one</p>"
    found = content(page)
    assert found.text == "# Run\n\n```sh\n# install it\n  pip install x\n```\n\n\\# not one"
    assert [(block.kind, block.words) for block in found.blocks] == [("heading", "Run"), ("code", "")]
    assert {chunk.heading for chunk in chunks(page)} == {"Run"}
    assert text("<pre>a ``` b</pre>") == "````\na ``` b\n````"
    assert text("<pre>one<br>two\n<b>three</b><span hidden>no</span></pre>") == "```\none\ntwo\nthree\n```"


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<ol start=4><li>four<li>five</ol>", "4. four\n5. five"),
        ("<ol reversed><li>a<li>b<li>c</ol>", "3. a\n2. b\n1. c"),
        ("<ol><li value=7>a<li>b</ol>", "7. a\n8. b"),
        ("<ol type=a><li>x<li>y</ol>", "a. x\nb. y"),
        ("<ol type=I start=9><li>x<li>y</ol>", "IX. x\nX. y"),
        ("<ul><li>a<ul><li>b</ul><li>c</ul>", "- a\n  - b\n- c"),
        ("<ol><li>a<ol><li>b</ol><li>c</ol>", "1. a\n  1. b\n2. c"),
        ("<ol start=4><li>a<table><tr><td>x<td>y</table><li>b</ol>", "4. a\n\n| x | y |\n5. b"),
        ("<ul><li><p>a</p><p>b</p></ul>", "- a\n\nb"),
        ("<dl><dt>term<dd>meaning</dl>", "term\nmeaning"),
    ],
)
def test_lists_keep_their_numbers(page, expected):
    assert text(page) == expected


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<table><tr><th>A<th>B<tr><td>1<td>2</table>", "| A | B |\n| --- | --- |\n| 1 | 2 |"),
        ("<table><tr><td>400.01<td>3</table>", "| 400.01 | 3 |"),
        ("<table><tr><td rowspan=2>x<td>1<tr><td>2</table>", "| x | 1 |\n| x | 2 |"),
        ("<table><tr><td colspan=2>all<td>z<tr><td>1<td>2<td>3</table>", "| all |  | z |\n| 1 | 2 | 3 |"),
        ("<table><tr><td>a|b<td>c<br>d</table>", "| a\\|b | c d |"),
        ("<table><caption>Fees</caption><tr><td>a<td>1</table>", "Fees\n\n| a | 1 |"),
        ("<table><tr><td><table><tr><td>in<td>side</table><td>out</table>", "| in | side |\n\nout"),
        ("<table><tr><td><h1>Head</h1><td>text</table>", "# Head\n\ntext"),
        ("<table role=presentation><tr><td>a<td>b</table>", "a\nb"),
        ("<table><tr><td>one<tr><td>two</table>", "one\ntwo"),
        ("<table><tr><td hidden>h<td>a<td>b</table>", "| a | b |"),
    ],
)
def test_tables(page, expected):
    assert text(page) == expected


def test_pages_nested_without_end_are_read_whole():
    assert text("<div>" * 50_000 + "deep" + "</div>" * 50_000 + "<p>after") == "deep\n\nafter"
    assert text("<table><tr><td>" * 3000 + "deep") == "deep"


def test_the_first_heading_is_no_parent_of_its_siblings():
    page = "<h1>Leave</h1><p>Take days.</p><h1>Travel</h1><p>Book.</p>"
    assert [chunk.heading for chunk in chunks(page)] == ["Leave", "Travel"]
    assert [chunk.heading for chunk in chunks(f"<title>Handbook</title>{page}")] == [
        "Handbook > Leave",
        "Handbook > Travel",
    ]


def test_empty_elements_of_xhtml_end_where_they_stand():
    page = '<?xml version="1.0"?><html><head><title/></head><script src="a"/><a id="x"/><p>Read.</p></html>'
    assert text(page) == "Read."


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ('<p>5,000<a href="#fn1">1</a> days</p>', "5,000¹ days"),
        ('<p>5,000<a href="#fn1">[2]</a> days</p>', "5,000[2] days"),
        ('<p>30 <a href="#p30">30</a> days</p>', "30 30 days"),
        ('<p>30<a href="/30">30</a> days</p>', "3030 days"),
        ('<p>25<a role="doc-noteref" href="n.html">3</a></p>', "25³"),
        ('<p>25<a class="footnote-ref" href="n.html">4</a>, 26<a epub:type="noteref" href="n">5</a></p>', "25⁴, 26⁵"),
        (
            "<table><tfoot><tr><td>sum<td>3</tfoot><tbody><tr><td>a<td>1</tbody><thead><tr><th>n<th>v</thead></table>",
            "| n | v |\n| --- | --- |\n| a | 1 |\n| sum | 3 |",
        ),
        ("<table><tr><td rowspan=0>A<td>x<tr><td>y<tr><td>z</table>", "| A | x |\n| A | y |\n| A | z |"),
        ('<p>a</p><iframe srcdoc="<h2>In</h2><p hidden>no</p>b"></iframe><p>c</p>', "a\n\n## In\n\nb\n\nc"),
        ("<iframe srcdoc=\"<iframe srcdoc='deep'></iframe>\"></iframe>", "deep"),
        (
            "<p>Area <span><span><math><msup><mi>x</mi><mn>2</mn></msup></math></span>"
            '<span aria-hidden="true">x2</span></span></p>',
            "Area x²",
        ),
        ('<p><span aria-hidden="true">seen</span></p>', "seen"),
    ],
)  # fmt: skip
def test_what_a_browser_shows_of_notes_tables_frames_and_formulas(page, expected):
    assert text(page) == expected


def test_an_element_of_very_many_attributes_is_read_in_time():
    many = " ".join(f'a{n}="{n}"' for n in range(200_000))
    assert text(f'<p {many}>said <b title="{many[:3000].replace(chr(34), "")}">b</b></p>') == "said b"
    assert (
        text(f"<p hidden {many}>no</p><p {many} hidden>yes</p>") == "yes"
    )  # what stands behind the first 1,000
