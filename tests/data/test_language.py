"""Languages are counted by script and small words, and not guessed where these do not say enough."""

import pytest

from weightwright.data.language import tongue_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the name of the city that you live in?", "en"),
        ("Wie heißt die Stadt, in der du mit deiner Familie wohnst und arbeitest?", "de"),
        ("Quelle est la ville dans laquelle vous habitez avec votre famille ?", "fr"),
        ("¿Cómo se llama la ciudad en la que vives con tu familia?", "es"),
        ("Qual é o nome da cidade em que você mora com a sua família?", "pt"),
        ("Come si chiama la città in cui vivi con la tua famiglia? È una bella città.", "it"),
        ("Hoe heet de stad waar je met het gezin van je woont?", "nl"),
        ("你住在哪个城市？", "zh"),
        ("请用 Python 写一个 hello world 程序", "zh"),
        ("あなたはどの都市に住んでいますか。", "ja"),
        ("어느 도시에 살고 있습니까?", "ko"),
        ("В каком городе вы живёте?", "cyrillic script"),
        ("في أي مدينة تعيش؟", "arabic script"),
        ("print(x)", "latin script"),
        ("12 + 30 = 42", "none"),
        ("", "none"),
    ],
)
def test_languages(text: str, expected: str):
    assert tongue_of(text) == expected


@pytest.mark.shared
@pytest.mark.parametrize(("name", "language"), [("alpaca_en_demo", "en"), ("alpaca_zh_demo", "zh")])
def test_real_rows(shared, name: str, language: str):
    from weightwright.data.summary import check

    counts = check(shared / "data" / "tune" / f"{name}.json").languages
    assert counts[language] >= 0.97 * sum(counts.values()), counts
