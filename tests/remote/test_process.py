"""Another engine as a process of ours. vLLM itself is not here: real small programs stand in its place."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from weightwright import LLM, SamplingParams
from weightwright.connect import open_chat
from weightwright.engine.settings import EngineSettings
from weightwright.errors import ModelError, RemoteError, SettingsError
from weightwright.ports import ChatRequest, Message, silent
from weightwright.remote.process import EngineProcess, StartedChat

pytestmark = pytest.mark.skipif(os.name != "posix", reason="process groups of POSIX")
STANDIN = Path(__file__).with_name("standin_vllm.py")
ASK = ChatRequest(messages=(Message("user", "Hello"),), params=SamplingParams(max_tokens=8, temperature=0))
SAYS_HELLO = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        good = self.headers["authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        self.send_response(200 if good else 401)
        self.end_headers()
        self.wfile.write(b'{"data": []}')
    def do_POST(self):
        print("out of memory", flush=True)
        os._exit(3)
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def interpreter(folder: Path, *, sees: dict, runs: str) -> Path:
    """A Python of a vLLM environment: what it says of its devices, and what `-m vllm…` runs, with its arguments."""
    made = folder / "python"
    made.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = -c ]; then echo {shlex.quote(json.dumps(sees))}; exit; fi\n'
        f'echo "$@" > {shlex.quote(str(folder / "told"))}\nshift 2\n'
        f'exec {shlex.quote(sys.executable)} {runs} "$@"\n'
    )
    made.chmod(0o755)
    return made


@pytest.fixture
def two_cards(tmp_path: Path) -> Path:
    return interpreter(
        tmp_path, sees={"vllm": True, "kind": "cuda", "count": 2}, runs=shlex.quote(str(STANDIN))
    )


@pytest.fixture
def started() -> Iterator[Callable[..., EngineProcess]]:
    processes = []

    def start(script: str) -> EngineProcess:
        processes.append(EngineProcess([sys.executable, "-c", script]))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


def test_a_model_over_two_devices_answers_through_the_engine_that_was_started(
    two_cards: Path, tmp_path: Path, tiny_model: Path
) -> None:
    params = SamplingParams(max_tokens=12, temperature=0, ignore_eos=True)
    with LLM(str(tiny_model), precision="f32", device="cpu", speculate=0) as here:
        expected = here.generate("abc", params)[0].outputs[0].text
    with LLM(str(tiny_model), tensor_parallel_size=2, engine_python=two_cards, dtype="float32",
             max_model_len=256) as llm:  # fmt: skip
        told = (tmp_path / "told").read_text().split()
        assert llm.generate("abc", params)[0].outputs[0].text == expected
        assert llm.get_tokenizer().encode("abc") == [64, 65, 66]
        with pytest.raises(SettingsError, match="embed needs the engine of this process"):
            llm.embed("abc")
    port = told.pop()
    assert told == [
        "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny_model), "--served-model-name",
        str(tiny_model), "--tensor-parallel-size", "2", "--dtype", "float32", "--max-model-len", "256",
        "--host", "127.0.0.1", "--port",
    ]  # fmt: skip
    with pytest.raises(OSError, match="refused"):
        __import__("socket").create_connection(("127.0.0.1", int(port)))


@pytest.mark.parametrize(
    ("sees", "options", "message"),
    [
        ({"vllm": True, "kind": "cuda", "count": 2}, {"tensor_parallel_size": 4},
         r"tensor_parallel_size=4: engine_python sees 2 cuda devices; give 2 or fewer"),
        ({"vllm": True, "kind": "cpu", "count": 0}, {"num_gpus": 2},
         r"tensor_parallel_size=2: engine_python sees 0 GPUs; give 1 or fewer"),
        ({"vllm": False, "kind": "cuda", "count": 2}, {"num_gpus": 2},
         r"has no vLLM; install it: \S+python -m pip install vllm"),
        ({"vllm": True, "kind": "cuda", "count": 2}, {"num_gpus": 2, "device": "xpu"},
         r"device=xpu: the environment of engine_python sees 2 cuda devices"),
        ({"vllm": True, "kind": "cuda", "count": 2}, {"num_gpus": 2, "precision": "int8"},
         r"precision=int8 is this engine's own; .* \(AWQ, GPTQ, FP8\), or precision=bf16"),
        ({"vllm": True, "kind": "cuda", "count": 2}, {"num_gpus": 2, "kv_precision": "int8"},
         r"vLLM has no kv_precision"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_before_anything_starts(
    tmp_path: Path, tiny_model: Path, sees: dict, options: dict, message: str
) -> None:
    python = interpreter(tmp_path, sees=sees, runs=shlex.quote(str(STANDIN)))
    with pytest.raises(SettingsError, match=message):
        open_chat(str(tiny_model), settings=EngineSettings(engine_python=python, **options))
    assert not (tmp_path / "told").exists()


def test_without_vllm_the_commands_that_would_do_it_are_said(tmp_path: Path) -> None:
    adapter = tmp_path / "my adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 12, "target_modules": ["q_proj"]}'
    )
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    settings = EngineSettings(num_gpus=2, max_context=4096)
    with pytest.raises(SettingsError) as refused:
        open_chat("Qwen/Qwen2.5-72B-Instruct", adapters={"mine": adapter}, settings=settings)
    said = str(refused.value)
    assert "tensor_parallel_size=2" in said
    assert "--engine-python vllm/bin/python" in said
    assert (
        "vllm serve Qwen/Qwen2.5-72B-Instruct --tensor-parallel-size 2 --enable-lora --max-lora-rank 16 "
        f"--lora-modules 'mine={adapter}' --max-model-len 4096" in said
    )
    assert "http://127.0.0.1:8000/v1#mine" in said
    with pytest.raises(ModelError, match=r"for vLLM give the original: qwen2\.5:72b:bf16"):
        open_chat("qwen2.5:72b", settings=settings)
    with pytest.raises(SettingsError, match=r"vllm serve Qwen/Qwen2\.5-72B-Instruct .* --dtype bfloat16"):
        open_chat("qwen2.5:72b:bf16", settings=settings)


def test_an_interpreter_that_is_none_is_named(tmp_path: Path, tiny_model: Path) -> None:
    for python, message in (
        (tmp_path / "none", "cannot be started"),
        (Path("/bin/echo"), "no Python with vLLM"),
    ):
        with pytest.raises(SettingsError, match=f"engine_python={python} .*{message}|{message}"):
            open_chat(str(tiny_model), settings=EngineSettings(engine_python=python))


def test_an_end_before_the_first_answer_is_quoted(started: Callable[..., EngineProcess]) -> None:
    process = started("print('no room on the card'); raise SystemExit(7)")
    with pytest.raises(
        ModelError, match=r"the other engine ended with status 7; it wrote last:\n  no room on the card"
    ):
        process.wait(silent)


def test_an_end_under_a_request_is_quoted(started: Callable[..., EngineProcess]) -> None:
    process = started(SAYS_HELLO)
    process.wait(silent)  # which has the key, or is refused
    chat = StartedChat(process, "m")
    with pytest.raises(RemoteError, match=r"ended with status 3; it wrote last:\n  out of memory"):
        chat.submit(ASK).result()
    chat.close()


STUBBORN = """
import os, signal, subprocess, sys, time
if len(sys.argv) > 1 and sys.argv[1] == "worker":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
    time.sleep(600)
worker = subprocess.Popen([sys.executable, __file__, "worker"], stdout=subprocess.PIPE)
worker.stdout.readline()
open(os.environ["NOTE"], "w").write(str(worker.pid))
print("up", flush=True)
worker.wait()
"""


def _gone(pid: int) -> bool:
    """Whether a process ends, waited for without a clock of ours: a zombie has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    import select

    return bool(select.select([fd], [], [], 60)[0])


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux")
@pytest.mark.parametrize("end", ["close", "killed starter"])
def test_workers_that_do_not_listen_end_too(tmp_path: Path, end: str) -> None:
    """The leader ends at SIGTERM, its worker ignores it: nothing is left, be it that the starter is killed."""
    script, note = tmp_path / "stubborn.py", tmp_path / "note"
    script.write_text(STUBBORN)
    starter = (
        "import sys, time; from pathlib import Path; from weightwright.remote.process import EngineProcess\n"
        f"process = EngineProcess([sys.executable, {str(script)!r}], {{'NOTE': {str(note)!r}}})\n"
        "while 'up' not in process._tail(): time.sleep(0.02)\n"
        "print('up', flush=True); sys.stdin.read(); process.close(); print('closed', flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as ours:
        assert ours.stdout.readline() == b"up\n"
        worker = int(note.read_text())
        if end == "close":
            ours.stdin.close()
            assert ours.stdout.readline() == b"closed\n"
        else:
            ours.send_signal(signal.SIGKILL)
    assert _gone(worker)
