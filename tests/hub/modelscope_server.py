"""A local server that answers as ModelScope does: a file listing, and content with Range."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class RunningModelScope:
    def __init__(self, repos: dict[str, dict[str, bytes]]) -> None:
        self.repos = repos
        self.requests: list[tuple[str, str | None]] = []
        self.corrupt: set[str] = set()

    def __enter__(self) -> "RunningModelScope":
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                outer.requests.append((self.path, self.headers.get("Range")))
                parts = url.path.strip("/").split("/")
                name = "/".join(parts[3:5])
                if parts[:3] != ["api", "v1", "models"] or name not in outer.repos:
                    self._json(404, {"Code": 10010205001, "Message": "not found", "Success": False})
                elif parts[5:] == ["repo", "files"]:
                    self._json(200, {"Code": 200, "Success": True, "Data": {"Files": outer.listing(name)}})
                elif parts[5:] == ["repo"]:
                    self._file(name, parse_qs(url.query)["FilePath"][0])
                else:
                    self._json(200, {"Code": 200, "Success": True, "Data": {}})

            def _file(self, name: str, file: str) -> None:
                content = outer.repos[name][file]
                if file in outer.corrupt:
                    content = content[:-1] + bytes([content[-1] ^ 1])
                start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content[start:])

            def _json(self, status: int, values: Any) -> None:
                body = json.dumps(values).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def listing(self, name: str) -> list[dict[str, Any]]:
        return [
            {"Path": file, "Name": file.rpartition("/")[2], "Size": len(content), "Type": "blob",
             "Sha256": hashlib.sha256(content).hexdigest(), "Revision": "master"}
            for file, content in self.repos[name].items()
        ]  # fmt: skip
