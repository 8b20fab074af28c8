"""Rich Text Format: what is shown of it, in every character set."""

import pytest

from weightwright.rag.readers.rtf import read_rtf
from weightwright.rag.settings import LoadSettings

FONTS = (
    r"{\fonttbl{\f0\fcharset0 Arial;}{\f1\fcharset134 SimSun;}{\f2\fcharset128 Mincho;}{\f3\fcharset204 Arial Cyr;}"
    r"{\f4\fcharset2 Wingdings;}{\f5\fcharset238{\*\fname Arial CE;}Arial CE;}}"
)


def content(body, head=r"\ansi\ansicpg1252\deff0"):
    return read_rtf(rf"{{\rtf1{head}{FONTS}{body}}}".encode("latin-1"), LoadSettings())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (r"Mead{\super\chftn{\footnote\pard\plain {\super\chftn} First note.}} wrote.\par Next.", None),
        (r"a{\super 2}\par", "a²"),
        (r"10\super 6\nosupersub  m, H{\sub 2}O\par", "10⁶ m, H₂O"),
        (r"5,000{\super 1} days\par", "5,000¹ days"),
        (r"a {\deleted gone }b {\revised in}\par", "a b in"),
        (r"{\field{\*\fldinst HYPERLINK x}{\fldrslt{\ul link}}} end\par", "link end"),
        (r"{\listtext\pard 1.\tab}One\par{\listtext 2.\tab}Two\par", "1. One\n2. Two"),
        (r"{\pntext\f0 \'b7\tab}{\*\pn\pnlvlblt{\pntxtb\'b7}}Dot\par", "- Dot"),
        (r"\trowd\trhdr\cellx1\cellx2\intbl A\cell B\cell\row\trowd\cellx1\cellx2\intbl 1\cell 2\cell\row x\par",
         "| A | B |\n| --- | --- |\n| 1 | 2 |\n\nx"),
        (r"\trowd\clvmgf\cellx1\cellx2\intbl down\cell x\cell\row\trowd\clvmrg\cellx1\cellx2\intbl\cell y\cell\row ",
         "| down | x |\n| down | y |"),
        (r"\trowd\cellx1\cellx2\intbl a\par b\cell{\itap2 n1\nestcell n2\nestcell{\*\nesttableprops\nestrow}"
         r"{\nonesttables\par}}c\cell\row", "| a b | n1, n2; c |"),
        (r"\intbl never ends", "never ends"),
        (r"\pard\itap0 one\par\pard\s0\itap0 two\par", "one\n\ntwo"),
        (r"{\header Doc 4711\par}Body\par", "Body\n\nDoc 4711"),
        (r"x{\shp{\*\shpinst{\sp{\sn a}{\sv 1}}{\shptxt box\par}}{\shprslt{\*\do{\dptxbxtext box}}}}\par y",
         "x\n\nbox\n\ny"),
        (r"{\object{\*\objdata 0105}{\result seen}} x\par", "seen x"),
        (r"T {\*\atnauthor Ann}{\*\annotation a comment}x\par", "T x\n\nComment (Ann): a comment"),
        (r"{\upr{old}{\*\ud{new\u20013?}}}\par", "new中"),
        (r"\u20013?\u25991? \uc2\u8364\'80\'80 \uc0\u21487 x\par", "中文 € 可x"),
        (r"\u-10179?\u-8704?\par", "😀"),
        (r"{\f1 \'d6\'d0\'ce\'c4} {\f2 \'93\'fa\'96\'7b\'83A} {\f3 \'cf\'f0} {\f5 \'b9} caf\'e9\par",
         "中文 日本ア Пр ą café"),
        (r"{\f4 \'fc} done {\f4\u-3844 ?}\par", "✓ done ✓"),
        (r"a\~b\_c\-d\emdash e\line f\tab g\{h\}\\\par", "a b-cd—e\nf g{h}\\"),
        (r"{\pict\bin5 }}{{{ }text {\pict 89504e}end\par", "text end"),
        (r"one\page two\sect three", "one\n\ntwo\n\nthree"),
        (r"{\b bold {\i both", "bold both"),
        (r"kept} behind the last bracket", "kept"),
        (r"{\mmath{\*\moMath{\mf{\mnum{\mr 1}}{\mden{\mr 2}}}}{\mmathPict x}}\par", "1/2"),
        (r"{\*\unknown no}{\nonshppict no}{\*\bkmkstart b}yes\par", "yes"),
    ],
)  # fmt: skip
def test_rtf_shows(body, expected):
    assert content(body).text == (expected or "Mead¹ wrote.\n\n¹ First note.\n\nNext.")


def test_headings_title_and_hidden_text():
    found = content(
        r"{\stylesheet{\s0 Normal;}{\s1 heading 1;}{\s7\outlinelevel1 Sub;}}{\info{\title The guide}{\author Me}}"
        r"\pard\s1\itap0 Leave\par\pard\s0 shown {\v secret}\v more\v0  end\par"
        r"\pard\s7 Sick\par\pard\outlinelevel2 Own\par"
    )
    assert found.text == "# Leave\n\nshown end\n\n## Sick\n\n### Own"
    assert (found.title, found.notes) == ("The guide", ("pieces of hidden text that were left out: 2",))
    assert [(block.level, block.words) for block in found.blocks] == [(1, "Leave"), (2, "Sick"), (3, "Own")]


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        (r"\mac", r"\f9 caf\'8e", "café"),
        (r"\pc", r"\f9 caf\'82", "café"),
        (r"\ansi\ansicpg936", r"\f9 \'d6\'d0", "中"),
        (r"\ansi\ansicpg65001", r"\f9 \'e4\'b8\'ad", "中"),
    ],
)
def test_the_files_own_character_set(head, body, expected):
    assert content(body, head).text == expected


def test_many_groups_are_read_in_time():
    assert len(content(r"{\b word }" * 20_000).text) > 90_000
    assert content("{" * 20_000 + "deep").text == "deep"
