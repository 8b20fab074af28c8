"""Sentences: where they end, and that nothing is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightwright.rag.sentences import sentences


def cut(text):
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith met Mr. J. Jones. They talked.", ["Dr. Smith met Mr. J. Jones.", "They talked."]),
        ("It costs 3.50 euros, i.e. little. Yes.", ["It costs 3.50 euros, i.e. little.", "Yes."]),
        ("Made in the U.S. in 1990. Sold.", ["Made in the U.S. in 1990.", "Sold."]),
        ("Acme Inc. It grew.", ["Acme Inc.", "It grew."]),
        ('He said "no." She left.', ['He said "no."', "She left."]),
        ("See fig. 3 and no. 7. End.", ["See fig. 3 and no. 7.", "End."]),
        ("黑豹队丢了308分。排名第六！是吗？", ["黑豹队丢了308分。", "排名第六！", "是吗？"]),
        ("他说：“好。”然后走了。", ["他说：“好。”", "然后走了。"]),
        ("Paris is the capital. [1] It is old [2].", ["Paris is the capital. [1]", "It is old [2]."]),
        ("巴黎是首都。[1]它很古老。", ["巴黎是首都。[1]", "它很古老。"]),
        ("- one\n- two\n\nthree", ["- one", "- two", "three"]),
        ("1. Unpack it.\n2. Plug it in.", ["1. Unpack it.", "2. Plug it in."]),
        ("A line that\nwraps here. End.", ["A line that\nwraps here.", "End."]),
        ("Vehicles: 12\nDepot: Oltermoss", ["Vehicles: 12", "Depot: Oltermoss"]),
        ("| a | b |\n|---|---|\n| 1 | 2 |", ["| a | b |", "|---|---|", "| 1 | 2 |"]),
        ("# Title\nText follows.", ["# Title", "Text follows."]),
        ("wait... what", ["wait... what"]),
        ("", []),
        (" \n\t ", []),
    ],
)
def test_where_sentences_end(text, expected):
    assert cut(text) == expected


# each row: the sentences of one text; they stand one behind the other, parted by a space where Latin letters follow
WHOLE = [
    ["vitamin C.", "It helps."],
    ["Plan B.", "It failed."],
    ["100 °C.", "Ice melts."],
    ["“Is it true?” she asked."],
    ["「はい。」と言った。"],
    ["Das ist z. B. Nr. 5 der Liste."],
    ["See Nr. 5 there."],
    ["Wir treffen uns am 3. Oktober 1990.", "Danach nicht."],
    ["Das 5. Kapitel ist kurz.", "Ende."],
    ["J. R. R. Tolkien wrote it.", "He left."],
    ["George W. Bush spoke.", "Then he left."],
    ["The answer is no.", "We left."],
    ["See no. 7 there.", "End."],
    ["He has a Ph.D. in law.", "She too."],
    ["*Yes.*", "No."],
    ["„Ja.“", "Sie ging."],
    ["„Kommst du?“ fragte er."],
    ['"No!" Bob said.'],
    ["“你好吗？”她问。", "然后走了。"],
    ["他说：“好。”", "然后走了。"],
    ["他想……也许吧。", "走了。"],
    ["Well… maybe.", "Yes."],
    ["d. h. der Preis steigt.", "Ende."],
    ["Ca. 500 v. Chr. lebte er.", "Ja."],
    ["Abs. 2 Satz 1 gilt.", "So."],
    ["Dr. med. Weber kam.", "Gut."],
    ["それは本当？」と彼女は聞いた。"],
    ["「行くの？」", "彼は聞いた。", "「うん。」"],
    ["Type A.", "The other is type B.", "Both work."],
    ["Yahoo! was sold.", "Then closed."],
    ["At 9 a.m. the shop opens.", "Good."],
    ["Malcolm X.", "He spoke."],
    ["She got hepatitis B.", "Doctors helped."],
    ["Use option D.", "Press enter."],
    ["by J. Smith.", "It sold."],
    ["i. d. R. kostet es 5 Euro.", "Mehr nicht."],
    ["Die Fa. Müller GmbH liefert.", "Gut."],
    ["Inkl. MwSt. 20 Euro.", "Ende."],
    ["यह घर है।", "वह गया।"],
    ["好的．", "走吧．"],
    ["（笑。）", "对吧。"],
    ["S. 12 zeigt es.", "Gut."],
    ["In U.S. Army camps.", "Yes."],
    ["Über 5 Mio. Euro kostet es.", "Ja."],
    ["Er kam im 19. Jahrhundert.", "Gut."],
    ["He lives on Main St. in town.", "Ok."],
    ["Prices rose 5%.", "Ok."],
    ["Der 1. FC Köln gewann.", "Gut."],
    ["“Run!” he shouted.", "“Now!”"],
]


@pytest.mark.parametrize("parts", WHOLE, ids=lambda parts: parts[0][:24])
def test_abbreviations_letters_and_speech(parts):
    assert cut(" ".join(parts)) == parts
    if any(character >= "\u3040" for character in "".join(parts)):
        assert cut("".join(parts)) == parts


@given(st.text(alphabet=st.sampled_from("ab AB.!?\n。！？中文“”[1]，-#|3"), max_size=200))
def test_every_character_is_in_one_sentence(text):
    ranges = sentences(text)
    covered = [i for start, end in ranges for i in range(start, end)]
    assert covered == sorted(set(covered))
    assert {i for i, c in enumerate(text) if not c.isspace()} <= set(covered)
    assert all(text[start:end].strip() == text[start:end] != "" for start, end in ranges)


def test_a_part_of_a_text_has_ranges_of_the_whole():
    text = "Skip this. One. Two. Not this."
    start, end = text.index("One"), text.index("Not")
    assert [text[a:b] for a, b in sentences(text, start, end)] == ["One.", "Two."]
