"""Data sets of LLaMA-Factory's dataset_info.json: its schema, and the traps where it loses or changes rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from weightwright.data.catalogue import fingerprint, tables_at
from weightwright.data.formats import read_judged, read_pairs, read_samples, read_texts
from weightwright.data.sample import Text
from weightwright.errors import DataError, Place
from weightwright.ports import Message


def folder(path: Path, entry: dict[str, Any] | None = None, rows: list[Any] | None = None) -> Path:
    """A folder with one data set `mine` in `rows.json`."""
    path.mkdir(exist_ok=True)
    info = {"mine": {"file_name": "rows.json", **(entry or {})}}
    (path / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    (path / "rows.json").write_text(json.dumps(rows or []), encoding="utf-8")
    return path


def said(sample) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in sample.messages]


def test_columns_are_read_by_their_names(tmp_path):
    columns = {"prompt": "q", "query": "more", "response": "a", "system": "s", "history": "before"}
    row = {"q": "Add", "more": "1 2", "a": "3", "s": "Be brief.", "before": [["Hi", "Hello"]], "id": 7}
    (sample,) = read_samples(Path(f"{folder(tmp_path / 'd', {'columns': columns}, [row])}:mine"))
    assert said(sample) == [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Add\n1 2"),
        ("assistant", "3"),
    ]
    assert sample.answers == (False, False, True, False, True)  # T4: answers of the history are learnt, too


def test_an_error_names_the_column_of_the_file(tmp_path):
    columns = {"prompt": "q", "response": "a"}
    place = folder(tmp_path / "d", {"columns": columns}, [{"q": "x"}])
    with pytest.raises(DataError, match=r"rows.json, row 1 \(line 1\): field 'a' is missing"):
        read_samples(Path(f"{place}:mine"))


def test_a_filled_field_that_columns_leaves_out_is_refused(tmp_path):
    """T2: with `columns`, what is left out is null there; LLaMA-Factory would lose the input without a word."""
    row = {"instruction": "Add", "input": "1 2", "output": "3"}
    columns = {"prompt": "instruction", "response": "output"}
    place = folder(tmp_path / "d", {"columns": columns}, [row])
    with pytest.raises(DataError, match=r"'input' is filled, but columns .* add \"query\": \"input\""):
        read_samples(Path(f"{place}:mine"))
    place = folder(tmp_path / "d", {"columns": columns}, [{**row, "input": ""}])
    assert said(read_samples(Path(f"{place}:mine"))[0]) == [("user", "Add"), ("assistant", "3")]


def test_without_columns_system_and_history_are_read(tmp_path):
    """T3: LLaMA-Factory ignores both fields there."""
    row = {"instruction": "a", "output": "b", "system": "s", "history": [["c", "d"]]}
    (sample,) = read_samples(Path(f"{folder(tmp_path / 'd', None, [row])}:mine"))
    assert [role for role, _ in said(sample)] == ["system", "user", "assistant", "user", "assistant"]


def test_the_system_text_stays_as_it_is(tmp_path):
    """T1: formatting openai would append words to it."""
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]
    row = {"messages": [*turns, {"role": "assistant", "content": "b"}]}
    entry = {"formatting": "openai", "columns": {"messages": "messages"}}
    (sample,) = read_samples(Path(f"{folder(tmp_path / 'd', entry, [row])}:mine"))
    assert said(sample) == [("system", "s"), ("user", "a"), ("assistant", "b")]


@pytest.mark.parametrize("turns", [3, 4])
def test_conversations_of_any_length_are_read(tmp_path, turns: int):
    """T5: LLaMA-Factory empties a row with an odd number of turns, then drops it."""
    said_by = ["human", "gpt", "human", "gpt"][:turns]
    row = {"conversations": [{"from": name, "value": str(n)} for n, name in enumerate(said_by)]}
    (sample,) = read_samples(Path(f"{folder(tmp_path / 'd', {'formatting': 'sharegpt'}, [row])}:mine"))
    assert len(sample.messages) == turns
    assert sample.answers == (False, True, False, True)[:turns]


def test_a_query_stands_on_its_own_line_once(tmp_path):
    """T7: LLaMA-Factory adds a second line break to a prompt that ends in one."""
    rows = [
        {"instruction": "a\n", "input": "b", "output": "c"},
        {"instruction": "a", "input": "b", "output": "c"},
    ]
    samples = read_samples(Path(f"{folder(tmp_path / 'd', None, rows)}:mine"))
    assert [said(sample)[0][1] for sample in samples] == ["a\nb", "a\nb"]


def test_tags_name_parts_and_roles(tmp_path):
    tags = {
        "role_tag": "who",
        "content_tag": "what",
        "user_tag": "U",
        "assistant_tag": "A",
        "system_tag": "S",
    }
    turns = [("S", "s"), ("U", "a"), ("A", "b")]
    row = {"talk": [{"who": who, "what": what} for who, what in turns]}
    entry = {"formatting": "sharegpt", "columns": {"messages": "talk"}, "tags": tags}
    (sample,) = read_samples(Path(f"{folder(tmp_path / 'd', entry, [row])}:mine"))
    assert said(sample) == [("system", "s"), ("user", "a"), ("assistant", "b")]
    row["talk"][1]["who"] = "X"
    with pytest.raises(DataError, match=r"message 2: role 'X' is not one of U, A, S, system"):
        read_samples(Path(f"{folder(tmp_path / 'd', entry, [row])}:mine"))


def test_pairs_kto_and_texts(tmp_path):
    pair = {"instruction": "q", "chosen": "good", "rejected": "bad"}
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    place = folder(tmp_path / "d", {"ranking": True, "columns": columns}, [pair])
    (found,) = read_pairs(Path(f"{place}:mine"))
    assert found.chosen.messages == (Message("user", "q"), Message("assistant", "good"))
    assert found.rejected.messages == (Message("user", "q"), Message("assistant", "bad"))

    entry = {
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "kto_tag": "label"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
        },
    }
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    place = folder(tmp_path / "d", entry, [{"messages": turns, "label": False}])
    (judged,) = read_judged(Path(f"{place}:mine"))
    assert (judged.good, said(judged.sample)) == (False, [("user", "q"), ("assistant", "a")])

    place = folder(tmp_path / "d", {"columns": {"prompt": "text"}}, [{"text": "once"}])
    assert read_texts(Path(f"{place}:mine")) == [Text("once", Place(f"{place}/rows.json", row=1, line=1))]


def test_kto_needs_a_truth_value(tmp_path):
    """T8: a text there counts as true in LLaMA-Factory."""
    row = {"instruction": "a", "output": "b", "kto_tag": "false"}
    columns = {"prompt": "instruction", "response": "output", "kto_tag": "kto_tag"}
    with pytest.raises(DataError, match=r"'kto_tag' must be true or false \(or 1 or 0\), found a text"):
        read_judged(Path(f"{folder(tmp_path / 'd', {'columns': columns}, [row])}:mine"))


def test_several_data_sets_and_a_text_file(tmp_path):
    info = {"one": {"file_name": "one.txt", "columns": {"prompt": "text"}},
            "two": {"file_name": "two", "columns": {"prompt": "text"}}}  # fmt: skip
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    (tmp_path / "one.txt").write_text("a\n\nb\n")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "x.jsonl").write_text('{"text": "c"}\n')
    (tmp_path / "two" / "y.jsonl").write_text('{"text": "d"}\n')
    assert [row.text for row in read_texts(Path(f"{tmp_path}:two,one"))] == ["c", "d", "a", "b"]
    assert fingerprint(Path(f"{tmp_path}:one")) != fingerprint(Path(f"{tmp_path}:one,two"))


def test_num_samples_says_what_it_leaves_out(tmp_path, caplog):
    rows = [{"instruction": str(n), "output": "x"} for n in range(10)]
    address = Path(f"{folder(tmp_path / 'd', {'num_samples': 4}, rows)}:mine")
    chosen = [said(sample)[0][1] for sample in read_samples(address)]
    assert len(set(chosen)) == 4
    assert chosen == sorted(chosen) == [said(sample)[0][1] for sample in read_samples(address)]
    assert "num_samples=4: 4 of 10 rows are read" in caplog.text
    more = read_samples(Path(f"{folder(tmp_path / 'd', {'num_samples': 23}, rows)}:mine"))
    assert len(more) == 23
    assert {said(sample)[0][1] for sample in more} == {str(n) for n in range(10)}


def test_a_path_that_is_there_is_never_a_name(tmp_path):
    folder(tmp_path / "d")
    file = tmp_path / "d:mine"
    file.write_text('{"instruction": "a", "output": "b"}\n')
    assert [table.name for table in tables_at(file)] == [str(file)]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"hf_hub_url": "a/b"}, "hf_hub_url is 'a/b', which is not on this machine"),
        ({"colums": {}}, "unknown key 'colums'; did you mean columns?"),
        ({"columns": {"promt": "a"}}, "unknown name 'promt' in columns; did you mean prompt?"),
        ({"columns": {"response": "a"}}, "columns must name 'prompt'"),
        ({"formatting": "sharegpt", "columns": {"tools": "t"}}, "columns must name 'messages'"),
        ({"formatting": "chatml"}, "formatting must be one of alpaca, sharegpt, openai, found 'chatml'"),
        ({"ranking": "yes"}, "ranking must be true or false, found a text"),
        ({"split": "test"}, "split must be train for a file"),
        ({"subset": "x"}, "subset means something for a hub's data set only"),
        ({"num_samples": 0}, "num_samples must be a whole number of at least 1"),
        ({"file_name": "absent.json"}, "absent.json does not exist"),
        ({"file_name": None}, "file_name must name a file"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, entry: dict[str, Any], message: str):
    place = folder(tmp_path / "d", entry, [{"instruction": "a", "output": "b"}])
    with pytest.raises(DataError, match=message) as error:
        read_samples(Path(f"{place}:mine"))
    assert str(error.value).startswith(f"{place}/dataset_info.json, mine: ")


def test_names_that_are_not_there(tmp_path):
    place = folder(tmp_path / "d")
    with pytest.raises(DataError, match=r"no data set 'mime'; did you mean mine\?"):
        tables_at(Path(f"{place}:mime"))
    with pytest.raises(DataError, match=r"holds data sets by name; choose: .*:NAME .*\(mine\)"):
        tables_at(place)
    (tmp_path / "e").mkdir()
    with pytest.raises(DataError, match=r"has no dataset_info\.json"):
        tables_at(tmp_path / "e:mine")
    with pytest.raises(DataError, match=r"absent:mine does not exist"):
        next(tables_at(tmp_path / "absent:mine")[0].read())


@pytest.mark.shared
def test_real_files_by_name(shared, tmp_path):
    """The entries that LLaMA-Factory has for its own demo files."""
    info = {
        "identity": {"file_name": "identity.json"},
        "dpo_en_demo": {
            "file_name": "dpo_en_demo.json",
            "ranking": True,
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
        },
        "glaive_toolcall_en_demo": {
            "file_name": "glaive_toolcall_en_demo.json",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "tools": "tools"},
        },
    }
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    for name in info:
        (tmp_path / f"{name}.json").symlink_to(shared / "data" / "tune" / f"{name}.json")
    assert len(read_samples(Path(f"{tmp_path}:identity,glaive_toolcall_en_demo"))) == 91 + 300
    assert len(read_pairs(Path(f"{tmp_path}:dpo_en_demo"))) == 300
