"""Terms: the same for a document and a question, in English and Chinese."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightwright.rag.analyze import own_terms, query_terms, stem, terms


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("opened", "opening"),
        ("boxes", "box"),
        ("cities", "city"),
        ("planned", "plan"),
        ("quickly", "quick"),
        ("houses", "house"),
        ("runs", "running"),
        ("company's", "companies"),
        ("stops", "stopped"),
        ("founded", "founds"),
    ],
)
def test_forms_of_a_word_have_one_stem(one, other):
    assert terms(one) == terms(other)


@pytest.mark.parametrize("word", ["bus", "sing", "red", "pass", "this", "thing", "gas", "news"])
def test_short_words_keep_their_ends(word):
    assert stem(word) == word


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,234.50", ["1234.5"]),
        ("3.5", ["3.5"]),
        ("007", ["7"]),
        ("2024.01.15", ["2024.01.15"]),
        ("10%", ["10"]),
        ("100", ["100"]),
        ("0", ["0"]),
        ("ＡＢ１２", ["ab", "12"]),
        ("6½", ["6", "1", "2"]),
        ("iPhone15", ["iphon", "15"]),
        ("snake_case", ["snake", "case"]),
        ("Straße", ["strass", "straße.exact"]),
        ("①②③", ["1", "2", "3"]),
        ("步骤⑵打开", ["步骤", "2", "打开"]),
        ("12\u202f000 and 3\u00a0400\u00a0000", ["12000", "and", "3400000"]),
        ("हिन्दी भाषा में", ["हिन्दी", "भाषा", "में"]),
        ("مُحَمَّد", ["محمد", "مُحَمَّد.exact"]),
        ("", []),
        ("?!…", []),
    ],
)
def test_numbers_and_forms(text, expected):
    assert terms(text) == expected


def test_chinese_is_cut_with_the_words_inside_words():
    assert {"南京", "长江", "大桥", "长江大桥"} <= set(terms("南京市长江大桥"))
    assert terms("BSkyB是什么时候") == ["bskyb", "是", "什么", "时候"]


def test_a_question_loses_its_stop_words_unless_it_has_nothing_else():
    assert query_terms("What is the price of the ticket?") == ["price", "ticket"]
    assert query_terms("who is who") == ["who", "is", "who"]
    assert "什么" not in query_terms("首都是什么")


def test_a_term_counts_as_often_as_it_stands():
    assert query_terms("The boiler, the old boiler: why does the boiler leak?").count("boiler") == 3
    assert query_terms("锅炉漏水，旧锅炉怎么修？").count("锅炉") == 2


@pytest.mark.parametrize(
    ("printed", "typed"),
    [
        ("⻓期合同须经⼈⺠法院备案，⻚⾯另附。", "长期合同须经人民法院备案，页面另附。"),  # radicals
        ("⻋⻔⻢⻥⻦⻰⻝⻔⻅⻉", "车门马鱼鸟龙食门见贝"),
        ("Donau\u00addampf\u00adschiff", "Donaudampfschiff"),
        (
            "data\u200bbase, \ufeffindex, zero\u2060width, left\u200eto\u200fright",
            "database, index, zerowidth, lefttoright",
        ),
        ("\x1b[1;31merror\x1b[0m on \x1b[38;5;82mdisk\x1b[K", "error on disk"),
        ("\x1b]0;title\x07shell", "shell"),
        ("ｶﾞｽ料金", "ガス料金"),
        ("ﬁle ﬂow № 5", "file flow No 5"),
        ("營收與員工年假", "营收与员工年假"),
        ("臺灣製造的軟體，裡面有麵包", "台湾制造的软体，里面有面包"),
        ("the U.S. Army and the U.K.", "the US Army and the UK"),
        ("heart❤\ufe0fbeat", "heart❤beat"),
    ],
)
def test_writings_of_the_same_have_the_same_terms(printed, typed):
    assert terms(printed) == terms(typed)


@pytest.mark.parametrize(
    ("question", "document"),
    [
        # accents, also composed otherwise, and before the stem is cut (tantivy#2290, TYPO3-Solr/ext-solr#4740)
        ("cafe", "Le Café du Nord"),
        ("resume", "Send your résumé."),
        ("resumes", "two résumés"),
        ("Zurich", "in ZÜRICH"),
        ("Bjo\u0308rk", "songs by Björk"),
        ("Strasse", "Lange Straße 5"),
        ("lodz", "Łódź"),
        ("istanbul", "İSTANBUL"),
        ("Ελλαδα", "στην Ελλάδα"),
        ("елка", "Новогодняя ёлка"),
        ("smorrebrod", "Smørrebrød"),
        ("محمد", "مُحَمَّد"),
        # words that take endings, and scripts without spaces (minisearch#314, meilisearch#864, typesense#228)
        ("학교", "학교에서 공부를"),
        ("ไทย", "ภาษาไทยง่าย"),
        ("ទិញថ្នាំ", "ងាយស្រួលក្នុងការទិញថ្នាំគ្រប់"),
        ("ພາສາ", "ຮຽນພາສາລາວ"),
        ("วิทยุ", "สถานีวิทยุแห่งชาติ"),
        ("서울", "서울특별시는"),
        # identifiers (typesense#1019, elasticsearch#28439)
        ("user name", "call getUserName()"),
        ("get_user_name", "getUserName"),
        ("http server", "class HTTPServer"),
        ("getUserName", "getUserName"),
        ("parse", "XMLParser.parseAll"),
        # hyphens (jieba#663, tracim#5574)
        ("email", "by e-mail only"),
        ("wifi", "free Wi-Fi"),
        ("SK-II", "SK-II精华"),
        ("boat", "just_a_boat.txt"),
        # elisions
        ("homme", "les droits de l'homme"),
        ("accord", "d’accord"),
        ("arte", "commedia dell'arte"),
        ("リセット", "パスワードをリセットするには"),
        ("パスワード", "新しいパスワードを入力"),
        ("サーバー", "メールサーバーの設定"),
        ("ひらがな", "名前はひらがなで書く"),
        ("页面", "⻚⾯另附"),
        ("营收", "去年營收成長"),
        ("C++", "We write C++ and Rust."),
        ("C#", "A guide to C# 12"),
        ("10⁶", "about 10⁶ cells"),
    ],
)
def test_a_part_is_found_in_the_whole(question, document):
    assert set(query_terms(question)) <= set(terms(document))


@pytest.mark.parametrize(
    ("question", "document"),
    [("e-mail", "an email"), ("résumé", "your resume"), ("Öl", "ol 5"), ("get_user", "getUser")],
)
def test_other_writings_meet_in_a_term(question, document):
    assert set(query_terms(question)) & set(terms(document))


def test_an_accent_is_preferred_and_no_stop_word():
    assert query_terms("Where is the thé?") == ["thé.exact"]
    assert "năm.exact" in query_terms("năm")  # zoteus#46
    assert "năm.exact" not in terms("the river Nam")
    assert terms("ёж йод") == ["еж", "ёж.exact", "йод"]
    assert terms("O'Reilly and D'Souza don't") == ["oreilli", "and", "souza", "dont"]


def test_the_parts_of_a_name_stand_beside_it():
    assert terms("iPhone McDonald") == ["iphon", "mcdonald", "mc", "donald"]
    assert own_terms("iPhone McDonald café e-mail IT") == ["iphon", "mcdonald", "cafe", "e", "mail", "it"]


def test_exponents_and_notes_stand_apart():
    assert terms("10⁶ and 25¹ days") == ["10", "6", "and", "25", "1", "day"]
    assert "c" not in terms("C++ or C#")


@pytest.mark.parametrize(
    ("capital", "small"),
    [
        ("IT department", "it department"), ("WHO noise limit", "who noise limit"), ("US team", "us team"),
        ("visits in May", "visits in may"), ("paper by Will Hart", "paper by will hart"), ("AM radio", "am radio"),
        ("the OR staff", "the or staff"), ("IS fighters", "is fighters"), ("DO degree", "do degree"),
        ("ME region", "me region"), ("AS Roma", "as Roma"), ("U.S. law", "us law"),
    ],
)  # fmt: skip
def test_capitals_that_look_like_stop_words_are_terms(capital, small):
    assert len(query_terms(capital)) == len(query_terms(small)) + 1
    assert set(query_terms(capital)) <= set(terms(f"Ask about {capital} here."))
    assert not set(query_terms(capital)) <= set(terms(f"Ask about {small} here."))


def test_capitals_of_headlines_and_first_words_say_nothing():
    assert query_terms("WHAT IT COSTS AND WHO PAYS") == query_terms("what it costs and who pays")
    assert query_terms("May I park?") == ["park"]
    assert query_terms("Will it rain?") == ["rain"]


def test_lone_surrogates_are_no_error():
    assert terms("合同\ud83d days") == ["合同", "day"]


@given(st.text(max_size=200))
def test_terms_are_safe_to_join_and_quote(text):
    for term in terms(text):
        assert term
        assert not re.search(r"[\s\"'*()_\x00]", term)
