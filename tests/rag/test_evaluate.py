"""Retrieval metrics against values worked out by hand, and files that do not fit."""

import json
import math

import pytest

from weightwright.errors import DataError, SettingsError
from weightwright.rag.evaluate import evaluate, parse_metric, ranked, read_qrels, read_queries, score_run
from weightwright.rag.settings import RetrieveSettings

TERMS = RetrieveSettings(mode="terms")


def test_metrics_by_hand():
    run = {"q1": ranked([("a", 3.0), ("b", 2.0), ("c", 1.0)]), "q2": ranked([("x", 1.0)])}
    qrels = {"q1": {"b": 1, "z": 1}, "q2": {"x": 1}, "q3": {"never": 1}}
    found = score_run(run, qrels, ["RR@10", "Recall@1", "R@10", "nDCG@10", "P@1"])
    ideal = 1 + 1 / math.log2(3)
    assert found["RR@10"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found["Recall@1"] == pytest.approx((0 + 1 + 0) / 3)
    assert found["R@10"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found["nDCG@10"] == pytest.approx((1 / math.log2(3) / ideal + 1 + 0) / 3)
    assert found["P@1"] == pytest.approx(1 / 3)


def test_equal_scores_keep_their_order():
    found = score_run({"q": ranked([("a", 1.0), ("z", 1.0)])}, {"q": {"a": 1}}, ["RR@10"])
    assert found["RR@10"] == 1.0


@pytest.mark.parametrize("name", ["nDCG@ten", "nonsense", "", "nDCG@@", "__import__('os')"])
def test_an_unknown_metric_says_what_is_known(name):
    with pytest.raises(SettingsError, match="expected ir-measures' names"):
        parse_metric(name)


@pytest.mark.parametrize(
    "name", ["Recall", "P", "RBP", "ERR@10", "alpha_nDCG@10", "NERR8@10", "nDCG(dcg='no')@3"]
)
def test_a_metric_that_cannot_be_computed_is_refused_before_anything_is_searched(
    filled, embedder, name, monkeypatch
):
    monkeypatch.setenv("PATH", "")  # ERR is a perl program's
    filled.close()  # a search would fail
    with pytest.raises(SettingsError, match="unknown metric"):
        evaluate(filled, embedder, {"1": "x"}, {"1": {"leave.md": 1}}, [name])


@pytest.mark.parametrize("cutoff", ["0", "1001", "100000000", "1.5", "1e2", "True"])
def test_cutoffs_are_whole_numbers_from_1_to_1000(cutoff):
    for spelled in (f"nDCG@{cutoff}", f"R(cutoff={cutoff})"):
        with pytest.raises(SettingsError, match=r"from 1 to 1,000|unknown metric"):
            parse_metric(spelled)
    assert parse_metric("nDCG@1000")[1] == 1000
    assert parse_metric("Recall@1")[1] == 1


def test_no_metric_is_refused(filled, embedder):
    with pytest.raises(SettingsError, match="name some"):
        evaluate(filled, embedder, {"1": "x"}, {"1": {"leave.md": 1}}, [])


def test_judgements_that_contradict_each_other_are_said_and_the_last_counts(tmp_path, caplog):
    path = tmp_path / "qrels.txt"
    path.write_text("1 0 a 1\n1 0 b 1\n1 0 a 1\n1 0 b 0\n2 0 b 1\n")
    assert read_qrels(path) == {"1": {"a": 1, "b": 0}, "2": {"b": 1}}
    [record] = caplog.records
    assert "1 judgements stand there twice" in record.getMessage()
    assert "query 1, document b: 1 and 0" in record.getMessage()


def test_judged_documents_that_are_absent_are_said(filled, embedder, caplog):
    evaluate(filled, embedder, {"1": "annual leave"}, {"1": {"leave.md": 1, "gone.md": 1, "no.md": 0}})
    [record] = caplog.records
    assert "1 of the 2 documents judged relevant are not in the knowledge base" in record.getMessage()
    assert "gone.md" in record.getMessage()


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_only_a_line_feed_ends_a_question(tmp_path, separator):
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({"_id": "1", "text": f"a{separator}b"}, ensure_ascii=False) + "\n")
    assert read_queries(path) == {"1": f"a{separator}b"}


def test_a_store_is_measured(filled, embedder):
    queries = {"q1": "annual leave days", "q2": "grey teal boat", "unjudged": "zzz"}
    qrels = {"q1": {"leave.md": 1}, "q2": {"sites.html": 1}, "other": {"zh.md": 1}}
    found = evaluate(filled, embedder, queries, qrels, ["Recall@1", "Recall@100"], TERMS)
    assert found == {"Recall@1": 0.5, "Recall@100": 0.5}
    both = evaluate(filled, embedder, queries, qrels, ["Recall@4"], RetrieveSettings(mode="hybrid"))
    assert both == {"Recall@4": 1.0}


def test_what_does_not_match_is_said(filled, embedder):
    with pytest.raises(DataError, match=r"none of the 1 queries has a judgement.*'q1'.*'other'"):
        evaluate(filled, embedder, {"q1": "x"}, {"other": {"leave.md": 1}}, settings=TERMS)
    with pytest.raises(DataError, match=r"none of the 1 documents judged relevant.*'nope'.*'fleet.txt'"):
        evaluate(filled, embedder, {"q1": "x"}, {"q1": {"nope": 1}}, settings=TERMS)


def test_files(tmp_path):
    queries, qrels, beir = tmp_path / "q.jsonl", tmp_path / "qrels.txt", tmp_path / "qrels.tsv"
    queries.write_text('{"_id": 1, "text": "one"}\n\n{"_id": "b", "text": "two"}\n')
    qrels.write_text("1 0 d1 1\n1 0 d2 0\nb 0 d1 2\n")
    beir.write_text("query-id\tcorpus-id\tscore\n1\td 1\t1\n")
    assert read_queries(queries) == {"1": "one", "b": "two"}
    assert read_qrels(qrels) == {"1": {"d1": 1, "d2": 0}, "b": {"d1": 2}}
    assert read_qrels(beir) == {"1": {"d 1": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"_id": 1}', ", line 1: no query"),
        ("nonsense", ", line 1: no query"),
        ("", "is empty"),
        ("[1]", ", line 1: no query"),
        ('{"_id": 1, "text": "a"}\n{"_id": 1, "text": "b"}', ", line 2: query '1' stands there twice"),
        ('{"_id": 1, "text": " "}', "has no text"),
    ],
)
def test_wrong_queries_name_their_line(tmp_path, text, message):
    path = tmp_path / "q.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_queries(path)


@pytest.mark.parametrize(
    ("text", "message"), [("1 0 d1", "is no whole"), ("1 0", "columns"), ("1 0 d x", "whole")]
)
def test_wrong_qrels_name_their_line(tmp_path, text, message):
    path = tmp_path / "qrels.txt"
    path.write_text("1 0 d 1\n" + text)
    with pytest.raises(DataError, match=rf", line 2: .*{message}"):
        read_qrels(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_qrels(tmp_path / "nope")
