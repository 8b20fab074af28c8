"""A counting server that speaks OpenAI's API, and a small comparison to run against it."""

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

DOCUMENTS = 12
WIDTH = 32


@dataclass
class Stub:
    """Answers with what the prompt's passages say about the question; counts each (arm, question)."""

    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    refuse: Callable[[str, str], tuple[int, str] | None] = lambda arm, question: None
    on_ask: Callable[[int], None] = lambda n: None
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def answer(self, messages: list[dict[str, str]]) -> tuple[int, str]:
        text = messages[-1]["content"]
        question = text.rpartition("Question: ")[2]
        arm = "rag" if "[1] " in text else "base"
        with self.lock:
            self.asked[arm, question] += 1
            self.on_ask(sum(self.asked.values()))
        refused = self.refuse(arm, question)
        if refused is not None:
            return refused
        number = re.findall(r"\d+", question)[0]
        found = re.search(rf"\[(\d)\] [^\n]*item {number} is (colour\w+)", text)
        return 200, f"It is {found[2]} [{found[1]}]." if found else "It is grey."


class _Handler(BaseHTTPRequestHandler):
    stub: Stub

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/embeddings"):
            rows = [{"index": i, "embedding": vector(text)} for i, text in enumerate(body["input"])]
            return self._send("application/json", json.dumps({"data": rows}))
        status, text = self.stub.answer(body["messages"])
        if status != 200:
            return self._send("application/json", json.dumps({"error": {"message": text}}), status)
        choice: dict[str, Any] = {"index": 0, "delta": {"content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": len(str(body["messages"])) // 4, "completion_tokens": len(text) // 4}
        events = [{"choices": [choice]}, {"choices": [], "usage": usage}]
        lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        return self._send("text/event-stream", lines)

    def _send(self, kind: str, text: str, status: int = 200) -> None:
        data = text.encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client was killed

    def log_message(self, *arguments: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that was killed in the middle of a request


def vector(text: str) -> list[float]:
    """A bag of hashed words."""
    row = [0.01] * WIDTH
    for word in re.findall(r"\w+", text.lower()):
        row[int(hashlib.sha256(word.encode()).hexdigest(), 16) % WIDTH] += 1.0
    return row


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    handler = type("Handler", (_Handler,), {"stub": stub})
    server = _Server(("127.0.0.1", 0), handler)
    stub.url = f"http://127.0.0.1:{server.server_port}/v1#stub"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield stub
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def config(tmp_path: Path, stub: Stub) -> Path:
    """A settings file with 2 questions about each of 12 documents, arms base and rag."""
    folder = tmp_path / "input"
    (folder / "docs").mkdir(parents=True)
    questions = []
    for i in range(DOCUMENTS):
        text = f"About item {i}. The item {i} is colour{i}. It weighs {i + 100} grams."
        (folder / "docs" / f"item{i}.txt").write_text(text, encoding="utf-8")
        for ask in ("What colour is item {}?", "Which paint has item {}?"):
            row = {"id": f"q{len(questions)}", "kind": ask.split()[1], "question": ask.format(i)}
            questions.append(row | {"reference": f"colour{i}", "documents": [f"item{i}.txt"]})
    lines = "".join(json.dumps(row) + "\n" for row in questions)
    (folder / "questions.jsonl").write_text(lines, encoding="utf-8")
    file = folder / "compare.yaml"
    file.write_text(
        f"model: {stub.url}\nembedder: {stub.url}\nquestions: questions.jsonl\ndocuments: [docs]\n"
        "arms: [base, rag]\nprimary: contains\nmetrics: [contains, f1]\nconcurrency: 4\n"
        "answer: {k: 2, max_tokens: 16, retrieve: {mode: terms}}\n",
        encoding="utf-8",
    )
    return file
