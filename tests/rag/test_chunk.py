"""Chunks: exact ranges, never too long, under their headings, on their pages."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from weightwright.ports import Document, Place
from weightwright.rag.chunk import chunk_document, indexed_text
from weightwright.rag.sentences import sentences
from weightwright.rag.settings import ChunkSettings
from weightwright.testing.embedder import HashEmbedder

COUNT = HashEmbedder().count_tokens
WORDS = st.sampled_from(
    [
        "word",
        "another",
        "Long-winded",
        "x" * 50,
        "中文分词",
        "。",
        ".",
        "!",
        "\n",
        "\n\n",
        " ",
        "# Heading\n",
        "3.5",
    ]
)


def cut(text, tokens=40, overlap=8, max_tokens=1000, **kwargs):
    document = Document("d", text, **kwargs)
    return chunk_document(
        document, ChunkSettings(chunk_tokens=tokens, overlap_tokens=overlap), COUNT, max_tokens
    )


@example(
    "0" * 20 + "\x80\r" + "0" * 40 + "\x80", "text", (20, 10), ""
)  # overlapping halves once made the same chunk
@settings(max_examples=150, deadline=None)
@given(
    st.lists(WORDS, max_size=120).map(" ".join)
    | st.lists(WORDS, max_size=120).map("".join)
    | st.text(max_size=300),
    st.sampled_from(["text", "markdown"]),
    st.sampled_from([(8, 0), (20, 10), (60, 5)]),
    st.sampled_from(["", "A title", "a very long title " * 20]),
)
def test_ranges_are_exact_within_limits_and_complete(text, kind, sizes, title):
    tokens, overlap = sizes
    document = Document("d", text, title=title, metadata={"format": kind})
    chunks = chunk_document(
        document, ChunkSettings(chunk_tokens=tokens, overlap_tokens=overlap), COUNT, max_tokens=50
    )
    for chunk in chunks:
        assert chunk.text == text[chunk.start : chunk.end] != ""
        assert chunk.text.strip() == chunk.text
        assert COUNT([indexed_text(chunk)])[0] <= min(tokens, 50)
        assert (chunk.document_id, chunk.version) == ("d", document.version)
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    assert [chunk.start for chunk in chunks] == sorted(chunk.start for chunk in chunks)
    covered = {i for chunk in chunks for i in range(chunk.start, chunk.end)}
    if kind == "text":
        assert {i for i, c in enumerate(text) if not c.isspace()} <= covered


def test_sentences_stay_whole():
    text = " ".join(f"Sentence number {n} has a few words." for n in range(40))
    whole = set(sentences(text))
    for chunk in cut(text):
        inside = [(chunk.start + a, chunk.start + b) for a, b in sentences(chunk.text)]
        assert set(inside) <= whole


def test_neighbours_overlap_by_whole_sentences():
    text = " ".join(f"Number {n}." for n in range(60))
    chunks = cut(text, tokens=40, overlap=12)
    for before, after in pairwise(chunks):
        shared = text[after.start : before.end]
        assert shared.endswith(".")
        assert 0 < COUNT([shared])[0] <= 12
    assert not any(a.end > b.start for a, b in pairwise(cut(text, overlap=0)))


def test_a_long_sentence_is_cut_at_commas_then_spaces_then_anywhere():
    chunks = cut("alpha beta, " * 60 + "end", tokens=30, overlap=0)
    assert all(chunk.text.endswith((",", "end")) for chunk in chunks)
    chunks = cut("alphabet " * 60, tokens=30, overlap=0)
    assert all(set(chunk.text.split()) == {"alphabet"} for chunk in chunks)
    assert len(cut("x" * 1000, tokens=30, overlap=0)) >= 9


def test_a_run_that_a_tokenizer_calls_one_token_is_cut_too():
    document = Document("d", "x" * 100_000)
    chunks = chunk_document(document, ChunkSettings(), lambda texts: [1] * len(texts), 256)
    assert max(len(chunk.text) for chunk in chunks) <= 200 * 8


def test_headings_stand_with_their_text():
    text = "# Guide\n\nIntro.\n\n## Leave\n\nTake days.\n\n### Illness\n\nCall.\n\n## Travel\n\nBook.\n"
    chunks = cut(text, metadata={"format": "markdown"}, title="Guide")
    assert [(chunk.heading, chunk.text) for chunk in chunks] == [
        ("Guide", "Intro."),
        ("Guide > Leave", "Take days."),
        ("Guide > Leave > Illness", "Call."),
        ("Guide > Travel", "Book."),
    ]


def test_headings_without_text_are_found_too():
    chunks = cut("# A\n\n## B\n\n## C\n\ntext", metadata={"format": "markdown"})
    assert [(chunk.heading, chunk.text) for chunk in chunks] == [("", "## B"), ("A > C", "text")]


def test_a_hash_in_code_is_no_heading():
    text = "# Run\n\n```sh\n# not a heading\nmake\n```\n\nDone."
    assert {chunk.heading for chunk in cut(text, metadata={"format": "markdown"})} == {"Run"}
    assert {chunk.heading for chunk in cut(text)} == {""}


def test_a_chunk_has_the_page_where_it_begins():
    pages = ["First page. " * 10, "Second page. " * 10, "", "Fourth page. " * 10]
    starts = [sum(map(len, pages[:n])) for n in range(4)]
    chunks = cut("".join(pages), tokens=20, overlap=0, page_starts=tuple(starts))
    assert chunks[0].page == 1
    assert chunks[-1].page == 4
    for chunk in chunks:
        assert chunk.page == max(n + 1 for n in range(4) if starts[n] <= chunk.start)


def test_the_embedders_limit_beats_the_setting():
    chunks = cut("Some words here. " * 50, tokens=200, max_tokens=16)
    assert max(COUNT([chunk.text for chunk in chunks])) <= 16


def test_overlap_of_more_than_half_is_refused():
    with pytest.raises(ValueError, match="at most half"):
        ChunkSettings(chunk_tokens=100, overlap_tokens=51)


# --- tables and code ------------------------------------------------------------------------------------

TABLE = "| Name | Days |\n| --- | --- |\n" + "\n".join(f"| Person {n} | {n} |" for n in range(60))


def test_a_table_that_fits_stays_whole():
    text = "Some words before. " * 3 + f"\n\n{TABLE[:120]}\n\nAnd after."
    assert any(
        TABLE[:120].rstrip() in chunk.text for chunk in cut(text, 60, 8, metadata={"format": "markdown"})
    )


def test_a_table_that_is_cut_repeats_its_header_row():
    text = f"# Leave\n\nIntro.\n\n{TABLE}\n\nOutro."
    chunks = cut(text, 60, 8, metadata={"format": "markdown"})
    rows = [chunk for chunk in chunks if "Person" in chunk.text]
    assert len(rows) > 3
    assert {chunk.heading for chunk in rows} == {"Leave\n| Name | Days |"}
    assert all(line.startswith("| Person") for chunk in rows for line in chunk.text.split("\n"))
    assert "\n".join(chunk.text for chunk in rows) == TABLE.partition("| --- | --- |\n")[2]
    assert {chunk.heading for chunk in chunks if "tro." in chunk.text} == {"Leave"}
    for chunk in chunks:
        assert COUNT([indexed_text(chunk)])[0] <= 60


def test_a_header_row_that_takes_too_much_is_not_repeated():
    wide = "| " + " | ".join(f"column {n}" for n in range(40)) + " |"
    text = f"{wide}\n|{'---|' * 40}\n{wide}\n{wide}"
    assert all("column" not in chunk.heading for chunk in cut(text, 60, 8, metadata={"format": "markdown"}))


def test_code_that_fits_stays_whole_and_longer_code_is_cut_at_lines():
    short = "```py\ndef f(x):\n    return x. y\n```"
    chunks = cut(
        f"Words here. {'More words. ' * 6}\n\n{short}\n\nAfter.", 40, 0, metadata={"format": "markdown"}
    )
    assert any(short in chunk.text for chunk in chunks)
    long = "```\n" + "\n".join(f"call(number={n}, other=1)" for n in range(80)) + "\n```"
    lines = set(long.split("\n"))
    for chunk in cut(long, 40, 0, metadata={"format": "markdown"}):
        assert set(chunk.text.split("\n")) <= lines


def test_the_first_heading_is_no_parent_of_its_siblings():
    text = "# Leave\n\nTake days.\n\n# Travel\n\nBook.\n"
    chunks = cut(text, title="Leave", metadata={"format": "markdown"})
    assert [chunk.heading for chunk in chunks] == ["Leave", "Travel"]


def test_chunks_have_their_places():
    text = "one\n\ntwo\n\nthree\n"
    document = Document("d", text, places=(Place(0, "cell 1", 1), Place(5, "cell 2", 1)))
    [chunk] = chunk_document(document, ChunkSettings(), COUNT, 100)
    assert [(place.start, place.label) for place in chunk.places] == [
        (0, "cell 1, line 1"), (4, "cell 1, line 2"), (5, "cell 2, line 1"), (9, "cell 2, line 2"),
        (10, "cell 2, line 3"),
    ]  # fmt: skip
    assert chunk.place == "cell 1, line 1"
