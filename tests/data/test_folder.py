"""A folder as it comes: which of its files are rows to learn from, and which are left out, with the reason."""

import gzip
import json
import os
import shutil
from pathlib import Path

import pytest

from weightwright.data.catalogue import Source, fingerprint, left_out, named_splits, tables_at
from weightwright.data.folder import files_in, say_left_out, split_of
from weightwright.data.formats import read_samples
from weightwright.data.summary import check
from weightwright.errors import DataError
from weightwright.extras import installed

parquet = pytest.mark.skipif(not installed("pyarrow"), reason="pyarrow is not installed (extra [parquet])")


def row(name: str) -> dict[str, str]:
    return {"instruction": f"say {name}", "output": name}


def put(file: Path, *names: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row(name)) + "\n" for name in names))
    return file


def answers(where: Path | Source) -> list[str]:
    return [sample.messages[-1].content for sample in read_samples(where)]


def why(folder: Path | Source) -> dict[str, str]:
    return {one.path.name: one.why for one in left_out(folder)}


def test_files_of_many_formats_are_read_each_by_its_own(tmp_path):
    put(tmp_path / "a.jsonl", "1", "2")
    turns = [{"from": "human", "value": "say 3"}, {"from": "gpt", "value": "3"}]
    (tmp_path / "b.json").write_text(json.dumps([{"conversations": turns}]))
    messages = [{"role": "user", "content": "say 4"}, {"role": "assistant", "content": "4"}]
    cell = json.dumps(messages).replace('"', '""')
    (tmp_path / "c.csv").write_text(f'messages\n"{cell}"\n')
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(json.dumps(row("5")).encode()))
    (tmp_path / "e.jsonl").write_text("\n\n")
    (tmp_path / "README.md").write_text("about")
    (tmp_path / ".DS_Store").write_bytes(b"\0\0Bud1\xff")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    assert answers(tmp_path) == ["1", "2", "3", "4", "5"]
    assert why(tmp_path) == {
        ".DS_Store": "it is hidden",
        "README.md": "it tells about the rows",
        "e.jsonl": "it is empty",
        "picture.png": "no rows are read from files called .png",
    }
    found = check(tmp_path)
    assert [(Path(one.file).name, one.format, one.rows) for one in found.files] == [
        ("a.jsonl", "alpaca", 2), ("b.json", "sharegpt", 1), ("c.csv", "messages", 1), ("d.jsonl.gz", "alpaca", 1)
    ]  # fmt: skip
    assert found.objectives == ("sft",)
    assert sum(one.length for one in found.files) == found.lengths.total
    assert [one["why"] for one in found.to_json()["left_out"]] == list(why(tmp_path).values())


def test_what_is_left_out_does_not_change_the_rows(tmp_path):
    put(tmp_path / "a.jsonl", "1")
    before = fingerprint(tmp_path)
    (tmp_path / "README.md").write_text("about")
    assert fingerprint(tmp_path) == before
    put(tmp_path / "b.jsonl", "2")
    assert fingerprint(tmp_path) != before


def test_several_addresses_are_read_one_after_another(tmp_path):
    source = Source((put(tmp_path / "b.jsonl", "1"), put(tmp_path / "more" / "a.jsonl", "2").parent))
    assert answers(source) == ["1", "2"]
    assert fingerprint(source) != fingerprint(source.paths[0])
    assert str(source) == f"{tmp_path}/b.jsonl, {tmp_path}/more"


def test_rows_of_several_kinds_are_one_error_with_the_remedy(tmp_path):
    put(tmp_path / "a.jsonl", "1")
    (tmp_path / "b.jsonl").write_text(json.dumps({"prompt": "q", "chosen": "c", "rejected": "d"}))
    with pytest.raises(DataError) as error:
        read_samples(tmp_path)
    said = str(error.value)
    assert said.startswith(f"{tmp_path}: rows of several kinds, which no objective learns together")
    assert f"for --objective sft: {tmp_path}/a.jsonl" in said
    assert f"for --objective dpo, orpo or simpo: {tmp_path}/b.jsonl" in said
    assert said.endswith(f"name the files of one, such as --objective sft --data {tmp_path}/a.jsonl")
    found = check(tmp_path)
    assert found.objectives == ()
    assert found.verdict[0].startswith("rows of several kinds")


def test_one_file_that_cannot_be_read_does_not_hide_the_others(tmp_path):
    put(tmp_path / "a.jsonl", "1")
    (tmp_path / "b.jsonl").write_text('{"title": "x"}\n{"title": "y"}\n')
    (tmp_path / "c.csv").write_bytes(b"\xe9\xff,b\n1,2\n")
    found = check(tmp_path)
    assert [(Path(one.file).name, one.format, one.rows, one.problems) for one in found.files] == [
        ("a.jsonl", "alpaca", 1, ""), ("b.jsonl", "", 0, "no row can be read"), ("c.csv", "", 0, "no row can be read")
    ]  # fmt: skip
    assert "no known format has the fields title" in found.broken[0].problem
    assert "is not UTF-8" in found.broken[1].problem


# -- nested, linked, twice -------------------------------------------------------------------------


def test_subfolders_and_links_are_read_once(tmp_path):
    folder = tmp_path / "rows"
    put(folder / "a.jsonl", "1")
    put(folder / "en" / "b.jsonl", "2")
    put(folder / ".cache" / "c.jsonl", "hidden")
    put(tmp_path / "elsewhere" / "d.jsonl", "3")
    (folder / "d.jsonl").symlink_to(tmp_path / "elsewhere" / "d.jsonl")
    (folder / "round").symlink_to(folder)
    shutil.copy(folder / "a.jsonl", folder / "a (copy).jsonl")
    assert answers(folder) == ["1", "3", "2"]
    assert why(folder) == {
        ".cache": "it is hidden",
        "a.jsonl": f"it is the same file as {folder}/a (copy).jsonl",
        "round": f"it is a link to {folder}, which is read already",
    }


def test_what_is_no_file_and_archives_are_left_out(tmp_path):
    put(tmp_path / "a.jsonl", "1")
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name in ("b.zip", "c.tar.gz", "d.xlsx"):
        (tmp_path / name).write_bytes(b"PK\x03\x04")
    assert answers(tmp_path) == ["1"]
    archive = "it is an archive or a spreadsheet; unpack it, or save it as .csv"
    assert why(tmp_path) == dict.fromkeys(("b.zip", "c.tar.gz", "d.xlsx"), archive) | {
        "pipe.jsonl": "it is no file"
    }


def test_a_link_to_nothing_is_an_error(tmp_path):
    put(tmp_path / "a.jsonl", "1")
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "blobs" / "123")
    with pytest.raises(DataError, match=r"b.jsonl is a link to .*blobs/123, which does not exist; fetch it"):
        tables_at(tmp_path)


def test_rows_that_stand_in_two_files_are_counted(tmp_path):
    put(tmp_path / "a.jsonl", "1", "2")
    put(tmp_path / "b.jsonl", "2", "3")
    found = check(tmp_path)
    assert [(one.repeats, one.problems) for one in found.files] == [(0, ""), (1, "1 repeated")]


# -- splits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/test-00000-of-00001.parquet", "test"),
        ("validation/rows.jsonl", "validation"),
        ("my_dev.jsonl", "validation"),
        ("eval.json", "test"),
        ("held-out.jsonl", "test"),
        ("my_heldout_2.csv", "test"),
        ("holdout/rows.json", "test"),
        ("upheld-outcomes.jsonl", None),
        ("contest.jsonl", None),
        ("developer-questions.jsonl", None),
        ("training_test.jsonl", "train"),
    ],
)
def test_splits_are_words_of_names(path: str, split: str | None):
    assert split_of(Path(path)) == split


def test_test_splits_of_a_folder_are_never_learnt_from(tmp_path):
    put(tmp_path / "data" / "train-00000-of-00002.jsonl", "1")
    put(tmp_path / "data" / "train-00001-of-00002.jsonl", "2")
    test = put(tmp_path / "data" / "test-00000-of-00001.jsonl", "3")
    assert answers(tmp_path) == ["1", "2"]
    assert why(tmp_path) == {test.name: f"it is of a test split, which --eval-data {tmp_path} reads"}
    assert answers(Source((tmp_path,), held_out=True)) == ["3"]
    put(tmp_path / "data" / "validation.jsonl", "4")
    assert answers(Source((tmp_path,), held_out=True)) == ["4"]  # a test split is kept for the end
    assert fingerprint(Source((tmp_path,), held_out=True)) != fingerprint(tmp_path)
    # whoever names files decides, and hears of it
    named = Source((tmp_path / "data" / "train-00000-of-00002.jsonl", test))
    assert (answers(named), named_splits(named)) == (["1", "3"], (test,))


def test_a_folder_of_a_test_split_only(tmp_path):
    file = put(tmp_path / "test.jsonl", "1")
    with pytest.raises(
        DataError, match=r"holds rows of a test split only.* name the files, such as .*test.jsonl"
    ):
        tables_at(tmp_path)
    assert answers(file) == answers(Source((tmp_path,), held_out=True)) == ["1"]
    put(tmp_path / "plain" / "rows.jsonl", "2")
    assert answers(Source((tmp_path / "plain",), held_out=True)) == ["2"]  # no split is named: all of it


CONFIGS = """---
license: mit
configs:
- config_name: default
  data_files:
  - split: train
    path: rows/part-*.jsonl
  - split: test
    path: rows/last.jsonl
{more}---
# rows
"""


def test_the_head_of_a_readme_says_which_files_are_which_split(tmp_path):
    for name in ("part-1", "part-2", "last", "old"):
        put(tmp_path / "rows" / f"{name}.jsonl", name)
    (tmp_path / "README.md").write_text(CONFIGS.format(more=""))
    assert answers(tmp_path) == ["part-1", "part-2"]
    assert answers(Source((tmp_path,), held_out=True)) == ["last"]
    assert why(tmp_path)["old.jsonl"] == "README.md does not name it in its configs"
    more = "- config_name: other\n  data_files: rows/old.jsonl\n"
    (tmp_path / "README.md").write_text(CONFIGS.format(more=more))
    assert answers(tmp_path) == ["part-1", "part-2"]
    assert any(one.why == "of its configs default is read, not other" for one in left_out(tmp_path))
    (tmp_path / "README.md").write_text(CONFIGS.format(more=more).replace("default", "first"))
    with pytest.raises(
        DataError, match=r"several data sets by its README.md \(first, other\); give the files"
    ):
        tables_at(tmp_path)


def test_a_configuration_of_a_folder(tmp_path):
    for name in ("new/train-1", "new/more/test-1", "old/train-1"):
        put(tmp_path / f"{name}.jsonl", name)
    (tmp_path / "README.md").write_text("---\nconfigs:\n- config_name: new\n  data_dir: new\n---\n")
    assert answers(tmp_path) == ["new/train-1"]
    assert answers(Source((tmp_path,), held_out=True)) == ["new/more/test-1"]


# -- descriptions beside rows ----------------------------------------------------------------------


def test_descriptions_are_no_rows(tmp_path):
    put(tmp_path / "a.jsonl", "1")
    (tmp_path / "meta.json").write_text('{"version": 2, "author": "x"}')
    (tmp_path / "dataset_info.json").write_text(
        '{"builder_name": "json", "features": {"text": {"dtype": "string"}}}'
    )
    assert answers(tmp_path) == ["1"]
    assert why(tmp_path) == {
        "dataset_info.json": "it tells about the rows",
        "meta.json": "it is one object that is no row (fields version, author)",
    }
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "a.jsonl"}}')
    with pytest.raises(DataError, match="holds data sets by name"):
        tables_at(tmp_path)


@parquet
@pytest.mark.parametrize("form", ["new_stream", "new_file"])
def test_what_save_to_disk_writes_is_read(tmp_path, form: str):
    import pyarrow as pa

    table = pa.Table.from_pylist([row("1"), row("2")])
    with (
        (tmp_path / "data-00000-of-00001.arrow").open("wb") as file,
        getattr(pa.ipc, form)(file, table.schema) as out,
    ):
        out.write_table(table)
    (tmp_path / "state.json").write_text('{"_fingerprint": "a"}')
    assert answers(tmp_path) == ["1", "2"]


def test_lines_about_what_is_left_out_gather_one_reason(tmp_path):
    put(tmp_path / "a.jsonl", "1")
    for name in "bcdef":
        (tmp_path / f"{name}.png").write_bytes(b"x")
    (line,) = say_left_out(left_out(tmp_path))
    assert line == (
        f"left out: {tmp_path}/b.png, {tmp_path}/c.png, {tmp_path}/d.png and 2 more: "
        "no rows are read from files called .png"
    )


# -- files that are not what they are called -------------------------------------------------------

ROWS = [{"instruction": "say é中", "output": "1"}, {"instruction": "b", "output": "2\r\n3"}]
LINES = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.jsonl", json.dumps(ROWS).encode()),
        ("lines.json", LINES.encode()),
        ("around.json", json.dumps({"version": 1, "data": ROWS}).encode()),
        ("around-pretty.json", json.dumps({"train": ROWS, "license": "mit"}, indent=1).encode()),
        ("jq.jsonl", "\n".join(json.dumps(one, indent=2) for one in ROWS).encode()),
        ("bom.jsonl", b"\xef\xbb\xbf" + LINES.encode()),
        ("crlf.jsonl", LINES.replace("\n", "\r\n").encode()),
        ("utf16.jsonl", LINES.encode("utf-16")),
        ("utf16.json", json.dumps(ROWS, ensure_ascii=False).encode("utf-16-be").join([b"\xfe\xff", b""])),
        ("packed.json.gz", gzip.compress(json.dumps({"rows": ROWS}).encode())),
        ("semicolons.csv", 'instruction;output\n"say é中";1\nb;"2\r\n3"\n'.encode()),
        ("tabs.csv", 'instruction\toutput\nsay é中\t1\nb\t"2\r\n3"\n'.encode("utf-16")),
        ("semicolons.tsv", 'instruction;output\n"say é中";1\nb;"2\r\n3"\n'.encode()),
        ("nan.jsonl", LINES.replace("}", ', "score": NaN, "n": 123456789012345678901234567890}').encode()),
    ],
)
def test_what_a_file_holds_decides(tmp_path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    for where in (tmp_path, tmp_path / name):
        found = read_samples(where)
        assert [one.messages[0].content for one in found] == ["say é中", "b"]
        assert [one.messages[-1].content for one in found] == ["1", "2\r\n3"]


def test_objects_over_several_lines_know_their_place(tmp_path):
    file = tmp_path / "jq.jsonl"
    file.write_text("\n" + "\n".join(json.dumps(one, indent=2) for one in [row("1"), {"instruction": "b"}]))
    with pytest.raises(DataError, match=r"jq.jsonl, row 2 \(line 6\): field 'output' is missing"):
        read_samples(file)
    file.write_text(json.dumps({"data": [row("1"), {"instruction": "b"}]}))
    with pytest.raises(DataError, match=r"jq.jsonl, row 2, data: field 'output' is missing"):
        read_samples(file)


def test_a_broken_first_line_is_a_broken_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"instruction": "a", "outp\n' + LINES)
    found = check(tmp_path / "a.jsonl")
    assert (found.rows, [one.place.line for one in found.broken]) == (2, [1])
    assert "a text is not closed on its line" in found.broken[0].problem


def test_splits_in_the_fields_of_one_object_are_not_learnt_together(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"train": [row("1")], "test": [row("2")]}))
    for where in (tmp_path, tmp_path / "a.json"):
        with pytest.raises(
            DataError, match="holds a split 'test' among its fields; save each split as a file"
        ):
            read_samples(where)


@pytest.mark.parametrize(
    ("pattern", "read"),
    [
        ("./data/*.jsonl", ["abc.jsonl", "def.jsonl"]),
        ("../rows/data/abc.jsonl", ["abc.jsonl"]),
        ("{folder}/data/def.jsonl", ["def.jsonl"]),
        ("[data/abc.jsonl, data/def.jsonl]", ["abc.jsonl", "def.jsonl"]),
    ],
)
def test_patterns_of_configs_may_be_written_as_paths_are(tmp_path, pattern, read):
    folder = configured(tmp_path, pattern.format(folder=tmp_path / "rows"))
    assert [path.name for path in files_in(folder).read] == read


@pytest.mark.parametrize(
    "pattern", ['""', "5", "hf://datasets/some/where/data/abc.jsonl", "/nowhere/*.jsonl"]
)
def test_a_pattern_that_matches_nothing_is_named(tmp_path, pattern):
    folder = configured(tmp_path, pattern)
    with pytest.raises(DataError, match=r"of a test split only.* no file of rows here matches"):
        files_in(folder)
    (folder / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/*.jsonl\n"
        f"  - split: validation\n    path: {pattern}\n---\n",
        encoding="utf-8",
    )
    found = files_in(folder)
    assert [path.name for path in found.read] == ["abc.jsonl", "def.jsonl"]
    assert any("no file of rows here matches" in one.why for one in found.left_out)


def configured(tmp_path, pattern):
    """A folder whose README.md says where its train split stands."""
    folder = tmp_path / "rows"
    for name in ("data/abc.jsonl", "data/def.jsonl", "holdout/ghi.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps({"instruction": name, "output": "a"}) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {pattern}\n"
        "  - split: test\n    path: holdout/ghi.jsonl\n---\n",
        encoding="utf-8",
    )
    return folder
