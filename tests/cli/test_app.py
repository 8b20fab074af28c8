"""The command line as a whole: exit statuses, one clear line, nothing on stdout but results."""

import json
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from weightwright import config
from weightwright.cli.app import GROUPS, OPEN_FLAGS, VERBS, main


def run(*arguments: str, **kwargs) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "weightwright", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["tuna"], 2, "unknown verb 'tuna'; did you mean tune?; see weightwright --help"),
        (["data", "shw"], 2, "unknown verb 'shw'; did you mean show?; see weightwright data --help"),
        (["plan", "tiny", "tinier"], 2, "'tinier' belongs to no option; see weightwright plan --help"),
        (
            ["tune", "x", "--out", "o", "--data", "wrong.yaml", "empty.yaml"],
            2,
            "'empty.yaml' belongs to no option; give each file its flag: --data A --data B; see",
        ),
        (
            ["tune", "x", "--data", "d", "--out", "o", "--resume_from_checkpoint", "true"],
            2,
            "--resume_from_checkpoint is not needed: the same command goes on where an interrupted run stopped; see",
        ),
        (
            ["serve", "x", "--adapter", "runs/a"],
            1,
            "adapter 'runs/a' must read NAME=PLACE, such as mine=runs/a",
        ),
        (["doctor", "--nope"], 2, "Unknown option: --nope; see weightwright doctor --help"),
        (
            ["plan", "tiny", "--epoch", "3"],
            2,
            "--epoch; did you mean --epochs?; see weightwright plan --help",
        ),
        (["chat", "tiny", "--rank", "8"], 2, "Unknown option: --rank; see weightwright chat --help"),
        (["serve"], 2, "model is required (model address)"),
        (
            ["kb", "search", "kb.db"],
            2,
            "query is required (what is looked for); see weightwright kb search --help",
        ),
        (["serve", "x", "--port", "many"], 2, "--port"),
        (["serve", "x", "--port", "99999"], 2, "port=99999: Input should be less than or equal to 65535"),
        (
            ["tune", "x", "--data", "d", "--out", "o", "--rank", "0"],
            2,
            "rank=0: Input should be greater than",
        ),
        (["tune", "x", "--data", "d", "--out", "o", "--epochs", "abc"], 2, "abc"),
        (["plan", "x", "--device-memory", "abc"], 2, "device_memory='abc': expected a size such as 24GB"),
        (["plan", "x", "--device-memory", "24"], 2, "write 24GB or 24MB"),
        (["serve", "x", "--host", "0.0.0.0"], 1, "set api_key"),
        (["doctor", "--config", "absent.yaml"], 1, "cannot read settings from absent.yaml: No such file"),
        (["doctor", "--config", "folder"], 1, "cannot read settings from folder: Is a directory"),
        (
            ["doctor", "--config", "latin.yaml"],
            1,
            "latin.yaml: it is no UTF-8 text (byte 7); save it as UTF-8",
        ),
        (["doctor", "--config", "wrong.yaml"], 1, "wrong.yaml is not valid YAML: line 1, column 8: "),
        (["tune", "--config", "empty.yaml"], 2, "out is required"),
        (["chat", "ftp://x"], 1, "ftp"),
        (["chat", "localhost:8000"], 1, "a server's address begins with http:// or https://"),
        (["chat", "api.example.org/v1"], 1, "as in http://api.example.org/v1"),
        (["chat", "smollm2 135m"], 1, "did you mean smollm2:135m?"),
        (["judge", "folder"], 1, "folder"),
        (["judge", "empty.yaml"], 1, "empty.yaml"),
        (["kb", "search", "none.db", "x"], 1, "make one: weightwright kb add none.db"),
    ],
)
def test_wrong_input_gives_one_clear_line(
    arguments: list[str], status: int, message: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.yaml").touch()
    (tmp_path / "latin.yaml").write_bytes(b"rank: \xe9")
    (tmp_path / "wrong.yaml").write_text("rank: 4: 5")
    assert main(arguments) == status
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


def test_an_error_is_one_line_and_a_status_of_the_process() -> None:
    shown = run("plan", "tiny", "--nope")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == "error: Unknown option: --nope; see weightwright plan --help\n"


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in run("chat", "ftp://x", "--debug").stderr


def test_json_is_one_document_on_stdout() -> None:
    assert json.loads(run("doctor", "--json").stdout)


def test_flags_that_may_stand_alone_or_have_a_value_are_known() -> None:
    targets = [target for _, target, *_ in VERBS] + [target for *_, verbs in GROUPS for _, target, _ in verbs]
    for target in targets:
        import_module(f"weightwright.cli.{target.partition(':')[0]}")
    leaves = [leaf for one in config.Settings.__subclasses__() for leaf in config.leaves(one)]
    kinds = {leaf.path[-1]: set(get_args(leaf.field.annotation)) - {type(None)} for leaf in leaves}
    mixed = [name for name, of in kinds.items() if bool in of and len(of) > 1]
    assert {f"--{name.replace('_', '-')}" for name in mixed} == set(OPEN_FLAGS)


def test_every_verb_has_help() -> None:
    names = [[name] for name, *_ in VERBS]
    names += [[group, verb] for group, _, _, verbs in GROUPS for verb, *_ in verbs]
    for name in names:
        assert main([*name, "--help"]) == 0


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_server_stops_with_130(tiny_model: Path, signum: int) -> None:
    command = [sys.executable, "-m", "weightwright", "serve", str(tiny_model), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        for line in process.stderr:
            if line.startswith("listening on http://127.0.0.1:"):
                break
        assert process.stderr.readline() == f"  model {tiny_model}\n"
        process.send_signal(signum)
        assert process.wait() == 130, process.stderr.read()


def test_a_port_in_use_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        shown = run("serve", "./absent", "--port", str(taken.getsockname()[1]), cwd=tmp_path)
    assert shown.returncode == 1
    assert "choose another --port" in shown.stderr


def test_a_question_on_stdin_is_answered_on_stdout(tiny_model: Path) -> None:
    shown = run("chat", str(tiny_model), "--max-tokens", "5", input="Hello")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.endswith("\n")
    assert run("chat", str(tiny_model), input="").returncode == 1


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_what_the_output_cannot_hold_is_escaped(tmp_path: Path, encoding: str) -> None:
    answer = "你好 👍 \ud83d"  # the last is half a character, as another program cut it
    row = {"question": "谁？", "answer": answer, "reference": "你好"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "weightwright", "judge", "rows.jsonl"]
    told = [
        subprocess.run([*command, *more], capture_output=True, check=False, cwd=tmp_path, env=environment)
        for more in (["--json"], [])
    ]
    assert [one.returncode for one in told] == [0, 0], told[0].stderr + told[1].stderr
    assert json.loads(told[0].stdout)["rows"][0]["answer"] == answer
    told[0].stdout.decode(encoding)
