"""Every command and every piece of Python in the README and the guide runs, as it stands there.

A page's blocks run in order in a folder that looks like a checkout. `weightwright serve` is started and
kept until the page ends; port 8000 is exchanged for a free one. `make` has tests of its own.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..rag.servers import postgres, redis_server, redisearch

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [*sorted(REPOSITORY.glob("README*.md")), *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ELSEWHERE = re.compile(
    r"(git clone|cd weightwright|make (demo|test|install)|\. \.venv)\b"
)  # run by other tests
# pages about a server: how it is started, and its address on the page, which is exchanged for the real one
SERVERS = {
    "postgresql.md": (postgres, "postgresql://me@localhost/docs"),
    "redis.md": (lambda: redis_server(redisearch()), "redis://localhost:6379"),
}


def steps(page: Path) -> Iterator[tuple[str, str]]:
    """The page's commands and scripts: ("console", one command) or ("python", a script)."""
    for kind, body in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "python":
            yield kind, body
            continue
        for line in body.splitlines():
            if line.startswith("$ ") and not ELSEWHERE.match(line[2:]):
                yield kind, line[2:]


# README.zh.md has the commands of README.md; a test below compares them
PAGES_WITH_STEPS = [page for page in PAGES if list(steps(page)) and page.name != "README.zh.md"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(REPOSITORY / "examples", tmp_path / "examples")
    return tmp_path


@pytest.fixture
def environment(kept_home: Path, preloaded: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where `weightwright` is one that has imported torch already; tests/test_wheel.py starts an installed one."""
    ours = tmp_path_factory.mktemp("bin")
    (ours / "weightwright").write_text(f'#!/bin/sh\nexec {preloaded} -m weightwright "$@"\n')
    (ours / "weightwright").chmod(0o755)
    path = os.pathsep.join([str(ours), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"}


@pytest.mark.model
@pytest.mark.parametrize("page", PAGES_WITH_STEPS, ids=lambda page: page.name)
def test_what_the_page_says_runs(
    page: Path, checkout: Path, environment: dict[str, str], preloaded: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    with ExitStack() as stack:
        start, named = SERVERS.get(page.name, (None, ""))
        address = stack.enter_context(start()) if start is not None else ""
        for kind, written in steps(page):
            text = written.replace("8000", port)
            text = text.replace(named, address) if named else text
            if text.startswith("weightwright serve"):
                stack.enter_context(served(text, checkout, environment))
                continue
            command = ["bash", "-ec", text] if kind == "console" else [str(preloaded), "-c", text]
            shown = subprocess.run(
                command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
            )
            assert shown.returncode == 0, f"{text}\n{shown.stderr}\n{shown.stdout}"
            assert shown.stdout.strip() or " > " in text, f"{text} printed nothing"
            assert '"error"' not in shown.stdout, f"{text}\n{shown.stdout}"


class served(ExitStack):
    """A server that the page starts, listening by the time the block begins."""

    def __init__(self, text: str, folder: Path, environment: dict[str, str]) -> None:
        super().__init__()
        command = ["bash", "-c", f"exec {text}"]
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
        )
        said = []
        for line in self.process.stderr:
            said.append(line)
            if line.startswith("listening"):
                break
        else:
            pytest.fail(f"{text} ended:\n{''.join(said)}")
        self.callback(self._stop)

    def _stop(self) -> None:
        self.process.terminate()
        self.process.communicate()


def test_the_reference_is_what_the_verbs_say() -> None:
    script = (
        "import sys; sys.path.insert(0, 'docs'); import make_reference; print(make_reference.reference())"
    )
    made = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    written = (REPOSITORY / "docs" / "reference.md").read_text(encoding="utf-8")
    assert made.stdout.strip() == written.strip(), "run: python docs/make_reference.py"


def test_the_families_are_those_of_the_code() -> None:
    script = "import sys; sys.path.insert(0, 'docs'); import make_families; print(make_families.families())"
    made = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    written = (REPOSITORY / "docs" / "families.md").read_text(encoding="utf-8")
    assert made.stdout.strip() == written.strip(), "run: python docs/make_families.py"


def test_every_variable_and_verb_of_the_command_line_is_in_the_guide() -> None:
    from weightwright.cli.app import GROUPS, VERBS

    guide = "".join(page.read_text(encoding="utf-8") for page in PAGES if page.name != "reference.md")
    for verb, *_ in VERBS:
        said = verb.replace("-", " ")  # `tune watch` is a verb of its own
        assert f"weightwright {said}" in guide, verb
    for group, _, _, verbs in GROUPS:
        for verb, *_ in verbs:
            assert f"weightwright {group} {verb}" in guide, f"{group} {verb}"


def test_the_two_readmes_show_the_same_commands() -> None:
    english, chinese = (REPOSITORY / name for name in ("README.md", "README.zh.md"))
    assert list(steps(english)) == list(steps(chinese))


def test_links_between_pages_exist() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.model
@pytest.mark.parametrize("precision", ["f32", "bf16", "int8", "int4"])
def test_what_the_guide_asks_the_small_model_has_one_answer(kept_home: Path, precision: str) -> None:
    """The likeliest token leads by far until the answer is said: no rounding of a precision changes it."""
    from weightwright import LLM, SamplingParams

    params = SamplingParams(temperature=0, max_tokens=10, logprobs=2)
    asked = {"What is the chemical symbol for water?": "H2O", "The capital of Japan is": "Tokyo",
             "The opposite of hot is": "cold"}  # fmt: skip
    guide = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    with LLM("smollm2-135m", precision=precision) as llm:
        for question, answer in asked.items():
            assert question in guide
            chat = question.endswith("?")
            found = llm.chat([{"role": "user", "content": question}], params) if chat else llm.generate(question, params)
            said = ""
            for token in found[0].outputs[0].logprobs:
                (_, _, first), (_, _, second) = token.top
                said += token.text
                assert first - second > 1, f"{precision}: {said!r}"
                if answer in said:
                    break
            assert answer in said


@pytest.mark.slow
def test_the_guide_builds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "loop" / "index.html").exists()
