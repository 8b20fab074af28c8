"""A file with planted faults: each is found, named by its place, and nothing else is."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from weightwright.data import near
from weightwright.data.formats import read_samples
from weightwright.data.summary import check
from weightwright.data.template import encode_row
from weightwright.errors import DataError, ModelError, Place

LONG = "Write a friendly letter to a customer whose parcel has been late for more than two weeks in winter"


def lines(file: Path, *rows: object) -> Path:
    text = "".join(
        (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows
    )
    file.write_text(text, encoding="utf-8")
    return file


def alpaca(question: str, answer: str) -> dict[str, str]:
    return {"instruction": question, "output": answer}


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    return lines(
        tmp_path / "rows.jsonl",
        alpaca("What is the capital of Norway?", "Oslo is."),
        alpaca("What is the capital of Norway?", "Oslo is."),  # 2: again
        alpaca("What is the capital of Norway?", "Bergen is."),  # 3: another answer
        alpaca(LONG, "Dear customer, we are very sorry for this."),
        alpaca(LONG + ".", "Dear Customer, we are very sorry for that."),  # 5: nearly 4
        alpaca("", "Yes."),  # 6: no question
        alpaca("Is it?", " "),  # 7: no answer
        '{"instruction": "cut',  # 8: no JSON
        ["a list"],  # 9
        alpaca("挪威的首都是哪里？", "奥斯陆。"),
    )


def numbers(places, file: Path) -> list[int]:
    return [int(str(place).removeprefix(f"{file}, line ")) for place in places]


def test_planted_faults_are_found(faulty):
    found = check(faulty)
    assert found.formats == ("alpaca",)
    assert found.objectives == ("sft",)
    assert found.rows == 6
    assert numbers([one.place for one in found.broken], faulty) == [6, 7, 8, 9]
    by_line = dict(zip(numbers([one.place for one in found.broken], faulty), found.broken, strict=True))
    assert by_line[6].problem == "'instruction' is empty; fill it or remove the row"
    assert by_line[8].problem.startswith("not valid JSON")
    pairs = {name: [numbers([one.place, one.like], faulty) for one in getattr(found, name)]
             for name in ("duplicates", "near_duplicates", "same_question")}  # fmt: skip
    assert pairs == {"duplicates": [[2, 1]], "near_duplicates": [[5, 4]], "same_question": [[3, 1]]}
    assert found.near_duplicates[0].similarity == round(24 / 26, 3)
    assert found.languages == {"en": 5, "zh": 1}
    assert found.kinds is None
    assert [line.split(": ")[1].split(";")[0] for line in found.verdict] == ["4", "1", "1", "1"]


@pytest.mark.parametrize(
    "name", ["july: final.jsonl", "a: b: c.json", "row 7, line 2.jsonl", ": .jsonl", "12.jsonl"]
)
def test_a_place_is_whole_whatever_the_file_is_called(tmp_path, name):
    bad = {"messages": [{"role": "user", "content": "q"}, {"role": "judge", "content": "a: b"}]}
    good = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    file = tmp_path / name
    if name.endswith(".json"):
        file.write_text(json.dumps([good, bad]))
        place = Place(str(file), row=2, line=1, part="message 2")
    else:
        lines(file, good, bad)
        place = Place(str(file), line=2, part="message 2")
    (broken,) = check(file).broken
    assert broken.place == place
    assert broken.problem.startswith("role 'judge' is not one of")
    with pytest.raises(DataError, match="is not one of") as raised:
        read_samples(file)
    assert (raised.value.place, raised.value.problem) == (place, broken.problem)
    assert str(raised.value) == f"{place}: {broken.problem}"


def test_problems_stand_in_the_order_of_their_rows(tmp_path):
    rows = [alpaca("Is it?", "" if n % 2 else "Yes.") for n in range(1, 24)]
    found = check(lines(tmp_path / "rows.jsonl", *rows, '{"cut'))
    assert [one.place.line for one in found.broken] == [*range(1, 24, 2), 24]


def test_a_placeholder_that_nobody_asked_for_is_found(tmp_path):
    file = lines(
        tmp_path / "rows.jsonl",
        alpaca("Who are you?", "I am {{name}}, made by {{author}}, {{name}}."),
        alpaca("What does {{name}} stand for in this template?", "For {{name}}, a variable."),
        alpaca("Write a set in LaTeX.", "$\\{{x}\\}$ and {{a b}}"),
    )
    found = check(file)
    assert [(one.place, one.problem) for one in found.placeholders] == [
        (Place(str(file), line=1), "{{author}}, {{name}}")
    ]
    assert [line.split(";")[0] for line in found.verdict] == ["rows that answer with a placeholder: 1"]


def test_a_sound_file_has_nothing_to_say(tmp_path):
    file = lines(
        tmp_path / "rows.jsonl", *(alpaca(f"What is {n} + {n * n}?", f"{n + n * n}") for n in range(20))
    )
    found = check(file)
    assert (found.broken, found.duplicates, found.near_duplicates, found.same_question) == ((), (), (), ())
    assert found.verdict == ()


def test_held_out_rows_among_the_others_are_found_once_each(faulty, tmp_path):
    held_out = lines(
        tmp_path / "eval.jsonl",
        alpaca("Where does the river Glomma flow into the sea?", "At Fredrikstad."),
        alpaca("What is the capital of Norway?", "Oslo is."),
        alpaca("What is the capital of Norway?", "Trondheim, once."),
        alpaca(LONG + "!", "Dear customer, we are very sorry for it."),
        alpaca("", ""),
    )
    found = check(faulty, eval_path=held_out).held_out
    assert (found.rows, len(found.broken)) == (4, 1)
    assert numbers([one.place for one in found.duplicates], held_out) == [2]
    assert numbers([one.place for one in found.same_question], held_out) == [3]
    assert numbers([one.place for one in found.near_duplicates], held_out) == [4]
    assert numbers([one.like for one in found.near_duplicates], faulty)[0] in (4, 5)
    verdict = check(faulty, eval_path=held_out).verdict
    assert any("stand among the rows to learn from: 3;" in line for line in verdict)


def test_a_shared_passage_or_system_text_makes_no_near_duplicates(tmp_path):
    passage = " ".join(f"word{n}" for n in range(200))
    rows = [
        {"question": f"Who is {name}?", "passages": [passage], "answer": f"{name} [1]"}
        for name in ("Ann", "Bo")
    ]
    assert check(lines(tmp_path / "grounded.jsonl", *rows)).near_duplicates == ()
    rows = [alpaca(f"Name a {name}.", name) | {"system": passage} for name in ("bird", "tree")]
    assert check(lines(tmp_path / "system.jsonl", *rows)).near_duplicates == ()


def test_lengths_in_tokens_and_rows_that_are_too_long(tmp_path, tiny_model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    file = lines(tmp_path / "rows.jsonl", *(alpaca("a" * n, "b") for n in range(1, 101)))
    lengths = [len(encode_row(row, tokenizer)[0]) for row in _samples(file)]
    found = check(file, encode=lambda row: encode_row(row, tokenizer), max_length=lengths[89])
    assert (found.lengths.unit, found.lengths.min, found.lengths.max) == ("tokens", lengths[0], lengths[99])
    assert found.lengths.median in lengths[49:51]
    assert found.lengths.p95 in lengths[94:96]
    assert found.lengths.total == sum(lengths)
    assert found.over_max_length == 10
    assert found.labelled_tokens == 100 * 2
    assert f"rows longer than {lengths[89]} tokens: 10;" in found.verdict[-1]


def _samples(file: Path):
    from weightwright.data.formats import read_samples

    return read_samples(file)


def test_rows_that_the_template_refuses_are_listed_and_a_useless_model_is_an_error(tmp_path, tiny_model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    call = {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {}}]}
    user = {"role": "user", "content": "a"}
    answer = {"role": "assistant", "content": "b"}
    rows = [
        {"messages": [user, answer]},
        {"messages": [user, call]},
        {"messages": [user, answer | {"weight": 0}]},
    ]
    file = lines(tmp_path / "rows.jsonl", *rows)
    found = check(file, encode=lambda row: encode_row(row, tokenizer))
    problems = dict(zip(numbers([one.place for one in found.broken], file), found.broken, strict=True))
    assert "does not show the calls of tools" in problems[2].problem
    assert "marked as not to be learnt" in problems[3].problem
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        check(file, encode=lambda row: encode_row(row, tokenizer))


def test_pairs_are_checked_too(tmp_path):
    pair = {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "A spoon."}
    file = lines(
        tmp_path / "pairs.jsonl", pair, pair, pair | {"rejected": "A chair."}, pair | {"rejected": "A robin."}
    )
    found = check(file)
    assert found.objectives == ("dpo", "orpo", "simpo")
    assert numbers([one.place for one in found.duplicates], file) == [2]
    assert found.same_question == ()  # pairs are meant to share questions
    assert [one.problem.split(";")[0] for one in found.broken] == ["'chosen' and 'rejected' are the same"]


def test_a_file_without_one_good_row_is_an_error(tmp_path):
    file = lines(tmp_path / "rows.jsonl", alpaca("", "b"), alpaca("a", ""))
    with pytest.raises(
        DataError, match=r"not one row can be learnt from \(2 are wrong, the first: .*line 1: 'instru"
    ):
        check(file)


class Directions:
    """An Embedder that knows the first word of a text, which is the kind of task here."""

    name, width, max_tokens = "directions", 512, 1000

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts, *, kind):
        self.asked += texts
        noise = np.random.default_rng(0)
        points = np.stack([self._direction(text.split()[0]) + noise.normal(size=512) * 0.2 for text in texts])
        return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)

    @staticmethod
    def _direction(word):
        return np.random.default_rng(list(word.encode())).normal(size=512)

    def count_tokens(self, texts):
        return [len(text) for text in texts]

    def close(self) -> None: ...


def test_kinds_of_task_are_counted(tmp_path):
    rows = [alpaca(f"{word} {n}", f"answer {n}") for word in ("Add", "Name", "Rhyme") for n in range(20)]
    embedder = Directions()
    found = check(lines(tmp_path / "rows.jsonl", *rows), embedder=embedder)
    assert found.kinds.sizes == (20, 20, 20)
    assert sorted(example.split()[0] for example in found.examples) == ["Add", "Name", "Rhyme"]
    assert embedder.asked[0] == "Add 0"
    assert found.to_json()["kinds_of_task"] == {
        "count": 3, "sizes": [20, 20, 20], "examples": list(found.examples), "rows_sampled": 60
    }  # fmt: skip


def test_the_json_is_plain(faulty):
    found = json.loads(json.dumps(check(faulty, eval_path=faulty).to_json()))
    assert set(found) == {
        "files", "left_out",
        "formats", "objectives", "rows", "broken", "lengths", "duplicates", "near_duplicates", "same_question",
        "placeholders", "eval", "languages", "kinds_of_task", "asked", "unread",
    }  # fmt: skip
    assert set(found["lengths"]) == {
        "unit", "min", "median", "p95", "max", "total", "max_length", "over_max_length", "labelled_tokens",
        "unlabelled",
    }  # fmt: skip
    assert len(found["eval"]["duplicates"]) == 6


@pytest.mark.shared
def test_real_files_hold_what_was_counted_by_hand(shared):
    found = check(shared / "data" / "tune" / "identity.json")
    assert (found.rows, found.broken) == (91, ())
    assert len(found.placeholders) > 70  # {{name}} and {{author}}
    pairs = check(shared / "data" / "tune" / "dpo_en_demo.json")
    assert (pairs.rows, pairs.broken) == (300, ())


def test_a_folder_of_several_kinds_is_for_no_objective(tmp_path):
    lines(tmp_path / "a.jsonl", alpaca("a", "b"))
    lines(tmp_path / "b.jsonl", {"prompt": "q", "chosen": "c", "rejected": "d"})
    found = check(tmp_path)
    assert (found.formats, found.objectives) == (("alpaca", "pairs"), ())
    assert found.verdict[0].startswith("rows of several kinds")


def test_rows_pass_by_and_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(near, "_IN_MEMORY", 1 << 16)
    texts = ({"text": " ".join(f"{n}x{word}y" * 20 for word in range(100))} for n in range(1000))
    file = lines(tmp_path / "rows.jsonl", *texts)
    check(lines(tmp_path / "one.jsonl", {"text": "a"}))  # what is loaded once
    tracemalloc.start()
    try:
        assert check(file).rows == 1000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < file.stat().st_size / 3
