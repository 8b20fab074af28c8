"""Settings, questions, keys and memory, each alone."""

from pathlib import Path
from typing import Any

import pytest

from weightwright import config as settings_files
from weightwright.compare import keys
from weightwright.compare.adapter import tune_settings
from weightwright.compare.arms import ARMS, arm
from weightwright.compare.questions import read_questions
from weightwright.compare.settings import CompareSettings
from weightwright.errors import DataError, SettingsError
from weightwright.machine.peak import peak_bytes, reset_peak

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "compare"


def load(**values: Any) -> CompareSettings:
    flags = {("model",): "extract", ("questions",): "q.jsonl"} | {(k,): v for k, v in values.items()}
    return settings_files.load(CompareSettings, section="compare", flags=flags)


# -- settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"arms": ["base", "rga"], "kb": "x"}, "unknown arm 'rga'; did you mean rag?"),
        ({"arms": ["base"]}, "at least two arms"),
        ({"arms": ["base", "base"]}, "at least two arms, each once"),
        ({"arms": ["base", "rag"]}, "needs either `documents` or `kb`"),
        ({"arms": ["base", "rag"], "kb": "x", "documents": ["d"]}, "either `documents` or `kb`"),
        ({"arms": ["base", "lora"]}, "needs either `adapter` or `tune.data`"),
        ({"kb": "x", "primary": "contains", "metrics": ["f1"]}, "'contains' is not among metrics: f1"),
        ({"kb": "x", "metrics": ["f2"]}, "unknown metric 'f2'"),
        ({"kb": "x", "modle": "m"}, "unknown key 'modle'; did you mean model?"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(**values)
    assert message in str(refused.value)


def test_lists_may_be_written_with_commas() -> None:
    assert load(arms="base,rag", kb="x", metrics="f1,contains").arms == ("base", "rag")


def test_paths_are_taken_from_the_file(tmp_path: Path) -> None:
    placed = load(model="./m", kb="kb.db", arms=["rag", "lora"], adapter="a", embedder="../e").placed(
        tmp_path
    )
    assert placed.questions == tmp_path / "q.jsonl"
    assert placed.kb == str(tmp_path / "kb.db")
    assert Path(placed.model) == tmp_path / "m"
    assert Path(placed.adapter) == tmp_path / "a"
    assert Path(placed.embedder).resolve() == (tmp_path / ".." / "e").resolve()
    remote = load(model="http://h/v1#m", arms=["base", "lora"], adapter="mine", questions="/abs/q")
    assert remote.placed(tmp_path).adapter == "mine"
    assert remote.placed(tmp_path).questions == Path("/abs/q")
    assert load(kb="redis://h/0").placed(tmp_path).kb == "redis://h/0"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda f: f.name)
def test_the_examples_can_be_read_and_their_files_are_there(file: Path) -> None:
    settings = settings_files.load(CompareSettings, section="compare", file=file).placed(file.parent)
    assert len(read_questions(settings.questions)) == 60
    assert all(path.is_dir() for path in settings.documents)
    if settings.tune.data is not None:
        assert tune_settings(settings, "model").prompt == settings.answer.prompt


# -- questions


def write(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "q.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_questions_are_read(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        '{"id": 7, "question": "Q?", "reference": 21, "answers": ["b"], "documents": ["d"], "kind": "one"}',
        "",
        '{"question": "R?", "answers": ["x\u2028y", "z"]}',
    )
    first, second = read_questions(file)
    assert (first.id, first.references, first.kind) == ("7", ("21", "b"), "one")
    assert (second.id, second.references) == ("3", ("x\u2028y", "z"))
    assert read_questions(file, 1) == (first,)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "Q?"}', ", line 1: reference is missing"),
        ('{"reference": "r"}', ", line 1: question is missing"),
        ('{"question": ["Q?"], "reference": "r"}', "question=['Q?']"),
        ("[]", ", line 1: expected an object"),
        ('{"question": "Q?"', ", line 1: not valid JSON at character 18 (Expecting ',' delimiter)"),
        ("[" * 100_000, ", line 1: nested too deeply"),
        ("", "holds no rows"),
    ],
)
def test_wrong_questions_are_refused_with_their_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DataError) as refused:
        read_questions(write(tmp_path, line))
    assert message in str(refused.value)


def test_wrong_question_files_are_refused(tmp_path: Path) -> None:
    row = '{"id": "a", "question": "Q?", "reference": "r"}'
    with pytest.raises(DataError, match="id 'a' stands on line 1 too"):
        read_questions(write(tmp_path, row, row))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe{")
    with pytest.raises(DataError, match="not UTF-8"):
        read_questions(tmp_path / "bytes")
    with pytest.raises(DataError, match="Is a directory"):
        read_questions(tmp_path)
    with pytest.raises(DataError, match="No such file"):
        read_questions(tmp_path / "absent")


# -- keys


def test_an_adapter_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    for name, content in (("a", b"x"), ("b", b"x"), ("c", b"y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_model.safetensors").write_bytes(content)
    a, b, c = (keys.of_folder(tmp_path / name) for name in "abc")
    assert a == b != c


def test_arms_share_no_key() -> None:
    settings = load(arms=list(ARMS), kb="x", adapter="a")
    made = {keys.of_arm(a, settings, model="m", adapter="h", knowledge_base="k") for a in ARMS.values()}
    assert len(made) == len(ARMS)

    def key(name: str, **changed: str) -> str:
        values = {"model": "m", "adapter": "h", "knowledge_base": "k"} | changed
        return keys.of_arm(arm(name), settings, **values)

    assert key("base", adapter="other") == key("base")
    assert key("lora", adapter="other") != key("lora")
    assert key("lora", knowledge_base="other") == key("lora")
    assert key("rag", knowledge_base="other") != key("rag")
    assert key("rag", model="other") != key("rag")


# -- memory


def test_the_peak_is_put_back() -> None:
    if not reset_peak():
        pytest.skip("this kernel does not let the peak be put back")
    block = bytearray(64 << 20)
    block[::4096] = b"x" * len(block[::4096])
    high = peak_bytes()
    del block
    assert reset_peak()
    low = peak_bytes()
    assert high is not None
    assert low is not None
    assert high - low > 32 << 20
