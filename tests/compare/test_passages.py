"""Which embedder a comparison's passages are found with: asked for, the knowledge base's own, or what fits."""

from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from weightwright.address.models import parse_embedder
from weightwright.compare.passages import open_passages
from weightwright.compare.settings import CompareSettings
from weightwright.connect import open_embedder
from weightwright.errors import StoreError
from weightwright.hub.store import locate
from weightwright.kb import KbAddSettings, KbSearchSettings, add, search
from weightwright.ports import silent
from weightwright.rag.languages import ENGLISH, MULTILINGUAL

ZH = "办公室每天九点到五点开放，钥匙在门卫那里。请在前一天预约会议室。"
here = pytest.mark.skipif(
    locate(parse_embedder(MULTILINGUAL)) is None, reason=f"{MULTILINGUAL} is not on this machine"
)


def settings(tmp_path: Path, **values: object) -> CompareSettings:
    return CompareSettings.model_validate(
        {"model": "m", "questions": tmp_path / "q.jsonl", "out": tmp_path} | values
    )


def folder(tmp_path: Path, text: str) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text(text, encoding="utf-8")
    return tmp_path / "docs"


def opened(given: CompareSettings) -> str:
    with ExitStack() as things:
        return open_passages(given, things, silent).embedder.name


@here
def test_documents_get_the_embedder_that_they_need(tmp_path: Path) -> None:
    documents = (folder(tmp_path, ZH),)
    with closing(open_embedder(MULTILINGUAL)) as fitting, closing(open_embedder(ENGLISH)) as english:
        names = fitting.name, english.name
    assert opened(settings(tmp_path, documents=documents)) == names[0]
    (documents[0] / "a.txt").write_text("The key is with the porter. " * 9, encoding="utf-8")
    assert opened(settings(tmp_path, documents=documents)) == names[0]  # it goes on as it began
    assert opened(settings(tmp_path, documents=documents, embedder=ENGLISH)) == names[1]
    (kb,) = (path for path in tmp_path.glob("kb-*.db") if _made_with(path) == MULTILINGUAL)
    assert search(KbSearchSettings(kb=str(kb), query="Who has the key?"))  # it is opened with its own


@here
def test_a_knowledge_base_is_opened_with_its_own(tmp_path: Path) -> None:
    kb = str(tmp_path / "kb.db")
    add(KbAddSettings(kb=kb, paths=(str(folder(tmp_path, ZH)),)))
    with closing(open_embedder(MULTILINGUAL)) as own:
        assert opened(settings(tmp_path, kb=kb)) == own.name
    with pytest.raises(StoreError, match=f"opened as {MULTILINGUAL}"):
        opened(settings(tmp_path, kb=kb, embedder=ENGLISH))


def _made_with(path: Path) -> str:
    from weightwright.connect import open_store

    with closing(open_store(str(path))) as store:
        return store.meta.embedder_address
