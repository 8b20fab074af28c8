"""Dense, terms and hybrid; fusion; folding to documents."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightwright.errors import SettingsError
from weightwright.ports import Document
from weightwright.rag import index
from weightwright.rag.answer import KnowledgeBase
from weightwright.rag.retrieve import reciprocal_rank_fusion, retrieve, retrieve_documents
from weightwright.rag.settings import RetrieveSettings
from weightwright.rag.stores.filters import parse


def test_fusion_is_the_papers_formula():
    fused = dict(reciprocal_rank_fusion([["a", "b"], ["b", "c"]], k=60))
    assert fused == pytest.approx({"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 62})
    assert [key for key, _ in reciprocal_rank_fusion([["a", "b"], ["b", "c"]])] == ["b", "a", "c"]
    assert reciprocal_rank_fusion([[], []]) == []
    assert [key for key, _ in reciprocal_rank_fusion([["a"], ["b"]])] == ["a", "b"]


@given(st.lists(st.lists(st.integers(0, 20), unique=True), max_size=4))
def test_fusion_keeps_every_item_once_best_first(rankings):
    fused = reciprocal_rank_fusion(rankings)
    assert {key for key, _ in fused} == {key for ranking in rankings for key in ranking}
    assert len({key for key, _ in fused}) == len(fused)
    assert [score for _, score in fused] == sorted((score for _, score in fused), reverse=True)


@pytest.mark.parametrize("mode", ["dense", "terms", "hybrid"])
@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How many days of annual leave?", "leave.md"),
        ("Who built the Grey Teal boat?", "fleet.txt"),
        ("员工每年有几天年假？", "zh.md"),
    ],
)
def test_every_mode_finds_it(filled, embedder, mode, question, expected):
    hits = retrieve(filled, embedder, question, 2, RetrieveSettings(mode=mode))
    assert hits[0].chunk.document_id == expected
    assert len(hits) <= 2
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_hybrid_is_the_fusion_of_both(filled, embedder):
    question = "annual leave in the laboratory"
    ranks = {
        mode: [h.chunk.id for h in retrieve(filled, embedder, question, 100, RetrieveSettings(mode=mode))]
        for mode in ("dense", "terms", "hybrid")
    }
    expected = [key for key, _ in reciprocal_rank_fusion([ranks["dense"], ranks["terms"]])]
    assert ranks["hybrid"] == expected


def test_hybrid_without_an_embedder_that_reads_the_question_is_terms(filled, embedder, monkeypatch):
    monkeypatch.setattr(embedder, "reads", lambda text: text.isascii(), raising=False)
    question = "员工年假"
    terms = retrieve(filled, embedder, question, 5, RetrieveSettings(mode="terms"))
    embedder.embedded.clear()
    assert retrieve(filled, embedder, question, 5, RetrieveSettings(mode="hybrid")) == terms
    assert embedder.embedded == []
    assert retrieve(filled, embedder, question, 5, RetrieveSettings(mode="dense")) != terms


def test_terms_need_no_embedder_and_dense_says_that_it_does(filled):
    assert retrieve(filled, None, "annual leave", 1, RetrieveSettings(mode="terms"))
    with pytest.raises(SettingsError, match="needs an embedder"):
        retrieve(filled, None, "annual leave", 1, RetrieveSettings(mode="dense"))


def test_an_empty_question_finds_nothing(filled, embedder):
    assert retrieve(filled, embedder, " \n", 5) == []


def test_where_holds_in_every_mode(filled, embedder):
    where = parse("path ~ 'fleet'")
    for mode in ("dense", "terms", "hybrid"):
        hits = retrieve(filled, embedder, "annual leave in 1998", 5, RetrieveSettings(mode=mode), where)
        assert {hit.chunk.document_id for hit in hits} == {"fleet.txt"}, mode


@pytest.mark.parametrize("mode", ["dense", "terms", "hybrid"])
def test_documents_are_k_even_where_one_has_all_the_best_chunks(store, embedder, mode):
    index.add_documents(
        store,
        embedder,
        [Document("big", "Apples are red fruits here. " * 400)]
        + [Document(f"small{n}", f"Apples once. Other words number {n}.") for n in range(5)],
    )
    found = retrieve_documents(
        store, embedder, "apples red fruits", 6, RetrieveSettings(mode=mode, candidates=1)
    )
    assert len(found) == len({document for document, _ in found}) == 6
    assert found[0][0] == "big"
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)


def test_a_known_vector_is_used(filled, embedder):
    vector = embedder.embed(["annual leave"], kind="query")[0]
    embedder.embedded.clear()
    hits = retrieve(filled, embedder, "annual leave", 1, RetrieveSettings(mode="dense"), vector=vector)
    assert hits == retrieve(
        filled, None, "annual leave", 1, RetrieveSettings(mode="dense"), vector=np.array(vector)
    )
    assert embedder.embedded == []


@pytest.mark.parametrize(
    "condition",
    [
        "formt = 'text'",
        "not (formt = 'x')",
        "document = 'leave.md' or formt = 'x'",
        "format = 'x' and formt in ('y', 'z')",
    ],
)
def test_a_field_that_no_document_has_is_refused(filled, embedder, condition):
    for number, format_ in enumerate(("text", "pdf")):
        document = Document(f"d{number}", "Some words.", metadata={"format": format_})
        index.add_documents(filled, embedder, [document])
    knowledge = KnowledgeBase(filled, embedder)
    with pytest.raises(
        SettingsError,
        match=r"no document has a field 'formt'; did you mean format\?; fields here: document, format, modified,",
    ):
        knowledge.search("words", where=parse(condition))
    assert [hit.chunk.document_id for hit in knowledge.search("words", where=parse("format = 'pdf'"))] == [
        "d1"
    ]
    assert knowledge.search("words", where=parse("format = 'epub'")) == []
