"""Settings, questions, keys, kept answers, memory and asking, each alone."""

from pathlib import Path
from typing import Any

import pytest

from weightwright import config as settings_files
from weightwright.asking.answers import Answers, Record
from weightwright.asking.ask import Started, ask
from weightwright.compare import keys
from weightwright.compare.adapter import tune_settings
from weightwright.compare.arms import ARMS, arm
from weightwright.compare.questions import Question, read_questions
from weightwright.compare.settings import CompareSettings
from weightwright.errors import DataError, RemoteError, RequestError, SettingsError, StoreError
from weightwright.machine.peak import peak_bytes, reset_peak
from weightwright.ports import Piece, Reply, Usage

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
        ("{", ", line 1: not valid JSON"),
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


# -- kept answers


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    record = Record("rag", "q\ud800", "21 days \ud83d", citations=({"n": 1},), passages=({"text": "天"},))
    with Answers(tmp_path / "answers.db") as answers:
        answers.keep("k", record)
        answers.keep_peak("rag", "s", 5)
        answers.keep_peak("rag", "s", 3)
        answers.keep_peak("rag", "s", None)
    with Answers(tmp_path / "answers.db") as answers:
        assert answers.finished(["k", "other"]) == {"k": record}
        assert answers.peak("rag", "s") == 5
        assert answers.peak("rag", "t") is None


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "answers.db").write_text("no database" * 100, encoding="utf-8")
    with pytest.raises(StoreError, match="move the file away"):
        Answers(tmp_path / "answers.db")


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


# -- asking


class Scripted:
    """Replies that end when told to."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.cancelled: list[int] = []

    def __call__(self, question: Question) -> Started:
        number = len(self.replies)
        reply = Reply(1, lambda: self.cancelled.append(number))
        self.replies.append(reply)
        return Started(reply)

    def end(self, number: int, text: str) -> None:
        self.replies[number].push(Piece(0, text, finish_reason="stop"))
        self.replies[number].finish(Usage(1, 1))


def questions(n: int) -> list[Question]:
    return [Question(id=str(i), question=f"q{i}?", reference="r") for i in range(n)]


def test_so_many_are_under_way_and_answers_come_as_they_end() -> None:
    scripted, order = Scripted(), []

    def start(question: Question) -> Started:
        started = scripted(question)
        assert len(scripted.replies) - len(order) <= 3
        if len(scripted.replies) == 3:
            for number in (1, 0, 2):
                scripted.end(number, f"a{number}")
        elif len(scripted.replies) > 3:
            scripted.end(len(scripted.replies) - 1, "late")
        return started

    shares = []

    def ended(asked: Any) -> None:
        order.append(asked.question.id)
        shares.append(asked.seconds)
        assert asked.latency_s >= 0

    ask(questions(5), start, ended, concurrency=3)
    assert order[:3] == ["1", "0", "2"]
    assert sorted(order) == ["0", "1", "2", "3", "4"]
    assert all(share >= 0 for share in shares)


def test_an_interruption_cancels_what_is_under_way() -> None:
    scripted = Scripted()

    def start(question: Question) -> Started:
        if len(scripted.replies) == 2:
            raise KeyboardInterrupt
        return scripted(question)

    with pytest.raises(KeyboardInterrupt):
        ask(questions(5), start, lambda asked: None, concurrency=3)
    assert scripted.cancelled == [0, 1]


def failing(error: Exception) -> Any:
    def start(question: Question) -> Started:
        reply = Reply()
        reply.fail(error)
        return Started(reply)

    return start


def test_wrong_requests_never_stop_a_run_but_a_dead_server_does() -> None:
    seen: list[Any] = []
    ask(questions(12), failing(RequestError("too long")), seen.append, concurrency=2)
    assert [asked.is_final for asked in seen] == [True] * 12
    seen.clear()
    with pytest.raises(RemoteError, match="gone"):
        ask(questions(12), failing(RemoteError("gone")), seen.append, concurrency=2)
    assert [asked.is_final for asked in seen] == [False] * 4
